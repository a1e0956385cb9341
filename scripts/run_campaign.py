#!/usr/bin/env python3
"""Calls everybody on a CSV list through a gateway, and follows the campaign to its end.

    GATEWAY_URL=http://127.0.0.1:8080 GATEWAY_TOKEN=gw_… scripts/run_campaign.py scripts/sample_contacts.csv renewals

Run it again at any moment, after Ctrl-C or a crash too: it finds the campaign by its name and goes on with it, and
nobody is called twice. Exit codes: 0 the campaign is completed, 1 it was cancelled or not started, 2 it could not be
asked for, 130 Ctrl-C.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.client import GatewayClient
from gateway.errors import Conflict, GatewayError

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description="Call everybody on a CSV list, and follow the campaign to its end.")
    parser.add_argument("file", type=Path, help="CSV: to, if wanted timezone and consent, and the agents' variables")
    parser.add_argument("route", help="an outbound route")
    parser.add_argument("--name", help="the campaign's name; the file's name and content make one by default")
    parser.add_argument("--settings", default="{}", help='JSON, such as \'{"retry": {"busy": "30m"}}\'')
    parser.add_argument("--yes", action="store_true", help="start without asking")
    return parser.parse_args()


async def run(gateway: GatewayClient, asked: argparse.Namespace) -> int:
    """Find or make the campaign, start it, follow it; returns the exit code."""
    with asked.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = asked.name or f"{asked.file.stem} {digest[:8]}"
    one = await find(gateway, name) or await create(gateway, asked, name, digest)
    out.print(
        f"{one['id']}  {name}: {one['contacts']} contacts, {one['skipped']} skipped, {one['status']}", markup=False
    )
    if one["route"] != asked.route:
        err.print(f'"{name}" is on route {one["route"]} already: give this list another --name', markup=False)
        return 2
    if one["status"] in ("draft", "ready"):
        if await preview(gateway, one["id"]):
            if not (asked.yes or agreed()):
                return 1
            await start(gateway, one["id"])
        elif (await gateway.get(f"/campaigns/{one['id']}"))["campaign"]["status"] in ("draft", "ready"):
            err.print("nobody on the list can be called")
            return 2  # else another run has started it meanwhile, and there is nobody left to call
    return await follow(gateway, one["id"])


async def find(gateway: GatewayClient, name: str) -> dict[str, Any] | None:
    """The campaign of that name, unless its list is still being read."""
    found = (await gateway.get("/campaigns", name=name))["campaigns"]
    return next((one for one in found if one["status"] != "loading"), None)


async def create(gateway: GatewayClient, asked: argparse.Namespace, name: str, digest: str) -> dict[str, Any]:
    """Make the campaign, once: its key lets a repeat get the first answer again."""
    key = hashlib.sha256("\n".join((digest, name, asked.route, asked.settings)).encode()).hexdigest()
    query, until = {"name": name, "route": asked.route, "settings": asked.settings}, time.monotonic() + 600
    while True:
        try:
            made = await send(gateway, asked.file, key, query)
        except Conflict:
            # The request of a run before this one is still at work.
            if time.monotonic() > until:
                raise
            await asyncio.sleep(1)
        else:
            for problem in made["problems"]:
                out.print(f"line {problem['line']} is skipped: {problem['text']}", markup=False)
            return made


async def send(gateway: GatewayClient, path: Path, key: str, query: dict[str, str]) -> dict[str, Any]:
    """Send the list, with a bar."""
    with path.open("rb") as file, Progress(console=err, transient=True) as progress:
        task = progress.add_task("sending", total=os.fstat(file.fileno()).st_size)
        answer = await gateway.upload(
            "/campaigns", file, lambda done: progress.update(task, completed=done), key=key, **query
        )
    made: dict[str, Any] = answer["campaign"]
    return made


async def preview(gateway: GatewayClient, campaign: str) -> bool:
    """Tell what starting would do; False when nobody can be called."""
    told = (await gateway.post(f"/campaigns/{campaign}/preview", {}))["preview"]
    if told["obstacle"]:
        err.print(told["obstacle"], markup=False)
    if told["obstacle"] or not told["contacts"]:
        return False
    for arm in told["arms"]:
        out.print(f"arm {arm['arm']}, {arm['version']}: {arm['contacts']} contacts, {arm['share']:.1%}", markup=False)
    for reason in told["skipped"]:
        out.print(f"skipped, {reason['result']}: {reason['contacts']}", markup=False)
    first = datetime.fromtimestamp(told["openings"][0]["at"] / 1000).astimezone()
    takes = timedelta(seconds=told["at_least_seconds"])
    out.print(f"{told['contacts']} contacts from {first:%d %B %H:%M %Z} on, in {takes} at least")
    return True


def agreed() -> bool:
    """Whether the person at the terminal wants these people called."""
    try:
        return input("Call them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        err.print("nobody is there to ask: start it with --yes")
        return False


async def start(gateway: GatewayClient, campaign: str) -> None:
    """Start it, unless another run has done so meanwhile."""
    try:
        await gateway.post(f"/campaigns/{campaign}/start", {})
    except Conflict as error:
        err.print(error.message, markup=False)


async def follow(gateway: GatewayClient, campaign: str) -> int:
    """Show how far it is until it is over, and then each arm's results; returns the exit code."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("")
        async for one in gateway.follow(campaign, every=0.5):
            said = f"{one['status']} {one['reason']}".strip().replace("[", "(")
            counts = one["counts"]
            total = sum(counts.values()) - counts["skipped"]
            progress.update(task, description=said, completed=counts["done"], total=total)
    for arm, results in one["arm_results"].items():
        told = ", ".join(f"{count} {result}" for result, count in sorted(results.items()))
        out.print(f"arm {arm}: {sum(results.values())} called; {told}", markup=False)
    out.print(f"{one['status']}: {counts['done']} done, {counts['waiting']} not called, {counts['skipped']} skipped")
    return 0 if one["status"] == "completed" else 1


async def ask(asked: argparse.Namespace) -> int:
    """Run it against the gateway that the environment names."""
    url, token = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080"), os.environ.get("GATEWAY_TOKEN", "")
    async with GatewayClient(url, token) as gateway:
        return await run(gateway, asked)


def main() -> None:
    """Run the campaign; the exit code tells how it ended."""
    try:
        asked = arguments()
        json.loads(asked.settings)
        sys.exit(asyncio.run(ask(asked)))
    except GatewayError as error:
        err.print(error.message, *error.problems, sep="\n  ", markup=False)
    except (OSError, ValueError) as error:
        err.print(str(error), markup=False)
    except KeyboardInterrupt:
        err.print("the campaign goes on; run this again to follow it")
        sys.exit(130)
    sys.exit(2)


if __name__ == "__main__":
    main()
