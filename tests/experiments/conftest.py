"""Nothing looks or counts by itself while a trial runs: a look between two others would be another experiment."""

from collections.abc import Iterator

import pytest
import structlog

from gateway import wiring


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for period in ("LEAD_SECONDS", "MATURE_SECONDS"):
        monkeypatch.setattr(wiring, period, 3600.0)


@pytest.fixture(autouse=True)
def told() -> Iterator[list[structlog.typing.EventDict]]:
    """What the gateway logs, kept and not drawn: hundreds of refused calls would be hundreds of tracebacks."""
    with structlog.testing.capture_logs() as kept:
        yield kept
