"""Calls inside calls of the same thread: signal handlers, `__del__`, weakref callbacks. Nothing hangs or is half done.

test_interrupts.py has handlers that raise.
"""

from __future__ import annotations

import ast
import gc
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from errno import ENOSPC
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import flin.engine
from flin.engine.reentry import times_held
from flin.engine.sstable import Table
from flin.engine.tree.stall import Stall
from flin.errors import ClosedError, ReentrantCallError, StorageError
from flin.testing import Fault, SimulatedDisk
from flin.testing.crash_model import killed
from tests.engine.intruder import intruding
from tests.source import ROOT, python_files, tree_of

PROMPTLY = 60.0

INTRUSIONS = 80
"""About how many there are in one call; nine times as many in the slow part, if a call comes to so many lines."""

VERIFY_EVERY = 20
"""Verifying reads the whole WAL, which each intrusion lengthens."""

State = dict[bytes, bytes]


def filled(**options: Any) -> Any:
    """A database with keys in tables, in frozen and in active memtables."""
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline", sync="never", memory_limit="1mb", **options)
    db.put_many([(b"o%03d" % number, b"v" * 40) for number in range(120)])
    db.flush()
    db.put_many([(b"o%03d" % number, b"w" * 40) for number in range(0, 120, 3)])
    db.flush()
    db.snapshot().close()
    db.put(b"o005", b"x")
    db.delete(b"o006")
    db.incr(b"o-number", 7)
    return db


def without(state: State, start: bytes, stop: bytes) -> State:
    return {key: value for key, value in state.items() if not start <= key < stop}


class Handler:
    """The calls that a handler may make, at any moment of an outer call that takes the user's keys from one state to
    another."""

    def __init__(self, db: Any, before: State, after: State, *, thorough: bool) -> None:
        self.db = db
        self.allowed = (before, after)
        self.thorough = thorough
        self.own: State = {}
        self.counted = 0
        self.refused = 0

    def __call__(self, number: int, place: str) -> None:
        db = self.db
        try:
            self._read(number, place)
            self._write(number)
        except ClosedError:
            assert db.closed, place

    def _read(self, number: int, place: str) -> None:
        db = self.db
        got = {key: value for key in (b"o000", b"o005", b"o007", b"o-new") if (value := db.get(key)) is not None}
        allowed = [{key: state[key] for key in (b"o000", b"o005", b"o007", b"o-new") if key in state}
                   for state in self.allowed]  # fmt: skip
        assert got in allowed, place
        with db.snapshot() as view:
            seen = dict(view.scan(prefix=b"o"))
            assert seen in self.allowed, f"{place}: neither before nor after"
            assert dict(db.scan(prefix=b"o")) == seen, place
            assert list(db.scan_keys(prefix=b"o", limit=3)) == sorted(seen)[:3], place
            assert list(db.scan_keys(prefix=b"o", limit=3, reverse=True)) == sorted(seen, reverse=True)[:3], place
            if self.thorough:
                assert len(view) == len(list(view)), place
        if self.thorough:
            assert len(db) == len(list(db)), place
            db.stats()
            if number % VERIFY_EVERY == 0:
                assert db.verify() == [], place

    def _write(self, number: int) -> None:
        db, key = self.db, b"h%d" % (number % 7)
        match number % 5:
            case 0 | 1:
                db.put(key, b"%d" % number)
                self.own[key] = b"%d" % number
            case 2:
                db.put_many([(key, b"many"), (b"h-many", b"%d" % number)])
                self.own |= {key: b"many", b"h-many": b"%d" % number}
            case 3:
                db.delete(key)
                self.own.pop(key, None)
            case _:
                with db.write_batch() as batch:
                    batch.delete_prefix(b"h")
                    batch.put(key, b"%d" % number)
                self.own = {key: b"%d" % number}
        try:
            db.incr(b"n")
            self.counted += 1
        except ReentrantCallError:
            self.refused += 1
        for call in (db.sync, db.compact if number % 77 == 0 else db.flush if number % 11 == 0 else db.sync):
            try:
                call()
            except ReentrantCallError:
                self.refused += 1

    def check(self) -> None:
        db = self.db
        assert dict(db.scan(prefix=b"h")) == self.own, "what was answered, in its order"
        assert int(db.get(b"n") or 0) == self.counted
        assert dict(db.scan(prefix=b"o")) == self.allowed[1]
        assert len(db) == len(list(db))
        assert db.verify() == []


def _batch(db: Any) -> None:
    with db.write_batch() as batch:
        batch.delete_range(b"o000", b"o100")
        batch.put(b"o005", b"in")
        batch.put(b"o-new", b"in")


def _scan(db: Any) -> None:
    list(db.scan())


def _scan_back(db: Any) -> None:
    list(db.scan(reverse=True))


def _read(db: Any) -> None:
    for number in range(0, 120, 7):
        db.get(b"o%03d" % number)
        db.get(b"o%03d" % number)
    list(db.scan(start=b"o010", limit=5))


def _count(db: Any) -> None:
    with db.snapshot() as view:
        len(view)
    len(db)


def _write_and_seal(db: Any) -> None:
    db.put(b"o-new", b"n")
    db._store.seal()
    db._store.listeners.on_sealed()


OUTER: dict[str, tuple[Callable[[Any], Any], Callable[[State], State]]] = {
    "put": (lambda db: db.put(b"o005", b"new"), lambda state: state | {b"o005": b"new"}),
    "put a large one": (lambda db: db.put(b"o-new", b"n" * 50_000), lambda state: state | {b"o-new": b"n" * 50_000}),
    "put and sync": (lambda db: db.put(b"o-new", b"n", sync=True), lambda state: state | {b"o-new": b"n"}),
    "delete": (lambda db: db.delete(b"o000"), lambda state: without(state, b"o000", b"o000\0")),
    "put_many": (
        lambda db: db.put_many([(b"o%03d" % number, b"m") for number in range(10)]),
        lambda state: state | {b"o%03d" % number: b"m" for number in range(10)},
    ),
    "batch": (
        _batch,
        lambda state: (
            {k: v for k, v in state.items() if not b"o000" <= k < b"o100"} | {b"o005": b"in", b"o-new": b"in"}
        ),
    ),
    "delete_range": (
        lambda db: db.delete_range(b"o000", b"o050"),
        lambda state: without(state, b"o000", b"o050"),
    ),
    "incr": (lambda db: db.incr(b"o-number"), lambda state: state | {b"o-number": b"8"}),
    "pop": (lambda db: db.pop(b"o007"), lambda state: without(state, b"o007", b"o007\0")),
    "put with ttl": (lambda db: db.put(b"o-new", b"n", ttl=1000), lambda state: state | {b"o-new": b"n"}),
    "sync": (lambda db: db.sync(), dict),
    "get": (_read, dict),
    "scan": (_scan, dict),
    "scan backwards": (_scan_back, dict),
    "count": (_count, dict),
    "stats": (lambda db: db.stats(), dict),
    "verify": (lambda db: db.verify(), dict),
    "flush": (lambda db: db.flush(), dict),
    "compact": (lambda db: db.compact(), dict),
    "write and seal": (_write_and_seal, lambda state: state | {b"o-new": b"n"}),
}


def lines_of(act: Callable[[Any], Any], shards: int) -> int:
    """How many lines of the engine the call comes to without an intruder."""
    db = filled(shards=shards)
    list(db.scan())
    with intruding(lambda _, __: None) as lines:
        act(db)
    db.close()
    return lines[0]


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("name", OUTER)
def test_calls_at_every_line_of_a_call(name: str, shards: int, thorough: bool) -> None:
    act, change = OUTER[name]
    lines = lines_of(act, shards)
    db = filled(shards=shards)
    before = dict(db.scan())
    handler = Handler(db, before, change(before), thorough=thorough)
    step = max(1, lines // (INTRUSIONS if not thorough else 9 * INTRUSIONS))
    last = lines + INTRUSIONS  # the writes that it puts off take lines, too, and each could be a place for more

    def intrude(number: int, place: str) -> None:
        if number % step == 0 and number <= last:
            handler(number // step, place)

    with intruding(intrude):
        act(db)
    assert lines > 5
    handler.check()
    disk = killed(db._store.options.fs)
    with flin.engine.open("/db", fs=disk, runner="inline") as again:
        assert dict(again.scan()) == dict(db.scan()), "in the WAL as in memory"
    db.close()


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["put", "put_many", "incr", "get", "count", "scan", "flush", "compact", "sync", "close"]
)
def test_close_at_every_line_of_a_call(name: str, thorough: bool) -> None:
    """It is closed once the outer call has ended; answered writes are there."""
    act, change = OUTER.get(name, (lambda db: db.close(), dict))
    lines = lines_of(act, 1)
    step = max(1, lines // (400 if thorough else 16))
    for at in range(1, lines + 1, step):
        db = filled()
        disk, before = db._store.options.fs, dict(db.scan())

        places: list[str] = []

        def close(number: int, place: str, db: Any = db, at: int = at, places: list[str] = places) -> None:
            if number == at:
                places.append(place)
                db.close()
                with pytest.raises(ClosedError):
                    db.put(b"late", b"1")

        answered = True
        with intruding(close):
            try:
                act(db)
            except ClosedError:
                answered = False
        assert db.closed == bool(places or name == "close")  # this time it may have been a line less
        db.close()  # waits for the thread that closes it
        with flin.engine.open("/db", fs=disk, runner="inline") as again:
            found = dict(again.scan())
            assert found == change(before) if answered else found in (before, change(before))
            assert again.stats()["wal"]["torn"] == ""


def test_every_function_that_takes_a_lock_says_so() -> None:
    """Else a call that re-enters it would not know, and wait for its own thread."""
    silent = []
    for path in python_files("flin/engine"):
        if path.name == "helper.py":  # a process of its own
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and node.name != "_check":  # of the tests
                own = [each for each in ast.walk(node) if isinstance(each, ast.With)]
                taken = [ast.unparse(item.context_expr) for each in own for item in each.items]
                marked = any(ast.unparse(each) == "holds_lock" for each in node.decorator_list)
                if any(re.search(r"(lock|guard|ordering|loading|changed|turn|ended)$", name) for name in taken):
                    silent += [] if marked else [f"{path.name}:{node.lineno} {node.name} takes {taken}"]
    assert silent == []


class Storm:
    """Handlers of real signals, as many as fit, in this thread; one may interrupt another."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self.act = act
        self.numbers = count(1)
        self.done: list[int] = []

    def __enter__(self) -> Storm:
        self.before = signal.signal(signal.SIGALRM, self._handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    def _handle(self, _: int, __: FrameType | None) -> None:
        number = next(self.numbers)
        self.act(number)
        self.done.append(number)


@pytest.mark.parametrize("runner", ["inline", "thread"])
def test_a_heartbeat_by_a_timer(open_engine: Callable[..., Any], runner: str) -> None:
    """With two threads that write and count, while the memtable is flushed again and again."""
    db = open_engine(runner=runner, memory_limit="1mb")
    with Storm(lambda number: db.put(b"tick%d" % number, b"")) as storm:
        counters = [threading.Thread(target=lambda: [db.incr(b"n") for _ in range(1500)]) for _ in range(2)]
        for thread in counters:
            thread.start()
        number = 0
        while len(storm.done) < 50 or any(thread.is_alive() for thread in counters):
            db.put(b"k%06d" % number, b"v" * 40)
            assert db.get(b"k%06d" % number) == b"v" * 40
            number += 1
            if number % 500 == 0:
                db.flush()
                assert len(db) >= number
        for thread in counters:
            thread.join(PROMPTLY)
    assert {b"tick%d" % number for number in storm.done} == {key for key, _ in db.scan(prefix=b"tick")}
    assert db[b"n"] == b"3000"
    assert len(db) == number + len(storm.done) + 1


def test_a_finalizer_that_writes(open_engine: Callable[..., Any]) -> None:
    db = open_engine()

    class Job:
        def __init__(self, name: bytes) -> None:
            self.name = name
            self.itself = self  # so that only the collector finds it

        def __del__(self) -> None:
            db.delete(b"lease/" + self.name)
            db.put(b"done/" + self.name, b"1")

    threshold = gc.get_threshold()
    gc.set_threshold(10, 1, 1)
    try:
        for number in range(300):
            db.put(b"lease/%d" % number, b"1")
            Job(b"%d" % number)
            db.put_many({b"k%d" % each: b"v" for each in range(20)})
        gc.collect()
    finally:
        gc.set_threshold(*threshold)
    assert not list(db.scan(prefix=b"lease/"))
    assert len(list(db.scan(prefix=b"done/"))) == 300


def test_a_put_off_write_that_is_refused(open_engine: Callable[..., Any]) -> None:
    """The outer call raises it: no other call is left that could."""
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline")
    db.put(b"a", b"1")

    def write(_: int, place: str) -> None:
        if place.endswith("encode_put") and not struck:
            struck.append(place)
            db.put_many({b"b": b"2" * 100_000})
            disk.faults.append(Fault(1, ENOSPC, frozenset({"append"})))

    struck: list[str] = []
    with intruding(write), pytest.raises(StorageError) as raised:
        db.put(b"c", b"3" * 70_000)
    assert struck
    assert "it was put off until the outer call had ended" in raised.value.__notes__[0]
    assert dict(db.scan()) == {b"a": b"1", b"c": b"3" * 70_000}
    db.close()


def test_a_write_that_needs_an_answer_says_what_to_do() -> None:
    db = filled()
    refused: list[str] = []

    def ask(_: int, place: str) -> None:
        if not place.endswith("encode_put") or refused:
            return
        for call in (
            lambda: db.incr(b"n"),
            lambda: db.pop(b"o005"),
            lambda: db.setdefault(b"o005", b""),
            lambda: db.compare_and_set(b"o005", b"x", b"y"),
            lambda: db.expire(b"o005", 1),
            lambda: db.put(b"o005", b"y", sync=True),
            lambda: db.put_many({b"o005": b"y"}, sync=True),
            db.flush,
            db.compact,
        ):
            with pytest.raises(ReentrantCallError, match="ask when it has ended") as raised:
                call()
            refused.append(raised.value.call)

    with intruding(ask):
        db.put(b"k", b"v")
    assert refused == [*["a write that needs the value before it"] * 5, *["a write that waits for the disk"] * 2,
                       "flush()", "compact()"]  # fmt: skip
    assert db[b"o005"] == b"x"
    db.close()


def test_a_sync_inside_a_sync() -> None:
    db = filled()
    db.put(b"k", b"v")
    refused: list[str] = []

    def ask(_: int, place: str) -> None:
        if place.endswith("_sync_all"):
            db.put(b"more", b"1")
            with pytest.raises(ReentrantCallError):
                db.sync()
            with pytest.raises(ReentrantCallError):
                db.put(b"more", b"2", sync=True)
            refused.append(place)

    with intruding(ask):
        db.sync()
    assert refused
    assert db[b"more"] == b"1"
    db.close()


def test_a_stalled_write_of_a_handler_does_not_wait(open_engine: Callable[..., Any]) -> None:
    """Else it would wait for a flush that the outer call is about to do."""
    db = open_engine()
    db.put(b"a", b"1")
    places: list[str] = []

    def write(number: int, place: str) -> None:
        if place.endswith("flush_once"):
            db._store._control.stall = Stall(stopped=True, reason="a test")
            db._store._blocked = True
            db.put(b"h%d" % number, b"1")
            places.append(place)

    with intruding(write):
        db.flush()
    assert len(places) > 5
    assert len(list(db.scan(prefix=b"h"))) == len(places)


@pytest.mark.parametrize("what", ["put", "scan", "len", "incr"])
def test_another_thread_is_not_waited_for_in_a_circle(open_engine: Callable[..., Any], what: str) -> None:
    """The outer call loads a table; another thread's increment needs that table, and a handler the commit lock."""
    db = open_engine()
    db.put(b"cold", b"1")
    db.flush()
    db.close()
    db = open_engine()
    other = threading.Thread(target=lambda: db.incr(b"cold"), daemon=True)

    def stands_there() -> bool:
        frame = sys._current_frames().get(other.ident or 0)
        while frame is not None and frame.f_code is not Table.loaded.__code__:
            frame = frame.f_back
        return frame is not None

    def act(_: int, place: str) -> None:
        if place.endswith("TableState.__init__") or other.ident is not None or " __init__" not in place:
            return
        if not place.startswith("table/state.py"):
            return
        other.start()
        while not stands_there():
            other.join(0.001)
        match what:
            case "put":
                db.put(b"h", b"1")
            case "scan":
                assert dict(db.scan(prefix=b"x")) == {}
            case "len":
                assert len(db) == 1
            case _:
                db.incr(b"h")

    with intruding(act):
        assert db[b"cold"] == b"1"
    assert other.ident is not None
    other.join(PROMPTLY)
    assert not other.is_alive()
    assert db[b"cold"] == b"2"


SERVICE = """
    import signal, sys, flin.engine
    db = flin.engine.open(sys.argv[1], runner=sys.argv[2], memory_limit="2mb")
    done = 0

    def stop(number, frame):
        db.put(b"~stopped", b"%d" % done)
        db.close()
        print(done, flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while True:
        {work}
        done += 1
"""
WORK = {
    "put": "db.put(b'%08d' % done, b'v' * 20)",
    "batch": "db.put_many({b'%08d' % done: b'v' * 20})",
    "flush": "db.put(b'%08d' % done, b'v' * 20); db.flush()",
    "count": "db.put(b'%08d' % done, b'v' * 20); len(db)",
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("runner", ["thread", "auto"])
def test_a_service_that_is_terminated(tmp_path: Path, runner: str, work: str) -> None:
    script = textwrap.dedent(SERVICE).format(work=WORK[work])
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "db"), runner],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as service:  # fmt: skip
        assert service.stdout is not None
        service.stdout.readline()
        time.sleep(0.1)  # into the loop; wherever it is then
        service.send_signal(signal.SIGTERM)
        out, errors = service.communicate(timeout=PROMPTLY)
    assert (service.returncode, errors) == (0, "")
    done = int(out)
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        assert db.stats()["wal"]["replayed_operations"] == 0, "closed, not killed"
        assert int(db[b"~stopped"]) == done
        assert len(db) - 1 in (done, done + 1)


class _OldLock:
    """A lock like that of CPython 3.11.2, without a call that counts."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return repr(self.lock)

    def _is_owned(self) -> bool:
        return self.lock._is_owned()  # type: ignore[attr-defined, no-any-return]


def test_a_lock_says_how_often_it_is_held_in_every_python() -> None:
    lock, old = threading.RLock(), _OldLock()
    counts = [times_held(lock), times_held(old)]
    assert [count() for count in counts] == [0, 0]
    with lock, lock, old.lock, old.lock:
        assert [count() for count in counts] == [2, 2]
        elsewhere: list[int] = []
        thread = threading.Thread(target=lambda: elsewhere.extend(count() for count in counts))
        thread.start()
        thread.join()
        assert elsewhere == [0, 0]
    assert [count() for count in counts] == [0, 0]
