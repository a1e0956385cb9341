"""Structured logging: one event per fact, key=value, with phone numbers masked and secrets left out."""

import logging
import re
import sys
from collections.abc import Collection, Mapping
from typing import Any, Literal

import structlog

# Seven digits or more, with what people and URLs put between them.
_NUMBER = re.compile(r"\+?\d(?:[\d \t\u00a0\u202f()./+\-\u2010-\u2015]|%2[0-9A-Fa-f]){5,}\d")
# What is made of digits too and stays readable: sids and our own ids (longer than any number), UUIDs, ISO times.
_READABLE = re.compile(
    r"""(
      (?<![0-9A-Za-z_])(?:[A-Z]{2}[0-9a-f]{16,}|[a-z]{2,12}_[0-9a-z]{16,})(?![0-9A-Za-z])
    | (?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])
    | (?<![\d+\-.])(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])
      (?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d|-\d)
    )""",
    re.VERBOSE,
)
_SECRET = re.compile(r"token|secret|password|authorization|signature|cookie|api_?key$", re.IGNORECASE)
# A secret inside text, each time behind what gives it away: a URL's password, a form field, a quoted key, a header.
_CREDENTIAL = re.compile(
    r"""(://[^\s/:@]*:)[^\s/]*(?=@)
    | ((?:token|secret|password|signature|api_?key)=['"]?)[^\s&,;'"]+
    | ((?:token|secret|password|authorization|signature|cookie|api_?key)['"]:\s*['"])[^'"]+
    | (authorization:\s*\w+\s+|\bbearer\s+)[^\s'",]+""",
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN = frozenset({"level", "timestamp", "logger"})
# A shorter one would blot out ordinary words.
_SHORTEST_SECRET = 8

Format = Literal["console", "json"]


class Throttle:
    """Lets a few events through in each second, so that a flood cannot fill a log or take up the processor."""

    def __init__(self, per_second: int) -> None:
        self._limit = per_second
        self._second = 0
        self._passed = 0
        self._skipped = 0

    def passes(self, now: int) -> int | None:
        """How many were skipped since the last that passed, or None if this one, at ``now`` (ms), is skipped too."""
        if now // 1000 != self._second:
            self._second, self._passed = now // 1000, 0
        if self._passed >= self._limit:
            self._skipped += 1
            return None
        self._passed += 1
        skipped, self._skipped = self._skipped, 0
        return skipped


def reason(error: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing, as a timeout does."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def mask(text: str) -> str:
    """``text`` with every phone number cut down to its last two digits and credentials left out.

    Call ids and ISO times stay readable.
    """

    def _masked(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match[0])
        return f"…{digits[-2:]}" if len(digits) > 6 else match[0]

    text = _CREDENTIAL.sub(lambda match: f"{match[match.lastindex or 0]}***", text)
    parts = _READABLE.split(text)  # every second part is readable
    parts[::2] = [_NUMBER.sub(_masked, part) for part in parts[::2]]
    return "".join(parts)


def _masker(secrets: Collection[str]) -> structlog.typing.Processor:
    known = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)

    def _text(text: str) -> str:
        for secret in known:
            text = text.replace(secret, "***")
        return mask(text)

    def _value(key: str, value: object) -> object:
        if key in _PLAIN or key.startswith("_") or isinstance(value, int | float | None):
            return value
        if _SECRET.search(key):
            return "***"
        if isinstance(value, Mapping):
            return {_text(str(name)): _value(str(name), item) for name, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_value(key, item) for item in value]
        return _text(str(value))

    def _masked(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {key: _value(key, value) for key, value in event.items()}

    return _masked


def configure(*, level: str = "info", form: Format = "console", secrets: Collection[str] = ()) -> None:
    """Send every log line, the libraries' included, to standard error in one shape.

    ``secrets`` are left out wherever they turn up, an exception's text included (``Settings.secrets``).
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _masker(secrets),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The Twilio client prints whole requests, and alembic its every step, at this level.
    for chatty in ("twilio", "alembic", "aiosqlite", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; bind what a call is about once (``call_id``, ``route``, ``version``)."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
