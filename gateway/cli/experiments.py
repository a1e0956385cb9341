"""Verbs of experiments."""

import typer

from gateway.cli.terminal import AsJson, ask, out, show

group = typer.Typer(no_args_is_help=True, help="See how the versions of a test compare.")


@group.command("list")
def list_experiments(as_json: AsJson = False) -> None:
    """Show every experiment."""
    answer = ask(lambda gateway: gateway.get("/experiments"))
    rows = [[one["id"], one["name"], one["status"], one["unit"]] for one in answer["experiments"]]
    show(answer, as_json, *rows, head=("experiment", "name", "status", "unit"))


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
