"""Who answers, and why: the split is fair, repeatable, and independent of everything else."""

import math
from collections import Counter
from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decide import (
    BUCKETS,
    Remembered,
    assign,
    block_size,
    blocked,
    bucket,
    decide,
    drawn,
    memory_key,
    wants_memory,
)
from gateway.model import Arm, Call, Experiment, Hold, LiveRoute, Route, Served, Snapshot
from gateway.routefile import build_route

SALT, OTHER_SALT = b"a salt of sixteen", b"quite another one"
CALL = Call(
    id="CA1", sid="CA1", account="AC1", direction="inbound", from_="+14155551234", to="+14155550100", at=1_000
)


def route(split: dict[str, float], **test: object) -> Route:
    versions = {arm: f"support@{number}" for number, arm in enumerate(sorted(split), start=3)}
    return build_route(
        "support",
        {
            "direction": "inbound",
            "numbers": ["+14155550100"],
            "versions": versions,
            "ab_test": {"enabled": True, "split": split, **test},
        },
    )


def experiment(**changes: object) -> Experiment:
    base = Experiment(
        id="support-1",
        route="support",
        number=1,
        name="",
        unit="call",
        status="running",
        salt=SALT,
        coverage_salt=OTHER_SALT,
        epoch=3,
        memory=2,
        opened_at=0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def live(split: dict[str, float] | None = None, **test: object) -> LiveRoute:
    return LiveRoute(route=route(split or {"a": 50, "b": 50}, **test), revision=7, experiment=experiment())


def snapshot(one: LiveRoute) -> Snapshot:
    return Snapshot(routes={"support": one}, numbers={"+14155550100": one})


@pytest.mark.parametrize(
    ("unit", "salt", "place"),
    [("CA" + "0" * 32, b"salt", 391_038), ("+14155551234", b"salt", 945_195), ("CA" + "0" * 32, b"other", 957_261)],
)
def test_the_bucket_is_the_published_hash(unit: str, salt: bytes, place: int) -> None:
    by_hand = int.from_bytes(blake2b(unit.encode(), key=salt, digest_size=8).digest(), "big") % 1_000_000
    assert bucket(unit, salt) == by_hand == place


@pytest.mark.parametrize(
    ("split", "uppers"),
    [
        ({"a": 50, "b": 50}, [500_000, 1_000_000]),
        ({"a": 80, "b": 20}, [800_000, 1_000_000]),
        ({"a": 99, "b": 1}, [990_000, 1_000_000]),
        ({"a": 34, "b": 33, "c": 33}, [340_000, 670_000, 1_000_000]),
        ({"a": 1, "b": 1, "c": 1}, [333_333, 666_667, 1_000_000]),
        ({"a": 0.1, "b": 0.2}, [333_333, 1_000_000]),
        ({"a": 0, "b": 5}, [0, 1_000_000]),
        ({"a": 5, "b": 0}, [1_000_000, 1_000_000]),
    ],
)
def test_weights_become_stretches_of_buckets(split: dict[str, float], uppers: list[int]) -> None:
    assert [arm.upper for arm in route(split).arms] == uppers


@pytest.fixture(scope="module")
def places() -> list[int]:
    return [bucket(f"CA{number:032x}", SALT) for number in range(1_000_000)]


@pytest.mark.parametrize(
    "split", [{"a": 50, "b": 50}, {"a": 80, "b": 20}, {"a": 99, "b": 1}, {"a": 34, "b": 33, "c": 33}]
)
def test_a_million_calls_split_as_the_weights_say(places: list[int], split: dict[str, float]) -> None:
    one, n = route(split), len(places)
    uppers = [arm.upper for arm in one.arms]
    low = 0
    for arm, upper in zip(one.arms, uppers, strict=True):
        got = sum(low <= place < upper for place in places)
        assert abs(got - n * arm.share) < 5 * math.sqrt(n * arm.share * (1 - arm.share)) + 1
        low = upper


def test_two_experiments_do_not_share_their_luck(places: list[int]) -> None:
    other = [bucket(f"CA{number:032x}", OTHER_SALT) < 500_000 for number in range(200_000)]
    both = sum(here < 500_000 and there for here, there in zip(places, other, strict=False))
    assert abs(both - 50_000) < 5 * math.sqrt(200_000 * 0.25 * 0.75)


def test_taking_part_and_the_arm_are_independent(places: list[int]) -> None:
    counts = {(part, arm): 0 for part in (True, False) for arm in "abc"}
    one = route({"a": 34, "b": 33, "c": 33})
    arms = [drawn(one, place).name for place in places[:200_000]]
    for number, arm in enumerate(arms):
        counts[bucket(f"CA{number:032x}", OTHER_SALT) < 100_000, arm] += 1
    # Pearson's chi-squared with two degrees of freedom: above 27.6 once in a million times.
    parts = {part: sum(counts[part, arm] for arm in "abc") for part in (True, False)}
    expected = {cell: parts[cell[0]] * arms.count(cell[1]) / len(arms) for cell in counts}
    assert sum((counts[cell] - expected[cell]) ** 2 / expected[cell] for cell in counts) < 27.6


def test_with_one_salt_for_both_they_would_not_be(places: list[int]) -> None:
    part = [place for place in places[:200_000] if place < 100_000]
    assert {drawn(route({"a": 50, "b": 50}), place).name for place in part} == {"a"}


def test_who_does_not_take_part_is_served_by_the_control_and_not_analysed() -> None:
    one = live({"a": 50, "b": 50}, coverage=0.1)
    given = [assign(one, CALL._replace(id=f"CA{number:032x}")) for number in range(100_000)]
    covered = [assignment for assignment in given if assignment.reason == "split"]
    assert abs(len(covered) - 10_000) < 5 * math.sqrt(100_000 * 0.1 * 0.9)
    in_b = sum(assignment.arm == "b" for assignment in covered)
    assert abs(in_b - len(covered) / 2) < 5 * math.sqrt(len(covered) / 4)
    rest = [assignment for assignment in given if assignment.reason == "uncovered"]
    assert {(one.arm, one.analysed) for one in rest} == {("a", False)}


def test_the_first_bucket_beyond_an_arm_belongs_to_the_next() -> None:
    one = route({"a": 34, "b": 33, "c": 33})
    at = {place: drawn(one, place).name for place in (0, 339_999, 340_000, 669_999, 670_000, 999_999)}
    assert at == {0: "a", 339_999: "a", 340_000: "b", 669_999: "b", 670_000: "c", 999_999: "c"}


def test_every_bucket_has_an_arm() -> None:
    one = route({"a": 0, "b": 1, "c": 2, "d": 0})
    assert {drawn(one, place).name for place in (0, 333_332)} == {"b"}
    assert {drawn(one, place).name for place in (333_333, BUCKETS - 1)} == {"c"}


def test_off_means_the_control_unless_a_winner_is_named() -> None:
    off = LiveRoute(route=replace(route({"a": 1, "b": 1}), enabled=False), revision=7)
    assert (assign(off, CALL).arm, assign(off, CALL).reason) == ("a", "off")
    won = replace(off, route=replace(off.route, winner="b"))
    assert (assign(won, CALL).arm, assign(won, CALL).reason, assign(won, CALL).analysed) == ("b", "winner", False)


def test_a_test_number_is_forced_and_never_analysed() -> None:
    given = assign(live(test_numbers={"+14155551234": "b"}), CALL)
    assert (given.arm, given.reason, given.analysed, given.bucket) == ("b", "test_number", False, None)


def test_a_sticky_caller_keeps_the_first_arm_and_its_epoch() -> None:
    one = live(unit="caller")
    fresh = assign(one, CALL)
    assert fresh.reason == "split"
    assert fresh == assign(one, CALL._replace(id="CA2"))
    other = "a" if fresh.arm == "b" else "b"
    kept = assign(one, CALL, remembered=Remembered(arm=other, epoch=1))
    assert (kept.arm, kept.reason, kept.epoch, kept.analysed) == (other, "sticky", 1, True)


def test_a_remembered_arm_outlives_its_weight_but_not_the_arm() -> None:
    parked = live({"a": 100, "b": 0}, unit="caller")
    kept = assign(parked, CALL, remembered=Remembered(arm="b", epoch=1))
    assert (kept.arm, kept.version, kept.reason, kept.share) == ("b", "support@4", "sticky", 0)
    gone = assign(parked, CALL, remembered=Remembered(arm="c", epoch=1))
    assert (gone.arm, gone.reason, gone.epoch) == ("a", "split", 3)


def test_only_a_caller_who_takes_part_is_remembered() -> None:
    sticky = live(unit="caller")
    assert wants_memory(sticky, CALL)
    assert not wants_memory(live(unit="call"), CALL)
    assert not wants_memory(live(unit="caller", test_numbers={"+14155551234": "b"}), CALL)
    assert not wants_memory(replace(sticky, experiment=None), CALL)
    partly = live(unit="caller", coverage=0.5)
    callers = [CALL._replace(from_=f"+1415555{number:04}") for number in range(50)]
    wanted = [wants_memory(partly, call) for call in callers]
    assert wanted == [assign(partly, call).reason == "split" for call in callers]
    assert set(wanted) == {True, False}


def test_when_calls_are_drawn_a_caller_is_drawn_anew_each_time() -> None:
    arms = {assign(live(), CALL._replace(id=f"CA{number}")).arm for number in range(50)}
    assert arms == {"a", "b"}
    assert assign(live(), CALL._replace(from_="anonymous")).reason == "split"


def test_the_other_party_of_an_outbound_call_is_who_is_rung() -> None:
    one = live(unit="caller")
    rung = CALL._replace(direction="outbound", from_=CALL.to, to=CALL.from_)
    assert assign(one, rung) == assign(one, CALL)


def test_an_assignment_tells_how_it_came_about() -> None:
    given = assign(live({"a": 80, "b": 20}), CALL)
    assert (given.experiment, given.epoch, given.revision, given.unit) == ("support-1", 3, 7, "call")
    assert given.bucket == bucket("CA1", SALT)
    assert given.share == {"a": 0.8, "b": 0.2}[given.arm]


@pytest.mark.parametrize(
    "number", ["anonymous", "", "+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"]
)
def test_a_withheld_number_is_a_caller_of_its_own(number: str) -> None:
    one = live(unit="caller")
    call = CALL._replace(from_=number)
    assert not wants_memory(one, call)
    given = assign(one, call)
    assert (given.reason, given.bucket) == ("withheld", bucket("CA1", SALT))


def test_the_memory_does_not_tell_the_number() -> None:
    key = memory_key(experiment().salt, "+14155551234")
    assert b"4155551234" not in key
    assert key != memory_key(OTHER_SALT, "+14155551234")


@pytest.mark.parametrize(
    ("to", "served"),
    [
        ("b", Served(by="version", arm="b", version="support@4", reason="hold")),
        ("support@4", Served(by="version", arm="b", version="support@4", reason="hold")),
        ("support@9", Served(by="version", arm=None, version="support@9", reason="hold")),
        ("fallback", Served(by="fallback", reason="hold")),
    ],
)
def test_a_hold_overrides_who_serves_and_nothing_else(to: str, served: Served) -> None:
    hold = Hold(route="support", to=to, author="kim", reason="noise", set_at=0)
    held, free = decide(snapshot(live()), CALL, {"support": hold}), decide(snapshot(live()), CALL, {})
    assert free.assignment is not None
    assert held.served == served
    assert held.assignment == free.assignment._replace(analysed=False)


def test_a_hold_ends_when_its_time_is_up_and_touches_its_own_route_only() -> None:
    hold = Hold(route="support", to="fallback", author="kim", reason="noise", set_at=0, until=2_000)
    one = snapshot(live())
    assert decide(one, CALL._replace(at=1_999), {"support": hold}).served.by == "fallback"
    late = CALL._replace(at=2_000)
    assert decide(one, late, {"support": hold}) == decide(one, late, {})
    assert decide(one, CALL, {"sales": hold}) == decide(one, CALL, {})


def test_without_a_hold_the_assigned_version_serves() -> None:
    free = decide(snapshot(live()), CALL, {})
    assert free.assignment is not None
    assert free.served == Served(by="version", arm=free.assignment.arm, version=free.assignment.version)
    assert free.assignment.analysed


def test_a_number_that_no_route_names_is_unrouted() -> None:
    lost = decide(snapshot(live()), CALL._replace(to="+14155550999"), {})
    assert (lost.assignment, lost.served.by) == (None, "unrouted")


def shares(*weights: float) -> tuple[Arm, ...]:
    return route(dict(zip("abcdefg", weights, strict=False))).arms


@pytest.mark.parametrize(
    ("weights", "size"),
    [((1, 1), 4), ((80, 20), 5), ((90, 10), 10), ((1, 1, 1), 6), ((2, 1, 1), 4), ((1, 0), 4), ((1, 6), 7)],
)
def test_each_block_holds_the_shares_whole(weights: tuple[float, ...], size: int) -> None:
    arms, test = shares(*weights), experiment()
    assert block_size(arms) == size
    for block in range(25):
        drawn = Counter(blocked(arms, test, "c", block * size + seat).name for seat in range(size))
        assert all(drawn[arm.name] == pytest.approx(arm.share * size) for arm in arms)


@settings(max_examples=60)
@given(st.lists(st.floats(0.02, 1), min_size=2, max_size=4))
def test_blocks_that_cannot_hold_the_shares_hold_them_together(weights: list[float]) -> None:
    arms = shares(*weights)
    count = 4 * block_size(arms)
    drawn = Counter(blocked(arms, experiment(), "c", place).name for place in range(count))
    assert all(abs(drawn[arm.name] - arm.share * count) <= 4 for arm in arms)


def test_a_block_is_drawn_anew_for_every_campaign_epoch_and_experiment() -> None:
    arms = shares(1, 1)

    def order(campaign: str, test: Experiment) -> str:
        return "".join(blocked(arms, test, campaign, place).name for place in range(40))

    orders = {
        order("c", experiment()),
        order("d", experiment()),
        order("c", experiment(epoch=2)),
        order("c", experiment(salt=b"another")),
    }
    assert len(orders) == 4
    assert order("c", experiment()) == order("c", experiment())


def test_every_order_of_a_block_comes_up_as_often() -> None:
    arms = shares(1, 1)
    orders = Counter(
        "".join(blocked(arms, experiment(), f"c{number}", place).name for place in range(4)) for number in range(3000)
    )
    assert len(orders) == 6
    # Chi-squared with 5 degrees of freedom: 20.5 is passed by chance once in a thousand.
    assert sum((count - 500) ** 2 / 500 for count in orders.values()) < 20.5
