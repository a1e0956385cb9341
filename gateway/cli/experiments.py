"""Verbs of experiments: their life, and how the arms stand."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.cli.terminal import AsJson, ask, out, show
from gateway.errors import Invalid

group = typer.Typer(
    no_args_is_help=True,
    help="Start and stop tests, and see how the versions compare.\n\n"
    "A test that is written in a route and switched off is a draft, named after its route: `support-1`, then "
    "`support-2`. `start` switches it on; `stop` ends it, with a winner or without, and then Version A serves.",
)

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
        str | None, typer.Option(help="The experiment's id once more, where its verdict is blocked.")
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
    """Show how the arms of an experiment stand."""
    answer = ask(lambda gateway: gateway.get(f"/experiments/{experiment}/results"))
    metrics = {one["name"]: one for one in answer["metrics"]}

    def reading(metric: str, arm: str) -> str:
        told = metrics.get(metric, {"arms": {}})["arms"].get(arm)
        if told is None:
            return "-"
        return f"{told['mean']:.1%}" if metrics[metric]["kind"] == "rate" else f"{told['mean']:.1f}"

    rows = [
        [arm["arm"], arm["version"], str(arm["calls"]), str(arm["served"])]
        + [reading(name, arm["arm"]) for name in ("duration_seconds", "success", "transferred")]
        for arm in answer["arms"]
    ]
    head = ("arm", "version", "calls", "served", "mean seconds", "completion", "transfers")
    show(answer, as_json, *rows, head=head, title=experiment)
    if not as_json:
        out.print(answer["verdict"]["text"], highlight=False)
        for one in answer["health"]:
            if one["status"] != "ok":
                out.print(f"  {one['status']}: {one['text']}", highlight=False)


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
