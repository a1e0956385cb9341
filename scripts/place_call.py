#!/usr/bin/env python3
"""Places one call through a gateway and waits for its end.

    GATEWAY_URL=http://127.0.0.1:8080 GATEWAY_TOKEN=gw_… scripts/place_call.py reminders +14155550123 first_name=Kim

Run it twice with the same --key and the phone rings once.
"""

import argparse
import asyncio
import os
import sys

from gateway.client import GatewayClient
from gateway.errors import GatewayError

OVER = {"completed", "busy", "no-answer", "failed", "canceled", "unknown"}


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description="Place one call through a gateway and wait for its end.")
    parser.add_argument("route", help="an outbound route")
    parser.add_argument("to", help="whom to ring, as in +14155550123")
    parser.add_argument("variables", nargs="*", metavar="name=text", help="what the agent is told")
    parser.add_argument("--timezone", help="where they are, as in America/Denver")
    parser.add_argument("--key", help="idempotency key: the same key never rings twice")
    parser.add_argument("--seconds", type=float, default=600, help="how long to wait for the end (600)")
    return parser.parse_args()


async def place(asked: argparse.Namespace) -> int:
    """Place the call and tell each status as it changes; returns the exit code."""
    url, token = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080"), os.environ.get("GATEWAY_TOKEN", "")
    variables = dict(pair.partition("=")[::2] for pair in asked.variables)
    body = {"route": asked.route, "to": asked.to, "variables": variables, "timezone": asked.timezone}
    async with GatewayClient(url, token) as gateway, asyncio.timeout(asked.seconds):
        call = (await gateway.post("/calls", body, key=asked.key))["call"]
        print(f"{call['id']}  version {call['assignment']['version']}")
        status = ""
        while status not in OVER:
            call = (await gateway.get(f"/calls/{call['id']}"))["call"]
            if call["status"] != status:
                status = call["status"]
                print(status, flush=True)
            await asyncio.sleep(0.5)
    return 0 if status == "completed" else 1


def main() -> None:
    """Place the call; ends with 1 when it was not completed, with 2 when it could not be asked for."""
    try:
        sys.exit(asyncio.run(place(arguments())))
    except GatewayError as error:
        print(error.message, file=sys.stderr)
        sys.exit(2)
    except TimeoutError:
        print("the call is not over yet; see `gateway calls list`", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
