"""The overview: calls now and today, every route with its state, and what needs somebody's attention."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from gateway.courtesy import aside
from gateway.http.api.endpoint import Ask, Body, endpoint
from gateway.http.health import health_of
from gateway.model import Hold, LiveRoute
from gateway.traffic import Figures
from gateway.wiring import Gateway


class Wanted(Body):
    """Which routes to list: those whose name or number holds ``search``; ``cursor`` is the ``next`` of a page."""

    search: str = Field("", max_length=100)
    order: Literal["attention", "name"] = "attention"
    cursor: int = Field(0, ge=0, le=2**31)
    limit: int = Field(50, ge=1, le=1000)


_STATES = ("failing over", "held", "testing", "serving")


@endpoint("GET", "/overview", role="viewer", query=Wanted)
async def show_overview(ask: Ask) -> dict[str, Any]:
    """Calls under way and today, routes with their state (those that need attention first), and alarms."""
    gateway, wanted = ask.gateway, ask.query
    figures = await gateway.traffic.figures()
    every = gateway.state.snapshot.routes
    held = {name: hold for name in sorted(gateway.state.holds) if name in every and (hold := hold_of(gateway, name))}
    found = await aside(_in_order, every, held, figures, wanted)
    page = found[wanted.cursor : wanted.cursor + wanted.limit]
    end = wanted.cursor + len(page)
    health = await health_of(gateway)
    stopped = await gateway.outbox.stopped()
    return {
        "overview": {
            "at": figures.at,
            "calls": {"under_way": figures.under_way, "today": figures.today, "hours": list(figures.hours)},
            "unrouted_today": figures.today_by_route.get(None, 0),
            "routes": {
                "total": len(every),
                "testing": sum(live.experiment is not None for live in every.values()),
                "held": len(held),
                "failing_over": len(figures.failing),
            },
            "alarms": list(_alarms(figures, list(held.values()), health, stopped)),
            "drift": health["drift"],
            "dialing": {"stopped": stopped},
        },
        "routes": [line(gateway, every[name], figures) for name in page],
        "next": end if end < len(found) else None,
    }


def hold_of(gateway: Gateway, route: str) -> Hold | None:
    """The hold that overrides a route now, or None."""
    hold = gateway.state.holds.get(route)
    return hold if hold is not None and hold.active(gateway.wall()) else None


def line(gateway: Gateway, live: LiveRoute, figures: Figures) -> dict[str, Any]:
    """A route in a line: what it does now, and its calls of today and of the last 24 hours."""
    route, name = live.route, live.route.name
    hold = hold_of(gateway, name)
    return {
        "name": name,
        "direction": route.direction,
        "numbers": list(route.numbers),
        "revision": live.revision,
        "experiment": live.experiment.id if live.experiment else None,
        "arms": [{"arm": arm.name, "version": arm.version, "share": arm.share} for arm in route.arms],
        "serving": "split" if live.experiment else (route.winner or "a"),
        "hold": asdict(hold) if hold else None,
        "state": _state(live, hold, figures),
        "failovers": figures.failing.get(name, 0),
        "today": figures.today_by_route.get(name, 0),
        "hours": list(figures.hours_by_route.get(name, ())),
    }


def _state(live: LiveRoute, hold: Hold | None, figures: Figures) -> str:
    if live.route.name in figures.failing:
        return "failing over"
    if hold is not None:
        return "held"
    return "testing" if live.experiment else "serving"


def _in_order(
    every: Mapping[str, LiveRoute], held: Mapping[str, Hold], figures: Figures, wanted: Wanted
) -> list[str]:
    """The names of the routes that are looked for, in the order that is asked for."""
    text, names = wanted.search.strip().lower(), sorted(every)
    if text:
        names = [name for name in names if text in name or any(text in one for one in every[name].route.numbers)]
    if wanted.order == "attention":
        today = figures.today_by_route
        # Both sorts keep the order of what is alike.
        names.sort(key=lambda name: -today.get(name, 0))
        names.sort(key=lambda name: _STATES.index(_state(every[name], held.get(name), figures)))
    return names


def _alarms(
    figures: Figures, held: list[Hold], health: dict[str, Any], stopped: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    if stopped is not None:
        text = f"All dialling is stopped by {stopped['author']}: {stopped['reason']}"
        yield {"level": "bad", "text": text, "route": None}
    for name, count in sorted(figures.failing.items())[:20]:
        times = "once" if count == 1 else f"{count} times"
        text = f"{name} failed over {times} in the last five minutes"
        yield {"level": "bad", "text": text, "route": name}
    for hold in held[:20]:
        to = hold.to.upper() if len(hold.to) == 1 else hold.to
        text = f"{hold.route} is held to {to} by {hold.author}: {hold.reason}"
        yield {"level": "warn", "text": text, "route": hold.route}
    for note in health["notes"]:
        yield {"level": "warn", "text": note[:1].upper() + note[1:], "route": None}
    unrouted = figures.today_by_route.get(None, 0)
    if unrouted:
        calls = "One call" if unrouted == 1 else f"{unrouted} calls"
        text = f"{calls} today came to a number that no route names"
        yield {"level": "warn", "text": text, "route": None}


ENDPOINTS = (show_overview,)
