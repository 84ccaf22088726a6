"""While nothing is written runs become one, but no large run is rewritten for a small one."""

from __future__ import annotations

import random
from dataclasses import replace
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest

import flin.engine
from flin.engine.background import compactor as compactor_module
from flin.engine.background.compaction import CompactionOptions
from flin.engine.background.idle import MAX_QUIET_SECONDS, QUIET_SECONDS, SHARE, Quiet, pick_idle
from flin.engine.background.job import CompactionJob, JobResult
from flin.engine.background.merging import compact
from flin.testing import SimulatedDisk
from flin.testing.process import PATIENCE_SECONDS
from tests.engine.background.merge_model import MergeModel

KEYS = [b"%03d" % number for number in range(240)]


def merge_all(model: MergeModel) -> int:
    """Make every merge that pays while nothing is written. Returns how many."""
    done = 0
    while (found := pick_idle(model.version, model.options)) is not None:
        model._check_plan(found)
        model.busy.append(found)
        before = sum(len(run) for run in model.runs), len(model.runs), model.unsettled
        model.end(found)
        done += 1
        assert done < 400, "they do not end"
        assert not found.trivial or before != (sum(len(run) for run in model.runs), len(model.runs), model.unsettled)
    return done


def test_equal_runs_become_one() -> None:
    model = MergeModel(CompactionOptions(target_table_bytes=1000))
    for turn in range(3):
        model.flush(dict.fromkeys(KEYS[turn::4], True))
    assert model.begin() is None, "the picker would leave them"
    assert merge_all(model) == 1
    assert len(model.runs) == 1


def test_a_large_run_is_not_rewritten_for_a_small_one() -> None:
    model = MergeModel(CompactionOptions(target_table_bytes=1000))
    model.flush(dict.fromkeys(KEYS, True))
    merge_all(model)
    bottom = model.runs[-1]
    rewritten = 0
    for key in KEYS[: len(KEYS) // 5]:
        model.flush({key: True})
        written = model.written
        merge_all(model)
        rewritten += model.written - written
        assert model.runs[-1] == bottom
    assert rewritten < 12 * len(KEYS) // 5, "each byte a few times on each level"
    model.flush(dict.fromkeys(KEYS[: len(KEYS) // 4], True))
    merge_all(model)
    assert len(model.runs) == 1


def test_a_lone_run_is_settled_without_rewriting() -> None:
    model = MergeModel(CompactionOptions(target_table_bytes=40), settles_flushes=False)
    model.flush(dict.fromkeys(KEYS, True), parts=[60, 120, 180])
    assert model.live == 0
    assert merge_all(model) == 1
    assert (model.live, model.written, model.unsettled) == (len(KEYS), 0, 0)


@pytest.mark.parametrize("seed", range(12))
def test_they_end_and_keep_the_order_of_ages(seed: int) -> None:
    rng = random.Random(seed)
    sizes = CompactionOptions(target_table_bytes=rng.choice((6, 20)), plan_bytes=40, range_bytes=rng.choice((60, 500)))
    model = MergeModel(sizes, settles_flushes=bool(seed % 2))
    for _ in range(30):
        keys = rng.sample(KEYS, rng.choice((1, 4, 30, 90)))
        model.flush({key: rng.random() < 0.8 for key in keys})
        for _ in range(rng.randrange(3)):
            found = model.begin()
            if found is not None:
                model.end(found)
        if rng.random() < 0.4:
            merge_all(model)
        if rng.random() < 0.1:
            model.settle(rng.randrange(model.unsettled + 1))
    merge_all(model)
    if not model.fences:
        sizes_of_runs = [sum(table.raw_bytes for table in run) for run in model.runs]
        if sum(sizes_of_runs) <= model.options.range_bytes and not model.unsettled:
            for at, size in enumerate(sizes_of_runs[1:], 1):
                assert sum(sizes_of_runs[:at]) < SHARE * size


def test_nothing_is_picked_beside_other_work() -> None:
    model = MergeModel(CompactionOptions(target_table_bytes=1000))
    for turn in range(2):
        model.flush(dict.fromkeys(KEYS[turn::4], True))
    found = pick_idle(model.version, model.options)
    assert found is not None
    assert pick_idle(model.version, model.options, [found]) is None
    assert pick_idle(replace(model.version, shards=((),)), model.options) is None


def test_quiet() -> None:
    quiet = Quiet()
    assert not quiet.reached(7, 100.0)
    assert not quiet.reached(7, 100.0 + QUIET_SECONDS / 2)
    assert quiet.reached(7, 100.0 + QUIET_SECONDS)
    assert not quiet.reached(8, 102.0)
    quiet.end(cancelled=True)
    assert not quiet.reached(8, 102.0 + QUIET_SECONDS)
    assert quiet.reached(8, 102.0 + 2 * QUIET_SECONDS)
    for _ in range(20):
        quiet.end(cancelled=True)
    assert not quiet.reached(8, 102.0 + MAX_QUIET_SECONDS - 1)
    assert quiet.reached(8, 102.0 + MAX_QUIET_SECONDS)
    quiet.end(cancelled=False)
    assert quiet.reached(8, 102.0 + QUIET_SECONDS)


def three_runs(runner: Any) -> Any:
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner=runner)
    for turn in range(3):
        db.put_many({b"%04d" % number: b"%d" % turn for number in range(turn, 900, 2)})
        db.flush()
    return db


def runs_of(db: Any) -> int:
    return len(db._store.state.runs[0])


def test_an_engine_merges_when_idle() -> None:
    db = three_runs("inline")
    assert runs_of(db) == 3
    while db._compactor.merge_idle_once():
        pass
    assert runs_of(db) == 1
    assert (len(db), db[b"0001"], db[b"0002"]) == (900, b"1", b"2")
    assert db.verify() == []
    db.close()


@pytest.mark.parametrize("by", ["put", "compact"])
def test_it_is_cancelled(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next write, or by who waits for a merge; nothing of it stays. When it is quiet again, it is done."""
    monkeypatch.setattr(compactor_module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr("flin.engine.background.idle.QUIET_SECONDS", 3600.0)
    begun = Event()
    cancelled: list[bool] = []

    def endless(fs: Any, job: CompactionJob, checkpoint: Any, *more: Any) -> Any:
        while not cancelled:
            begun.set()
            try:
                checkpoint()
            except BaseException:
                cancelled.append(True)
                raise
            Event().wait(0.001)
        return compact(fs, job, checkpoint, *more)

    monkeypatch.setattr("flin.engine.background.job_run.compact", endless)
    db = three_runs("thread")
    results: list[bool] = []
    thread = Thread(target=lambda: results.append(db._compactor.merge_idle_once()))
    thread.start()
    assert begun.wait(PATIENCE_SECONDS)
    if by == "compact":
        db.compact()
    else:
        db.put(b"0001", b"1")
    thread.join(30)
    assert (results, cancelled, runs_of(db)) == ([False], [True], 1 if by == "compact" else 3)
    assert db.stats()["compaction"]["discarded"] == 1
    assert db._compactor.merge_idle_once() == (by == "put")
    assert runs_of(db) == 1
    assert (len(db), db.verify()) == (900, [])
    db.close()


def test_the_maintenance_begins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = Event()
    run = compactor_module.Compactor._run

    def noted(self: Any, job: CompactionJob, ends_at_a_write: bool) -> JobResult:
        result = run(self, job, ends_at_a_write)
        merged.set()
        return result

    monkeypatch.setattr("flin.engine.background.idle.QUIET_SECONDS", 0.01)
    monkeypatch.setattr(compactor_module.Compactor, "_run", noted)
    db = three_runs("thread")
    assert merged.wait(PATIENCE_SECONDS)
    db.close()


def test_the_cache_has_more_room_until_the_first_write(open_engine: Any) -> None:
    db = open_engine(runner="thread")
    cache, budget = db._store.tables.block_cache, db._store.options.budget
    assert cache.capacity_bytes == budget.quiet_block_cache > budget.block_cache
    db.put(b"a", b"1")
    deadline = monotonic() + 30
    while cache.capacity_bytes > budget.block_cache and monotonic() < deadline:
        sleep(0.01)
    assert cache.capacity_bytes <= budget.block_cache
    db.close()


def test_the_cache_has_more_room_while_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives it back before a flush."""
    monkeypatch.setattr("flin.engine.background.idle.QUIET_SECONDS", 3600.0)
    at_flush: list[int] = []
    db = three_runs("inline")
    store = db._store
    run = type(db._compactor._runner).submit

    def noted(self: Any, job: Any) -> Any:
        at_flush.append(store.tables.block_cache.capacity_bytes)
        return run(self, job)

    monkeypatch.setattr(type(db._compactor._runner), "submit", noted)
    budget = store.options.budget
    store.tables.memory.fit(store.cache_budget(is_quiet=True))
    assert store.tables.block_cache.capacity_bytes > budget.block_cache
    db.put(b"a", b"1")
    store.seal()
    assert store.cache_budget(is_quiet=True) == budget.block_cache
    db.flush()
    assert at_flush[0] <= budget.block_cache < budget.quiet_block_cache
    db.close()
