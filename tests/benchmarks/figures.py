"""The arithmetic of the benchmark, pure: what one run measured, percentiles, and spreads over the rounds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """How calls come in: from ``clients`` that each wait for their answer, or ``rate`` a second whatever happens."""

    clients: int = 0
    rate: float = 0.0

    @property
    def name(self) -> str:
        """How tables call it."""
        if self.rate:
            return f"{self.rate:g} calls/s"
        return "1 client" if self.clients == 1 else f"{self.clients} clients"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One run of one workload against one peer.

    ``throughput`` in good answers a second, ``p50``, ``p99`` and ``worst`` in seconds. ``cpu`` is what the server
    burnt on one answer, in seconds of one core; ``generator`` the share of its own core that the load generator
    was busy, ``late`` the 99th percentile of its own lateness in seconds (open loop). ``sent`` counts the calls
    sent, warm-up included, from the first index upwards; ``refused`` lists those not properly answered.
    """

    throughput: float
    p50: float
    p99: float
    worst: float
    cpu: float
    generator: float
    late: float
    sent: int
    refused: tuple[int, ...]
    errors: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The same figure over several rounds."""

    middle: float
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that at least ``share`` of them do not exceed (nearest rank); nan when empty."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Iterable[float]) -> Spread:
    """Median, smallest and largest of what can be computed of ``values``; all nan when nothing can."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(middle=math.nan, low=math.nan, high=math.nan)
    return Spread(middle=median(known), low=min(known), high=max(known))


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> Spread:
    """The spread of ours / theirs, taken round by round so that both sides saw the machine in the same mood."""
    pairs = zip(ours, theirs, strict=True)
    return spread(our / their if their else math.nan for our, their in pairs)
