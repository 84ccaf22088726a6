"""A database of one megabyte of memory on a simulated disk, whose background works in the thread that made work due."""

from __future__ import annotations

from typing import Any

import pytest

import flin.engine
from flin.engine.read import live_count
from flin.testing import ManualClock, SimulatedDisk

DB = "/db"


def opened(disk: SimulatedDisk, **options: Any) -> Any:
    defaults: dict[str, Any] = {"runner": "inline", "clock_ms": ManualClock(), "memory_limit": "1mb"}
    return flin.engine.open(DB, fs=disk, **defaults | options)


def count_away_from(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    """Let a job count what is unsettled if it has more entries than this."""
    monkeypatch.setattr(live_count.LiveCount.settle, "__kwdefaults__", {"asked": True, "few": entries})
