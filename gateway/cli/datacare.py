"""Verbs that care for what is stored: erase a person, copy the database."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from gateway.cli.terminal import AsJson, ask, err, out, show

if TYPE_CHECKING:
    from gateway.client import GatewayClient


def erase(
    number: Annotated[str, typer.Argument(help="Whose data, as in +14155550123.")], as_json: AsJson = False
) -> None:
    """Erase everything that tells who a number's owner is; a keyed hash alone keeps them from being called."""
    with err.status("searching every table"):
        answer = ask(lambda gateway: gateway.post("/erase", {"number": number}, patient=True))
    erasure = answer["erasure"]
    rows = [[table, str(count)] for table, count in sorted(erasure["rows"].items())]
    show(answer, as_json, *rows, head=("table", "rows erased"))
    if not as_json:
        for file in erasure["files"]:
            out.print(f"still in {file}", highlight=False, markup=False, soft_wrap=True)
        out.print("reports, exports and backups that were taken elsewhere are yours to deal with")


def back_up(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to; what is there is replaced.")],
) -> None:
    """Copy the database of the running gateway, as it is at this moment, into a file here."""
    part = file.with_name(file.name + ".part")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("the gateway copies", total=None)

        async def work(gateway: "GatewayClient") -> None:
            made = (await gateway.post("/backup", {}, patient=True))["backup"]
            progress.update(task, description="reading", total=made["bytes"])
            with part.open("wb") as copy:
                part.chmod(0o600)
                await gateway.download(
                    f"/backups/{made['name']}", copy, lambda got: progress.update(task, completed=got)
                )

        try:
            ask(work)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    out.print(f"{file.stat().st_size:,} bytes written to {file}", highlight=False, soft_wrap=True)
