"""The counter: unsettled runs are counted in a helper, once, for whoever asks first, or while nothing is written."""

from __future__ import annotations

from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest

import flin.engine
from flin.engine.background.job import CountJob, JobCancelled
from flin.errors import CorruptionError, HelperDiedError, StorageError
from flin.testing import CrashModel, Fault, SimulatedDisk, after_crash
from tests.engine.small_database import count_away_from, opened

PATIENCE_SECONDS = 30.0

KEYS = [b"%03d" % number for number in range(100)]


@pytest.fixture(autouse=True)
def all_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of any size are jobs."""
    count_away_from(monkeypatch, 0)


def fill(db: Any, *rounds: tuple[int, int]) -> None:
    """Runs with the keys of these rounds."""
    for begin, end in rounds:
        db.put_many(dict.fromkeys(KEYS[begin:end], b"v"))
        db.flush()


def count_figures(db: Any) -> tuple[int, int, int]:
    figures = db.stats()["count"]
    return figures["unsettled_runs"], figures["unsettled_entries"], figures["jobs"]


def test_each_run_is_counted_once() -> None:
    with opened(SimulatedDisk()) as db:
        fill(db, (0, 50), (25, 75))
        assert (count_figures(db), db.stats()["tables"]["live_keys"]) == ((1, 50, 0), {0: 50})
        assert (len(db), count_figures(db)) == (75, (1, 0, 1)), "the edit is still to come"
        assert (len(db), count_figures(db)) == (75, (1, 0, 1))
        fill(db, (70, 100))
        assert (db.stats()["tables"]["live_keys"], count_figures(db)) == ({0: 75}, (1, 30, 1))
        assert (len(db), count_figures(db)) == (100, (1, 0, 2))
        assert db.stats()["count"]["entries"] == 50 + 30


def test_a_power_cut_between_a_count_and_its_edit_loses_the_count_only() -> None:
    disk = SimulatedDisk()
    db = opened(disk)
    fill(db, (0, 50), (25, 75))
    assert len(db) == 75
    disk = after_crash(disk, CrashModel.TORN, Random(1).randrange)
    with opened(disk) as db:
        assert db._store.manifest.version.unsettled == (1,)
        assert (len(db), count_figures(db)[2]) == (75, 1)
        db._compactor.counter.count_idly()  # nothing to count, but its edit
    with opened(disk) as db:
        assert db._store.manifest.version.unsettled == (0,)
        assert (len(db), count_figures(db)[2]) == (75, 0)


def test_a_merge_of_counted_runs_and_newer_ones_is_made_once() -> None:
    """The count is of before a flush, and no edit has written it down since: a merge of all would be superseded by it,
    and a plan that does not know of it made again and again, for ever."""
    with opened(SimulatedDisk()) as db:
        fill(db, (0, 50), (25, 75))
        count = db._store.live_count.count_away

        def count_beside_a_flush(version: Any, asked: bool) -> Any:
            change = count(version, asked)
            db._store.live_count.count_away = count
            beside = Thread(target=fill, args=(db, (70, 100)))
            beside.start()
            beside.join()
            return change

        db._store.live_count.count_away = count_beside_a_flush
        assert len(db) == 75, "as it was at the call"
        assert db._store.manifest.version.unsettled == (2,)
        assert count_figures(db)[1] == 30, "of the newer run"
        db.compact()
        assert db.stats()["compaction"]["discarded"] == 0
        assert (len(db), db._store.manifest.version.unsettled) == (100, (0,))


def test_a_merge_takes_runs_while_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number stays true for what was counted, and the edit is that of the merge."""
    with opened(SimulatedDisk()) as db:
        fill(db, (0, 50), (25, 75), (60, 90))
        run = db._compactor.counter._run

        def merge_and_fill() -> None:
            db.compact()
            fill(db, (80, 100))

        def merged_meanwhile(job: CountJob) -> Any:
            result = run(job)
            another = Thread(target=merge_and_fill)
            another.start()
            another.join()
            return result

        monkeypatch.setattr(db._compactor.counter, "_run", merged_meanwhile)
        state = db._store.state
        db._store.settle(state)
        monkeypatch.undo()
        assert len(db) == 100
        assert db._store.count(0, None, state) == 90
        assert db.verify() == []


@pytest.mark.parametrize("error", [JobCancelled(), HelperDiedError("killed")])
def test_without_a_helper_the_caller_counts(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with opened(SimulatedDisk()) as db:
        fill(db, (0, 50), (25, 75))

        def fail(job: CountJob) -> Any:
            raise error

        monkeypatch.setattr(db._compactor.counter, "_run", fail)
        assert len(db) == 75


def test_damage_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        fill(db, (0, 50), (25, 75))

        def fail(job: CountJob) -> Any:
            raise CorruptionError("/db/x", 0, "test")

        with monkeypatch.context() as patch:
            patch.setattr(db._compactor.counter, "_run", fail)
            with pytest.raises(CorruptionError):
                len(db)
        assert len(db) == 75


def test_a_refused_edit_keeps_the_number() -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        fill(db, (0, 50), (25, 75))
        assert len(db) == 75
        disk.faults.append(Fault(0, operations=frozenset({"rename"})))
        with pytest.raises(StorageError):
            db._store.install_counted(0)
        assert len(db) == 75
    with opened(disk) as db:
        assert len(db) == 75


def test_a_quiet_store_is_settled_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(SimulatedDisk()) as db:
        fill(db, (0, 100), (25, 30))
        compactor = db._compactor
        quiet = False
        monkeypatch.setattr(compactor._quiet, "reached", lambda position, now: quiet)
        assert not compactor._compact_or_use_quiet()
        assert count_figures(db) == (1, 5, 0)
        quiet = True
        with monkeypatch.context() as patch:
            patch.setattr(compactor, "compact_once", lambda: False)
            patch.setattr(compactor, "merge_idle_once", lambda: False)
            patch.setattr(compactor, "_busy", [None])
            assert not compactor._compact_or_use_quiet()
            assert count_figures(db) == (1, 5, 0), "a merge is under way"
        assert not compactor._compact_or_use_quiet()
        assert count_figures(db) == (0, 0, 1)
        assert not compactor._compact_or_use_quiet()
        assert count_figures(db) == (0, 0, 1), "nothing is left"


def test_threads_ask_at_the_same_time() -> None:
    with opened(SimulatedDisk(), runner="thread") as db:
        fill(db, (0, 50), (25, 75))
        answers: list[int] = []
        threads = [Thread(target=lambda: answers.append(len(db))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [75] * 4
        assert count_figures(db)[2] == 1


def test_the_helper_counts(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="helper") as db:
        fill(db, (0, 50), (25, 75))
        assert (len(db), count_figures(db)) == (75, (1, 0, 1))
        assert db.stats()["background"]["runner"]["jobs"] == 3


def test_a_close_ends_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    db = opened(SimulatedDisk(), runner="thread")
    fill(db, (0, 100), (25, 30))
    counting = db._compactor.counter
    begun, may_end = Event(), Event()
    run = counting._run

    def slowly(job: CountJob) -> Any:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)
        return run(job)  # which finds that the background ends

    monkeypatch.setattr(counting, "_run", slowly)
    monkeypatch.setattr(db._compactor._quiet, "reached", lambda position, now: True)
    db._compactor._want_compaction()
    assert begun.wait(PATIENCE_SECONDS)
    closing = Thread(target=db.close)
    closing.start()
    may_end.set()
    closing.join(PATIENCE_SECONDS)
    assert not closing.is_alive()
