"""Runners: the same jobs inline, in threads and in a helper process, and what happens when the helper dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

import flin.engine
from flin.engine import thread_start
from flin.engine.background import helper_process, helper_runner, job_gate
from flin.engine.background.helper_process import own_command
from flin.engine.background.helper_runner import HELLO_SECONDS, HelperRunner
from flin.engine.background.inline_runner import InlineRunner
from flin.engine.background.job import CompactionJob, FlushJob, JobCancelled
from flin.engine.background.job_gate import JobGate
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.job_run import check_result, remove_outputs, run_job
from flin.engine.background.pair_runner import PairRunner
from flin.engine.background.runner import Runner
from flin.engine.background.thread_runner import ThreadRunner
from flin.engine.disk.fs import OsFileSystem
from flin.engine.entry import TOMBSTONE
from flin.engine.sstable import TableOptions
from flin.errors import ClosedError, CorruptionError, HelperDiedError, JobFailedError, StorageError
from flin.testing.process import PATIENCE_SECONDS, is_alive, wait_until
from tests.engine.shard_tree import MANY_ENTRIES, Tree, compaction_of, two_runs

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the helper, which is what these tests are about, however slow the machine is."""
    monkeypatch.setattr(helper_runner, "HELLO_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(params=["inline", "thread", "helper"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    made: Runner
    if request.param == "inline":
        made = InlineRunner(OsFileSystem())
    elif request.param == "thread":
        made = ThreadRunner(OsFileSystem())
    else:
        made = HelperRunner(OsFileSystem())
    yield made
    made.close()


@pytest.fixture
def helper() -> Iterator[HelperRunner]:
    made = HelperRunner(OsFileSystem())
    yield made
    made.close()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return two_runs(str(tmp_path), 2000)


@pytest.fixture
def long_tree(tmp_path: Path) -> Tree:
    return two_runs(str(tmp_path), MANY_ENTRIES)


def outputs_of(job: CompactionJob | FlushJob) -> list[str]:
    return [name for name in os.listdir(job.directory) if name.startswith(f"{job.number:08d}-")]


def has_outputs(job: CompactionJob | FlushJob, count: int) -> bool:
    return len(outputs_of(job)) >= count


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_all_runners_do_the_same(runner: Runner, tmp_path: Path) -> None:
    tree = Tree(str(tmp_path), shards=4, run_job=runner.run)
    tree.flush([((), {b"%d" % number: b"\x00\xff" for number in range(100)})])
    tree.flush([((), {b"%d" % number: TOMBSTONE for number in range(50)}), (((b"6", b"7"),), {})])
    for shard in range(4):
        tree.compact_runs(0, 2, shard=shard)
    assert tree.counts == {0: 100 - 50 - 11 + 1}
    assert tree.read() == {b"%d" % number: b"\x00\xff" for number in range(50, 100) if not 60 <= number < 70}
    assert runner.statistics.jobs == 6
    assert runner.statistics.failures == 0
    assert runner.statistics.cpu_seconds > 0


def test_errors_of_jobs_arrive(runner: Runner, tree: Tree) -> None:
    job = compaction_of(tree)
    path = Path(tree.directory) / tree.runs[0][1][0].file
    data = path.read_bytes()
    path.write_bytes(data[:3000] + bytes(10) + data[3010:])
    with pytest.raises(CorruptionError) as corrupt:
        runner.run(job)
    assert corrupt.value.path == str(path)
    path.unlink()
    with pytest.raises(StorageError) as missing:
        runner.run(job)
    assert missing.value.errno == 2
    assert outputs_of(job) == []
    assert (runner.statistics.jobs, runner.statistics.failures) == (0, 2)


def test_many_jobs_at_once(runner: Runner, tree: Tree) -> None:
    jobs = [compaction_of(tree) for _ in range(4)]
    handles = [runner.submit(job) for job in jobs]
    for job, handle in zip(jobs, handles, strict=True):
        check_result(tree.fs, job, handle.result(PATIENCE_SECONDS))
        assert handle.ended


def test_closed_runners_refuse(runner: Runner, tree: Tree) -> None:
    runner.close()
    runner.close()
    with pytest.raises(ClosedError):
        runner.submit(compaction_of(tree))
    assert runner.pids == []


@pytest.mark.parametrize("kind", [ThreadRunner, HelperRunner])
def test_cancelled_jobs_leave_nothing(kind: type[ThreadRunner | HelperRunner], long_tree: Tree) -> None:
    runner = kind(OsFileSystem())
    job = compaction_of(long_tree)
    handle = runner.submit(job)
    wait_until(lambda: has_outputs(job, 1) or handle.ended, "it has an output")
    handle.cancel()
    with pytest.raises(JobCancelled):
        handle.result(PATIENCE_SECONDS)
    assert outputs_of(job) == []
    second = runner.submit(job)
    wait_until(lambda: has_outputs(job, 1), "it has an output")
    runner.close()
    with pytest.raises(JobCancelled):
        second.result(PATIENCE_SECONDS)
    assert outputs_of(job) == []


def test_a_result_is_waited_for_no_longer_than_asked() -> None:
    with pytest.raises(TimeoutError):
        JobHandle(FlushJob("", 1, 1, 1, (), TableOptions(), 0)).result(0.0)


class Held(OsFileSystem):
    """Holds a job at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.holding, self.go_on = threading.Event(), threading.Event()

    def sync_directory(self, directory: str) -> None:
        self.holding.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        super().sync_directory(directory)


def test_compactions_wait_for_flushes_and_for_smaller_compactions(long_tree: Tree) -> None:
    """Each is held at its end in turn; the others must then stop at their checkpoints, and go on afterwards."""
    gate = JobGate()
    flush = long_tree.flush_job([((), {b"%08d" % number: b"3" for number in range(MANY_ENTRIES)})])
    large = compaction_of(long_tree)
    small = replace(large, number=large.number + 1, inputs=large.inputs[:1])
    done: list[str] = []

    def run(job: CompactionJob | FlushJob, fs: OsFileSystem, name: str) -> None:
        gate.run(fs, JobHandle(job, gate.wake))
        done.append(name)

    def start(job: CompactionJob | FlushJob, fs: OsFileSystem, name: str) -> threading.Thread:
        thread = threading.Thread(target=run, args=(job, fs, name))
        thread.start()
        return thread

    first, second = Held(), Held()
    threads = [start(flush, first, "flush")]
    assert first.holding.wait(PATIENCE_SECONDS)
    threads += [start(large, OsFileSystem(), "large"), start(small, second, "small")]
    threads[1].join(0.1)
    assert not second.holding.is_set()
    first.go_on.set()
    assert second.holding.wait(PATIENCE_SECONDS)
    threads[1].join(0.1)
    assert done == ["flush"]
    second.go_on.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert done == ["flush", "small", "large"]


def test_an_urgent_compaction_goes_before_a_smaller_one_that_can_wait(long_tree: Tree) -> None:
    gate = JobGate()
    urgent = replace(compaction_of(long_tree), urgent=True)
    small = replace(urgent, number=urgent.number + 1, inputs=urgent.inputs[:1], urgent=False)
    done: list[str] = []

    def run(job: CompactionJob, fs: OsFileSystem, name: str) -> None:
        gate.run(fs, JobHandle(job, gate.wake))
        done.append(name)

    held = Held()
    first = threading.Thread(target=run, args=(urgent, held, "urgent"))
    first.start()
    assert held.holding.wait(PATIENCE_SECONDS)
    second = threading.Thread(target=run, args=(small, OsFileSystem(), "small"))
    second.start()
    second.join(0.1)
    assert done == []
    held.go_on.set()
    for thread in (first, second):
        thread.join(PATIENCE_SECONDS)
    assert done == ["urgent", "small"]


def test_a_waiting_compaction_can_be_cancelled(tree: Tree) -> None:
    gate = JobGate()
    held = Held()
    flush = JobHandle(tree.flush_job([((), {b"x": b"3"})]))
    flushing = threading.Thread(target=gate.run, args=(held, flush))
    flushing.start()
    assert held.holding.wait(PATIENCE_SECONDS)
    handle = JobHandle(compaction_of(tree), gate.wake)
    cancelling = threading.Timer(0.02, handle.cancel)
    cancelling.start()
    with pytest.raises(JobCancelled):
        gate.run(OsFileSystem(), handle)
    held.go_on.set()
    cancelling.join()
    flushing.join()


# The helper process.


def test_no_helper_before_the_first_job(helper: HelperRunner, tree: Tree) -> None:
    assert helper.pid is None
    helper.run(compaction_of(tree))
    pid = helper.pid
    assert pid is not None
    helper.run(compaction_of(tree))
    assert helper.pid == pid
    assert helper.statistics.starts == 1
    helper.close()
    assert not exists(pid)  # and no zombie
    assert (helper.statistics.deaths, helper.statistics.fallback_reason) == (0, "")


def test_a_prepared_helper_runs_the_first_job(helper: HelperRunner, tree: Tree) -> None:
    helper.prepare(0)
    pid = helper.pid
    assert pid is not None
    helper.prepare(0)
    helper.run(compaction_of(tree))
    assert helper.pid == pid
    assert helper.statistics.starts == 1
    helper.close()
    helper.prepare(0)
    assert helper.pid is None, "nothing starts after close"


def test_flushes_and_compactions_have_a_process_each(tmp_path: Path) -> None:
    pair = PairRunner(OsFileSystem())
    tree = Tree(str(tmp_path), run_job=pair.run)
    for value in (b"1", b"2"):
        tree.flush([((), {b"%d" % number: value for number in range(100)})])
    assert pair.pids == pair.flushes.pids
    tree.compact_runs(0, 2)
    flushes, compactions = pair.pids
    assert flushes != compactions
    assert tree.read() == {b"%d" % number: b"2" for number in range(100)}
    assert (pair.statistics.jobs, pair.statistics.starts, pair.statistics.failures) == (3, 2, 0)
    assert pair.statistics.cpu_seconds > 0
    pair.close()
    assert not exists(flushes)
    assert not exists(compactions)
    with pytest.raises(ClosedError):
        tree.compact_runs(0, 1)


def test_a_killed_helper_costs_its_jobs_and_nothing_else(helper: HelperRunner, long_tree: Tree) -> None:
    before = sorted(os.listdir(long_tree.directory))
    for round_ in range(3):
        job = compaction_of(long_tree)
        handle = helper.submit(job)
        wait_until(partial(has_outputs, job, round_ + 1), "it has outputs")
        pid = helper.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(HelperDiedError):
            handle.result(PATIENCE_SECONDS)
        assert sorted(os.listdir(long_tree.directory)) == before
        assert not exists(pid)
        assert helper.pid is None
    check_result(long_tree.fs, job, helper.run(job))
    assert (helper.statistics.starts, helper.statistics.deaths) == (4, 3)


class OutOfMemory:
    """A function that finds no memory a few times, and then works."""

    def __init__(self, function: Callable[..., Any], times: int) -> None:
        self.function = function
        self.times = times

    def __call__(self, *arguments: Any) -> Any:
        if self.times:
            self.times -= 1
            raise MemoryError
        return self.function(*arguments)


def test_a_caller_that_waits_for_a_helper_is_told_though_memory_runs_out(
    helper: HelperRunner, long_tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the thread that reads the helper's messages cleans up after it."""
    before = sorted(os.listdir(long_tree.directory))
    job = compaction_of(long_tree)
    handle = helper.submit(job)
    wait_until(partial(has_outputs, job, 1), "it has outputs")
    clear = OutOfMemory(remove_outputs, 2)
    monkeypatch.setattr(helper_process, "remove_outputs", clear)
    assert helper.pid is not None
    os.kill(helper.pid, signal.SIGKILL)
    with pytest.raises(HelperDiedError):
        handle.result(PATIENCE_SECONDS)
    assert clear.times == 0
    assert sorted(os.listdir(long_tree.directory)) == before
    check_result(long_tree.fs, job, helper.run(job))
    assert helper.statistics.deaths == 1


def test_a_result_that_finds_no_memory_is_no_result(
    helper: HelperRunner, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir(tree.directory))
    monkeypatch.setattr(helper_process, "check_result", OutOfMemory(check_result, 1))
    job = compaction_of(tree)
    with pytest.raises(HelperDiedError, match="had no memory"):
        helper.submit(job).result(PATIENCE_SECONDS)
    assert sorted(os.listdir(tree.directory)) == before
    helper.run(job)


def test_a_job_of_a_thread_that_finds_no_memory_ends(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = ThreadRunner(OsFileSystem())
    monkeypatch.setattr(job_gate, "run_job", OutOfMemory(run_job, 1))
    monkeypatch.setattr(
        "flin.engine.background.thread_runner.traceback.format_exc", OutOfMemory(traceback.format_exc, 2)
    )
    with pytest.raises(JobFailedError):
        threads.submit(compaction_of(tree)).result(PATIENCE_SECONDS)
    threads.run(compaction_of(tree))
    threads.close()


@pytest.mark.parametrize(("make", "work"), [(ThreadRunner, "ThreadRunner._work"), (HelperRunner, "HelperProcess._end")])
def test_a_worker_that_ends_without_a_word_is_missed(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, make: Callable[[OsFileSystem], ThreadRunner | HelperRunner], work: str
) -> None:
    runner = make(OsFileSystem())
    module = "flin.engine.background.thread_runner" if make is ThreadRunner else "flin.engine.background.helper_process"
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{work}", lambda *arguments: None)
        patch.setattr(helper_process, "check_result", OutOfMemory(check_result, 1))
        with pytest.raises(JobFailedError, match="nobody works on job"):
            runner.submit(compaction_of(tree)).result(PATIENCE_SECONDS)
    if isinstance(runner, HelperRunner):
        assert runner._helper is not None
        runner._helper._end()
    runner.run(compaction_of(tree))
    runner.close()


def test_a_helper_killed_at_rest_is_replaced(helper: HelperRunner, tree: Tree) -> None:
    helper.run(compaction_of(tree))
    first = helper.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: helper.pid is None, "its death is seen")
    helper.run(compaction_of(tree))
    assert helper.pid not in (None, first)


def test_signals_to_the_group_do_not_reach_the_helper(helper: HelperRunner, tree: Tree) -> None:
    helper.run(compaction_of(tree))
    pid = helper.pid
    assert pid is not None
    assert os.getpgid(pid) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    helper.run(compaction_of(tree))
    assert helper.pid == pid


def test_jobs_have_low_priority(helper: HelperRunner, long_tree: Tree) -> None:
    handle = helper.submit(compaction_of(long_tree))
    pid = helper.pid
    assert pid is not None
    own = os.getpriority(os.PRIO_PROCESS, 0)
    priorities: set[int] = set()

    def seen() -> bool:
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):  # a thread that has just ended
                priorities.add(os.getpriority(os.PRIO_PROCESS, int(task)))
        return own + 5 in priorities or handle.ended

    wait_until(seen, "a thread with a lower priority")
    handle.result(PATIENCE_SECONDS)
    assert own in priorities  # that of the thread that listens to the parent


def test_a_small_use_starts_no_helper(tmp_path: Path) -> None:
    for _ in range(12):  # more than a compaction waits for
        with flin.engine.open(tmp_path / "db") as db:
            db.put_many({b"%d" % number: b"v" * 50 for number in range(1000)})
            db.flush()
            runner = db.stats()["background"]["runner"]
            assert (runner["starts"], runner["failures"]) == (0, 0)
            assert runner["jobs"] >= 1
    with flin.engine.open(tmp_path / "db", runner="helper") as db:
        db.put(b"a", b"1")
        db.flush()
        assert db.stats()["background"]["runner"]["starts"] >= 1


@pytest.mark.parametrize(
    ("small_bytes", "flush_bytes", "starts"), [(1 << 20, 1000, 0), (1 << 20, 1 << 20, 1), (0, 1000, 1)]
)
def test_a_helper_is_prepared_only_for_what_it_will_do(small_bytes: int, flush_bytes: int, starts: int) -> None:
    """A small flush runs in the caller's process."""
    pair = PairRunner(OsFileSystem(), small_bytes=small_bytes)
    pair.prepare(flush_bytes)
    assert pair.statistics.starts == starts
    pair.close()


def test_wrong_results_are_refused(tree: Tree, helper: HelperRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent checks the files before it believes the helper."""
    job = compaction_of(tree)

    def refuse(*_: object) -> None:
        raise CorruptionError("x", 0, "not what was reported")

    monkeypatch.setattr(helper_process, "check_result", refuse)
    with pytest.raises(CorruptionError):
        helper.run(job)
    assert outputs_of(job) == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["/nonexistent/python"], "No such file"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "status 3"),
        ([sys.executable, "-c", "print('x' * 100, flush=True); import time; time.sleep(60)"], "bytes"),
        (
            [
                sys.executable,
                "-c",
                'import sys, time; m = b\'{"type":"hello","protocol":99}\'; '
                "sys.stdout.buffer.write(len(m).to_bytes(4, 'big') + m); sys.stdout.flush(); time.sleep(60)",
            ],
            "protocol 99",
        ),
    ],
)
def test_threads_take_over_where_no_helper_starts(tree: Tree, command: list[str], reason: str) -> None:
    runner = HelperRunner(OsFileSystem(), command=command)
    job = compaction_of(tree)
    check_result(tree.fs, job, runner.run(job))
    assert reason in runner.statistics.fallback_reason
    assert runner.pids == []
    runner.run(compaction_of(tree))
    assert runner.statistics.jobs == 2
    runner.close()


def fake_interpreter(tmp_path: Path, text: str) -> str:
    """A program that calls itself Python, like a host that embeds an interpreter."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_that_starts_and_says_nothing_delays_nothing(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hello is waited for once, at most a second; then jobs run in threads, which is logged once."""
    assert HELLO_SECONDS <= 1.0
    caplog.set_level(logging.INFO, "flin.engine")
    monkeypatch.setattr(helper_runner, "HELLO_SECONDS", 0.01)
    monkeypatch.setattr(sys, "executable", fake_interpreter(tmp_path, "exec sleep 600"))
    runner = HelperRunner(OsFileSystem())
    waits: list[float] = []
    pids: set[int] = set()
    wait_for_hello = helper_process.HelperProcess.wait_for_hello

    def noted(helper: helper_process.HelperProcess, seconds: float) -> bool:
        waits.append(seconds)
        pids.add(helper.pid)
        return wait_for_hello(helper, seconds)

    monkeypatch.setattr(helper_process.HelperProcess, "wait_for_hello", noted)
    for _ in range(3):
        runner.run(compaction_of(tree))
    assert waits[0] <= 0.01
    assert waits[1:] == [0.0, 0.0], "nobody waits again"
    assert "no helper process: it has not said hello" in runner.statistics.fallback_reason
    assert [record.levelname for record in caplog.records] == ["INFO"]
    [pid] = pids
    assert is_alive(pid)
    assert runner.pids == []
    monkeypatch.setattr(helper_runner, "START_SECONDS", 0.0)
    runner.run(compaction_of(tree))
    assert not exists(pid), "it never will"
    assert runner.statistics.fallback_reason == "no helper process: it did not say hello in time"
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert (runner.statistics.jobs, runner.statistics.starts, runner.pids) == (4, 1, [])
    runner.close()


def test_a_runner_closes_at_once_where_no_helper_answers(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_runner, "HELLO_SECONDS", 0.01)
    monkeypatch.setattr(helper_process, "CLOSE_SECONDS", None)  # the wait would never end
    pid = tmp_path / "pid"
    runner = HelperRunner(OsFileSystem(), command=[fake_interpreter(tmp_path, f"echo $$ > {pid}; exec sleep 600")])
    runner.run(compaction_of(tree))
    wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "it starts")
    runner.close()
    assert not exists(int(pid.read_text()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("exit 7", "status 7"), ("echo 'uWSGI: unrecognized option -P'; exec sleep 600", "bytes"), ("exec cat", "hello")],
)
def test_programs_that_only_call_themselves_python_use_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    """Through the whole engine: a flush, a close and an open."""
    monkeypatch.setattr(helper_runner, "HELLO_SECONDS", 0.01 if reason == "hello" else PATIENCE_SECONDS)
    monkeypatch.setattr(sys, "executable", fake_interpreter(tmp_path, text))
    with flin.engine.open(tmp_path / "db", runner="helper") as db:
        db.put(b"a", b"1")
        db.flush()
        background = db.stats()["background"]
        assert reason in background["runner"]["fallback_reason"]
        assert background["runner"]["jobs"] == 1
        db.put(b"b", b"2")
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        assert dict(db) == {b"a": b"1", b"b": b"2"}


def test_a_job_whose_start_is_interrupted_ends(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """No caller has its handle, and it must not write into a directory that was closed meanwhile."""
    start, entered = threading.Thread.start, threading.Event()
    threads: list[threading.Thread] = []

    def run_job(fs: object, job: object, checkpoint: Callable[[], None], note_progress: object) -> NoReturn:
        entered.set()
        while True:
            checkpoint()
            time.sleep(0.001)

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        threads.append(thread)
        entered.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(job_gate, "run_job", run_job)
    runner = ThreadRunner(OsFileSystem())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.submit(compaction_of(tree))
    runner.close()
    assert not threads[0].is_alive()


def test_no_thread_is_started_without_room(
    tmp_path: Path, open_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might end before its first step, and its start would be waited for in vain: by a flush, so by all writers."""
    db = open_engine(runner="thread")
    db.put(b"k", b"v")
    with monkeypatch.context() as patch:
        patch.setattr(thread_start, "_ROOM_BYTES", 1 << 60)
        with pytest.raises(MemoryError):
            db.flush()
        with pytest.raises(MemoryError):
            flin.engine.open(tmp_path / "other")
    db.flush()
    assert dict(db) == {b"k": b"v"}
    flin.engine.open(tmp_path / "other").close()


def test_a_helper_whose_start_is_interrupted_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    readers: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        readers.append(thread)
        raise KeyboardInterrupt

    started: list[subprocess.Popen[bytes]] = []
    really = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(really(*arguments, **options))
        return started[0]

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", popen)
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            HelperRunner(OsFileSystem()).prepare(0)
    assert started[0].returncode is not None
    readers[0].join(PATIENCE_SECONDS)
    assert not readers[0].is_alive()


def with_prelude(program: str) -> HelperRunner:
    """A runner whose helpers run some lines of a program before they begin."""
    *front, boot, paths = own_command()
    return HelperRunner(OsFileSystem(), command=[*front, program + boot, paths])


def test_a_helper_that_is_only_slow_is_used_once_it_answers(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_runner, "HELLO_SECONDS", 0.0)
    marker = tmp_path / "it may go on"
    runner = with_prelude(f"import os, time\nwhile not os.path.exists({str(marker)!r}): time.sleep(0.001)\n")
    runner.run(compaction_of(tree))
    assert "hello" in runner.statistics.fallback_reason
    marker.touch()

    def is_used() -> bool:
        runner.prepare(0)
        return not runner.statistics.fallback_reason

    wait_until(is_used, "the helper answers")
    thread_jobs = threading.Event()
    monkeypatch.setattr(ThreadRunner, "submit", lambda *_: thread_jobs.set())
    runner.run(compaction_of(tree))
    assert not thread_jobs.is_set()
    assert (len(runner.pids), runner.statistics.starts, runner.statistics.jobs) == (1, 1, 2)
    runner.close()


@pytest.mark.parametrize("kind", [ThreadRunner, HelperRunner])
def test_where_no_thread_starts_the_caller_works(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, kind: type[ThreadRunner | HelperRunner]
) -> None:
    """At the interpreter's end Python refuses threads, and a last flush must still be done."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    runner = kind(OsFileSystem())
    job = compaction_of(tree)
    check_result(tree.fs, job, runner.run(job))
    assert runner.statistics.jobs == 1
    assert runner.pids == []
    runner.close()


def test_an_interrupt_of_the_caller_that_works_is_its_own(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", refuse)
    runner = ThreadRunner(OsFileSystem())
    with monkeypatch.context() as patch:
        patch.setattr(job_gate, "run_job", interrupt)
        with pytest.raises(KeyboardInterrupt):
            runner.run(compaction_of(tree))
    runner.run(compaction_of(tree))
    runner.close()
    assert (runner.statistics.jobs, runner.statistics.failures) == (1, 1)


AT_EXIT = """
import atexit, sys, flin.engine
db = flin.engine.open(sys.argv[1], runner=sys.argv[2])
atexit.register(db.close)
db.put_many({b"%05d" % number: b"v" * 100 for number in range(int(sys.argv[3]))})
"""


@pytest.mark.parametrize(("runner", "keys"), [("auto", 20_000), ("helper", 100), ("thread", 100)])
def test_a_close_at_the_interpreters_end(tmp_path: Path, runner: str, keys: int) -> None:
    """Python 3.12 and later refuse new threads and processes there."""
    command = [sys.executable, "-c", AT_EXIT, str(tmp_path / "db"), runner, str(keys)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        assert len(db) == keys
        assert db.stats()["memtables"]["open_entries"] == 0, "it was flushed"


def test_a_helper_is_tried_again_after_a_start_that_failed(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example one that was killed as it started: jobs do not stay in threads for good."""
    monkeypatch.setattr(helper_runner, "RETRY_SECONDS", 3600.0)
    marker = tmp_path / "has been here"
    runner = with_prelude(
        f"import os, sys\nif not os.path.exists({str(marker)!r}): open({str(marker)!r}, 'w'); sys.exit(9)\n"
    )
    runner.run(compaction_of(tree))
    assert runner.statistics.fallback_reason == "no helper process: it ended with status 9"
    runner.run(compaction_of(tree))
    assert runner.pids == [], "not at once"
    monkeypatch.setattr(runner, "_retry_at", 0.0)
    runner.run(compaction_of(tree))
    assert len(runner.pids) == 1
    assert runner.statistics.fallback_reason == ""
    assert runner.statistics.jobs == 3
    runner.close()


def test_programs_that_are_no_interpreter_use_threads(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    runner = HelperRunner(OsFileSystem())
    runner.run(compaction_of(tree))
    assert "no Python interpreter" in runner.statistics.fallback_reason
    runner.close()


def test_a_forked_child_holds_no_end_of_the_pipes(helper: HelperRunner, tree: Tree) -> None:
    """The helper ends with its parent though a child of the parent lives on; the child leaves the helper alone."""
    helper.run(compaction_of(tree))
    inodes = pipes_of(os.getpid()) & pipes_of(helper.pid or 0)
    assert len(inodes) == 2
    report, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads: that is what is tested
        child = os.fork()
    if child == 0:  # no assertion here: its findings go through the pipe
        os.write(tell, b"%d %d" % (len(inodes & pipes_of(os.getpid())), helper.pid is None))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(report, 100) == b"0 1"
    os.close(report)
    os.close(tell)
    helper.run(compaction_of(tree))
    assert helper.statistics.starts == 1


def pipes_of(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    links = set()
    for name in os.listdir(folder):
        try:
            links.add(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue
    return {link for link in links if link.startswith("pipe:")}


def test_the_helper_inherits_nothing_but_its_pipes(helper: HelperRunner, tree: Tree) -> None:
    secret = os.open(tree.directory, os.O_RDONLY)
    os.set_inheritable(secret, True)
    helper.run(compaction_of(tree))
    names = [os.readlink(f"/proc/{helper.pid}/fd/{name}") for name in os.listdir(f"/proc/{helper.pid}/fd")]
    os.close(secret)
    assert tree.directory not in names
    assert len([name for name in names if name.startswith("pipe:")]) >= 2
    assert len(names) <= 5  # the pipes, /dev/null as standard input, and standard error twice


# Programs that use the helper and end in every way.

PARENT = """
import os, sys, time
from flin.engine.disk.fs import OsFileSystem
from flin.engine.background import helper_runner
from flin.engine.background.helper_runner import HelperRunner
from tests.engine.shard_tree import MANY_ENTRIES, compaction_of, two_runs
helper_runner.HELLO_SECONDS = 180.0
tree = two_runs(sys.argv[1], MANY_ENTRIES)
runner = HelperRunner(OsFileSystem())
job = compaction_of(tree)
handle = runner.submit(job)
while not any(name.startswith(f"{job.number:08d}-") for name in os.listdir(sys.argv[1])):
    time.sleep(0.001)
"""
SAY_PID = "print(runner.pid, flush=True)\n"


@contextmanager
def started_parent(tmp_path: Path, ending: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A program in the middle of a job, and its helper's pid."""
    root = Path(helper_runner.__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT + ending, str(tmp_path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        cwd=root,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        yield parent, int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate()


@pytest.mark.parametrize(
    ("ending", "number", "status"),
    [
        ("time.sleep(60)", signal.SIGKILL, -signal.SIGKILL),
        ("time.sleep(60)", signal.SIGTERM, -signal.SIGTERM),
        ("os._exit(5)", None, 5),
        ("", None, 0),  # without closing anything
        ("runner.close()", None, 0),
        ("raise SystemExit(4)", None, 4),
    ],
)
def test_the_helper_ends_with_its_parent(
    tmp_path: Path, ending: str, number: signal.Signals | None, status: int
) -> None:
    with started_parent(tmp_path, SAY_PID + ending) as (parent, pid):
        if number is not None:
            os.kill(parent.pid, number)
        assert parent.wait(PATIENCE_SECONDS) == status
        wait_until(lambda: not is_alive(pid), "the helper ends")


def test_the_helper_ends_though_a_child_outlives_its_parent(tmp_path: Path) -> None:
    """A child that was forked past our hook, as C code may do, keeps the pipe: the change of parent is noticed."""
    ending = """
import ctypes
if ctypes.CDLL(None).fork() == 0:
    os.close(1)
    time.sleep(60)
    os._exit(0)
print("forked", flush=True)
time.sleep(60)
"""
    with started_parent(tmp_path, SAY_PID + ending) as (parent, pid):
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"forked\n"
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(PATIENCE_SECONDS)
        wait_until(lambda: not is_alive(pid), "the helper ends")
        os.killpg(parent.pid, signal.SIGKILL)  # the session that this test began: the child that sleeps


def test_an_interrupt_at_the_terminal_leaves_the_helper_to_its_parent(tmp_path: Path) -> None:
    # A program started in the background of a shell inherits ignored interrupts: that is not tested here.
    ending = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    {SAY_PID}
    time.sleep(60)
except KeyboardInterrupt:
    print(handle.result(180).statistics.entries_out, flush=True)
    runner.close()
"""
    with started_parent(tmp_path, ending) as (parent, pid):
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) == MANY_ENTRIES
        assert parent.wait(PATIENCE_SECONDS) == 0
        assert not is_alive(pid)


def test_a_program_without_main_guard_is_not_run_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    (tmp_path / "data").mkdir()
    program.write_text(
        f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n{PARENT}\nhandle.result(180)\nrunner.close()\n"
    )
    root = Path(helper_runner.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "runs").read_text() == "x"
