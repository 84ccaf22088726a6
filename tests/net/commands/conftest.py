"""One context per test."""

from __future__ import annotations

import pytest

from tests.net.commands.handling import Handling


@pytest.fixture
def server() -> Handling:
    return Handling()
