"""Whom the gateway may call, and with which version: pure rules for a single call and for a campaign's contacts.

Nothing is stored or sent here: what may be dialled is handed to the outbox as a value, the rest as a reason.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.callee import Window, next_opening, refusal, zone_refusal
from gateway.decide import assign_contact, serve
from gateway.errors import Invalid, Problem
from gateway.model import Assignment, Call, Hold, LiveRoute, Route, Snapshot
from gateway.storage.attempts import Attempt
from gateway.storage.campaigns import Campaign, ContactRow, Draw, Drawn, Later, Never
from gateway.storage.rows import row_of
from gateway.targets import check_limits, merged, reserved
from gateway.terms import Terms, consents


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A call that somebody wants placed; ``from_`` is one of the route's numbers, the first unless given.

    ``machine`` is what is done when a machine answers: a ``Screening`` as an attempt carries it.
    """

    id: str
    route: str
    to: str
    from_: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    machine: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowed:
    """What the operator allows every placed call: the countries (ISO 3166), and the hours of the callee's day,
    None for always."""

    countries: tuple[str, ...]
    window: Window | None

    def check(self, to: str, timezone: str | None) -> None:
        """Raises Invalid with every reason why the number may not be called."""
        reasons = {
            "to": refusal(to, self.countries),
            "timezone": zone_refusal(to, timezone, window=self.window),
        }
        problems = [Problem(place="body", path=path, text=text) for path, text in reasons.items() if text is not None]
        if problems:
            raise Invalid(problems[0].text, problems)


def new_attempt_id() -> str:
    """An id that no attempt has had."""
    return "out_" + secrets.token_hex(16)


def attempt_id_of(author: str, key: str) -> str:
    """The id of the one attempt that an author's Idempotency-Key can ever stand for."""
    return "out_" + hashlib.sha256(f"{author}\n{key}".encode()).hexdigest()[:32]


def unfit_variables(snapshot: Snapshot, route: Route, variables: Mapping[str, str]) -> list[str]:
    """What keeps any arm of the route from being handed a contact's variables, in sentences."""
    return list(dict.fromkeys(_unfit(snapshot, route, variables)))


def _unfit(snapshot: Snapshot, route: Route, variables: Mapping[str, str]) -> Iterator[str]:
    for arm in route.arms:
        version = snapshot.versions.get(arm.version)
        if version is None:
            continue
        for name in version.target.requires:
            if not variables.get(name, "").strip():
                yield f"{arm.version} (arm {arm.name}) needs the variable {name}"
        yield from check_limits(version.target, merged(arm.parameters, tuple(variables.items())))
    for name in variables:
        if reserved(name):
            yield f"{name} is reserved: names that begin with gateway_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contacts:
    """Draws the contacts of campaigns from the live state: whether and when each is rung, and with which version."""

    account: str
    allowed: Allowed
    snapshot: Callable[[], Snapshot]
    holds: Callable[[], Mapping[str, Hold]]
    wall: Callable[[], int]

    def route_of(self, name: str) -> LiveRoute:
        """The live outbound route of that name; raises Invalid when there is none."""
        live = self.snapshot().routes.get(name)
        if live is None:
            raise _wrong_route(f'there is no route "{name}"')
        if live.route.direction != "outbound":
            raise _wrong_route(f'route "{name}" is inbound: a campaign dials on an outbound route')
        return live

    def obstacle(self, one: Campaign) -> str | None:
        """Why nobody of a campaign is called just now, as a sentence, whoever it is; None while nothing stands so."""
        try:
            hours = self.hours(one.terms)
        except Invalid as error:
            return error.message
        if hours is not None and not hours.days:
            return "the campaign's days have none in common with outbound.window"
        return self.closed(one.route)

    def closed(self, route: str) -> str | None:
        """Why nobody is called on a route just now, as a sentence; None when calls may be placed on it."""
        try:
            self.route_of(route)
        except Invalid as error:
            return error.message
        hold = self.holds().get(route)
        if hold is not None and hold.to == "fallback" and hold.active(self.wall()):
            return f'route "{route}" is held to its fallback, so nobody is called on it'
        return None

    def hours(self, terms: Terms) -> Window | None:
        """When a campaign's contacts may be called; raises Invalid where its hours and the gateway's never meet."""
        try:
            return terms.hours(self.allowed.window)
        except ValueError as error:
            raise Invalid(str(error), [Problem(place="body", path="settings.window", text=str(error))]) from error

    def never(self, terms: Terms, route: Route, person: ContactRow) -> Never | None:
        """Why a contact can never be called as things stand; None when they can."""
        reasons = (
            ("number", refusal(person.to_number, self.allowed.countries)),
            ("timezone", zone_refusal(person.to_number, person.timezone, window=self.hours(terms))),
            ("variables", "; ".join(unfit_variables(self.snapshot(), route, person.variables)) or None),
            ("consent", _no_consent(person) if terms.marketing else None),
        )
        return next((Never(result, text) for result, text in reasons if text is not None), None)

    def assignment(self, live: LiveRoute, person: ContactRow) -> Assignment:
        """The arm that a contact has, or would be given now."""
        stored = person.assignment
        if stored is not None:
            return stored
        return assign_contact(live, campaign=person.campaign, place=person.place or 0, number=person.to_number)

    def drawer(self, one: Campaign) -> Callable[[ContactRow], Drawn]:
        """Draws one contact after the other of a campaign that nothing stands in the way of."""
        live, now = self.route_of(one.route), self.wall()
        terms, holds = one.terms, self.holds()
        hours = self.hours(terms)

        def draw(person: ContactRow) -> Drawn:
            never = self.never(terms, live.route, person)
            if never is not None:
                return never
            opening = next_opening(now, zone=person.timezone, number=person.to_number, window=hours)
            if opening is None:
                return Never("timezone", "it is never within the hours in which it may be called")
            if opening > now:
                return Later(opening)
            from_ = live.route.numbers[0]
            call = Call(new_attempt_id(), "", self.account, "outbound", from_, person.to_number, now, "planned")
            decision = serve(live, self.assignment(live, person), holds, at=now)
            row = row_of(call, one.route, decision.assignment, decision.served)
            return Draw(row, _attempt(call, one, person))

        return draw


def _attempt(call: Call, one: Campaign, person: ContactRow) -> Attempt:
    return Attempt(
        id=call.id,
        campaign=one.id,
        route=one.route,
        to_number=person.to_number,
        from_number=call.from_,
        timezone=person.timezone,
        variables=person.variables,
        state="planned",
        reason=None,
        owner=None,
        planned_at=call.at,
        not_before=call.at,
        contact=person.line,
        machine=one.terms.screening(),
    )


def _no_consent(person: ContactRow) -> str | None:
    if consents(person.consent):
        return None
    return "the campaign is marketing, and the consent column does not say that this person agreed"


def _wrong_route(text: str) -> Invalid:
    return Invalid(text, [Problem(place="body", path="route", text=text)])
