"""The flush lane: the job of the next generation runs ahead of the edit before it, and nothing else changes.

Where a job runs in its caller's thread none runs ahead. `FlushAhead` (tests/engine/hunts.py) lets it do so all the
same, so that the power can fail, and each call, between any two file operations of two flushes that overlap.
"""

from __future__ import annotations

import errno
from threading import Event
from typing import Any

import pytest

import flin.engine
from flin.engine.background import flush_lane
from flin.engine.background.inline_runner import InlineRunner
from flin.engine.background.job import FlushJob, Job
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.job_run import run_job
from flin.engine.disk.file_name import maybe_parse
from flin.engine.engine import Engine
from flin.errors import HelperDiedError, StorageError
from flin.testing import Fault, SimulatedDisk, killed
from flin.testing.crash_checker import CrashChecker, assert_no_orphans
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.process import PATIENCE_SECONDS
from flin.testing.run import KEY, PATH, EngineSetup, WorkloadRun
from tests.engine.hunts import AHEAD, FAILING_AHEAD
from tests.figures import FAILED_CALLS, Figures

EXPECTED = {b"k": b"2", **{b"%d" % number: b"v" for number in range(3)}}


@pytest.mark.parametrize("threshold", [0, 8])
@pytest.mark.parametrize("shards", [1, 4])
def test_a_crash_at_every_call(shards: int, threshold: int, figures: Figures) -> None:
    for sync in ("always", "never"):
        setup = EngineSetup(sync, shards, value_threshold=threshold)
        checker = CrashChecker(setup, limit=2, second_every=9)
        run = WorkloadRun(setup).run(AHEAD)
        for crash_point in run.crash_points[:: 5 if shards == 1 else 9]:
            checker.check(crash_point, f"flushes ahead, {sync}, {shards} shards, values from {threshold} on")
        figures.checked(checker)
        assert checker.states > 15


@pytest.mark.parametrize(("first", "kind"), list(enumerate(KINDS)))
def test_each_call_fails(first: int, kind: str, figures: Figures) -> None:
    """Every eighth, from another one on for each kind: the slow suite's hunt `flushes_ahead` takes them all."""
    setup = EngineSetup("interval", value_threshold=8)
    checker = CrashChecker(setup, limit=1, second_crashes=0)
    for number, run in enumerate(every_failure(setup, FAILING_AHEAD, KINDS[kind], first % 8, 8)):
        figures.add(FAILED_CALLS, 1)
        check_failed(run, checker, f"{kind}, call {first % 8 + 8 * number}", no_files=True)


def sealed_three(disk: SimulatedDisk, runner: str = "inline") -> Engine:
    """Three generations wait for their flush."""
    db = flin.engine.open(PATH, fs=disk, runner=runner)  # type: ignore[arg-type]
    for number in range(3):
        db.put_many({b"k": b"%d" % number, b"%d" % number: b"v"})
        db._store.seal()
    return db


def tables(disk: SimulatedDisk) -> set[str]:
    return {name for name in disk.names(PATH) if (parsed := maybe_parse(name)) is not None and parsed.role == "table"}


def test_the_next_job_begins_before_the_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads: the edit of the first waits here until the second's job is at work."""
    second = Event()
    jobs: list[int] = []

    def run(fs: Any, job: Job, *rest: Any) -> Any:
        jobs.append(job.number)
        if len(jobs) == 2:
            second.set()
        return run_job(fs, job, *rest)

    monkeypatch.setattr("flin.engine.background.job_gate.run_job", run)
    disk = SimulatedDisk()
    db = sealed_three(disk, "thread")
    install, order = db._store.install_flush, []

    def install_later(generation: Any, *rest: Any) -> None:
        order.append(generation.end_position)
        assert order == sorted(order)
        assert len(order) > 1 or second.wait(PATIENCE_SECONDS), "the second job waits for the first edit"
        install(generation, *rest)

    monkeypatch.setattr(db._store, "install_flush", install_later)
    db.flush()
    assert len(order) == 3
    assert dict(db.scan()) == EXPECTED
    db.close()
    assert_no_orphans(disk)


def test_none_runs_ahead_where_jobs_run_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers would wait for both jobs before they see one edit."""
    db = sealed_three(SimulatedDisk())
    events: list[str] = []

    def note(owner: Any, name: str) -> None:
        act = getattr(owner, name)

        def noted(*arguments: Any) -> Any:
            events.append(name)
            return act(*arguments)

        monkeypatch.setattr(owner, name, noted)

    note(db._runner, "submit")
    note(db._store, "install_flush")
    db.flush()
    assert events == ["submit", "install_flush"] * 3
    db.close()


@pytest.mark.parametrize("called", [False, True])
def test_a_flush_is_urgent_if_another_or_a_caller_waits_for_it(monkeypatch: pytest.MonkeyPatch, called: bool) -> None:
    db = sealed_three(SimulatedDisk())
    urgent: list[bool] = []
    submit = db._runner.submit

    def noted(job: Job) -> JobHandle:
        assert isinstance(job, FlushJob)
        urgent.append(job.urgent)
        return submit(job)

    monkeypatch.setattr(db._runner, "submit", noted)
    if called:
        db.flush()
    else:
        while db._compactor.flush_once(urgent=False):
            pass
    assert urgent == [True, True, called]
    db.close()


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InlineRunner, "runs_apart", lambda *_: True)


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("flush", [False, True])
def test_a_close_in_the_middle(flush: bool) -> None:
    """The job that has run ahead is used, or its files go; no answered write does."""
    disk = SimulatedDisk()
    db = sealed_three(disk)
    assert db._compactor.flush_once()
    assert len(tables(disk)) == 2, "the second job has not run ahead"
    flushed = disk.names(PATH)
    db.close(flush=flush)
    assert tables(disk) < set(flushed) or flush
    assert_no_orphans(disk)
    with flin.engine.open(PATH, fs=disk, runner="inline") as again:
        assert dict(again.scan()) == EXPECTED
        assert len(again) == len(EXPECTED)
        assert not again.verify()


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("power_cut", [False, True])
def test_the_next_open_removes_what_ran_ahead_of_a_crash(power_cut: bool) -> None:
    disk = SimulatedDisk()
    db = sealed_three(disk)
    db.sync()
    assert db._compactor.flush_once()
    after = killed(disk)
    db.close()
    with flin.engine.open(PATH, fs=after, runner="inline") as again:
        assert dict(again.scan()) == EXPECTED
        assert not again.verify()
    assert_no_orphans(after)


@pytest.mark.usefixtures("ahead")
def test_an_edit_that_fails_discards_the_job_that_ran_ahead() -> None:
    """Both are done again, oldest first, under other numbers."""
    disk = SimulatedDisk()
    db = sealed_three(disk)
    db.sync()
    numbers = db._store._versions.next_job
    disk.faults.append(Fault(2, errno.ENOSPC, frozenset({"create"})))  # of two tables, then of a manifest
    with pytest.raises(StorageError, match="manifest"):
        db._compactor.flush_once()
    assert not tables(disk)
    db.flush()
    assert db._store._versions.next_job == numbers + 5
    assert dict(db.scan()) == EXPECTED
    db.close()
    assert_no_orphans(disk)


def died(job: Job) -> JobHandle:
    handle = JobHandle(job)
    handle.end(HelperDiedError("the helper process 1 is gone"))
    return handle


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_helper_that_dies_with_any_of_the_jobs(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    db = sealed_three(disk)
    submit, submitted = db._runner.submit, []

    def submit_or_die(job: Job) -> JobHandle:
        assert isinstance(job, FlushJob)
        submitted.append(job.number)
        return died(job) if len(submitted) == nth + 1 else submit(job)

    monkeypatch.setattr(db._runner, "submit", submit_or_die)
    db.flush()
    assert [number - submitted[0] for number in submitted] == [[0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2]][nth]
    assert dict(db.scan()) == EXPECTED
    db.close()
    assert_no_orphans(disk)


@pytest.mark.usefixtures("ahead")
def test_an_interrupt_that_comes_while_one_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call begins anew; the next open removes what stays."""

    class Interrupt(BaseException):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupt

    disk = SimulatedDisk()
    db = sealed_three(disk)
    with monkeypatch.context() as patch:
        patch.setattr(db._store, "install_flush", interrupt)
        patch.setattr(flush_lane, "remove_outputs", interrupt)
        with pytest.raises(Interrupt):
            db._compactor.flush_once()
    db.flush()
    assert dict(db.scan()) == EXPECTED
    db.close()
    with flin.engine.open(PATH, fs=disk, runner="inline") as again:
        assert dict(again.scan()) == EXPECTED
    assert_no_orphans(disk)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("appended", [0, 1])  # the table, the manifest
def test_a_full_disk_is_no_failed_sync(appended: int, key: bytes | None) -> None:
    """Also where an encrypted file is written by its sync: the next flush succeeds."""
    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, runner="inline", encryption_key=key) as db:
        db.put(b"a", b"1")
        disk.faults.append(Fault(appended, errno.ENOSPC, frozenset({"append"})))
        with pytest.raises(StorageError, match="No space left"):
            db.flush()
        db.put(b"b", b"2")
        db.flush()
        assert dict(db.scan()) == {b"a": b"1", b"b": b"2"}
        assert not db.verify()
