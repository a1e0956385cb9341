"""Verbs of outbound calls: place one, stop and start all dialling, keep people from being called."""

from typing import Annotated

import typer

from gateway.cli.terminal import AsJson, ask, out, show

dialing = typer.Typer(no_args_is_help=True, help="Stop and start all outbound dialling.")
suppressions = typer.Typer(no_args_is_help=True, help="Who must not be called.")


def place_call(
    route: str,
    to: Annotated[str, typer.Argument(help="Whom to ring, as in +14155550123.")],
    from_: Annotated[
        str | None, typer.Option("--from", help="One of the route's numbers; its first by default.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--variable", "-v", help="What the agent is told: name=text.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Where they are, as in America/Denver.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency-Key: the same key never rings twice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Place one call on an outbound route; the gateway draws its version and rings within the hours allowed."""
    variables = dict(pair.partition("=")[::2] for pair in variable or ())
    body = {"route": route, "to": to, "from": from_, "variables": variables, "timezone": timezone}
    answer = ask(lambda gateway: gateway.post("/calls", body, key=key))
    call = answer["call"]
    assignment = call["assignment"]
    row = [call["id"], call["status"], call["to"], assignment["arm"], assignment["version"], assignment["reason"]]
    show(answer, as_json, row, head=("call", "status", "to", "arm", "version", "reason"))


@dialing.command("show")
def show_dialing() -> None:
    """Show whether calls are dialled at all."""
    stopped = ask(lambda gateway: gateway.get("/dialing"))["dialing"]["stopped"]
    out.print(f"stopped by {stopped['author']}: {stopped['reason']}" if stopped else "calls are dialled")


@dialing.command("stop")
def stop_dialing(reason: Annotated[str, typer.Argument(help="Why; it stands in the audit log.")]) -> None:
    """Stop all dialling at once; calls under way go on."""
    ask(lambda gateway: gateway.post("/dialing/stop", {"reason": reason}))
    out.print("nothing is dialled until `gateway dialing start`")


@dialing.command("start")
def start_dialing() -> None:
    """Dial again what is planned."""
    ask(lambda gateway: gateway.post("/dialing/start", {}))
    out.print("calls are dialled")


@suppressions.command("list")
def list_suppressions(as_json: AsJson = False) -> None:
    """Show everybody who must not be called."""
    answer = ask(lambda gateway: gateway.get("/suppressions"))
    rows = [[one["number"], one["reason"], one["author"]] for one in answer["suppressions"]]
    show(answer, as_json, *rows, head=("number", "reason", "by"))


@suppressions.command("add")
def add_suppression(
    number: str, reason: Annotated[str, typer.Option(help="Why.")] = "asked not to be called"
) -> None:
    """Never call a number again; no call to it is sent from now on."""
    ask(lambda gateway: gateway.post("/suppressions", {"number": number, "reason": reason}))
    out.print(f"{number} is not called any more")


@suppressions.command("remove")
def remove_suppression(number: str) -> None:
    """Allow calls to a number again."""
    ask(lambda gateway: gateway.delete(f"/suppressions/{number}"))
    out.print(f"{number} may be called again")
