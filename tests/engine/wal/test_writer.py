"""The writer: positions, rotation after failed writes, group commit, and the finality of a failed sync."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flin.engine.disk import fs
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import OsFileSystem
from flin.engine.entry import TOMBSTONE
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import HEADER_BYTES, SegmentSlice
from flin.engine.wal.writer import WalWriter
from flin.errors import StorageError
from flin.testing import Fault, SimulatedDisk
from tests.engine.wal_segment import DATABASE_ID

FULL = frozenset({"append", "create"})


class EngineSetup:
    """A writer on an empty simulated disk."""

    def __init__(self, window_bytes: int = 0) -> None:
        self.disk = SimulatedDisk(window_bytes=window_bytes)
        self.disk.make_directory("/db")
        self.salts = 0
        self.writer = WalWriter(
            self.disk, "/db", DATABASE_ID, 3, self.random, next_number=5, position=1000, sequence=7, predecessor=4,
            predecessor_end=600,
        )  # fmt: skip

    def random(self, size: int) -> bytes:
        self.salts += 1
        return self.salts.to_bytes(size, "big")

    def segments(self) -> dict[int, tuple[wal_frames.SegmentHeader, bytes]]:
        found = {}
        for path, data in self.disk.files().items():
            name = maybe_parse(path.rpartition("/")[2])
            assert name is not None
            assert (name.role, name.epoch) == ("wal", 3)
            found[name.number] = (wal_frames.decode_header(data, path), data)
        return found

    def frames(self, number: int, end: int | None = None) -> list[wal_replay.Frame]:
        header, data = self.segments()[number]
        return list(wal_replay.read_frames(data, header, "w", end=len(data) if end is None else end))


def take_segments(writer: WalWriter) -> list[SegmentSlice]:
    """End the current segment, as a seal does. Returns all that ended since the last call."""
    writer.end_segment()
    ended, writer.ended = writer.ended, ()
    return list(ended)


@pytest.fixture
def setup() -> EngineSetup:
    """A writer that writes every frame by a call."""
    return EngineSetup()


@pytest.fixture
def mapped() -> EngineSetup:
    """A writer that copies frames of up to 128 bytes into windows of 512."""
    return EngineSetup(window_bytes=512)


def test_copied_frames_are_the_written_ones(setup: EngineSetup, mapped: EngineSetup) -> None:
    """The mapped segment holds the same bytes, and zeros after them."""
    for writer in (setup.writer, mapped.writer):
        for number in range(30):
            writer.put(b"key %d" % number, b"v" * number)
            writer.delete(b"key %d" % number)
            writer.commit({b"a": b"1", b"b": TOMBSTONE}, [(b"x", b"y" * number)])
            writer.commit({b"large": b"v" * 1000})
    _, written = setup.segments()[5]
    _, data = mapped.segments()[5]
    assert data[: len(written)] == written
    assert not data[len(written) :].strip(b"\0")
    assert mapped.writer.position == setup.writer.position == 1000 + len(written)
    assert mapped.disk.calls["append"] < setup.disk.calls["append"] / 2, "not copied"
    assert mapped.frames(5) == setup.frames(5)


def test_copies_are_synced_like_writes(mapped: EngineSetup) -> None:
    position = mapped.writer.put(b"a", b"1")
    (before,) = mapped.disk.files().values()
    mapped.writer.sync(position)
    (file,) = mapped.disk.directories["/db"].names.values()
    assert file.durable() == before
    mapped.writer.put(b"b", b"2")
    assert file.durable() == before, "what was copied since is pending"
    assert bytes(file.content) != before


def test_a_frame_is_written_where_a_window_finds_no_room(mapped: EngineSetup) -> None:
    writer = mapped.writer
    writer.put(b"a", b"1")
    mapped.disk.capacity_bytes = len(mapped.disk.read("/db/00000005.3.wal")) + 70
    for number in range(8):
        writer.put(b"b", b"%d" % number * 10)
    assert mapped.disk.calls["append"] > 1, "the header's alone"
    refused = 0
    for _ in range(8):
        try:
            writer.put(b"c", b"3")
        except StorageError:
            refused += 1
            break
    assert refused
    mapped.disk.capacity_bytes <<= 1
    writer.put(b"d", b"4")
    header, _ = mapped.segments()[6]
    assert len(mapped.frames(5, header.predecessor_end)) >= 9
    assert [frame.points for frame in mapped.frames(6)] == [[(b"d", b"4")]]


def test_a_window_is_closed_with_its_segment(mapped: EngineSetup) -> None:
    writer = mapped.writer
    writer.put(b"a", b"1")
    first = take_segments(writer)
    end = writer.position
    writer.put(b"b", b"2")
    _, data = mapped.segments()[5]
    assert data[first[0].end :] == bytes(len(data) - first[0].end), "the next frame went elsewhere"
    assert mapped.segments()[6][0].base == end
    writer.close_cleanly()
    assert [frame.kind for frame in mapped.frames(6)] == [wal_frames.FRAME_PUT, wal_frames.FRAME_END]


def test_nothing_is_created_before_the_first_commit(setup: EngineSetup) -> None:
    assert setup.disk.files() == {}
    setup.writer.sync(1000)
    assert take_segments(setup.writer) == []
    setup.writer.close_cleanly()
    assert setup.disk.files() == {}


def test_positions_and_sequences(setup: EngineSetup) -> None:
    writer = setup.writer
    first = writer.put(b"a", b"1")
    second = writer.commit({b"b": b"2", b"c": TOMBSTONE}, [(b"x", b"y")])
    header, data = setup.segments()[5]
    assert header == wal_frames.SegmentHeader(DATABASE_ID, 5, header.salt, 1000, 7, 4, 600, 1000)
    assert (1000 + len(data), writer.position) == (second, second)
    one, two = setup.frames(5)
    assert (one.first_sequence, two.first_sequence, writer.sequence) == (7, 8, 11)
    assert 1000 + one.end == first


def test_frames_vouch_for_what_was_synced(setup: EngineSetup) -> None:
    writer = setup.writer
    first = writer.put(b"a", b"1")
    writer.put(b"b", b"2")
    writer.sync(first)
    writer.put(b"c", b"3")
    frames = setup.frames(5)
    assert [frame.synced for frame in frames] == [1000, 1000, 1000 + frames[1].end]
    assert writer.syncs == 1
    writer.sync(first)
    assert writer.syncs == 1, "what is synced already costs nothing"


def test_the_next_segment_names_the_end_of_the_last(setup: EngineSetup) -> None:
    writer = setup.writer
    end = writer.put(b"a", b"1")
    slices = take_segments(writer)
    assert slices == [SegmentSlice("00000005.3.wal", HEADER_BYTES, end - 1000)]
    assert take_segments(writer) == []
    writer.put(b"b", b"2")
    header, _ = setup.segments()[6]
    assert (header.predecessor, header.predecessor_end, header.base, header.first_sequence) == (5, end - 1000, end, 8)
    assert header.synced == 1000, "nobody synced the first"


def test_a_sync_reaches_ended_segments_first(setup: EngineSetup) -> None:
    writer = setup.writer
    writer.put(b"a", b"1")
    take_segments(writer)
    position = writer.put(b"b", b"2")
    synced: list[str] = []
    setup.disk.on_change = synced.append
    writer.sync(position)
    assert synced == ["sync", "sync", "sync_directory"]
    setup.disk.on_change = None
    assert all(file.synced == len(file.content) for file in setup.disk.directories["/db"].names.values())
    synced.clear()
    writer.put(b"c", b"3")
    setup.disk.on_change = synced.append
    writer.sync(writer.position)
    assert synced == ["sync"], "the name is durable, the ended segment is closed"


def test_close_cleanly_writes_an_end(setup: EngineSetup) -> None:
    setup.writer.put(b"a", b"1")
    setup.writer.close_cleanly()
    put, end = setup.frames(5)
    assert (put.kind, end.kind) == (wal_frames.FRAME_PUT, wal_frames.FRAME_END)
    assert end.synced == 1000 + put.end, "the end vouches for all before it: that was synced first"
    assert setup.writer.synced == setup.writer.position
    setup.writer.close()


def test_a_close_whose_sync_fails_leaves_no_end(setup: EngineSetup) -> None:
    """Everything that an end frame vouches for must be durable: the next open believes it."""
    setup.writer.put(b"a", b"1")
    setup.disk.faults = [Fault(0, errno.EIO, frozenset({"sync"}))]
    with pytest.raises(StorageError):
        setup.writer.close_cleanly()
    assert [frame.kind for frame in setup.frames(5)] == [wal_frames.FRAME_PUT]


@pytest.mark.parametrize("how", ["put", "commit"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(0, errno.ENOSPC, FULL),
        Fault(0, 0, frozenset({"append"}), taken=0),
        Fault(0, errno.ENOSPC, frozenset({"append"}), taken=1),
        Fault(0, errno.ENOSPC, frozenset({"append"}), taken=20),
        Fault(0, errno.EIO, frozenset({"append"}), late=True),
    ],
    ids=["full", "nothing taken", "one byte", "half a frame", "late"],
)
def test_a_failed_write_ends_the_segment_at_its_last_good_frame(setup: EngineSetup, fault: Fault, how: str) -> None:
    writer = setup.writer
    good = writer.put(b"a", b"1")
    setup.disk.faults = [Fault(fault.after, fault.code, fault.operations, fault.sticky, fault.late, fault.taken)]
    with pytest.raises(StorageError, match="cannot write /db/00000005"):
        writer.put(b"lost", b"2") if how == "put" else writer.commit({b"lost": TOMBSTONE})
    setup.disk.faults = []
    assert (writer.position, writer.sequence) == (good, 8)
    writer.put(b"b", b"3")
    assert [frame.points for frame in setup.frames(5, good - 1000)] == [[(b"a", b"1")]]
    header, _ = setup.segments()[6]
    assert (header.predecessor_end, header.base, header.first_sequence) == (good - 1000, good, 8)
    assert [frame.points for frame in setup.frames(6)] == [[(b"b", b"3")]]
    assert [piece.end for piece in take_segments(writer)] == [good - 1000, writer.position - good]


@pytest.mark.parametrize("operation", ["create", "append"])
def test_a_segment_that_cannot_begin_is_tried_again(setup: EngineSetup, operation: str) -> None:
    writer = setup.writer
    setup.disk.faults = [Fault(0, errno.ENOSPC, frozenset({operation}), sticky=True)]
    for _ in range(3):
        with pytest.raises(StorageError):
            writer.put(b"a", b"1")
    assert (writer.position, writer.sequence) == (1000, 7)
    assert setup.disk.files() == {}, "what was begun is removed"
    setup.disk.faults = []
    writer.put(b"a", b"1")
    ((header, _),) = setup.segments().values()
    assert (header.predecessor, header.predecessor_end, header.base) == (4, 600, 1000)
    assert header.number == 8, "no name is tried twice"


@pytest.mark.parametrize("operation", ["sync", "sync_directory"])
def test_a_failed_sync_is_final(setup: EngineSetup, operation: str) -> None:
    writer = setup.writer
    position = writer.put(b"a", b"1")
    setup.disk.faults = [Fault(0, errno.EIO, frozenset({operation}))]
    with pytest.raises(StorageError):
        writer.sync(position)
    setup.disk.faults = []
    before = setup.disk.calls["sync"]
    for _ in range(2):
        with pytest.raises(StorageError):
            writer.sync(position)
    assert setup.disk.calls["sync"] == before, "never tried again on the same file"
    assert writer.synced == 1000


class SlowFile:
    """A segment whose first sync waits until it may continue."""

    def __init__(self, file: Any) -> None:
        self.path = file.path
        self.write = file.write
        self.map_window = file.map_window
        self.close = file.close
        self._file = file
        self._waits = True
        self.under_way, self.go_on = threading.Event(), threading.Event()

    def sync(self) -> None:
        if self._waits:
            self._waits = False
            self.under_way.set()
            assert self.go_on.wait(60)
        self._file.sync()


def test_waiting_threads_are_synced_together(setup: EngineSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that come during a sync need only one more for all of them."""
    writer, disk = setup.writer, setup.disk
    slow: list[SlowFile] = []
    create = disk.create_segment

    def create_slow(path: str) -> SlowFile:
        slow.append(SlowFile(create(path)))
        return slow[-1]

    monkeypatch.setattr(disk, "create_segment", create_slow)
    threads = [threading.Thread(target=writer.sync, args=(writer.put(b"a", b"1"),))]
    threads[0].start()
    assert slow[0].under_way.wait(60)
    for number in range(5):
        position = writer.put(b"b%d" % number, b"")
        threads.append(threading.Thread(target=writer.sync, args=(position,)))
    for thread in threads[1:]:
        thread.start()
    slow[0].go_on.set()
    for thread in threads:
        thread.join(60)
    assert writer.synced == writer.position
    assert writer.syncs == 2


def test_writers_and_syncs_at_once(setup: EngineSetup) -> None:
    """New segments, commits and syncs in several threads: a reported position is durable."""
    writer, disk = setup.writer, setup.disk
    commit_lock, ended = threading.Lock(), threading.Event()
    wrong: list[str] = []

    def sync() -> None:
        while not ended.is_set():
            with commit_lock:
                position = writer.position
            writer.sync(position)
            durable = sum(file.synced for file in list(disk.directories["/db"].names.values()))
            if 1000 + durable < position:
                wrong.append(f"{position} reported, {1000 + durable} durable")

    threads = [threading.Thread(target=sync) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1000):
        with commit_lock:
            writer.put(b"%d" % number, b"x" * 50)
            if number % 20 == 19:
                take_segments(writer)
    ended.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    writer.close_cleanly()


def test_a_close_during_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor that another thread syncs is closed: the number may be another file's at once."""
    writer = WalWriter(
        OsFileSystem(), str(tmp_path), DATABASE_ID, 3, os.urandom, next_number=5, position=1000, sequence=7,
        predecessor=4, predecessor_end=600,
    )  # fmt: skip
    writer.put(b"a", b"1")
    writer.end_segment()
    writer.put(b"b", b"2")
    synced: list[int] = []

    def sync(fd: int) -> None:
        writer.close()
        synced.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(fs, "_sync_data", sync)
    writer.sync(writer.position)
    assert synced == [each.stat().st_ino for each in sorted(tmp_path.iterdir())]
    assert not [link for link in open_paths() if link.startswith(str(tmp_path))], "all are closed by now"


def open_paths() -> list[str]:
    """The paths of this process's open files, from /proc."""
    found = []
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # the listing's own
            found.append(str(link.readlink()))
    return found
