"""Draws how calls split and end, for a terminal of 80 columns."""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far one campaign has come: its status, and how many contacts of each arm are in each state.

    The arm of those not yet tried is ""; ``results`` are how the last attempts ended.
    """

    name: str
    status: str
    arms: Mapping[str, Mapping[str, int]]
    results: Mapping[str, int]


def live_table(
    rows: Sequence[Row], campaigns: Sequence[Progress], *, url: str, under_way: int, elapsed: int
) -> RenderableType:
    """The tables with their heading: the address to open, the calls under way, and how to end it."""
    head = Text.assemble(
        ("Call gateway", "bold"), f"  {url}   {under_way} calls under way   {elapsed // 60}:{elapsed % 60:02d}"
    )
    foot = Text("Simulated calls over real signed HTTP. Ctrl-C ends it.", style="dim")
    return Group(head, _routes(rows), *(part for one in campaigns for part in _campaign(one)), foot)


def _routes(rows: Sequence[Row]) -> Table:
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
    return table


def _campaign(one: Progress) -> tuple[RenderableType, ...]:
    ended = ", ".join(f"{count} {result.replace('_', ' ')}" for result, count in sorted(one.results.items()))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("arm")
    states = ("waiting", "dialling", "done")
    for state in states:
        table.add_column(state, justify="right")
    for arm, counts in sorted(one.arms.items()):
        table.add_row(arm or "not tried", *(str(counts.get(state, 0)) for state in states))
    return Text(f'Campaign "{one.name}" is {one.status}{ended and f": {ended}"}'), table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
