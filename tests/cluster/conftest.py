"""Fixtures for tests of workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.served import Serve, Served


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `flin serve` with workers, in the test's directory; all are ended with the test."""
    started: list[Served] = []

    def start(*options: str, **keywords: Any) -> Served:
        started.append(Served(tmp_path, *options, **keywords))
        return started[-1]

    yield start
    for served in started:
        served.program.kill()
