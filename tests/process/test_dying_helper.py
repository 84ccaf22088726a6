"""The helper dies before one of its file-system calls, each in turn: its job is done again, answers are right, no file
stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import flin.engine
from flin.engine.background import helper_runner
from flin.engine.background.compaction import Compaction
from flin.engine.background.helper_runner import HelperRunner
from flin.engine.background.job import FlushJob, Job, JobResult
from flin.engine.background.job_run import run_job
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import OsFileSystem
from flin.errors import HelperDiedError
from flin.testing.process import PATIENCE_SECONDS, is_alive, wait_until
from tests.engine.shard_tree import Tree, no_checkpoint
from tests.process.dying_helper import DIE_AT, DIED, command

MAX_CALLS = 500


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the helper, however slow the machine is: a job in a thread cannot die."""
    monkeypatch.setattr(helper_runner, "HELLO_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def dies_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Helpers started from now on die before this call. Returns the file that tells that one has."""
    monkeypatch.setattr(helper_runner, "own_command", command)

    def set_call(number: int) -> Path:
        died = tmp_path / "died"
        died.unlink(missing_ok=True)
        monkeypatch.setenv(DIE_AT, str(number))
        monkeypatch.setenv(DIED, str(died))
        return died

    return set_call


def _flush_and_compaction(directory: Path) -> tuple[Tree, list[Callable[[], Job]]]:
    directory.mkdir()
    tree = Tree(str(directory))
    for value in (b"1", b"2"):
        tree.flush([((), {b"%03d" % number: value * 50 for number in range(150)})])

    def flush() -> Job:
        return tree.flush_job([((), {b"%03d" % number: b"3" * 50 for number in range(100, 250)})])

    def compaction() -> Job:
        runs = tree.runs[0]
        plan = Compaction(0, (0, 1), runs, runs, (), (), True, "test")
        return tree.compaction_job(plan, 4000, 4096)

    return tree, [flush, compaction]


def _tables(directory: str) -> list[str]:
    return sorted(name for name in os.listdir(directory) if (of := maybe_parse(name)) and of.role == "table")


def _as_job_files(result: JobResult) -> list[tuple[object, ...]]:
    return [
        (shard, table.entry_count, table.smallest, table.largest, table.length)
        for shard, run in sorted(result.tables.items())
        for table in run
    ]


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", [0, 1], ids=["flush", "compaction"])
def test_a_job_is_done_again(tmp_path: Path, dies_at: Callable[[int], Path], which: int, step: int) -> None:
    """The same runner starts a new helper for the second attempt."""
    expected: list[tuple[object, ...]] = []
    for number in range(1, MAX_CALLS, step):
        died = dies_at(number)
        tree, jobs = _flush_and_compaction(tmp_path / f"tree{number}")
        job = jobs[which]()
        if not expected:
            expected = _as_job_files(_inline(tmp_path, which))
        before = _tables(tree.directory)
        runner = HelperRunner(OsFileSystem())
        try:
            try:
                result = runner.run(job)
            except HelperDiedError:
                assert died.exists()
                assert _tables(tree.directory) == before, "what the dead helper wrote is removed"
                result = runner.run(job)
                assert runner.statistics.deaths == 1
                assert runner.statistics.starts == 2
            assert _as_job_files(result) == expected
            assert _tables(tree.directory) == sorted([*before, *result.files()])
        finally:
            runner.close()
        if not died.exists():
            assert number > 4, "so few calls cannot be all"
            return
    raise AssertionError("a small job makes no end of calls")


def _inline(tmp_path: Path, which: int) -> JobResult:
    tree, jobs = _flush_and_compaction(tmp_path / "inline")
    job = jobs[which]()
    assert isinstance(job, FlushJob) == (which == 0)
    return run_job(tree.fs, job, no_checkpoint)


@pytest.mark.parametrize(("first", "step"), [(5, 25), pytest.param(1, 1, marks=pytest.mark.slow)])
def test_an_engine_does_not_notice(tmp_path: Path, dies_at: Callable[[int], Path], first: int, step: int) -> None:
    """flush(), compact() and close() with one death at a time: they return, and the database is the same as without."""
    for number in range(first, MAX_CALLS, step):
        died = dies_at(number)
        path = tmp_path / f"db{number}"
        with flin.engine.open(path, runner="helper", memory_limit=1 << 20) as db:
            for value in (b"1", b"2"):
                db.put_many({b"%03d" % key: value * 50 for key in range(150)})
                db.flush()
            db.delete(b"007")
            db.compact()
            db.put(b"last", b"1")
            pids = db.stats()["background"]["helper_pids"]
            has_died = died.exists()
            assert db.stats()["background"]["runner"]["deaths"] == has_died
            assert len(db) == 150
            assert db.verify() == []
        wait_until(lambda pids=pids: not any(map(is_alive, pids)), "the helpers end with their engine")  # type: ignore[misc]
        left = _tables(str(path))
        with flin.engine.open(path, runner="inline") as db:
            expected = {b"%03d" % key: b"2" * 50 for key in range(150) if key != 7}
            assert dict(db.scan()) == {**expected, b"last": b"1"}
            named = {table.file for runs in db._store.state.version.shards for run in runs for table in run}
            assert set(left) == named
        if not died.exists():
            return
    raise AssertionError("a small database makes no end of calls")
