"""The engine and processes: a second open, a forked child, and kill -9 in each sync mode. All with real processes."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.errors import LockedError
from flin.testing.process import PATIENCE_SECONDS
from tests.source import ROOT

OpenEngine = Callable[..., Any]


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


@contextmanager
def started(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the script, killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_a_second_open_in_this_process(open_engine: OpenEngine, tmp_path: Path) -> None:
    db = open_engine()
    with pytest.raises(LockedError, match=r"is already open in this process since 20.*; share that handle") as raised:
        open_engine()
    assert raised.value.pid == os.getpid()
    assert raised.value.in_this_process
    db.put(b"still", b"mine")
    db.close()
    assert dict(open_engine().scan()) == {b"still": b"mine"}


WITHOUT_STREAMS = """
import os, sys, flin.engine, flin.engine.background.helper_runner
flin.engine.background.helper_runner.HELLO_SECONDS = 60.0
def streams(pid):
    links = [f"/proc/{pid}/fd/{number}" for number in range(3)]
    return [os.readlink(link) if os.path.lexists(link) else "closed" for link in links]
db = flin.engine.open(sys.argv[1], runner="helper", memory_limit="1mb")
for number in range(20000):
    db.put(b"%05d" % number, b"v" * 50, sync=number % 1000 == 0)
db.flush()
db.get(b"00000")
for number in 1, 2:
    try:
        os.write(number, b"libpng warning: iCCP: known incorrect sRGB profile\\n" * 3)
    except OSError:
        pass
db.put(b"last", b"1")
pids = list(db._runner.pids)
with open(sys.argv[2], "w") as report:
    report.write(repr({pid: streams(pid) for pid in [os.getpid(), *pids]}))
os._exit(0)
"""


@pytest.mark.parametrize("closed", ["0<&- 1>&- 2>&-", "1>&-", "2>&-"])
def test_a_program_without_its_standard_streams(tmp_path: Path, closed: str) -> None:
    """A daemon, or a cron job: a library's prints go nowhere, here and in the helper; never into the database."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system has no /proc to ask for descriptors")
    path, report = tmp_path / "db", tmp_path / "report"
    shell = f'exec "$0" -c "$1" "$2" "$3" {closed}'
    subprocess.run(["sh", "-c", shell, sys.executable, WITHOUT_STREAMS, path, report], cwd=ROOT, timeout=60, check=True)
    own, *helpers = ast.literal_eval(report.read_text()).values()
    assert helpers, "no helper was there"
    assert {own[int(each[0])] for each in closed.split()} <= {"closed", "/dev/null"}
    for streams in helpers:
        assert streams[0] == "/dev/null"
        assert streams[1] == streams[2], "what is printed is no message"
        assert not [name for name in streams if str(tmp_path) in name]
    with flin.engine.open(path, runner="inline") as db:
        assert len(db) == 20001
        assert not db.verify()


def test_a_second_open_in_another_process(open_engine: OpenEngine, tmp_path: Path) -> None:
    db = open_engine()
    script = """
        import sys, flin.engine, flin.errors
        try:
            flin.engine.open(sys.argv[1])
        except flin.errors.LockedError as error:
            print(error.pid, error.started_at)
    """
    done = run_script(script, db.path)
    assert done.stderr == ""
    pid, started_at = done.stdout.split()
    assert int(pid) == os.getpid()
    assert started_at.startswith("20")


def test_the_holder_is_named_from_outside(tmp_path: Path) -> None:
    script = """
        import sys, flin.engine
        db = flin.engine.open(sys.argv[1])
        print("open", flush=True)
        sys.stdin.read()
        db.close()
    """
    with started(script, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(LockedError) as raised:
            flin.engine.open(tmp_path)
        assert raised.value.pid == process.pid
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    flin.engine.open(tmp_path).close()


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    script = "import sys, flin.engine; db = flin.engine.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with started(script, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()
        process.wait(PATIENCE_SECONDS)
    flin.engine.open(tmp_path).close()


FORK = """
    import os, sys, warnings, flin.engine
    from flin.errors import ClosedError, LockedError

    # From 3.12 on Python says so of every fork among threads. What that may break are locks: this is about them.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)

    def refused(call):
        try:
            call()
        except ClosedError:
            return True
        return False

    db = flin.engine.open(sys.argv[1], runner=sys.argv[2])
    db.put(b"before", b"1")
    view, scan, batch = db.snapshot(), db.scan(), db.write_batch()
    child = os.fork()
    if child == 0:
        calls = [lambda: db.get(b"before"), lambda: db.put(b"k", b"v"), lambda: db.delete(b"k"), lambda: list(db),
                 lambda: len(db), db.snapshot, db.flush, db.compact, db.stats, db.verify, db.sync, batch.scan,
                 lambda: db.incr(b"n"), lambda: batch.get(b"k")]
        wrong = [number for number, call in enumerate(calls) if not refused(call)]
        db.close()
        try:
            flin.engine.open(sys.argv[1])
        except LockedError as error:
            if error.pid != os.getppid():
                wrong.append("pid")
        else:
            wrong.append("lock")
        with flin.engine.open(sys.argv[1] + "-of-the-child", runner=sys.argv[2]) as own:
            own.put(b"child", b"1")
            own.flush()
        print("wrong:", wrong, flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    db.put(b"after", b"2")
    db.flush()
    print(status, dict(db.scan()), view[b"before"], dict(scan), db.verify())
    db.close()
"""


@pytest.mark.parametrize("runner", ["inline", "thread", "helper"])
def test_a_forked_child_finds_everything_closed(tmp_path: Path, runner: str) -> None:
    """It can do nothing to its parent's database, not even by closing it; it can open a database of its own."""
    done = run_script(FORK, str(tmp_path / "db"), runner)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "wrong: []",
        "0 {b'after': b'2', b'before': b'1'} b'1' {b'before': b'1'} []",
    ]
    with flin.engine.open(tmp_path / "db") as db:
        assert dict(db.scan()) == {b"after": b"2", b"before": b"1"}


WRITER = """
    import sys, flin.engine
    db = flin.engine.open(sys.argv[1], sync=sys.argv[2], runner=sys.argv[3], memory_limit="1mb", shards=4)
    start = int(db.get(b"last", b"-1")) + 1
    for number in range(start, start + 10**9):
        with db.write_batch() as batch:
            batch.put(b"%08d" % number, b"x" * 200)
            batch.put(b"last", b"%d" % number)
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize(
    ("sync", "runner", "most"), [("always", "helper", 300), ("interval", "thread", 2500), ("never", "helper", 2500)]
)
def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, sync: str, runner: str, most: int) -> None:
    """In every sync mode, again and again, with flushes under way: every printed number is there, batches are whole."""
    last = -1
    for writes in (50, most):
        with started(WRITER, str(tmp_path), sync, runner) as process:
            assert process.stdout is not None
            for _ in range(writes):
                last = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().splitlines(keepends=False)[:-1])])
        with flin.engine.open(tmp_path, runner="inline") as db:
            found = int(db[b"last"])
            assert found >= last
            assert list(db.scan_keys(stop=b"l")) == [b"%08d" % number for number in range(found + 1)]
            assert len(db) == found + 2
            assert db.verify() == []
            last = found
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".wal", ".tmp"))]


def test_the_interpreters_end_without_a_close(tmp_path: Path) -> None:
    """Engines that are not closed do not keep a program from ending, print nothing, and lose nothing."""
    for runner in ("inline", "thread", "helper"):
        script = """
            import sys, flin.engine
            db = flin.engine.open(sys.argv[1], runner=sys.argv[2])
            db.put(b"k", b"v")
            db.flush()
            db.put(b"l", b"w")
        """
        path = str(tmp_path / runner)
        done = run_script(script, path, runner)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        with flin.engine.open(path) as db:
            assert dict(db.scan()) == {b"k": b"v", b"l": b"w"}


FORK_IN_OPEN = """
import os, sys, threading, time, warnings
import flin.engine
from flin.engine.disk import directory_lock
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork among threads, which is what this is about
children = []
begun = threading.Event()

def fork():
    begun.set()
    pid = os.fork()
    if pid == 0:
        os.close(1)
        time.sleep(600)
        os._exit(0)
    children.append(pid)

forker = threading.Thread(target=fork)

def beside(function):
    def call(*arguments):
        result = function(*arguments) if sys.argv[2] == "opened" else None
        if not begun.is_set():
            forker.start()
            begun.wait()
            if sys.argv[2] == "locking":
                forker.join()
        return result if sys.argv[2] == "opened" else function(*arguments)
    return call

if sys.argv[2] == "opened":
    directory_lock.open_file = beside(directory_lock.open_file)
else:
    directory_lock.fcntl.flock = beside(directory_lock.fcntl.flock)
db = flin.engine.open(sys.argv[1], runner="inline")
forker.join()
db.put(b"a", b"1")
print(children[0], flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("moment", ["opened", "locking"])
def test_a_child_forked_during_an_open_holds_no_lock(tmp_path: Path, moment: str) -> None:
    """By another thread, when the lock file is open, and before it is locked. The child outlives its parent."""
    command = [sys.executable, "-c", FORK_IN_OPEN, str(tmp_path / "db"), moment]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=60, check=True)
    child = int(done.stdout)
    try:
        os.kill(child, 0)
        with flin.engine.open(tmp_path / "db", runner="inline") as db:
            assert db.get(b"a") == b"1"
    finally:
        os.kill(child, signal.SIGKILL)
