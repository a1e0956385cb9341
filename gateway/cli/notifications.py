"""Verbs of the notices that the gateway sends out."""

from typing import Annotated

import typer

from gateway.cli.terminal import AsJson, ask, show

group = typer.Typer(no_args_is_help=True, help="What the outside is told by signed webhooks.")


@group.command("list")
def list_notices(
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20, as_json: AsJson = False
) -> None:
    """Show the newest notices and how far each is on its way."""
    answer = ask(lambda gateway: gateway.get("/notifications", limit=limit))
    rows = [
        [
            told["id"],
            told["type"],
            told["subject"],
            one["receiver"],
            one["state"],
            str(one["tries"]),
            one["text"] or "-",
        ]
        for told in answer["notifications"]
        for one in told["deliveries"] or [{"receiver": "-", "state": "-", "tries": "-", "text": None}]
    ]
    show(answer, as_json, *rows, head=("notice", "type", "subject", "receiver", "state", "tries", "last try"))


@group.command("test")
def send_test(as_json: AsJson = False) -> None:
    """Send every receiver a test notice and show what came of it; exits with 1 when one did not take it."""
    answer = ask(lambda gateway: gateway.post("/notifications/test", {}))
    deliveries = answer["notification"]["deliveries"]
    rows = [[one["receiver"], one["state"], one["text"]] for one in deliveries]
    show(answer, as_json, *rows, head=("receiver", "state", "what came of it"))
    if any(one["state"] != "sent" for one in deliveries):
        raise typer.Exit(1)
