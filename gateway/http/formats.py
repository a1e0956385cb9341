"""How values are written on a page. Times leave here as UTC; a script in the page turns them to the viewer's zone."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def utc(at: int) -> str:
    """Unix milliseconds as ``2026-05-01 09:30:12 UTC``."""
    return f"{_moment(at):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: int) -> str:
    """Unix milliseconds as a machine reads them."""
    return f"{_moment(at):%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}Z"


def _moment(at: int) -> datetime:
    try:
        return datetime.fromtimestamp(at / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def share(fraction: float) -> str:
    """A fraction as a percentage with no more digits than it needs: ``33.3 %``."""
    return f"{fraction * 100:.1f}".removesuffix(".0") + " %"


def span(seconds: float | None) -> str:
    """Seconds as ``2 min 05 s``; a dash for what is not known."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def ago(at: int, now: int) -> str:
    """How long ago a moment was, in its largest unit."""
    seconds = max(0, now - at) // 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def count(number: int) -> str:
    """A number with thin gaps between the thousands."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def few(number: float) -> str:
    """A number with one digit behind the point while it is small: ``4.5``, ``45``."""
    return count(round(number)) if number >= 10 else f"{number:.1f}".removesuffix(".0")


def split(arms: Sequence[Mapping[str, Any]]) -> str:
    """The shares of a split in a word: ``80/20``."""
    return "/".join(f"{arm['share'] * 100:.1f}".removesuffix(".0") for arm in arms)


def unbroken(text: str) -> str:
    """The text with its percentages held together at the end of a line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def indented(xml: str) -> str:
    """XML with each tag on a line of its own, as deep as it stands."""
    lines, depth = [], 0
    for piece in xml.replace("><", ">\n<").split("\n"):
        depth -= piece.startswith("</")
        lines.append("  " * max(0, depth) + piece)
        depth += piece.startswith("<") and not piece.startswith(("</", "<?")) and "</" not in piece
        depth -= piece.startswith("<") and piece.endswith("/>")
    return "\n".join(lines)


def capital(text: str) -> str:
    """The text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


FILTERS: Mapping[str, Callable[..., Any]] = {
    one.__name__: one for one in (utc, iso, share, span, ago, count, few, split, indented, unbroken, capital)
}
