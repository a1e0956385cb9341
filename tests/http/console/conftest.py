"""The pages read and write through the endpoints of the API, which are tested on both engines: one is enough here."""

from pathlib import Path

import pytest


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The URL of an empty database."""
    return f"sqlite:///{tmp_path}/gateway.db"
