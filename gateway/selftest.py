"""Tests the gateway's own promises without a server: the split, published vectors, and A/A tests that stay quiet.

Pure: the seed decides every draw, so that two machines print the same numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.carrier.signature import Keyring, Verifier
from gateway.decide import bucket, decide
from gateway.model import Call, Experiment, LiveRoute, Snapshot
from gateway.results.evaluating import evaluate
from gateway.results.study import study_of
from gateway.routefile import build_route
from gateway.stats.effect import variance_of_rates
from gateway.stats.sequential import NEEDED_OF_A_RATE, log_e_value, tuning
from gateway.stats.srm import ALARM, sequential_srm
from gateway.storage.tallies import Cell, Count

TESTS, CALLS = 1000, 2000
ALPHA = 0.05
NAIVE_Z, NAIVE_FROM = 1.959963984540054, 30  # the 5% test, from 30 calls per arm on
_RATE = 0.5
_NUMBER = "+14155550100"
_SALT = b"gateway self-test"

# docs/reference/route-files.md tells how a bucket is computed; anybody can recompute these.
BUCKETS = (
    ("CA" + "0" * 32, b"salt", 391_038),
    ("+14155551234", b"salt", 945_195),
    ("CA" + "0" * 32, b"other", 957_261),
)
# The example of Twilio's documentation on webhook security.
_SIGNED = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
_SIGNATURE, _SIGNING_TOKEN = "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "12345"
_SIGNED_BASE, _SIGNED_PATH = "https://mycompany.com", "/myapp.php?foo=1&bar=2"

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One promise, whether it is kept, and the numbers that show it."""

    name: str
    kept: bool
    told: str


@dataclass(slots=True)
class Peeking:
    """What looking after every call found in tests of two equal versions; counts of tests."""

    tests: int = 0
    calls: int = 0
    to_b: int = 0
    ours: int = 0
    naive: int = 0
    broken_splits: int = 0
    disagreeing: list[int] = field(default_factory=list)

    def checks(self) -> list[Check]:
        """The promises that these counts keep or break."""
        share, deviation = self.to_b / max(1, self.calls), 0.5 / math.sqrt(max(1, self.calls))
        # Four standard errors above the promise: what chance alone does not bring.
        allowed = ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / max(1, self.tests))
        ours, naive = (count / max(1, self.tests) for count in (self.ours, self.naive))
        return [
            Check(
                name="false winners",
                kept=ours <= allowed,
                told=f"{self.ours:,} of {self.tests:,} A/A tests ({ours:.1%}; at most {ALPHA:.0%} promised)",
            ),
            Check(
                name="the naive z test",
                kept=self.naive > self.ours,
                told=f"{self.naive:,} false winners ({naive:.1%}) on the same calls: the test can fail",
            ),
            Check(
                name="split",
                kept=abs(share - 0.5) < 4 * deviation,
                told=f"{share:.3%} of {self.calls:,} calls went to b, for 50%",
            ),
            Check(
                name="sample-ratio alarms",
                kept=self.broken_splits <= max(1, self.tests // 100),
                told=f"{self.broken_splits} of {self.tests:,} tests",
            ),
            Check(
                name="the same as the results page",
                kept=not self.disagreeing,
                told="p-values agree" if not self.disagreeing else f"tests {self.disagreeing[:5]} disagree",
            ),
        ]


def vectors() -> list[Check]:
    """The published vectors: buckets of the split, and a signature of Twilio's."""
    wrong = [unit for unit, salt, place in BUCKETS if bucket(unit, salt) != place]
    keyring = Keyring(tokens={}, any_account=(_SIGNING_TOKEN,), shared_keys={})
    verifier = Verifier(public_url=_SIGNED_BASE, keyring=keyring)
    good = verifier.verify(_SIGNED_PATH, list(_SIGNED.items()), _SIGNATURE, None, None)
    forged = verifier.verify(_SIGNED_PATH, [*_SIGNED.items(), ("Digits", "9")], _SIGNATURE, None, None)
    return [
        Check(name="bucket vectors", kept=not wrong, told=f"{len(BUCKETS) - len(wrong)} of {len(BUCKETS)} agree"),
        Check(
            name="signature vectors",
            kept=good and not forged,
            told="Twilio's own is accepted, a forged one refused" if good and not forged else "wrong verdict",
        ),
    ]


def repeatable(seed: int, *, calls: int = 5000) -> Check:
    """Whether a call that comes twice gets the same arm, from a snapshot that was built anew."""
    names = [_name(seed, 0, place) for place in range(calls)]
    arms = [[_arm(live, name) for name in names] for live in (_snapshot(0), _snapshot(0))]
    other = [_arm(_snapshot(1), name) for name in names[:200]]
    same = arms[0] == arms[1] and other != arms[0][:200]
    return Check(name="the same call, the same version", kept=same, told=f"{calls:,} calls drawn twice")


def peek(seed: int, *, tests: int = TESTS, calls: int = CALLS) -> Iterator[Peeking]:
    """Tests of two equal versions through the real router, looked at after every call; yields after each test."""
    rng, found = np.random.default_rng(seed), Peeking()
    for test in range(tests):
        snapshot = _snapshot(test)
        to_b = np.array([_arm(snapshot, _name(seed, test, place)) == "b" for place in range(calls)])
        won = rng.random(calls) < _RATE
        _look(found, test, to_b, won)
        yield found


def _look(found: Peeking, test: int, to_b: npt.NDArray[np.bool_], won: npt.NDArray[np.bool_]) -> None:
    calls = len(to_b)
    n_b, x_b = np.cumsum(to_b, dtype=float), np.cumsum(won & to_b, dtype=float)
    n_a, x_a = np.arange(1.0, calls + 1) - n_b, np.cumsum(won & ~to_b, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = x_b / n_b - x_a / n_a
        p = (x_a + x_b) / (n_a + n_b)
        naive = np.abs(gap) / np.sqrt(p * (1 - p) * (1 / n_a + 1 / n_b)) >= NAIVE_Z
        z = gap / np.sqrt(variance_of_rates(x_a, n_a, x_b, n_b))
        log_e = log_e_value(z, (n_a + n_b) * tuning(calls, alpha=ALPHA))
    gate = np.minimum.reduce([x_a, n_a - x_a, x_b, n_b - x_b]) >= NEEDED_OF_A_RATE
    found.tests += 1
    found.calls += calls
    found.to_b += int(n_b[-1])
    found.ours += bool(((log_e >= -math.log(ALPHA)) & gate).any())
    found.naive += bool((naive & (np.minimum(n_a, n_b) >= NAIVE_FROM)).any())
    found.broken_splits += sequential_srm([([int(n_a[-1]), int(n_b[-1])], [0.5, 0.5])]) >= ALARM
    if not _agrees(calls, {"a": (n_a[-1], x_a[-1]), "b": (n_b[-1], x_b[-1])}, float(log_e[-1]) if gate[-1] else 0.0):
        found.disagreeing.append(test)


def _agrees(calls: int, arms: dict[str, tuple[float, float]], log_e: float) -> bool:
    """Whether the results page says of the last look what was computed here for all looks at once."""
    tallies = [
        (Cell(_STUDY["id"], 1, 0, "", arm, "success"), Count(n=int(n), mean=x / n, m2=x * (1 - x / n)))
        for arm, (n, x) in arms.items()
        if n
    ]
    plan = {"planned": True, "primary": {"metric": "success", "min_effect": 0.05}, "n_planned": calls, "alpha": ALPHA}
    evaluation = evaluate(study_of(_STUDY | {"plan": plan}), tallies, now=0)
    return math.isclose(evaluation.evidence.primary["b"].p, math.exp(-max(log_e, 0.0)), rel_tol=1e-9)


_STUDY: dict[str, Any] = {
    "id": "selftest-1",
    "unit": "call",
    "status": "running",
    "opened_at": 0,
    "epochs": [
        {
            "number": 1,
            "memory": 1,
            "began_at": 0,
            "arms": [{"arm": arm, "version": f"selftest@{place}", "share": 0.5} for place, arm in enumerate("ab", 1)],
        }
    ],
}


def _snapshot(test: int) -> Snapshot:
    """A route that splits evenly between two versions; each test has a salt of its own."""
    route = build_route(
        "selftest",
        {
            "direction": "inbound",
            "numbers": [_NUMBER],
            "versions": {"a": "selftest@1", "b": "selftest@2"},
            "ab_test": {"enabled": True, "split": {"a": 50, "b": 50}},
        },
    )
    experiment = Experiment(
        id="selftest-1",
        route="selftest",
        number=1,
        name="",
        unit="call",
        status="running",
        salt=_SALT + test.to_bytes(8, "big"),
        coverage_salt=_SALT,
        epoch=1,
        memory=1,
        opened_at=0,
    )
    live = LiveRoute(route=route, revision=1, experiment=experiment)
    return Snapshot(routes={"selftest": live}, numbers={_NUMBER: live})


def _name(seed: int, test: int, place: int) -> str:
    return f"CA{seed % 2**32:08x}{test:08x}{place:016x}"


def _arm(snapshot: Snapshot, name: str) -> str | None:
    call = Call(
        id=name, sid=name, account="", direction="inbound", from_="+14155551234", to=_NUMBER, at=0, status="ringing"
    )
    return decide(snapshot, call, {}).served.arm
