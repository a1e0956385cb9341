"""Verbs of agents."""

import typer

from gateway.cli.terminal import AsJson, ask, show

group = typer.Typer(no_args_is_help=True, help="See agents and their versions.")


@group.command("list")
def list_agents(as_json: AsJson = False) -> None:
    """Show every version of every agent."""
    answer = ask(lambda gateway: gateway.get("/agents"))
    rows = [
        [version["version"], version["status"], version["target"]["kind"], ", ".join(version["used_by"])]
        for agent in answer["agents"]
        for version in agent["versions"]
    ]
    show(answer, as_json, *rows, head=("version", "status", "target", "used by"))
