"""The ``gateway`` command: verbs that speak to a running gateway over its API, and the few that work alone."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gateway import log
from gateway.client import GatewayClient
from gateway.errors import GatewayError, Invalid
from gateway.model import Snapshot
from gateway.publishing import check, key_of, read_files, read_folders
from gateway.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Routes Twilio calls to AI voice agents and splits them between published versions.\n\n"
    "`serve` runs the gateway; `demo` shows it without a Twilio account. The other verbs speak to a running gateway "
    "at GATEWAY_URL (http://127.0.0.1:8080) with the token in GATEWAY_TOKEN.",
)
routes = typer.Typer(no_args_is_help=True, help="Check, plan and publish routes and agents from files.")
calls = typer.Typer(no_args_is_help=True, help="Read what became of calls.")
dialing = typer.Typer(no_args_is_help=True, help="Stop and start all outbound dialling.")
suppressions = typer.Typer(no_args_is_help=True, help="Who must not be called.")
numbers = typer.Typer(no_args_is_help=True, help="Connect the Twilio account's numbers to this gateway.")
experiments = typer.Typer(no_args_is_help=True, help="See how the versions of a test compare.")
tokens = typer.Typer(no_args_is_help=True, help="Make and revoke API tokens.")
agents = typer.Typer(no_args_is_help=True, help="See agents and their versions.")
database = typer.Typer(no_args_is_help=True, help="Care for the database.")
for name, group in (
    ("routes", routes),
    ("agents", agents),
    ("calls", calls),
    ("experiments", experiments),
    ("numbers", numbers),
    ("dialing", dialing),
    ("suppressions", suppressions),
    ("tokens", tokens),
    ("db", database),
):
    app.add_typer(group, name=name)

out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print what people see as JSON, for machines.")]
RoutesFolder = Annotated[Path, typer.Option("--routes", help="The folder of route files.")]
AgentsFolder = Annotated[Path, typer.Option("--agents", help="The folder of agent files.")]
Config = Annotated[Path | None, typer.Option("--config", help="The settings file.")]
_ROUTES, _AGENTS = Path("routes"), Path("config/agents")


def main() -> None:
    """Run the command; an error of the gateway's is told in words, with every problem, and exits with 1."""
    try:
        app()
    except GatewayError as error:
        err.print(f"[red]{error.message}[/red]", highlight=False)
        for problem in error.problems:
            err.print(f"  {problem}", highlight=False, markup=False)
        sys.exit(1)


def _ask(work: Callable[[GatewayClient], Awaitable[Any]]) -> Any:
    """Do some work with a client of the running gateway."""
    url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
    token = os.environ.get("GATEWAY_TOKEN", "")

    async def asked() -> Any:
        async with GatewayClient(url, token) as gateway:
            return await work(gateway)

    return asyncio.run(asked())


def _print(
    answer: Any, as_json: bool, *rows: list[str], head: tuple[str, ...] = (), title: str | None = None
) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _settings(config: Path | None, insecure_dev: bool = False) -> Settings:
    settings = load_settings(config, insecure_dev=insecure_dev)
    log.configure(level=settings.log.level, form=settings.log.format, secrets=settings.secrets())
    return settings


# -- running -----------------------------------------------------------------------------------------------


@app.command()
def serve(
    config: Config = None,
    insecure_dev: Annotated[
        bool, typer.Option("--insecure-dev", help="Do not check signatures; works on loopback only.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM."""
    from gateway.http.app import serve_forever

    settings = _settings(config, insecure_dev)
    uvloop.run(serve_forever(settings))


@app.command()
def demo(
    calls_: Annotated[int, typer.Option("--calls", help="How many calls to simulate.")] = 2000,
    rate: Annotated[float, typer.Option(help="Calls per second.")] = 15.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same calls.")] = 1,
    port: Annotated[int, typer.Option(help="Where the gateway listens, on loopback.")] = 8080,
) -> None:
    """Show the gateway at work with a simulated Twilio: no account needed, nothing leaves this machine."""
    from gateway.demo import demo as play

    log.configure(level="error")
    ledger = uvloop.run(play(port=port, calls=calls_, rate=rate, seed=seed, console=out))
    ended = sum(entry.status == "completed" for entry in ledger.calls.values())
    out.print(f"{len(ledger.calls)} calls placed, {ended} ended")


@app.command()
def simulate(
    number: Annotated[list[str], typer.Option(help="A number to call; give it several times for several.")],
    calls_: Annotated[int, typer.Option("--calls", help="How many calls.")] = 100,
    rate: Annotated[float, typer.Option(help="Calls per second.")] = 20.0,
    speed: Annotated[float, typer.Option(help="Seconds of a call that pass in one of ours.")] = 60.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same calls.")] = 1,
    twice: Annotated[float, typer.Option(help="Share of voice webhooks that are posted twice at once.")] = 0.0,
    lost: Annotated[float, typer.Option(help="Share of status callbacks that are lost.")] = 0.0,
    doubled: Annotated[float, typer.Option(help="Share of status callbacks that come twice.")] = 0.0,
    config: Config = None,
) -> None:
    """Play Twilio and its callers against the gateway of these settings, and print what was seen."""
    from gateway.simulator import Faults, Plan
    from gateway.simulator import simulate as play

    settings = _settings(config)
    token = settings.twilio.auth_token
    if token is None or settings.twilio.account_sid is None:
        raise Invalid("simulating needs twilio.account_sid and twilio.auth_token, as the gateway has them")
    plan = Plan(
        public_url=settings.server.public_url,
        reach=f"http://127.0.0.1:{settings.server.port}",
        account=settings.twilio.account_sid,
        token=token.get_secret_value(),
        numbers=tuple(number),
        agent_token=os.environ.get("GATEWAY_TOKEN", ""),
        calls=calls_,
        rate=rate,
        speed=speed,
        seed=seed,
        faults=Faults(twice=twice, callback_lost=lost, callback_doubled=doubled),
    )
    ledger = uvloop.run(play(plan))
    table = Table("number", "version", "calls")
    for (called, version), count in sorted(ledger.by_version().items()):
        table.add_row(called, version, str(count))
    out.print(table)
    errors = sum(len(entry.errors) for entry in ledger.calls.values())
    out.print(f"{len(ledger.calls)} calls, {errors} errors")


@database.command("migrate")
def migrate_database(config: Config = None) -> None:
    """Bring the database's schema up to date; `serve` does it too."""
    from gateway.storage.engine import Database
    from gateway.storage.migrate import migrate

    async def work() -> tuple[str | None, str]:
        database = Database(_settings(config, insecure_dev=True).database.url.get_secret_value())
        try:
            return await migrate(database)
        finally:
            await database.close()

    before, after = asyncio.run(work())
    out.print(f"schema {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")


# -- routes ------------------------------------------------------------------------------------------------


def _files(routes_folder: Path, agents_folder: Path) -> dict[str, str]:
    files = read_folders(routes_folder, agents_folder)
    if not files:
        raise Invalid(f"there are no files in {routes_folder} and {agents_folder}")
    return files


@routes.command("check")
def check_routes(routes_folder: RoutesFolder = _ROUTES, agents_folder: AgentsFolder = _AGENTS) -> None:
    """Read the folders as the server does and print every problem; needs no server and no network."""
    files = _files(routes_folder, agents_folder)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("reading", total=len(files))
        draft = read_files(files, lambda done, _: progress.update(task, completed=done))
    check(draft, Snapshot())
    out.print(f"{len(files)} files, no problem")


@routes.command("plan")
def plan_routes(
    routes_folder: RoutesFolder = _ROUTES, agents_folder: AgentsFolder = _AGENTS, as_json: AsJson = False
) -> None:
    """Show what publishing the folders would change in the live state."""
    files = _files(routes_folder, agents_folder)
    answer = _ask(lambda gateway: gateway.post("/routes/plan", {"files": files}))
    if not as_json and not answer["changes"]:
        out.print("nothing would change")
        return
    _print(answer, as_json, *map(_change, answer["changes"]), head=("file", "action", "test", "what"))


@routes.command("publish")
def publish_routes(
    message: Annotated[str, typer.Option("-m", "--message", help="Why; it stands in the history.")],
    routes_folder: RoutesFolder = _ROUTES,
    agents_folder: AgentsFolder = _AGENTS,
    overwrite: Annotated[
        list[str] | None, typer.Option(help="A file whose unexported live revision may be overwritten.")
    ] = None,
    allow_removal: Annotated[bool, typer.Option(help="Remove live routes and agents that have no file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish the folders: all of them, in one transaction, or nothing."""
    files = _files(routes_folder, agents_folder)
    wanted = {"files": files, "message": message, "overwrite": overwrite or [], "allow_removal": allow_removal}

    async def work(gateway: GatewayClient) -> Any:
        plan = await gateway.post("/routes/plan", {"files": files, "allow_removal": allow_removal})
        return await gateway.post("/routes/publish", {**wanted, "bases": plan["bases"]})

    answer = _ask(work)
    if not as_json and not answer["changes"]:
        out.print("nothing to publish: the live state is the same")
        return
    rows = map(_change, answer["changes"])
    title = f"publication {answer['publication']}"
    _print(answer, as_json, *rows, head=("file", "action", "test", "what"), title=title)


def _change(change: dict[str, Any]) -> list[str]:
    return [change["place"], change["action"], change["test"] or "", "\n".join(change["lines"])]


@routes.command("rollback")
def roll_back(
    route: str,
    to: Annotated[int, typer.Option(help="The revision whose body is to be live again.")],
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
) -> None:
    """Publish an old revision's body as a new revision."""
    answer = _ask(lambda gateway: gateway.post(f"/routes/{route}/rollback", {"to": to, "message": message}))
    out.print(f"publication {answer['publication']}: {route} is as it was in revision {to}")


@routes.command("export")
def export_routes(routes_folder: RoutesFolder = _ROUTES, agents_folder: AgentsFolder = _AGENTS) -> None:
    """Write the live state back as files; comments are kept."""
    files = read_folders(routes_folder, agents_folder)
    answer = _ask(lambda gateway: gateway.post("/routes/export", {"files": files}))
    folders = {"route": routes_folder, "agent": agents_folder}
    for place, text in answer["files"].items():
        kind, name = key_of(place)
        folders[kind].mkdir(parents=True, exist_ok=True)
        path = folders[kind] / f"{name}.toml"
        if files.get(place) != text:
            path.write_text(text, encoding="utf-8")
            out.print(f"wrote {path}")


@routes.command("list")
def list_routes(as_json: AsJson = False) -> None:
    """Show every live route and what it is doing."""
    answer = _ask(lambda gateway: gateway.get("/routes"))
    rows = [
        [
            one["name"],
            one["direction"],
            ", ".join(one["numbers"]),
            f"held: {one['hold']['to']}" if one["hold"] else one["serving"],
            "  ".join(f"{arm['arm']} {arm['share']:.0%} {arm['version']}" for arm in one["arms"]),
        ]
        for one in answer["routes"]
    ]
    _print(answer, as_json, *rows, head=("route", "direction", "numbers", "serving", "arms"))


@agents.command("list")
def list_agents(as_json: AsJson = False) -> None:
    """Show every version of every agent."""
    answer = _ask(lambda gateway: gateway.get("/agents"))
    rows = [
        [version["version"], version["status"], version["target"]["kind"], ", ".join(version["used_by"])]
        for agent in answer["agents"]
        for version in agent["versions"]
    ]
    _print(answer, as_json, *rows, head=("version", "status", "target", "used by"))


@app.command("call")
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
    answer = _ask(lambda gateway: gateway.post("/calls", body, key=key))
    call = answer["call"]
    assignment = call["assignment"]
    row = [call["id"], call["status"], call["to"], assignment["arm"], assignment["version"], assignment["reason"]]
    _print(answer, as_json, row, head=("call", "status", "to", "arm", "version", "reason"))


@dialing.command("show")
def show_dialing() -> None:
    """Show whether calls are dialled at all."""
    stopped = _ask(lambda gateway: gateway.get("/dialing"))["dialing"]["stopped"]
    out.print(f"stopped by {stopped['author']}: {stopped['reason']}" if stopped else "calls are dialled")


@dialing.command("stop")
def stop_dialing(reason: Annotated[str, typer.Argument(help="Why; it stands in the audit log.")]) -> None:
    """Stop all dialling at once; calls under way go on."""
    _ask(lambda gateway: gateway.post("/dialing/stop", {"reason": reason}))
    out.print("nothing is dialled until `gateway dialing start`")


@dialing.command("start")
def start_dialing() -> None:
    """Dial again what is planned."""
    _ask(lambda gateway: gateway.post("/dialing/start", {}))
    out.print("calls are dialled")


@suppressions.command("list")
def list_suppressions(as_json: AsJson = False) -> None:
    """Show everybody who must not be called."""
    answer = _ask(lambda gateway: gateway.get("/suppressions"))
    rows = [[one["number"], one["reason"], one["author"]] for one in answer["suppressions"]]
    _print(answer, as_json, *rows, head=("number", "reason", "by"))


@suppressions.command("add")
def add_suppression(
    number: str, reason: Annotated[str, typer.Option(help="Why.")] = "asked not to be called"
) -> None:
    """Never call a number again; no call to it is sent from now on."""
    _ask(lambda gateway: gateway.post("/suppressions", {"number": number, "reason": reason}))
    out.print(f"{number} is not called any more")


@suppressions.command("remove")
def remove_suppression(number: str) -> None:
    """Allow calls to a number again."""
    _ask(lambda gateway: gateway.delete(f"/suppressions/{number}"))
    out.print(f"{number} may be called again")


# -- calls and experiments ---------------------------------------------------------------------------------


@calls.command("list")
def list_calls(
    route: str | None = None,
    arm: str | None = None,
    status: str | None = None,
    number: Annotated[str | None, typer.Option(help="Either side of the call, exactly.")] = None,
    limit: int = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest calls."""
    wanted = {"route": route, "arm": arm, "status": status, "number": number, "limit": limit}
    answer = _ask(lambda gateway: gateway.get("/calls", **wanted))
    rows = [
        [
            one["id"],
            one["from"],
            one["route"] or "-",
            (one["assignment"] or {}).get("arm") or "-",
            one["served"]["version"] or one["served"]["by"],
            one["status"],
            str(one["duration_seconds"] or ""),
        ]
        for one in answer["calls"]
    ]
    _print(answer, as_json, *rows, head=("call", "from", "route", "arm", "served by", "status", "seconds"))


@calls.command("explain")
def explain_call(call: str, as_json: AsJson = False) -> None:
    """Tell why a call got its arm, by drawing it again."""
    answer = _ask(lambda gateway: gateway.get(f"/calls/{call}/explain"))
    _print(answer, as_json, *[[name, str(value)] for name, value in answer["explanation"].items()], head=("", ""))


@experiments.command("list")
def list_experiments(as_json: AsJson = False) -> None:
    """Show every experiment."""
    answer = _ask(lambda gateway: gateway.get("/experiments"))
    rows = [[one["id"], one["name"], one["status"], one["unit"]] for one in answer["experiments"]]
    _print(answer, as_json, *rows, head=("experiment", "name", "status", "unit"))


@experiments.command("results")
def show_results(experiment: str, as_json: AsJson = False) -> None:
    """Show how the arms of an experiment stand."""
    answer = _ask(lambda gateway: gateway.get(f"/experiments/{experiment}/results"))
    metrics = {one["name"]: one for one in answer["metrics"]}

    def reading(metric: str, arm: str) -> str:
        told = metrics.get(metric, {"arms": {}})["arms"].get(arm)
        if told is None:
            return "-"
        return f"{told['mean']:.1%}" if metrics[metric]["kind"] == "rate" else f"{told['mean']:.1f}"

    rows = [
        [arm["arm"], arm["version"], str(arm["calls"]), str(arm["served"])]
        + [reading(name, arm["arm"]) for name in ("duration_seconds", "success", "transferred")]
        for arm in answer["arms"]
    ]
    head = ("arm", "version", "calls", "served", "mean seconds", "completion", "transfers")
    _print(answer, as_json, *rows, head=head, title=experiment)


# -- numbers and tokens ------------------------------------------------------------------------------------


@numbers.command("list")
def list_numbers(as_json: AsJson = False) -> None:
    """Show the Twilio account's numbers and which of them point elsewhere."""
    answer = _ask(lambda gateway: gateway.get("/numbers"))
    rows = [
        [one["number"], "here" if one["connected"] else "elsewhere", one["route"] or "-", one["voice_url"]]
        for one in answer["numbers"]
    ]
    _print(answer, as_json, *rows, head=("number", "points", "route", "voice url"))


@numbers.command("connect")
def connect_number(
    number: str,
    fallback_url: Annotated[
        str | None, typer.Option(help="What Twilio asks when the gateway does not answer; host it elsewhere.")
    ] = None,
) -> None:
    """Point a number's calls at this gateway."""
    _ask(lambda gateway: gateway.post("/numbers/connect", {"number": number, "fallback_url": fallback_url}))
    out.print(f"{number} points here")


@tokens.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """Show every token, without its secret."""
    answer = _ask(lambda gateway: gateway.get("/tokens"))
    rows = [
        [one["id"], one["name"], one["role"], "revoked" if one["revoked_at"] else "live"] for one in answer["tokens"]
    ]
    _print(answer, as_json, *rows, head=("id", "name", "role", "state"))


@tokens.command("create")
def create_token(name: str, role: Annotated[str, typer.Option(help="viewer, editor, admin or agent")]) -> None:
    """Make a token and print it, once."""
    answer = _ask(lambda gateway: gateway.post("/tokens", {"name": name, "role": role}))
    typer.echo(answer["token"]["secret"])


@tokens.command("revoke")
def revoke_token(token: Annotated[str, typer.Argument(help="The token's id, as listed.")]) -> None:
    """Revoke a token at once."""
    _ask(lambda gateway: gateway.delete(f"/tokens/{token}"))
    out.print(f"{token} is revoked")
