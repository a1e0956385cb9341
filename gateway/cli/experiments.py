"""Verbs of experiments: their life, and how the arms stand."""

import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.terminal import AsJson, ask, download, out, show
from gateway.errors import Invalid

group = typer.Typer(
    no_args_is_help=True,
    help="Start and stop tests, and see how the versions compare.\n\n"
    "A test that is written in a route and switched off is a draft, named after its route: `support-1`, then "
    "`support-2`. `start` switches it on; `stop` ends it, with a winner or without, and then Version A serves.",
)

_FORMS = ("csv", "jsonl", "json", "html")
Why = Annotated[str, typer.Option("-m", "--reason", help="Why; it stands in the history.")]


@group.command("list")
def list_experiments(as_json: AsJson = False) -> None:
    """Show every experiment, drafts first."""
    answer = ask(lambda gateway: gateway.get("/experiments"))
    rows = [
        [one["id"], one["name"], one["status"], one["unit"], _when(one["opened_at"]), one["winner"] or ""]
        for one in answer["experiments"]
    ]
    show(answer, as_json, *rows, head=("experiment", "name", "status", "unit", "since", "winner"))


@group.command("show")
def show_experiment(experiment: str, as_json: AsJson = False) -> None:
    """Show what was settled before an experiment, its epochs, and what was done to it and why."""
    answer = ask(lambda gateway: gateway.get(f"/experiments/{experiment}"))
    one = answer["experiment"]
    if as_json:
        show(answer, as_json)
        return
    out.print(f"{one['id']} {one['name']}: {one['status']}; {one['serves']}", highlight=False)
    if one["record"]:
        primary = one["record"]["primary"]
        out.print(
            f"primary metric {primary['metric']}, {primary['better']} is better, effect {primary['min_effect']:g}; "
            f"planned calls {one['record']['n_planned'] or '?'}, at most {one['record']['n_max'] or '?'}",
            highlight=False,
        )
        out.print(f"record {one['digest']}", highlight=False)
    for epoch in one["epochs"]:
        arms = "  ".join(f"{arm['arm']} {arm['share']:.1%} {arm['version']}" for arm in epoch["arms"])
        out.print(f"epoch {epoch['number']} since {_when(epoch['began_at'])}: {arms}", highlight=False)
    for event in one["events"]:
        reason = f": {event['reason']}" if event["reason"] else ""
        out.print(f"{_when(event['at'])} {event['kind']} by {event['author']}{reason}", highlight=False, markup=False)


@group.command("start")
def start(
    experiment: str,
    reason: Why = "",
    at: Annotated[str | None, typer.Option(help="When, as in 2027-03-01T09:00:00-05:00; now by default.")] = None,
) -> None:
    """Start a draft, or schedule it."""
    _do(experiment, "start", reason=reason, at=_moment(at))


@group.command("pause")
def pause(
    experiment: str,
    reason: Why = "",
    until: Annotated[str | None, typer.Option(help="Until when, as in 2027-03-01T09:00:00-05:00.")] = None,
) -> None:
    """Let Version A serve for a while; calls meanwhile are not analysed."""
    _do(experiment, "pause", reason=reason, until=_moment(until))


@group.command("resume")
def resume(experiment: str, reason: Why = "") -> None:
    """Let calls take part again."""
    _do(experiment, "resume", reason=reason)


@group.command("stop")
def stop(
    experiment: str,
    winner: Annotated[str | None, typer.Option(help="The arm that serves from now on.")] = None,
    reason: Why = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a test. Without --winner, Version A serves from then on."""
    serves = f"Version {winner.upper()}" if winner else "no winner is named, so Version A"
    if not yes:
        typer.confirm(f"{experiment} stops, and {serves} serves. Stop it?", abort=True)
    _do(experiment, "stop", reason=reason, winner=winner)


@group.command("apply")
def apply(
    experiment: str,
    winner: Annotated[str | None, typer.Option(help="The arm; the winner that was chosen by default.")] = None,
    override: Annotated[
        str | None, typer.Option(help="The experiment's id once more, where something speaks against it.")
    ] = None,
    reason: Why = "",
) -> None:
    """Make the winner Version A of its route, and take the test off it."""
    _do(experiment, "apply", reason=reason, winner=winner, override=override)


@group.command("delete")
def delete(experiment: str) -> None:
    """Hide a stopped experiment for good; its calls keep what they were assigned."""
    ask(lambda gateway: gateway.delete(f"/experiments/{experiment}"))
    out.print(f"{experiment} is deleted")


@group.command("results")
def show_results(experiment: str, as_json: AsJson = False) -> None:
    """Show the verdict, what the health checks found, and each metric with its difference and interval."""
    from gateway.cli.resultsview import print_results

    answer = ask(lambda gateway: gateway.get(f"/experiments/{experiment}/results"))
    if as_json:
        show(answer, as_json)
        return
    one = ask(lambda gateway: gateway.get(f"/experiments/{experiment}"))["experiment"]
    print_results(answer, one["record"])


@group.command("samples")
def show_samples(
    experiment: str,
    count: Annotated[int, typer.Option("-n", "--count", help="How many calls of each arm.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed draws the same calls.")] = 1,
    arm: Annotated[str | None, typer.Option(help="Of this arm only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show transcripts drawn at random from each arm, side by side."""
    from gateway.cli.resultsview import print_samples

    path = f"/experiments/{experiment}/samples"
    answer = ask(lambda gateway: gateway.get(path, n=count, seed=seed, arm=arm))
    if as_json:
        show(answer, as_json)
        return
    print_samples(answer)


@group.command("plan")
def plan(
    route: Annotated[str | None, typer.Option(help="The route whose calls a day are counted.")] = None,
    effect: Annotated[float, typer.Option(help="The smallest difference to find, in the metric's unit.")] = 0.05,
    baseline: Annotated[float, typer.Option(help="The rate of Version A, 0 to 1.")] = 0.5,
    sd: Annotated[float | None, typer.Option(help="For a mean instead of a rate: its standard deviation.")] = None,
    split: Annotated[str, typer.Option(help="The weights of a, b, …")] = "50/50",
    calls_per_day: Annotated[float | None, typer.Option(help="Calls a day, instead of a route's own.")] = None,
    alpha: Annotated[float, typer.Option(help="The chance of a winner where there is none.")] = 0.05,
    power: Annotated[float, typer.Option(help="The chance to find the effect.")] = 0.8,
    guardrails: Annotated[int, typer.Option(help="How many guardrails the plan has.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say how many calls and days a test needs, before it starts."""
    from gateway.cli.resultsview import print_plan

    sent = {
        "kind": "rate" if sd is None else "mean",
        "effect": effect,
        "baseline": baseline,
        "sd": sd,
        "split": _split(split),
        "route": route,
        "calls_per_day": calls_per_day,
        "alpha": alpha,
        "power": power,
        "guardrails": guardrails,
    }
    asked = {name: value for name, value in sent.items() if value is not None}
    answer = ask(lambda gateway: gateway.post("/experiments/plan", asked))
    if as_json:
        show(answer, as_json)
        return
    print_plan(answer["plan"], "rate" if sd is None else "mean")


@group.command("export")
def export(
    experiment: str,
    file: Annotated[Path, typer.Argument(help="Where to write; its ending says the form: csv, jsonl, json or html.")],
) -> None:
    """Write every call of an experiment to a file, or with .html its report."""
    form = file.suffix.removeprefix(".").lower()
    if form not in _FORMS:
        raise Invalid(f"{file} ends in no form that can be written: name it .{', .'.join(_FORMS)}")
    _download(experiment, file, form)


@group.command("report")
def report(experiment: str, file: Annotated[Path, typer.Argument(help="Where to write.")]) -> None:
    """Write the results with their charts as one HTML file that needs no other."""
    _download(experiment, file, "html")


def _download(experiment: str, file: Path, form: str) -> None:
    size = ask(lambda gateway: download(gateway, f"/experiments/{experiment}/export", file, format=form))
    out.print(f"{file}: {size:,} bytes", highlight=False, markup=False)


def _split(text: str) -> dict[str, float]:
    try:
        weights = [float(one) for one in text.split("/")]
    except ValueError as error:
        raise Invalid(f"{text} is no split: write weights such as 80/20") from error
    return dict(zip(string.ascii_lowercase, weights, strict=False))


def _do(experiment: str, verb: str, **body: Any) -> None:
    sent = {name: value for name, value in body.items() if value is not None}
    one = ask(lambda gateway: gateway.post(f"/experiments/{experiment}/{verb}", sent))["experiment"]
    out.print(f"{one['id']} is {one['status']}; {one['serves']}", highlight=False)


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid(f"{text} is no time with its zone: write it as 2027-03-01T09:00:00-05:00")
    return round(moment.timestamp() * 1000)


def _when(at: int | None) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC") if at else "-"
