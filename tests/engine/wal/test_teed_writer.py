"""The WAL of a replica: which frames wait for the log, and what becomes of its segments."""

from __future__ import annotations

import errno
from random import Random
from threading import Event, Thread
from typing import Any

import pytest

from flin.engine.disk.file_name import wal_name
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.memtable import Memtable
from flin.engine.replication import FrameRun
from flin.engine.wal import frames
from flin.engine.wal.frame_run import decode_run
from flin.engine.wal.frames import SegmentHeader, ValidFrames
from flin.engine.wal.teed_writer import MAX_FRAME_BYTES, TeedWalWriter
from flin.errors import CorruptionError, LimitError, StorageError
from flin.testing import Fault, SimulatedDisk
from tests.engine.wal_segment import DATABASE_ID


def _writer(disk: SimulatedDisk) -> TeedWalWriter:
    disk.make_directory("/db")
    salts = iter(range(100))
    writer = TeedWalWriter(
        disk, "/db", DATABASE_ID, 3, lambda size: next(salts).to_bytes(size, "big"), next_number=5, position=1000,
        sequence=7, predecessor=0, predecessor_end=0,
    )  # fmt: skip
    writer.frames.keeps = True
    return writer


@pytest.mark.parametrize("window_bytes", [0, 4096])
def test_frames_are_those_of_the_segments(window_bytes: int) -> None:
    disk = SimulatedDisk(window_bytes=window_bytes)
    writer = _writer(disk)
    writer.put(b"a", b"1")
    writer.delete(b"b")
    writer.commit({b"c": (b"3", 5, 1), b"d": TOMBSTONE}, [(b"e", b"f")])
    writer.end_segment()
    writer.put(b"a", b"2")
    (first, second) = writer.frames.take()
    name, end = writer.ended[0].file, writer.ended[0].end
    assert first.data == disk.files()[f"/db/{name}"][frames.HEADER_BYTES : end]
    assert (first.position, first.sequence) == (1000 + frames.HEADER_BYTES, 7)
    assert (second.position, second.sequence) == (1000 + end + frames.HEADER_BYTES, 12)
    assert decode_run(first) == ({b"a": b"1", b"b": TOMBSTONE, b"c": (b"3", 5, 1), b"d": TOMBSTONE}, ((b"e", b"f"),))
    assert decode_run(second) == ({b"a": b"2"}, ())
    assert writer.frames.take() == []
    writer.close_cleanly()
    assert writer.frames.take() == [], "the end frame is the directory's own"


def test_nothing_waits_where_nobody_leads() -> None:
    writer = _writer(SimulatedDisk())
    writer.frames.keeps = False
    position = writer.put(b"a", b"1")
    assert (writer.frames.take(), writer.frames.position) == ([], position)


def test_frames_that_never_counted_are_left_out() -> None:
    disk = SimulatedDisk()
    writer = _writer(disk)
    writer.put(b"a", b"1")
    for _ in range(2):
        disk.faults.append(Fault(0, errno.ENOSPC, operations=frozenset({"append"})))
        with pytest.raises(StorageError):
            writer.commit({b"a": b"2", b"b": b"2"})
    (run,) = writer.frames.take()
    assert decode_run(run) == ({b"a": b"1"}, ())
    assert writer.frames.take() == []
    writer.put(b"a", b"3")
    (run,) = writer.frames.take()
    assert decode_run(run) == ({b"a": b"3"}, ())


def _operations(run: FrameRun) -> int:
    valid = ValidFrames(
        run.data, SegmentHeader(b"", 0, run.salt, run.position, run.sequence, 0, 0, 0), 0, len(run.data)
    )
    assert list(valid)
    assert valid.end == len(run.data)
    return valid.operations


def test_one_thread_takes_while_another_writes() -> None:
    """What was taken up to a position that was read before holds all that was committed by then."""
    writer = _writer(SimulatedDisk(window_bytes=4096))
    committed = 0
    ended = Event()

    def write() -> None:
        nonlocal committed
        for number in range(3000):
            writer.put(b"%d" % (number % 7), b"%d" % number)
            committed = number + 1
            if number % 100 == 0:
                writer.end_segment()
        ended.set()

    thread = Thread(target=write)
    thread.start()
    taken = 0
    while taken < 3000:
        was_ended, least = ended.is_set(), committed
        for run in writer.frames.take():
            assert run.sequence == 7 + taken
            taken += _operations(run)
        assert taken >= least
        assert taken == 3000 or not was_ended
    thread.join()


class Interrupt(BaseException):
    pass


def test_an_interrupt_leaves_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call it comes in: what counts is taken, and what does not is not."""
    writer = _writer(SimulatedDisk())
    random = Random(1)
    expected: dict[bytes, bytes] = {}
    found: dict[bytes, Entry] = {}
    add = writer.frames.add

    def interrupted(*frame: Any) -> None:
        if random.random() < 0.3:
            raise Interrupt
        add(*frame)
        if random.random() < 0.3:
            raise Interrupt

    monkeypatch.setattr(writer.frames, "add", interrupted)
    for number in range(300):
        key, value = b"%d" % random.randrange(9), b"%d" % number
        try:
            writer.put(key, value)
            expected[key] = value
        except Interrupt:
            pass
        if random.random() < 0.2:
            for run in writer.frames.take():
                found.update(decode_run(run)[0])
            assert found == expected


def test_a_run_is_one_commit() -> None:
    """Against a memtable to which its commits are applied one by one."""
    random = Random(2)
    for _ in range(50):
        writer, plain = _writer(SimulatedDisk()), Memtable()
        for _ in range(random.randrange(1, 30)):
            points: dict[bytes, Entry] = {
                b"%d" % random.randrange(30): random.choice((b"v", TOMBSTONE, (b"w", 9, 0)))
                for _ in range(random.randrange(1, 4))
            }
            ranges: list[Range] = [(b"1", b"2")] if random.random() < 0.2 else []
            writer.commit(points, ranges)
            plain.apply(ranges, points)
        (run,) = writer.frames.take()
        assert decode_run(run) == (plain.entries, plain.ranges)


def _damaged(run: FrameRun) -> list[FrameRun]:
    data = bytearray(run.data)
    data[-1] ^= 1
    cut, zeros = run.data[:-1], run.data + bytes(8)
    return [
        run._replace(data=bytes(data)),
        run._replace(data=cut),
        run._replace(data=zeros),
        run._replace(salt=b"another!"),
        run._replace(position=run.position + 1),
        run._replace(sequence=run.sequence + 1),
        run._replace(sequence=run.sequence - 1),
        run._replace(sequence=run.sequence + 99),
    ]


@pytest.mark.parametrize("which", range(8))
def test_damaged_runs(which: int) -> None:
    writer = _writer(SimulatedDisk())
    writer.put(b"a", b"1")
    writer.put(b"b", b"2")
    (run,) = writer.frames.take()
    with pytest.raises(CorruptionError, match="entry 9"):
        decode_run(_damaged(run)[which], "entry 9")


def test_ended_segments_are_open_until_they_are_let_go() -> None:
    disk = SimulatedDisk()
    writer = _writer(disk)
    names = [wal_name(number, 3) for number in (5, 6, 7)]
    for name in names:
        writer.put(b"a", name.encode())
        writer.end_segment()
    writer.sync_ended(names[:2])
    assert disk.calls["sync"] == 2
    writer.let_go(names[:2])
    writer.sync_ended(names[:2])
    assert disk.calls["sync"] == 2, "they are closed"
    writer.put(b"a", b"2")
    writer.sync(writer.position)
    assert disk.calls["sync"] == 4, "the third, and the one that is open"


def test_a_sync_that_failed_is_final() -> None:
    disk = SimulatedDisk()
    writer = _writer(disk)
    writer.put(b"a", b"1")
    writer.end_segment()
    disk.faults.append(Fault(0, operations=frozenset({"sync"})))
    for _ in range(2):
        with pytest.raises(StorageError):
            writer.sync_ended([wal_name(5, 3)])


def test_a_frame_that_is_too_long_for_the_log_is_refused() -> None:
    writer = _writer(SimulatedDisk())
    value = bytes(MAX_FRAME_BYTES)
    before = writer.position, writer.sequence
    with pytest.raises(LimitError, match="a commit's bytes"):
        writer.put(b"a", value)
    assert (writer.position - frames.HEADER_BYTES, writer.sequence) == before
    assert writer.frames.take() == []
    writer.put(b"a", value[: 16 << 20])
    assert len(writer.frames.take()[0].data) > 16 << 20
    writer.frames.keeps = False
    writer.put(b"a", value)
