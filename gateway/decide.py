"""Decides which arm answers a call, and why: pure functions of the live snapshot, the call and the holds.

The draw is a keyed hash, so the same call gets the same arm from every process, with or without a database,
and anybody who knows the salt can recompute it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

from gateway.model import Arm, Assignment, Call, Experiment, Hold, LiveRoute, Reason, Route, Served, Snapshot
from gateway.phone import is_withheld

BUCKETS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """The first arm a sticky caller was given in an experiment, and the epoch it counts in."""

    arm: str
    epoch: int


class Decision(NamedTuple):
    """What is to be recorded of a call and who is to take it; ``live`` and ``assignment`` are None when
    no route names the number."""

    live: LiveRoute | None
    assignment: Assignment | None
    served: Served


_UNROUTED = Decision(live=None, assignment=None, served=Served(by="unrouted"))


def bucket(unit: str, salt: bytes) -> int:
    """The bucket of a unit id, 0 to 999,999, evenly spread for every salt."""
    return int.from_bytes(blake2b(unit.encode(), key=salt, digest_size=8).digest(), "big") % BUCKETS


def drawn(route: Route, place: int) -> Arm:
    """The arm whose stretch of buckets holds ``place``."""
    for arm in route.arms:
        if place < arm.upper:
            return arm
    raise ValueError(f'route "{route.name}" has no arm at bucket {place}')


def memory_key(salt: bytes, caller: str) -> bytes:
    """Under which name a caller is known in the experiment of that salt: a keyed hash, so that no number is kept."""
    return blake2b(caller.encode(), key=salt, digest_size=16, person=b"sticky").digest()


def wants_memory(live: LiveRoute, call: Call) -> bool:
    """Whether this call's arm depends on what its caller was given before."""
    return (
        (test := live.test) is not None
        and live.route.unit == "caller"
        and call.other not in live.route.test_numbers
        and not is_withheld(call.other)
        and _covered(live.route, test, call.other)
    )


def decide(
    snapshot: Snapshot,
    call: Call,
    holds: Mapping[str, Hold],
    *,
    remembered: Remembered | None = None,
) -> Decision:
    """Assign an inbound call by the route that names the called number, then let a hold override who serves."""
    live = snapshot.numbers.get(call.to)
    if live is None:
        return _UNROUTED
    return decide_on(live, call, holds, remembered=remembered)


def decide_on(
    live: LiveRoute,
    call: Call,
    holds: Mapping[str, Hold],
    *,
    remembered: Remembered | None = None,
) -> Decision:
    """Assign a call on a route, then let a hold override who serves."""
    return serve(live, assign(live, call, remembered=remembered), holds, at=call.at)


def serve(live: LiveRoute, assignment: Assignment, holds: Mapping[str, Hold], *, at: int) -> Decision:
    """Let whoever was assigned take the call, unless a hold on the route says otherwise at that moment."""
    hold = holds.get(live.route.name)
    if hold is not None and hold.active(at):
        return Decision(
            live=live,
            assignment=assignment._replace(analysed=False),
            served=held(live.route, hold),
        )
    return Decision(live, assignment, Served("version", assignment.arm, assignment.version))


def assign(live: LiveRoute, call: Call, *, remembered: Remembered | None = None) -> Assignment:
    """The arm of a call on its route: forced, uncovered, remembered or drawn, in this order."""
    route, experiment = live.route, live.test
    if experiment is None:
        arm = route.arm(route.winner or "a")
        return Assignment(
            arm=arm.name,
            version=arm.version,
            reason="winner" if route.winner else "off",
            revision=live.revision,
            unit=route.unit,
            analysed=False,
        )
    forced = route.test_numbers.get(call.other)
    if forced is not None:
        return _assignment(live, experiment, route.arm(forced), reason="test_number", analysed=False)
    withheld = route.unit == "caller" and is_withheld(call.other)
    unit = call.other if route.unit == "caller" and not withheld else call.id
    if not _covered(route, experiment, unit):
        return _assignment(live, experiment, route.arm("a"), reason="uncovered", analysed=False)
    place = bucket(unit, experiment.salt)
    if remembered is not None and any(arm.name == remembered.arm for arm in route.arms):
        return _assignment(
            live,
            experiment,
            route.arm(remembered.arm),
            reason="sticky",
            analysed=True,
            place=place,
            epoch=remembered.epoch,
        )
    reason: Reason = "withheld" if withheld else "split"
    return _assignment(live, experiment, drawn(route, place), reason=reason, analysed=True, place=place)


def assign_contact(live: LiveRoute, *, campaign: str, place: int, number: str) -> Assignment:
    """The arm of a campaign's contact, which every attempt to reach them keeps.

    ``place`` counts the contacts of the campaign from 0; the arm is that of the place in its permuted block.
    """
    route, experiment = live.route, live.test
    if experiment is None:
        arm = route.arm(route.winner or "a")
        reason: Reason = "winner" if route.winner else "off"
        return Assignment(arm.name, arm.version, reason, live.revision, "contact", analysed=False)
    given: tuple[Arm, Reason, bool]
    forced = route.test_numbers.get(number)
    if forced is not None:
        given = route.arm(forced), "test_number", False
    elif not _covered(route, experiment, f"{campaign}/{place}"):
        given = route.arm("a"), "uncovered", False
    else:
        given = blocked(route.arms, experiment, campaign, place), "split", True
    assignment = _assignment(live, experiment, given[0], reason=given[1], analysed=given[2])
    return assignment._replace(unit="contact", share=given[0].share if given[2] else None)


def block_size(arms: Sequence[Arm]) -> int:
    """How many contacts a block has: the fewest, from four on, that hold every arm's share whole; else 100."""
    for size in range(4, 101):
        counts = [arm.share * size for arm in arms]
        if all(abs(count - round(count)) < 1e-9 for count in counts):
            return size
    return 100


def blocked(arms: Sequence[Arm], experiment: Experiment, campaign: str, place: int) -> Arm:
    """The arm at a place, from 0, of a campaign's permuted blocks (Zelen 1974): each block holds the shares exactly,
    in an order drawn by a keyed hash of the epoch, the campaign and the block.

    Where no block can hold the shares whole, the blocks together do: each takes what rounding left of the one before.
    """
    size = block_size(arms)
    block, within = divmod(place, size)

    def luck(index: int) -> bytes:
        seat = f"{experiment.epoch}/{campaign}/{block}/{index}"
        return blake2b(seat.encode(), key=experiment.salt, digest_size=8, person=b"block").digest()

    rank = sorted(range(size), key=luck).index(within)
    first, last, upper = block * size, (block + 1) * size, 0.0
    for arm in arms:
        upper += arm.share
        if rank < math.floor(upper * last + 0.5) - math.floor(upper * first + 0.5):
            return arm
    return next(arm for arm in reversed(arms) if arm.share)


def weighted(arms: Sequence[Arm], shares: Mapping[str, float]) -> tuple[Arm, ...]:
    """The arms with other shares, which sum to 1; an arm that is not named has none."""
    upper, made = 0.0, []
    for arm in arms:
        share = shares.get(arm.name, 0.0)
        upper += share
        made.append(replace(arm, weight=share, share=share, upper=round(BUCKETS * upper)))
    return tuple(made)


def held(route: Route, hold: Hold) -> Served:
    """Who serves while a hold is on: an arm's version, a named version, or the route's fallback."""
    if hold.to == "fallback":
        return Served(by="fallback", reason="hold")
    for arm in route.arms:
        if hold.to == arm.name:
            return Served(by="version", arm=arm.name, version=arm.version, reason="hold")
    for arm in route.arms:
        if hold.to == arm.version:
            return Served(by="version", arm=arm.name, version=hold.to, reason="hold")
    return Served(by="version", version=hold.to, reason="hold")


def _covered(route: Route, experiment: Experiment, unit: str) -> bool:
    if route.coverage >= 1:
        return True
    return bucket(unit, experiment.coverage_salt) < round(BUCKETS * route.coverage)


def _assignment(
    live: LiveRoute,
    experiment: Experiment,
    arm: Arm,
    *,
    reason: Reason,
    analysed: bool,
    place: int | None = None,
    epoch: int | None = None,
) -> Assignment:
    return Assignment(
        arm.name,
        arm.version,
        reason,
        live.revision,
        live.route.unit,
        analysed,
        experiment.id,
        experiment.epoch if epoch is None else epoch,
        place,
        arm.share if place is not None else None,
    )
