"""Draws how calls split and end, for a terminal of 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One arm of a route; a None is shown as a dash."""

    route: str
    arm: str
    version: str
    calls: int
    share: float
    served: int
    completed: float | None
    seconds: float | None
    transfers: float | None


def live_table(rows: Sequence[Row], *, url: str, under_way: int, elapsed: int) -> RenderableType:
    """The table with its heading: the address to open, the calls under way, and how to end it."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for name, justify in (
        ("route", "left"),
        ("arm", "left"),
        ("version", "left"),
        ("calls", "right"),
        ("share", "right"),
        ("served", "right"),
        ("complete", "right"),
        ("secs", "right"),
        ("transfer", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    last = None
    for row in rows:
        table.add_row(
            row.route if row.route != last else "",
            row.arm,
            row.version,
            str(row.calls),
            f"{row.share:.0%}",
            str(row.served),
            _percent(row.completed),
            "–" if row.seconds is None else f"{row.seconds:.0f}",
            _percent(row.transfers),
        )
        last = row.route
    head = Text.assemble(
        ("Call gateway", "bold"), f"  {url}   {under_way} calls under way   {elapsed // 60}:{elapsed % 60:02d}"
    )
    return Group(head, table, Text("Simulated calls over real signed HTTP. Ctrl-C ends it.", style="dim"))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
