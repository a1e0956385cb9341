"""The pages read and write through the endpoints of the API, which are tested on both engines: one is enough here."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    yield f"sqlite:///{tmp_path}/gateway.db"
