"""Verbs that run something on this machine: the gateway itself, its demonstration, a simulated Twilio, the schema."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.progress import Progress
from rich.table import Table

from gateway import log
from gateway.cli.terminal import err, out
from gateway.errors import Invalid
from gateway.settings import Settings, load_settings

database = typer.Typer(no_args_is_help=True, help="Care for the database.")

Config = Annotated[Path | None, typer.Option("--config", help="The settings file.")]


def settings_in(config: Path | None, insecure_dev: bool = False) -> Settings:
    """The settings in force, with the log told to hide their secrets."""
    settings = load_settings(config, insecure_dev=insecure_dev)
    log.configure(level=settings.log.level, form=settings.log.format, secrets=settings.secrets())
    return settings


def serve(
    config: Config = None,
    insecure_dev: Annotated[
        bool, typer.Option("--insecure-dev", help="Do not check signatures; works on loopback only.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM."""
    from gateway.http.app import serve_forever

    settings = settings_in(config, insecure_dev)
    uvloop.run(serve_forever(settings))


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

    settings = settings_in(config)
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
        database = Database(settings_in(config, insecure_dev=True).database.url.get_secret_value())
        try:
            return await migrate(database)
        finally:
            await database.close()

    before, after = asyncio.run(work())
    out.print(f"schema {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")


@database.command("recount")
def recount_database(
    experiment: Annotated[
        str | None, typer.Argument(help="One experiment; by default all whose results are not locked.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare; ends with 1 when something differs.")] = False,
    config: Config = None,
) -> None:
    """Count experiments anew from their calls, and correct what is kept; the gateway may run meanwhile."""
    from gateway.storage.engine import Database
    from gateway.storage.recounting import Recount, recount

    url = settings_in(config, insecure_dev=True).database.url.get_secret_value()

    async def work(progress: Progress) -> Recount:
        task = progress.add_task("counting", total=None)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        database = Database(url)
        try:
            return await recount(database, name=experiment, repair=not check, progress=told)
        finally:
            await database.close()

    with Progress(console=err, transient=True) as progress:
        found = asyncio.run(work(progress))
    for line in found.examples:
        out.print(line, highlight=False, markup=False)
    if found.good:
        out.print(f"{found.calls} calls: everything is as they say")
        return
    done = "differ" if check else "were corrected"
    out.print(
        f"{found.calls} calls: {found.tallies} cells, {found.sums} sums, {found.clusters} callers' counts {done}"
    )
    if check:
        raise typer.Exit(1)
