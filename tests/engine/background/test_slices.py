"""Slices of a job, and which jobs have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flin.engine.background import slices
from flin.engine.background.job_gate import JobGate
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.slices import REST_SECONDS, WORK_SECONDS, Slices
from flin.engine.disk.fs import OsFileSystem
from tests.engine.shard_tree import Tree


def test_a_rest_after_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time counts, so that a job that got none does not rest in addition."""
    clock, rests = 0.0, list[float]()
    monkeypatch.setattr(slices, "thread_time", lambda: clock)
    monkeypatch.setattr(slices, "sleep", rests.append)
    job = Slices()
    job.maybe_rest()
    clock = 0.9 * WORK_SECONDS
    job.maybe_rest()
    assert rests == []
    clock = 1.5 * WORK_SECONDS
    job.maybe_rest()
    job.maybe_rest()
    assert rests == [REST_SECONDS]
    clock = 2.6 * WORK_SECONDS
    job.maybe_rest()
    assert rests == [REST_SECONDS] * 2


@pytest.mark.parametrize("urgent", [False, True])
def test_a_flush_that_nobody_waits_for_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urgent: bool) -> None:
    """It may rest after every few hundred entries."""
    tree = Tree(str(tmp_path))
    asked = 0

    def note(self: Slices) -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(Slices, "maybe_rest", note)
    entries = {b"%06d" % number: b"v" * 100 for number in range(4096)}
    flush = replace(tree.flush_job([((), entries), ((), {b"x": b"1"})]), urgent=urgent)
    JobGate().run(OsFileSystem(), JobHandle(flush))
    assert asked == 0 if urgent else asked >= 8
