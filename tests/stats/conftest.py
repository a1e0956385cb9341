"""Dice for the statistics: each test throws its own, so that its draws depend on no other test."""

import zlib

import numpy as np
import pytest


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Seeded by the test's name."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))
