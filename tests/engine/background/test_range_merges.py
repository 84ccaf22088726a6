"""Merges of key ranges in an engine whose tables and ranges hold a few keys, killed and cut off at every edit."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

import flin.engine
from flin.engine.background import compactor, job_files
from flin.engine.background.compaction import Compaction, CompactionOptions
from flin.engine.background.compactor import Compactor
from flin.engine.background.picker import pick_full_compaction
from flin.engine.engine import Engine
from flin.engine.tree.store import Store
from flin.testing import CrashModel, SimulatedDisk
from flin.testing.crash_model import every_crash
from flin.testing.run import PATH

SMALL = partial(
    CompactionOptions, merge_width=3, maximum_runs=5, plan_bytes=2500, range_bytes=2500, smallest_move_share=0.25
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor, "CompactionOptions", lambda target_table_bytes: SMALL(target_table_bytes=800))


def opened(disk: SimulatedDisk, **more: Any) -> Engine:
    return flin.engine.open(
        PATH, fs=disk, runner="inline", sync="always", compression="none", block_size_bytes=512, **more
    )


def busy_work(db: Engine, model: dict[bytes, bytes], seed: int, flushes: int) -> None:
    """Flushes of neighbouring keys, some deleted, some by ranges."""
    chance = random.Random(seed)
    for number in range(flushes):
        low = chance.randrange(150)
        high = low + chance.choice((5, 20, 60))
        if chance.random() < 0.15:
            db.delete_range(b"%03d" % low, b"%03d" % high)
            for key in [key for key in model if b"%03d" % low <= key < b"%03d" % high]:
                del model[key]
        for key in (b"%03d" % each for each in range(low, high)):
            if chance.random() < 0.15:
                db.delete(key)
                model.pop(key, None)
            else:
                db.put(key, b"%d of %s " % (number, key) * 3)
                model[key] = b"%d of %s " % (number, key) * 3
        db.flush()
        assert dict(db) == model
        assert len(db) == len(model)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_kill_and_power_cut_at_every_edit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    model: dict[bytes, bytes] = {}
    crashed: list[tuple[SimulatedDisk, dict[bytes, bytes]]] = []
    partial_merges: list[Compaction] = []
    install, carry_out = Store.install_compaction, Compactor._carry_out

    def crash() -> None:
        for crash_model in (CrashModel.KILLED, CrashModel.JOURNALLED):
            crashed.extend((clone, dict(model)) for clone in every_crash(disk, crash_model, 2, len(crashed)))

    def recorded(store: Store, *rest: Any) -> None:
        crash()
        install(store, *rest)
        crash()

    def noted(background: Compactor, compaction: Compaction, *rest: Any) -> Any:
        whole = background._store.state.version.shards[0]
        if any(run not in whole for run in compaction.runs):
            partial_merges.append(compaction)
        return carry_out(background, compaction, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "install_compaction", recorded)
        patch.setattr(Compactor, "_carry_out", noted)
        with opened(disk) as db:
            busy_work(db, model, seed, 50)
            assert len(db._store.state.version.fences[0]) > 1
            assert len(db._store.state.version.shards[0]) <= 6
    assert len(partial_merges) > 10
    for clone, expected in crashed[:: max(1, len(crashed) // 40)]:
        with opened(clone) as again:
            assert dict(again) == expected
            assert len(again) == len(expected)
            assert again.verify() == []


@pytest.mark.usefixtures("small")
def test_a_full_compaction_goes_range_by_range() -> None:
    disk = SimulatedDisk()
    model: dict[bytes, bytes] = {}
    with opened(disk) as db:
        busy_work(db, model, 7, 20)
        before = db.stats()["compaction"]["jobs"]
        db.compact()
        version = db._store.state.version
        assert len(version.shards[0]) == 1
        assert not any(table.tombstones or table.range_deletes for table in version.shards[0][0])
        assert db.stats()["compaction"]["jobs"] > before + 1
        assert pick_full_compaction(version, 0, db._compactor._options) is None
        assert dict(db) == model
        assert len(db) == len(model)


@pytest.mark.usefixtures("small")
def test_clear_reads_no_table_that_it_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys are counted by what their metadata tell, and they leave by the edit."""
    disk = SimulatedDisk()
    with opened(disk) as db:
        for first in range(0, 2000, 50):
            db.put_many([(b"%05d" % number, b"v" * 50) for number in range(first, first + 50)])
            db.flush()
        assert len(db._store.state.version.shards[0][0]) == 40
        read: list[str] = []
        pages = job_files.Input.pages

        def noted(table: job_files.Input) -> Any:
            read.append(table.meta.file)
            return pages(table)

        monkeypatch.setattr(job_files.Input, "pages", noted)
        db.clear()
        db.put(b"new", b"1")
        db.flush()
        assert len(db) == 1
        assert dict(db) == {b"new": b"1"}
        tables = [table for run in db._store.state.version.shards[0] for table in run]
        assert sum(table.entry_count for table in tables) == 1
        assert len(set(read)) <= 1
