"""Where things stand in a chart: numbers become places in a frame of 0 to 100 by 0 to 100, for whoever draws it.

Pure. A place beyond the frame is cut off at its edge, and said to be.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from gateway.results.study import Kind
from gateway.results.wording import signed

_TICKS = 4  # at most so many steps on an axis
_WIDEST = 3.0  # half-widths of the last interval: what early, wide intervals may take of the frame


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """An interval along a line: places of nought, the estimate, both ends, and the margins that matter."""

    zero: float
    point: float | None
    low: float | None
    high: float | None
    margins: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A line across the chart and what it is called."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One day of a curve; each of its numbers is None while nothing can be computed."""

    day: str
    n: int
    alone: float | None
    alone_low: float | None
    alone_high: float | None
    so_far: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """An effect over time: ``band`` and ``line`` are lists of points, ``dots`` those of each day alone."""

    band: str
    line: str
    dots: tuple[tuple[float, float], ...]
    zero: float
    margins: tuple[float, ...]
    ticks: tuple[Tick, ...]
    days: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """An arm's part of a column: from ``top`` downwards."""

    arm: str
    top: float
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """The calls of one day: ``counts`` by arm, and a block for each."""

    day: str
    left: float
    width: float
    counts: Mapping[str, int]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Calls by day, the arms of a day on top of each other; a day without calls is an empty column."""

    arms: tuple[str, ...]
    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    days: tuple[str, ...]


def span(
    value: float | None, low: float | None, high: float | None, *, margins: Iterable[float] = (), reach: float = 0.0
) -> Span:
    """An interval on a line that is as far to the left of nought as to the right; ``reach`` is its least half."""
    limits = tuple(margins)
    known = [abs(one) for one in (value, low, high, *limits) if one is not None]
    if low is None and high is None and value is not None:
        # Nobody knows yet how far it is: it should not look far.
        known.append(3 * abs(value))
    half = max([reach, *known]) * 1.12 or 1.0

    def place(one: float) -> float:
        return round(50 + 50 * one / half, 2)

    return Span(
        zero=50.0,
        point=None if value is None else place(value),
        low=None if low is None else place(low),
        high=None if high is None else place(high),
        margins=tuple(place(one) for one in limits),
    )


def curve(moments: Sequence[Moment], *, kind: Kind, margins: Iterable[float] = ()) -> Curve | None:
    """The effect over the days; None where no day has one."""
    known = [one for one in moments if one.so_far is not None]
    if not known:
        return None
    bottom, top, step = _axis(known, 1.0 if kind == "rate" else math.inf)

    def across(one: Moment) -> float:
        return round(100 * moments.index(one) / max(1, len(moments) - 1), 2)

    def up(value: float) -> float:
        return round(100 * (top - min(max(value, bottom), top)) / (top - bottom), 2)

    wide = [one for one in known if one.low is not None and one.high is not None]
    upper = [f"{across(one)},{up(one.high or 0.0)}" for one in wide]
    lower = [f"{across(one)},{up(one.low or 0.0)}" for one in reversed(wide)]
    count = round((top - bottom) / step)
    values = [top - step * place for place in range(count + 1)]
    return Curve(
        band=" ".join(upper + lower),
        line=" ".join(f"{across(one)},{up(one.so_far or 0.0)}" for one in known),
        dots=tuple((across(one), up(one.alone)) for one in moments if one.alone is not None),
        zero=up(0.0),
        margins=tuple(up(one) for one in margins if bottom <= one <= top),
        ticks=tuple(Tick(at=up(one), label=_tick(one, kind) if abs(one) > step / 2 else "0") for one in values),
        days=_few([one.day for one in moments]),
    )


def columns(days: Sequence[tuple[str, Mapping[str, int]]]) -> Columns | None:
    """Calls by day and arm, the oldest day first; None where nobody has called."""
    most = max((sum(counts.values()) for _, counts in days), default=0)
    if not most:
        return None
    known = dict(days)
    first, last = (date.fromisoformat(days[place][0]) for place in (0, -1))
    every = [(first + timedelta(days=place)).isoformat() for place in range((last - first).days + 1)]
    arms = tuple(sorted({arm for _, counts in days for arm in counts}))
    step = max(1, round(_step(most / _TICKS)))
    top = step * math.ceil(most / step)
    width = 100 / len(every)
    return Columns(
        arms=arms,
        columns=tuple(
            Column(
                day=day,
                left=round(width * (place + 0.1), 3),
                width=round(width * 0.8, 3),
                counts={arm: known.get(day, {}).get(arm, 0) for arm in arms},
                blocks=tuple(_blocks(known.get(day, {}), arms, top)),
            )
            for place, day in enumerate(every)
        ),
        ticks=tuple(
            Tick(at=round(100 * (top - one) / top, 2), label=f"{one:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"))
            for one in range(top, -1, -step)
        ),
        days=_few(every),
    )


def _blocks(counts: Mapping[str, int], arms: Sequence[str], top: int) -> Iterator[Block]:
    floor = 100.0
    for arm in arms:
        height = 100 * counts.get(arm, 0) / top
        if height:
            floor -= height
            yield Block(arm=arm, top=round(floor, 2), height=round(height, 2))


def _axis(known: Sequence[Moment], most: float) -> tuple[float, float, float]:
    """(bottom, top, step) of an axis whose ends are ticks, and which holds nought and all that is not too wide.

    It goes no further than ``most``, which is as far as such numbers can be from nought.
    """
    last = known[-1]
    half = (last.high - last.low) / 2 if last.low is not None and last.high is not None else 0.0
    limit = min(most, max([_WIDEST * half, *(abs(one.so_far or 0.0) for one in known)]))
    bounds = [one for each in known for one in (each.low, each.high, each.so_far) if one is not None]
    low = max(min([0.0, *bounds]), -limit)
    high = min(max([0.0, *bounds]), limit)
    step = _step(max(high - low, 1e-9) / _TICKS)
    bottom, top = step * math.floor(low / step), step * math.ceil(high / step)
    return (bottom, top, step) if top > bottom else (-step, step, step)


def _step(rough: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= rough * 0.999)


def _tick(value: float, kind: Kind) -> str:
    return signed(value, kind).removesuffix(".0")


def _few(days: Sequence[str]) -> tuple[str, ...]:
    """The first, the middle and the last day, as people write them."""
    chosen = sorted({0, len(days) // 2, len(days) - 1}) if len(days) > 2 else range(len(days))
    return tuple(_short(days[place]) for place in chosen)


def _short(day: str) -> str:
    at = date.fromisoformat(day)
    return f"{at.day} {at:%b}"
