"""The figures as people read them: one table of measurements, one of ratios and aims."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from rich.table import Table

from .figures import Measurement, Spread, Workload, ratios, spread

Rounds = Sequence[Measurement]
Results = dict[tuple[str, Workload], list[Measurement]]
"""What was measured, one entry a round, by the peer's name and the workload."""

AIMS = {"ceiling": 0.4, "flask": 5.0, "fastapi": 2.5}
"""The gateway's throughput over that peer's, at least, at AIM_CLIENTS."""
AIM_CLIENTS = 64
AIM_P99 = 0.010
"""Seconds: the 99th percentile of the gateway's open loop, at most."""


def measurements(results: Results) -> Table:
    """Every peer under every workload: the median over the rounds, with the smallest and the largest."""
    table = Table(title="median (smallest–largest) of the rounds", title_justify="left")
    for column in ("workload", "peer"):
        table.add_column(column)
    for column in ("answers/s", "p50 ms", "p99 ms", "worst ms", "CPU µs", "errors", "generator"):
        table.add_column(column, justify="right")
    previous: Workload | None = None
    for (peer, workload), rounds in sorted(results.items(), key=lambda item: _order(item[0][1])):
        if previous not in (None, workload):
            table.add_section()
        table.add_row(
            workload.name if workload != previous else "",
            peer,
            _of(rounds, lambda run: run.throughput, "{:,.0f}"),
            _of(rounds, lambda run: run.p50 * 1e3, "{:.2f}"),
            _of(rounds, lambda run: run.p99 * 1e3, "{:.2f}"),
            f"{max(run.worst for run in rounds) * 1e3:.0f}",
            _of(rounds, lambda run: run.cpu * 1e6, "{:.0f}"),
            errors(rounds),
            f"{max(run.generator for run in rounds):.0%}",
        )
        previous = workload
    return table


def comparison(results: Results) -> Table:
    """The gateway against each peer, and whether it reaches its aims."""
    table = Table(title="the gateway against its peers (ratios taken round by round)", title_justify="left")
    for column in ("figure", "measured", "aim", ""):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for (name, workload), rounds in results.items():
        if name != "gateway":
            continue
        if workload.rate:
            late = spread(run.p99 for run in rounds)
            _judged(table, f"gateway p99 ms, {workload.name}", _scaled(late, 1e3), AIM_P99 * 1e3, below=True)
            continue
        for peer, aim in AIMS.items():
            if theirs := results.get((peer, workload)):
                ratio = ratios([run.throughput for run in rounds], [run.throughput for run in theirs])
                wanted = aim if workload.clients == AIM_CLIENTS else None
                _judged(table, f"gateway / {peer}, {workload.name}", ratio, wanted, below=False)
    return table


def errors(rounds: Rounds) -> str:
    """All errors of the rounds, by kind; "0" for none."""
    total = sum((Counter(run.errors) for run in rounds), Counter[str]())
    return ", ".join(f"{count} {kind}" for kind, count in total.most_common()) or "0"


def _judged(table: Table, figure: str, found: Spread, aim: float | None, *, below: bool) -> None:
    if aim is None:
        table.add_row(figure, _text(found, "{:.2f}"), "", "")
        return
    reached = found.middle < aim if below else found.middle >= aim
    verdict = "[green]reached[/]" if reached else "[red]missed[/]"
    table.add_row(figure, _text(found, "{:.2f}"), f"{'<' if below else '≥'} {aim:g}", verdict)


def _of(rounds: Rounds, figure: Callable[[Measurement], float], form: str) -> str:
    return _text(spread(figure(run) for run in rounds), form)


def _text(found: Spread, form: str) -> str:
    if math.isnan(found.middle):
        return "–"
    middle, low, high = (form.format(value) for value in (found.middle, found.low, found.high))
    return middle if low == high else f"{middle} ({low}–{high})"


def _scaled(found: Spread, factor: float) -> Spread:
    return Spread(middle=found.middle * factor, low=found.low * factor, high=found.high * factor)


def _order(workload: Workload) -> tuple[float, int]:
    return workload.rate, workload.clients
