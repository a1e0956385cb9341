"""The verb that tests the gateway's own promises; it works alone, without a server."""

from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from gateway.cli.terminal import AsJson, err, out


def selftest(
    tests: Annotated[int, typer.Option(min=100, help="How many A/A tests.")] = 1000,
    calls_: Annotated[int, typer.Option("--calls", min=200, help="Calls of each test.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Test the split, the statistics and the signatures on this machine; exits with 1 when a promise is broken."""
    # numpy and scipy, which no other verb need wait for.
    import json

    from gateway.selftest import Peeking, peek, repeatable, vectors

    found = Peeking()
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("A/A tests, looked at after every call", total=tests)
        for so_far in peek(seed, tests=tests, calls=calls_):
            found = so_far
            progress.update(task, advance=1)
    checks = [*vectors(), repeatable(seed), *found.checks()]
    if as_json:
        told = [{"name": one.name, "kept": one.kept, "text": one.told} for one in checks]
        typer.echo(json.dumps({"seed": seed, "checks": told}, indent=2))
    else:
        table = Table("promise", "", "", title=f"self-test, seed {seed}", title_justify="left")
        for one in checks:
            table.add_row(one.name, "[green]kept[/green]" if one.kept else "[red]broken[/red]", one.told)
        out.print(table)
    if not all(one.kept for one in checks):
        raise typer.Exit(1)
