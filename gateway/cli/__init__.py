"""The ``gateway`` command: verbs that speak to a running gateway over its API, and the few that work alone."""

import sys

import typer

from gateway.cli import (
    agents,
    calls,
    campaigns,
    experiments,
    notifications,
    numbers,
    outbound,
    routes,
    running,
    selftest,
    tokens,
)
from gateway.cli.terminal import err
from gateway.errors import GatewayError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Routes Twilio calls to AI voice agents and splits them between published versions.\n\n"
    "`serve` runs the gateway; `demo` shows it without a Twilio account. The other verbs speak to a running gateway "
    "at GATEWAY_URL (http://127.0.0.1:8080) with the token in GATEWAY_TOKEN.",
)
app.command("serve")(running.serve)
app.command("demo")(running.demo)
app.command("simulate")(running.simulate)
app.command("twilio")(running.twilio)
app.command("call")(outbound.place_call)
app.command("selftest")(selftest.selftest)
for name, group in (
    ("routes", routes.group),
    ("agents", agents.group),
    ("calls", calls.group),
    ("campaign", campaigns.group),
    ("experiments", experiments.group),
    ("numbers", numbers.group),
    ("dialing", outbound.dialing),
    ("suppressions", outbound.suppressions),
    ("notifications", notifications.group),
    ("tokens", tokens.group),
    ("db", running.database),
):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command; an error of the gateway's is told in words, with every problem, and exits with 1."""
    try:
        app()
    except GatewayError as error:
        err.print(f"[red]{error.message}[/red]", highlight=False)
        for problem in error.problems:
            err.print(f"  {problem}", highlight=False, markup=False)
        sys.exit(1)
