"""Draws campaigns for the terminal: the page of a preview, and the live view of one that runs."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

STATES = ("waiting", "dialling", "done", "skipped")
_WINDOW = 60.0
_SHOWN = 8


def preview_page(one: Mapping[str, Any], preview: Mapping[str, Any], skipped: Sequence[Mapping[str, Any]]) -> Group:
    """A preview as a page; ``skipped`` are some of the contacts that are, with their texts."""
    parts: list[RenderableType] = [Text(f"{one['name']}  {one['id']}  on {one['route']}, {one['status']}", "bold")]
    if preview["obstacle"]:
        parts.append(Text(f"\nNobody can be called: {preview['obstacle']}", "red"))
    else:
        parts += [Text(f"\n{_people(preview['contacts'])} would be called.\n"), *_when(preview), _arms(preview)]
        takes = timedelta(seconds=preview["at_least_seconds"])
        parts.append(Text(f"It takes at least {takes} at the pace that is set, retries not counted."))
    if preview["skipped"]:
        parts.append(_skipped(preview, skipped))
    if not preview["obstacle"] and one["status"] in ("draft", "ready"):
        parts.append(Text(f"\nNobody has been called. Next: gateway campaign start {one['id']}"))
    return Group(*parts)


def _when(preview: Mapping[str, Any]) -> list[RenderableType]:
    lines = [f"  {moment(one['at'])}: {_people(one['contacts'])}" for one in preview["openings"][:_SHOWN]]
    if len(preview["openings"]) > _SHOWN:
        lines.append(f"  and at {len(preview['openings']) - _SHOWN} later times")
    return [Text("When, at the earliest, by this machine's clock:"), Text("\n".join(lines))]


def _arms(preview: Mapping[str, Any]) -> Table:
    table = Table("arm", "version", "contacts", "share")
    for arm in preview["arms"]:
        table.add_row(arm["arm"], arm["version"], str(arm["contacts"]), f"{arm['share']:.1%}")
    return table


def _skipped(preview: Mapping[str, Any], skipped: Sequence[Mapping[str, Any]]) -> Text:
    lines = ["Skipped:"]
    lines += [f"  {one['result']}: {_people(one['contacts'])}" for one in preview["skipped"]]
    lines += [f"  line {person['line']}: {person['text']}" for person in skipped]
    return Text("\n" + "\n".join(lines))


def _people(count: int) -> str:
    return "1 contact" if count == 1 else f"{count:,} contacts"


def moment(at: int) -> str:
    """A time in Unix milliseconds by the clock of this machine, with its zone."""
    return datetime.fromtimestamp(at / 1000).astimezone().strftime("%a %Y-%m-%d %H:%M %Z")


def result_line(one: Mapping[str, Any]) -> str:
    """A campaign's status, and how many contacts are in each state."""
    reason = f" ({one['reason']})" if one["reason"] else ""
    return f"{one['status']}{reason}, " + ", ".join(f"{one['counts'][state]} {state}" for state in STATES)


class View:
    """What is shown of a campaign while it runs; ``take`` it anew after every change."""

    def __init__(self) -> None:
        self._one: Mapping[str, Any] | None = None
        self._done: deque[tuple[float, int]] = deque()

    def take(self, one: Mapping[str, Any]) -> None:
        """Look at the campaign as it stands now."""
        self._one = one
        self._done.append((time.monotonic(), one["counts"]["done"]))

    def line(self) -> str:
        """One plain line."""
        if self._one is None:
            return ""
        arms = [
            f"{arm}: {sum(states.values())} begun, {states.get('done', 0)} done"
            for arm, states in self._one["arms"].items()
        ]
        clock, rate = datetime.now().astimezone(), f"{self.rate():.0f} done a minute"
        return "; ".join([f"{clock:%H:%M:%S}  {result_line(self._one)}", *arms, rate])

    def table(self) -> RenderableType:
        """The live view."""
        one = self._one
        if one is None:
            return Text("asking the gateway …")
        counts, total = one["counts"], sum(one["counts"].values()) - one["counts"]["skipped"]
        head = Text.assemble((one["name"], "bold"), f"  {one['id']}  on {one['route']}   ", (one["status"], "bold"))
        if one["reason"]:
            head.append(f"  {one['reason']}", "yellow")
        told = ", ".join(f"{counts[state]:,} {state}" for state in STATES)
        rate = Text(f"{told}   {self.rate():.0f} done a minute")
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(1, total), completed=counts["done"], width=60))
        return Group(head, bar, rate, _arms_now(one))

    def rate(self) -> float:
        """How many contacts were done in a minute, by the last minute seen."""
        now = time.monotonic()
        while len(self._done) > 1 and self._done[1][0] <= now - _WINDOW:
            self._done.popleft()
        if not self._done:
            return 0.0
        began, first = self._done[0]
        return 60 * (self._done[-1][1] - first) / max(1.0, now - began)


def _arms_now(one: Mapping[str, Any]) -> Table:
    results = sorted({result for counted in one["arm_results"].values() for result in counted})
    table = Table("arm", "dialling", "waiting", "done", *results, title_justify="left")
    for arm, states in one["arms"].items():
        shown = [states.get(state, 0) for state in ("dialling", "waiting", "done")]
        table.add_row(arm, *map(str, shown), *[str(one["arm_results"][arm].get(result, 0)) for result in results])
    return table
