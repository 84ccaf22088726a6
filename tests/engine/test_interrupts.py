"""Ctrl-C in the middle of a write: a signal handler may raise between any two calls of the engine.

The interrupted write is done completely or not at all; every answered write is there, in memory and after a crash, and
the engine continues.
"""

from __future__ import annotations

import gc
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

import flin.engine
from flin.engine.disk.open_files import OPEN_FILES
from flin.engine.reentry import is_held
from flin.testing import Fault, SimulatedDisk
from flin.testing.crash_checker import CrashChecker
from flin.testing.faulty import FaultyRun, check_failed
from flin.testing.operation import Delete, Maintenance, Put
from flin.testing.run import EngineSetup, WorkloadRun

INTERRUPTS = 1500
MAX_DELAY = 3.0  # in powers of ten of a microsecond: the slowest of these writes, which sync, take about as long


class Interrupt(BaseException):
    """Like KeyboardInterrupt, which pytest would take for its own."""


def _raise(_: int, __: FrameType | None) -> None:
    raise Interrupt


@contextmanager
def interrupting() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _raise)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Writer:
    """Random writes to an engine and to a dict; some of them are interrupted."""

    def __init__(self, db: Any, random: Random) -> None:
        self.db = db
        self.random = random
        self.model: dict[bytes, bytes] = {}
        self.number = 0
        self.happened: list[bool] = []  # of each interrupted write

    def write(self, delay_seconds: float) -> None:
        """Write once, interrupted after the delay if the write takes that long."""
        before = dict(self.model)
        self.number += 1
        change, call = self._choose(b"%d" % self.random.randrange(50), b"%d" % self.number)
        after = {key: value for key, value in {**before, **change}.items() if value is not None}
        self.model = after
        try:
            signal.setitimer(signal.ITIMER_REAL, delay_seconds)
            call()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt:
            found = dict(self.db.scan())
            assert found in (before, after), "neither whole nor absent"
            self.model = found
            if before != after:
                self.happened.append(found == after)

    def _choose(self, key: bytes, value: bytes) -> tuple[dict[bytes, bytes | None], Any]:
        db = self.db
        match self.random.randrange(6):
            case 0 | 1:
                return {key: value}, lambda: db.put(key, value)
            case 2:
                return {key: None}, lambda: db.delete(key)
            case 3:
                pairs = {b"%d" % number: value for number in range(50)}
                return dict(pairs), lambda: db.put_many(pairs)
            case 4:
                return {key: value}, lambda: db.put(key, value, sync=True)
            case _:
                gone = [each for each in self.model if key <= each < b"7"]
                return dict.fromkeys(gone), lambda: db.delete_range(key, b"7") if key < b"7" else None


@pytest.mark.parametrize("shards", [1, 4])
def test_interrupted_writes(tmp_path: Path, shards: int) -> None:
    assert threading.current_thread() is threading.main_thread(), "signals are handled there"
    db = flin.engine.open(tmp_path / "db", shards=shards, sync="never", runner="inline")
    writer = Writer(db, Random(shards))
    writer.write(0)
    with interrupting():
        while len(writer.happened) < INTERRUPTS:
            writer.write(1e-6 * 10 ** writer.random.uniform(0, MAX_DELAY))
    assert {True, False} <= set(writer.happened), "interrupted before and after"
    assert list(db.verify()) == []
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    with flin.engine.open(tmp_path / "killed", runner="inline") as killed:
        assert dict(killed.scan()) == writer.model
    db.close()
    with flin.engine.open(tmp_path / "db", runner="inline") as closed:
        assert dict(closed.scan()) == writer.model


def _write_seal_and_sync(db: Any, round_: int) -> None:
    for number in range(20):
        db.put(b"lost", b"%d" % round_ * 200 * (number % 2))  # every other one is too large for a window
        db.sync()
        if number == 10:
            db._store.seal()


@pytest.mark.parametrize("method", ["create_segment", "sync_directory", "_sync", "_copy", "_write"])
def test_an_interrupt_in_each_call_of_the_disk(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """After the call took effect: there a signal that came meanwhile is handled."""
    disk = SimulatedDisk(window_bytes=512)
    db = flin.engine.open("/db", fs=disk, runner="inline", sync="never")
    original = getattr(SimulatedDisk, method)
    struck: list[bool] = []

    def interrupted(self: SimulatedDisk, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if not struck:
            struck.append(True)
            raise Interrupt
        return result

    model: dict[bytes, bytes] = {}
    for round_ in range(6):
        struck.clear()
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedDisk, method, interrupted)
            with pytest.raises(Interrupt):
                _write_seal_and_sync(db, round_)
        for number in range(5):
            model[b"%d %d" % (round_, number)] = b"x" * 30
            db.put(b"%d %d" % (round_, number), b"x" * 30)
        db.sync()
        assert disk.directories["/db"].pending == [], "a sync that was interrupted stands for no other"
        found = {key: value for key, value in db.scan() if key != b"lost"}
        assert found == model
    db.close()
    with flin.engine.open("/db", fs=disk, runner="inline") as again:
        assert {key: value for key, value in again.scan() if key != b"lost"} == model


def _write_flush_and_compact(run: WorkloadRun) -> None:
    for number in range(3):
        Put(b"a", b"%d" % number).do(run)
        Put(b"k%d" % number, b"x" * 600).do(run)
        Maintenance("flush").do(run)
    Delete(b"k1").do(run)
    Maintenance("compact").do(run)


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_in_each_call_of_a_flush_and_a_compaction(late: bool) -> None:
    """Files that the new manifest names must not be removed, whether or not the edit counts in memory."""
    checker = CrashChecker(EngineSetup("never"), limit=1)
    n, fault = 0, Fault(0)
    while n == 0 or fault.fired:
        run = FaultyRun(EngineSetup("never"), record=False)
        run.open()
        fault = Fault(n, error=Interrupt, late=late)
        run.disk.faults.append(fault)
        try:
            _write_flush_and_compact(run)
        except Interrupt:
            run.failures += 1
        run.disk.faults.clear()
        assert dict(run.engine.scan()) == run.view()
        check_failed(run, checker, f"call {n}")
        n += 1
    assert n > 50
    assert checker.states > 50


def _interrupted_at(place: int, call: Callable[[], object]) -> int:
    """Run the call, and raise Interrupt at this place in the engine's code. Returns how many places it came to.

    They are where the interpreter runs signal handlers: as a function begins, and after a call of one in C. Between the
    end of a `with` block and its lock's release it runs none: an interrupt there would tell nothing, and keep the lock.
    """
    places = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal places
        if event in ("call", "c_return") and "/flin/engine/" in frame.f_code.co_filename:
            places += 1
            if places == place:
                sys.setprofile(None)
                raise Interrupt

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    except Interrupt:
        pass
    finally:
        sys.setprofile(before)
    return places


def _open_and_close(path: Path, place: int, when: str) -> int:
    """Open and close, one of them interrupted at this place; afterwards the directory is free, no lock of the process
    is held, and answered writes are there."""
    opened: list[flin.engine.Engine] = []

    def begin() -> None:
        opened.append(flin.engine.open(path, runner="inline"))

    with flin.engine.open(path, runner="inline") as db:
        db.put(b"a", b"%d" % place)
    if when == "open":
        places = _interrupted_at(place, begin)
    else:
        begin()
        opened[0].put(b"b", b"%d" % place)
        places = _interrupted_at(place, opened[0].close)
    for db in opened:
        db.close()
    opened.clear()
    gc.collect()  # objects whose making was interrupted
    assert not is_held(OPEN_FILES._lock)
    with flin.engine.open(path, runner="inline") as db:
        assert db.get(b"a") == b"%d" % place
        assert when == "open" or db.get(b"b") == b"%d" % place
    return places


@pytest.mark.parametrize("when", ["open", "close"])
@pytest.mark.parametrize("step", [251, pytest.param(17, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one in a __del__ is only reported
def test_an_interrupt_in_open_or_close_leaves_no_lock(tmp_path: Path, when: str, step: int) -> None:
    """Like Ctrl-C in a notebook that continues afterwards: the same process opens the directory again."""
    places = _open_and_close(tmp_path, 0, when)
    assert places > 500
    for place in range(1, places + 1, step):
        _open_and_close(tmp_path, place, when)
