"""Verbs of the Twilio account's numbers."""

from typing import Annotated

import typer

from gateway.cli.terminal import AsJson, ask, out, show

group = typer.Typer(no_args_is_help=True, help="Connect the Twilio account's numbers to this gateway.")


@group.command("list")
def list_numbers(as_json: AsJson = False) -> None:
    """Show the Twilio account's numbers and which of them point elsewhere."""
    answer = ask(lambda gateway: gateway.get("/numbers"))
    rows = [
        [one["number"], "here" if one["connected"] else "elsewhere", one["route"] or "-", one["voice_url"]]
        for one in answer["numbers"]
    ]
    show(answer, as_json, *rows, head=("number", "points", "route", "voice url"))


@group.command("connect")
def connect_number(
    number: str,
    fallback_url: Annotated[
        str | None, typer.Option(help="What Twilio asks when the gateway does not answer; host it elsewhere.")
    ] = None,
) -> None:
    """Point a number's calls at this gateway."""
    ask(lambda gateway: gateway.post("/numbers/connect", {"number": number, "fallback_url": fallback_url}))
    out.print(f"{number} points here")
