"""Verbs of calls that were received or placed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.terminal import AsJson, ask, show

if TYPE_CHECKING:
    from gateway.client import GatewayClient

group = typer.Typer(no_args_is_help=True, help="Read what became of calls.")


@group.command("list")
def list_calls(
    route: str | None = None,
    arm: str | None = None,
    status: str | None = None,
    number: Annotated[str | None, typer.Option(help="Either side of the call, exactly.")] = None,
    limit: int = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest calls."""
    wanted = {"route": route, "arm": arm, "status": status, "number": number}
    answer = ask(lambda gateway: _newest(gateway, limit, wanted))
    rows = [
        [
            one["id"],
            one["from"],
            one["route"] or "-",
            (one["assignment"] or {}).get("arm") or "-",
            one["served"]["version"] or one["served"]["by"],
            one["status"],
            str(one["duration_seconds"] or ""),
        ]
        for one in answer["calls"]
    ]
    show(answer, as_json, *rows, head=("call", "from", "route", "arm", "served by", "status", "seconds"))


async def _newest(gateway: "GatewayClient", limit: int, wanted: Mapping[str, str | None]) -> dict[str, Any]:
    """As many calls as are asked for: one page may have looked through many, and hold few."""
    page = await gateway.get("/calls", **wanted, limit=limit)
    calls = page["calls"]
    while page["next"] is not None and len(calls) < limit:
        page = await gateway.get("/calls", **wanted, limit=limit - len(calls), cursor=page["next"])
        calls += page["calls"]
    return page | {"calls": calls}


@group.command("explain")
def explain_call(call: str, as_json: AsJson = False) -> None:
    """Tell why a call got its arm, by drawing it again."""
    answer = ask(lambda gateway: gateway.get(f"/calls/{call}/explain"))
    show(answer, as_json, *[[name, str(value)] for name, value in answer["explanation"].items()], head=("", ""))
