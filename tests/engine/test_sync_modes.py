"""The promise of each sync mode while nothing crashes: who syncs, when, and what a power cut would find at that
moment."""

from __future__ import annotations

import errno
import time
from threading import Barrier, Thread
from typing import Any

import pytest

import flin.engine
from flin.errors import ReadOnlyError
from flin.testing import CrashModel, Fault, ManualClock, SimulatedDisk, after_crash
from flin.testing.process import PATIENCE_SECONDS
from flin.testing.run import PATH


def _open(disk: SimulatedDisk, **options: Any) -> Any:
    return flin.engine.open(PATH, fs=disk, **{"clock_ms": ManualClock(), "runner": "inline", **options})


def _after_power_cut(disk: SimulatedDisk) -> dict[bytes, bytes]:
    """The contents after a power cut now, if nothing pending is kept."""
    with _open(after_crash(disk, CrashModel.PREFIXES, lambda _: 0)) as engine:
        return dict(engine.scan())


def _write_everyhow(engine: Any, **sync: bool) -> dict[bytes, bytes]:
    """Make one commit through each call that takes `sync`, or follows the mode. Returns the contents."""
    engine.put(b"a", b"1", **sync)
    engine.put(b"b", b"2", ttl=100, **sync)
    engine.put_many({b"c": b"3", b"d": b"4"}, **sync)
    engine.delete(b"a", **sync)
    with engine.write_batch(**sync) as batch:
        batch.put(b"e", b"5")
    engine.delete_range(b"c", b"d", **sync)
    return {b"b": b"2", b"d": b"4", b"e": b"5"}


def test_always_is_durable_on_return() -> None:
    disk = SimulatedDisk()
    engine = _open(disk, sync="always")
    expected = _write_everyhow(engine)
    assert _after_power_cut(disk) == expected
    engine.incr(b"n", 5)
    engine[b"f"] = b"6"
    assert engine.put_if_absent(b"g", b"7")
    engine.pop(b"b")
    assert _after_power_cut(disk) == {b"d": b"4", b"e": b"5", b"n": b"5", b"f": b"6", b"g": b"7"}
    engine.put(b"h", b"8", sync=False)
    assert b"h" not in _after_power_cut(disk), "sync=False is what it says"
    engine.close()


@pytest.mark.parametrize("mode", ["interval", "never"])
def test_one_write_can_be_lifted_to_always(mode: str) -> None:
    disk = SimulatedDisk()
    engine = _open(disk, sync=mode)
    _write_everyhow(engine)
    syncs = disk.calls["sync"]
    engine.put(b"x", b"not synced")
    assert disk.calls["sync"] == syncs
    assert _after_power_cut(disk) == {}
    engine.put(b"y", b"synced", sync=True)
    assert _after_power_cut(disk) == dict(engine.scan()), "and everything before it"
    assert disk.calls["sync"] == syncs + 1
    engine.close()


@pytest.mark.parametrize("mode", ["interval", "never"])
def test_lifted_writes_of_every_kind(mode: str) -> None:
    disk = SimulatedDisk()
    engine = _open(disk, sync=mode)
    expected = _write_everyhow(engine, sync=True)
    assert _after_power_cut(disk) == expected
    engine.close()


def test_interval_syncs_by_itself() -> None:
    """Without another write: the maintenance thread syncs what the last one left."""
    disk = SimulatedDisk()
    engine = flin.engine.open(PATH, fs=disk, sync="interval", sync_interval_ms=20, runner="thread")
    engine.put(b"a", b"1")
    position = engine._store.position
    deadline = time.monotonic() + PATIENCE_SECONDS
    while engine._store.synced_position < position:
        assert time.monotonic() < deadline, "nobody syncs"
        time.sleep(0.005)
    assert _after_power_cut(disk) == {b"a": b"1"}
    engine.close()


def test_a_sync_of_its_own_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """No call gets the error: the log does, then every write, and the close."""
    disk = SimulatedDisk()
    engine = flin.engine.open(PATH, fs=disk, sync="interval", sync_interval_ms=20, runner="thread")
    disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    engine.put(b"a", b"1")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "read-only until it is opened again: a sync failed" not in caplog.text:
        assert time.monotonic() < deadline, "nobody tells"
        time.sleep(0.005)
    with pytest.raises(ReadOnlyError):
        engine.put(b"b", b"2")
    with pytest.raises(ReadOnlyError):
        engine.close()


def test_close_makes_everything_durable() -> None:
    for mode in ("always", "interval", "never"):
        for flush in (True, False):
            disk = SimulatedDisk()
            engine = _open(disk, sync=mode)
            expected = _write_everyhow(engine)
            engine.close(flush=flush)
            assert _after_power_cut(disk) == expected


def test_group_commit() -> None:
    """Threads that wait for the disk at the same time share its syncs."""
    disk = SimulatedDisk()
    threads, rounds = 8, 25
    engine = _open(disk, sync="always")
    barrier = Barrier(threads)
    before = disk.calls["sync"]

    def write(writer: int) -> None:
        for number in range(rounds):
            barrier.wait()
            engine.put(b"%d %d" % (writer, number), b"x")

    crew = [Thread(target=write, args=(writer,)) for writer in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert len(_after_power_cut(disk)) == threads * rounds
    assert disk.calls["sync"] - before <= threads * rounds
    engine.close()
