"""Results in the terminal: the verdict first, then what the checks found, then the numbers."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway.cli.terminal import out
from gateway.results.figures import Figures, difference, figures

_LEVELS = {"block": "bold red", "alarm": "bold red", "warn": "yellow", "info": "dim"}
_TONES = {"good": "green", "bad": "red", "": ""}


def print_results(answer: Mapping[str, Any], record: Mapping[str, Any] | None) -> None:
    """Print an answer of ``/experiments/{experiment}/results``; ``record`` has the margins of the plan."""
    found, verdict = figures(answer, record), answer["verdict"]
    exploratory = " (exploratory)" if verdict["exploratory"] else ""
    out.print(Text(f"{answer['experiment']['id']} {verdict['state']}{exploratory}", style="bold"))
    out.print(Text(verdict["text"]))
    out.print()
    for one in found.found:
        out.print(Text.assemble((f"{one.level.upper():5} ", _LEVELS[one.level]), one.text))
    out.print(Text(f"{found.quiet} checks found nothing", style="dim"))
    out.print(_arms(answer))
    out.print(_metrics(found, [arm["arm"] for arm in answer["arms"]]))
    if found.audits:
        table = Table("judged metric", "held against the labels of people")
        for title, text in found.audits:
            table.add_row(escape(title), escape(text))
        out.print(table)
    for distribution in found.distributions:
        table = Table("value", *distribution.counts, title=escape(distribution.title), title_justify="left")
        for portion in distribution.portions:
            shares = [f"{portion.shares.get(arm, 0):.1%}" for arm in distribution.counts]
            table.add_row(escape(portion.value), *shares)
        out.print(table)


def _arms(answer: Mapping[str, Any]) -> Table:
    table = Table("arm", "version", *("calls", "served", "mature", "pending", "outcome known"))
    for arm in answer["arms"]:
        known = "-" if arm["coverage"] is None else f"{arm['coverage']:.1%}"
        counts = [arm[name] for name in ("calls", "served", "mature", "pending")]
        told = ["-" if count is None else f"{count:,}" for count in counts]
        table.add_row(arm["arm"], escape(arm["version"]), *told, known)
    return table


def _metrics(found: Figures, arms: list[str]) -> Table:
    table = Table("metric", "role", *arms, "against a", "95 % always-valid", "")
    for line in found.lines:
        for place, effect in enumerate(line.effects):
            readings = [getattr(line.reading(arm), "text", "-") for arm in arms]
            # Of several arms each has a row; the readings stand in the first.
            first = [escape(line.title), line.role, *readings] if place == 0 else [""] * (2 + len(arms))
            against = f"{effect.arm} {effect.difference}"
            table.add_row(*first, against, effect.interval, Text(effect.said, style=_TONES[effect.tone]))
    return table


def print_samples(answer: Mapping[str, Any]) -> None:
    """Print an answer of ``/experiments/{experiment}/samples``: a column for each arm."""
    samples = answer["samples"]
    heads = [f"{arm}: {len(told['calls'])} of {told['of']:,}" for arm, told in samples.items()]
    table = Table(*heads, show_lines=True)
    for place in range(max((len(told["calls"]) for told in samples.values()), default=0)):
        row = [told["calls"][place] if place < len(told["calls"]) else None for told in samples.values()]
        table.add_row(*(_spoken(one) if one else Text("") for one in row))
    out.print(table)


def _spoken(call: Mapping[str, Any]) -> Text:
    said = Text(f"{call['call']}\n", style="bold")
    outcome = {name: value for name, value in call["outcome"].items() if name not in ("final", "fields")}
    told = {**outcome, **(call["outcome"].get("fields") or {})}
    said.append(", ".join(f"{name} {value}" for name, value in told.items()) + "\n", style="dim")
    for line in call["transcript"]:
        said.append(f"{line['role']}: ", style="cyan")
        said.append(f"{line['text']}\n", style="not bold")
    return said


def print_plan(plan: Mapping[str, Any], kind: Any) -> None:
    """Print an answer of ``/experiments/plan``."""
    table = Table(show_header=False)
    table.add_row("calls, looked at once", f"{plan['n_fixed']:,}")
    table.add_row("calls planned", f"{plan['n_planned']:,}")
    table.add_row("at most", f"{plan['n_max']:,}")
    if plan["calls_per_day"]:
        table.add_row("calls a day", f"{plan['calls_per_day']:.4g}")
        table.add_row("days", f"{plan['days']}" if plan["days"] else "-")
        table.add_row("seen in four weeks", difference(plan["detectable_in_four_weeks"], kind).removeprefix("+"))
    for name, cost in plan["costs"].items():
        if cost and cost > 1:
            table.add_row(f"costs of {name}", f"{cost:.3g} times the calls")
    out.print(table)
    for warning in plan["warnings"]:
        out.print(Text(f"WARN {warning}", style="yellow"))
