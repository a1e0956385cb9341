"""What every verb shares: the terminal it prints to, and the way to the running gateway."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from gateway.client import GatewayClient

out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print what people see as JSON, for machines.")]


def ask(work: "Callable[[GatewayClient], Awaitable[Any]]") -> Any:
    """Do some work with a client of the running gateway."""
    # The client brings aiohttp, which `--help` need not wait for.
    from gateway.client import GatewayClient

    url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
    token = os.environ.get("GATEWAY_TOKEN", "")

    async def asked() -> Any:
        async with GatewayClient(url, token) as gateway:
            return await work(gateway)

    return asyncio.run(asked())


def show(answer: Any, as_json: bool, *rows: list[str], head: tuple[str, ...] = (), title: str | None = None) -> None:
    """Print an answer: as JSON the whole of it, else ``rows`` as a table under ``head``."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def upload(file: Path, path: str, *, key: str | None = None, **query: str) -> Any:
    """Send a CSV file to the gateway, with a bar that shows how far it is."""
    with file.open("rb") as opened:
        return upload_from(opened, file.stat().st_size, path, key=key, **query)


def upload_from(opened: BinaryIO, size: int, path: str, *, key: str | None = None, **query: str) -> Any:
    """Send ``size`` bytes to the gateway, with a bar; ``kind`` among the query is what they are, CSV if absent."""
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("sending", total=size)

        def sent(done: int) -> None:
            progress.update(task, completed=done)
            if done == size:
                progress.reset(task, total=None, description="the gateway reads and writes")

        return ask(lambda gateway: gateway.upload(path, opened, sent, key=key, **query))


def tell_bad_rows(told: Mapping[str, Any], more: str) -> None:
    """Print what is wrong with rows of a file; ``more`` says what the others are, beyond those that are told."""
    for problem in told["problems"]:
        out.print(f"line {problem['line']}: {problem['text']}", highlight=False, markup=False, soft_wrap=True)
    untold = told["skipped"] - len(told["problems"])
    if untold > 0:
        out.print(f"and {untold} {more}", highlight=False)


async def download(gateway: "GatewayClient", path: str, file: Path, **query: str) -> int:
    """Write what the gateway sends to a file, with a bar; returns its bytes. A file that breaks off is taken away."""
    part, size = file.with_name(f"{file.name}.part"), 0
    try:
        with Progress(console=err, transient=True) as progress, part.open("wb") as opened:
            task = progress.add_task("receiving", total=None)

            def got(size: int) -> None:
                progress.update(task, description=f"receiving, {size:,} bytes")

            await gateway.download(path, opened, got, **query)
            size = opened.tell()
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return size
