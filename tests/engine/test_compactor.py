"""The background's threads by themselves: what they outlive."""

from __future__ import annotations

import time

import pytest

import flin.engine
from flin.engine import compactor
from flin.engine.compactor import Compactor
from flin.testing import SimulatedDisk

PATIENCE_S = 60.0  # for what takes milliseconds on an idle machine


def test_a_thread_outlives_that_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where there is none left to say so: it tries again, and writers are not left waiting for ever."""
    monkeypatch.setattr(compactor, "RETRY_SECONDS", 0.01)
    refused: list[str] = []
    flush_once, note_failure = Compactor.flush_once, Compactor._note_failure

    def flush(self: Compactor) -> bool:
        if len(refused) < 4:
            refused.append("flush")
            raise MemoryError
        return flush_once(self)

    def note(self: Compactor, error: Exception) -> None:
        if len(refused) < 4:
            refused.append("note")
            raise MemoryError
        note_failure(self, error)

    monkeypatch.setattr(Compactor, "flush_once", flush)
    monkeypatch.setattr(Compactor, "_note_failure", note)
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="thread", memory_limit=1 << 20) as db:
        for number in range(2000):
            db.put(b"%d" % number, b"x" * 300)
        deadline = time.monotonic() + PATIENCE_S
        while not db.compactor.statistics.flushes:
            assert time.monotonic() < deadline, "nothing is flushed any more"
            time.sleep(0.01)
    assert refused == ["flush", "note", "flush", "note"]
