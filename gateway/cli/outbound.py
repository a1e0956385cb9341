"""Verbs of outbound calls: place one, stop and start all dialling, keep people from being called."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TextColumn

from gateway.cli.terminal import AsJson, ask, err, out, show, tell_bad_rows, upload

if TYPE_CHECKING:
    from gateway.client import GatewayClient

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
    machine: Annotated[
        str, typer.Option(help="When a machine answers: none, hang_up, continue or leave_message.")
    ] = "none",
    message: Annotated[str | None, typer.Option(help="What a machine is told by leave_message.")] = None,
    detection: Annotated[
        str, typer.Option(help="How a machine is found: async, or sync before the agent.")
    ] = "async",
    key: Annotated[str | None, typer.Option(help="Idempotency-Key: the same key never rings twice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Place one call on an outbound route; the gateway draws its version and rings within the hours allowed."""
    variables = dict(pair.partition("=")[::2] for pair in variable or ())
    body = {"route": route, "to": to, "from": from_, "variables": variables, "timezone": timezone}
    body |= {"machine": machine, "message": message, "detection": detection}
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
    everybody = _everybody()
    rows = [[one["number"], one["reason"], one["author"]] for one in everybody]
    show({"suppressions": everybody}, as_json, *rows, head=("number", "reason", "by"))


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


@suppressions.command("import")
def import_suppressions(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="A CSV file with the columns number and, if wanted, reason."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Never call the numbers of a file again; bad rows are told and skipped, and a repeat adds nothing."""
    answer = upload(file, "/suppressions/import")
    if as_json:
        show(answer, as_json)
        return
    told = answer["suppression_import"]
    tell_bad_rows(told, "more bad rows")
    out.print(f"{told['added']} added, {told['known']} known already, {told['skipped']} skipped", highlight=False)


@suppressions.command("export")
def export_suppressions(file: Annotated[Path, typer.Argument(dir_okay=False, help="The CSV file to write.")]) -> None:
    """Write everybody who must not be called to a file that `import` reads."""
    from gateway.suppressions import written

    everybody = _everybody()
    file.write_text(written(everybody), encoding="utf-8", newline="")
    out.print(f"{len(everybody)} numbers written to {file}", highlight=False, soft_wrap=True)


def _everybody() -> list[dict[str, Any]]:
    with Progress(TextColumn("reading: {task.completed} numbers"), console=err, transient=True) as progress:
        task = progress.add_task("reading", total=None)

        async def work(gateway: "GatewayClient") -> list[dict[str, Any]]:
            found = []
            async for one in gateway.pages("/suppressions", "suppressions", limit=1000):
                found.append(one)
                progress.update(task, completed=len(found))
            return found

        read: list[dict[str, Any]] = ask(work)
    return read
