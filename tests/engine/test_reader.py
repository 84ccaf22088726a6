"""Readers: `open(path, read_only=True)` alongside a writer, in the same process or another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import flin.engine
from flin.engine.disk.file_name import LOCK, MANIFEST, maybe_parse
from flin.engine.disk.fs import ReadableFile
from flin.engine.engine import Engine, store_of
from flin.engine.tree.reader_store import ReaderStore
from flin.engine.wal.frames import HEADER_BYTES
from flin.errors import (
    ClosedError,
    CorruptionError,
    EncryptionError,
    NoDatabaseError,
    ReadOnlyError,
    StorageError,
    WrongKeyError,
)
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import KEY, PATH
from tests.engine.golden import NAMES, golden
from tests.engine.small_database import DB, opened
from tests.source import ROOT


def reading(disk: SimulatedDisk, **options: Any) -> Engine:
    return flin.engine.open(DB, read_only=True, fs=disk.for_another_program(), memory_limit="1mb", **options)


def same(reader: Engine, writer: Engine) -> None:
    """Check that the reader shows all that the writer shows, and counts it."""
    expected = list(writer.items())
    assert list(reader.items()) == expected
    assert list(reader.scan_keys(reverse=True)) == [key for key, _ in reversed(expected)]
    assert len(reader) == len(expected)
    assert [reader.get(key) for key, _ in expected] == [value for _, value in expected]


@pytest.mark.parametrize(
    ("window_bytes", "shards", "value_threshold", "key"),
    [(0, 1, 0, None), (4096, 4, 0, None), (4096, 1, 64, None), (0, 4, 64, None), (4096, 1, 64, KEY), (0, 4, 0, KEY)],
)
def test_a_reader_follows(window_bytes: int, shards: int, value_threshold: int, key: bytes | None) -> None:
    """Through flushes, merges and segments, value files included; also of an encrypted database."""
    disk = SimulatedDisk(window_bytes=window_bytes)
    writer = opened(disk, shards=shards, value_threshold=value_threshold, encryption_key=key)
    reader = reading(disk, encryption_key=key)
    assert reader.refresh() is False
    for step in range(20):
        writer.put_many(
            {b"%05d" % (number * 7 % 999): b"%d" % step * 100 for number in range(step * 50, step * 50 + 300)}
        )
        writer.delete(b"%05d" % step)
        if step % 4 == 1:
            writer.delete_range(b"%05d" % (step * 20), b"%05d" % (step * 20 + 30))
        if step % 9 == 8:
            writer.compact()
        assert reader.refresh() is True
        same(reader, writer)
        assert reader.refresh() is False
    assert store_of(writer).manifest.next_job > 5
    assert reader.verify() == []
    reader.close()
    writer.close()


def test_it_shows_what_was_there_at_the_last_refresh() -> None:
    disk = SimulatedDisk(window_bytes=4096)
    with opened(disk) as writer:
        writer.put(b"a", b"1")
        with reading(disk) as reader:
            writer.put(b"a", b"2")
            writer.flush()
            assert reader[b"a"] == b"1"
            with reader.snapshot() as view:
                assert reader.refresh()
                assert (reader[b"a"], view[b"a"]) == (b"2", b"1")


def test_nothing_is_written() -> None:
    """No file is made, changed or locked; every call that would write says what to do instead."""
    disk = SimulatedDisk(window_bytes=4096)
    with opened(disk) as writer:
        writer.put_many({b"%d" % number: b"v" for number in range(1000)})
        writer.flush()
        writer.put(b"k", b"1")
        files, changes = disk.files(), disk.changes
        reader = reading(disk)
        with reader.write_batch() as batch:
            batch.put(b"k", b"2")
            with pytest.raises(ReadOnlyError):
                batch.commit()
            batch.discard()
        calls: list[Callable[[], object]] = [
            lambda: reader.put(b"k", b"2"),
            lambda: reader.put(b"k", b"2", ttl=1.0),
            lambda: reader.put_many({b"k": b"2"}),
            lambda: reader.delete(b"k"),
            lambda: reader.delete_many([b"k"]),
            lambda: reader.incr(b"k"),
            lambda: reader.pop(b"k"),
            lambda: reader.setdefault(b"j"),
            lambda: reader.expire(b"k", 1.0),
            lambda: reader.compare_and_set(b"k", b"1", b"2"),
            lambda: reader.delete_range(b"a", b"z"),
            reader.clear,
            reader.flush,
            reader.compact,
        ]
        for call in calls:
            with pytest.raises(
                ReadOnlyError, match="opened with read_only=True; write in the process that has it open"
            ):
                call()
        reader.sync()
        assert (reader[b"k"], len(reader)) == (b"1", 1001)
        assert reader.stats()["read_only_reason"]
        reader.close()
        assert (disk.files(), disk.changes) == (files, changes)
    disk.lose(f"{DB}/{LOCK}")
    with reading(disk) as reader:
        assert len(reader) == 1001
    assert LOCK not in disk.names(DB)


def test_expired_keys_do_not_count() -> None:
    disk, clock = SimulatedDisk(), ManualClock()
    with opened(disk, clock_ms=clock) as writer, reading(disk, clock_ms=clock) as reader:
        writer.put(b"in a table", b"1", ttl=10)
        writer.flush()
        writer.put(b"in the log", b"1", ttl=20)
        writer.put(b"stays", b"1")
        reader.refresh()
        assert len(reader) == 3
        clock.advance(15)
        assert (len(reader), list(reader)) == (2, [b"in the log", b"stays"])
        clock.advance(15)
        assert (len(reader), list(reader)) == (1, [b"stays"])
        writer.compact()
        reader.refresh()
        assert len(reader) == 1


def test_files_that_the_writer_removes_stay_readable() -> None:
    """Also those that were never read: tables are opened at their first use, by a name that is gone then."""
    disk = SimulatedDisk()
    with opened(disk, value_threshold=64) as writer:
        data = {b"%05d" % number: b"%05d" % number * 20 for number in range(2000)}
        for start in range(0, 2000, 500):
            writer.put_many(list(data.items())[start : start + 500])
            writer.flush()
        reader = reading(disk)
        before = {name for name in disk.names(DB) if name.endswith((".sst", ".wal"))}
        writer.clear()
        writer.compact()
        assert not before & set(disk.names(DB))
        assert dict(reader.items()) == data
        view = reader.snapshot()
        scan = reader.scan(start=b"00100")
        assert reader.refresh()
        assert (len(reader), list(reader)) == (0, [])
        assert len(view) == 2000
        assert next(scan) == (b"00100", data[b"00100"])
        store = store_of(reader)
        assert isinstance(store, ReaderStore)
        fs = store._pins
        held = fs.pinned
        view.close()
        del view, scan
        writer.put(b"a", b"1")
        writer.flush()
        reader.refresh()
        assert 0 < fs.pinned < held, "nobody needs the old files any more"
        reader.close()
        assert fs.pinned == 0


def test_a_file_that_goes_while_it_is_looked_for() -> None:
    """Between the manifest that names it and its opening, by a merge: then there is a newer manifest."""
    disk = SimulatedDisk()
    writer = opened(disk)
    writer.put_many({b"%05d" % number: b"v" * 50 for number in range(1000)})
    writer.flush()
    other = disk.for_another_program()
    merges = [0]

    def open_late(path: str) -> ReadableFile:
        if path.endswith((".sst", ".wal")) and merges[0] < 3:
            merges[0] += 1
            writer.put(b"%d" % merges[0], b"w")
            thread = Thread(target=writer.compact)  # to this one it would be a call within another
            thread.start()
            thread.join()
        return SimulatedDisk.open(other, path)

    other.open = open_late  # type: ignore[method-assign, assignment]
    reader = flin.engine.open(DB, read_only=True, fs=other)
    assert merges == [3]
    same(reader, writer)
    merges[0] = 0
    writer.put(b"z", b"1")
    writer.compact()
    assert reader.refresh()
    assert merges == [3]
    same(reader, writer)
    reader.close()
    writer.close()


def test_a_file_that_is_lost_is_damage() -> None:
    disk = SimulatedDisk()
    with opened(disk) as writer:
        writer.put(b"a", b"1")
        writer.flush()
    (table,) = [name for name in disk.names(DB) if name.endswith(".sst")]
    disk.lose(f"{DB}/{table}")
    with pytest.raises(CorruptionError, match=table):
        reading(disk)


def test_a_damaged_log_is_damage() -> None:
    disk = SimulatedDisk()
    writer = opened(disk, sync="always")
    for number in range(10):
        writer.put(b"%d" % number, b"v" * 100)
    (segment,) = [name for name in disk.names(DB) if name.endswith(".wal")]
    disk.flip(f"{DB}/{segment}", 8 * (HEADER_BYTES + 50))
    with pytest.raises(CorruptionError, match="before a position that was synced"):
        reading(disk)
    disk.flip(f"{DB}/{segment}", 8 * (HEADER_BYTES + 50))
    writer.close()


def test_a_half_written_frame_is_the_writers() -> None:
    """What is not whole is not shown; once it is, the next refresh shows it."""
    disk = SimulatedDisk()
    with opened(disk) as writer:
        writer.put(b"a", b"1")
        reader = reading(disk)
        writer.put_many({b"b": b"2", b"c": b"3"})
        (segment,) = [name for name in disk.names(DB) if name.endswith(".wal")]
        path = f"{DB}/{segment}"
        whole = disk.read(path)
        file = disk._file(path)
        for size in range(len(whole) - 1, len(whole) - 40, -3):
            file.content[:] = whole[:size]
            assert reader.refresh() is False
            file.content[:] = whole[:size] + bytes(1000)
            assert reader.refresh() is False
            with reading(disk) as second:
                assert dict(second) == {b"a": b"1"}
        file.content[:] = whole
        assert reader.refresh() is True
        same(reader, writer)
        reader.close()


def test_a_frame_that_never_counted_is_taken_back() -> None:
    """An interrupt came between a frame and the count of it: the next one is written over it."""
    disk = SimulatedDisk(window_bytes=4096)
    with opened(disk) as writer:
        writer.put(b"a", b"1")
        reader = reading(disk)
        wal = store_of(writer)._wal
        at = wal.position, wal.sequence
        writer.put(b"b", b"never")
        assert reader.refresh()
        assert b"b" in reader
        wal.position, wal.sequence = at
        del store_of(writer).state.active[0].entries[b"b"]
        writer.put(b"c", b"other")  # as long as the other
        assert reader.refresh()
        same(reader, writer)
        reader.close()


def test_frames_larger_than_a_chunk() -> None:
    disk = SimulatedDisk()
    with opened(disk, memory_limit="64mb") as writer, reading(disk) as reader:
        for size in (10, 3 << 20, 10, 1 << 20, 700_000, 700_000):
            writer.put(b"%d" % size, b"x" * size)
            writer.put(b"after", b"%d" % size)
            assert reader.refresh()
            same(reader, writer)


def test_the_writer_comes_and_goes() -> None:
    """It closes, opens again, which copies and renames segments, and dies; the reader goes on."""
    disk = SimulatedDisk(window_bytes=512)
    writer = opened(disk, sync="never")
    reader = reading(disk)
    for step in range(6):
        writer.put_many({b"%d-%d" % (step, number): b"v" * 40 for number in range(30)})
        assert reader.refresh()
        same(reader, writer)
        if step % 2:
            writer.close(flush=step == 3)
        else:
            store_of(writer).lock.release()  # as the end of a process does
        reader.refresh()
        assert len(reader) == 30 * (step + 1)
        writer = opened(disk, sync="never")
        assert reader.refresh()
        same(reader, writer)
    reader.close()
    writer.close()


def test_there_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(NoDatabaseError, match="there is no such directory") as raised:
        flin.engine.open(tmp_path / "none", read_only=True)
    assert isinstance(raised.value, StorageError)
    assert raised.value.errno == 2
    assert not (tmp_path / "none").exists()
    with pytest.raises(NoDatabaseError, match="it holds no database"):
        flin.engine.open(tmp_path, read_only=True)
    (tmp_path / "group-00").mkdir()
    with pytest.raises(StorageError, match="several databases, open one of them: group-00"):
        flin.engine.open(tmp_path, read_only=True)


def test_the_database_goes() -> None:
    disk = SimulatedDisk()
    with opened(disk) as writer:
        writer.put(b"a", b"1")
    reader = reading(disk)
    disk.lose(f"{DB}/{MANIFEST}")
    with pytest.raises(NoDatabaseError, match="its manifest is gone"):
        reader.refresh()
    disk.remove_directory(DB)
    with opened(disk) as writer:
        writer.put(b"b", b"1")
        with pytest.raises(StorageError, match="another database is at its path"):
            reader.refresh()
    assert dict(reader) == {b"a": b"1"}, "what was shown is still shown"
    reader.close()
    for call in (reader.refresh, reader.items().__iter__, lambda: reader[b"a"]):
        with pytest.raises(ClosedError):
            call()


def test_another_data_key_and_another_key() -> None:
    """A reader goes on with files of a data key that is made meanwhile, as long as its own key opens the keys."""
    disk = SimulatedDisk()
    with opened(disk, encryption_key=KEY, value_threshold=64) as writer:
        writer.put(b"a", b"1" * 100)
        with pytest.raises(EncryptionError):
            reading(disk)
        with pytest.raises(WrongKeyError):
            reading(disk, encryption_key=bytes(32))
        reader = reading(disk, encryption_key=KEY)
        writer.rotate(KEY)
        writer.put(b"b", b"2" * 100)
        assert reader.refresh()
        same(reader, writer)
        writer.compact()
        writer.put(b"c", b"3" * 100)
        assert reader.refresh()
        same(reader, writer)
        assert reader.verify() == []
        reader.close()
        writer.rotate(bytes(32))
        with pytest.raises(WrongKeyError):
            reading(disk, encryption_key=KEY)


@pytest.mark.parametrize("change", ["flush", "compact"])
def test_a_manifest_of_another_data_key(change: str) -> None:
    """The manifest was the first that a refresh could not open, so the keys were not read again."""
    disk = SimulatedDisk()
    with opened(disk, encryption_key=KEY) as writer:
        writer.put(b"a", b"1")
        reader = reading(disk, encryption_key=KEY)
        for _ in range(3):
            writer.rotate(KEY)
            writer.put(b"a", writer[b"a"] + b"1")
            getattr(writer, change)()
            assert reader.refresh()
            same(reader, writer)
        reader.close()


def test_a_snapshot_reads_with_a_data_key_that_was_dropped() -> None:
    disk = SimulatedDisk()
    with opened(disk, encryption_key=KEY) as writer:
        writer.put(b"a", b"1")
    reader = reading(disk, encryption_key=KEY)
    with reader.snapshot() as view:
        with opened(disk, encryption_key=KEY) as writer:
            writer.rotate(KEY)
            writer.put(b"a", b"2")
            writer.compact()
        with opened(disk, encryption_key=KEY) as writer:  # an open drops the keys that no file needs
            writer.put(b"a", b"3")
            writer.flush()
            assert reader.refresh()
        assert (view[b"a"], reader[b"a"]) == (b"1", b"3")
    reader.close()


def test_the_wrong_number_of_shards() -> None:
    disk = SimulatedDisk()
    opened(disk, shards=4).close()
    with pytest.raises(ValueError, match="has 4 shards"):
        reading(disk, shards=2)


@pytest.mark.parametrize("name", NAMES)
def test_databases_of_older_formats(name: str) -> None:
    """They are read as they are."""
    old = golden(name)
    disk = old.disk
    before = disk.files()
    with flin.engine.open(PATH, read_only=True, fs=disk, clock_ms=old.clock) as reader:
        assert reader.verify() == []
        found = dict(reader.items())
        counted = len(reader)
    assert disk.files() == before
    with flin.engine.open(PATH, fs=disk, clock_ms=old.clock, runner="inline") as writer:
        assert (dict(writer.items()), len(writer)) == (found, counted)


def test_readers_in_other_threads_see_the_old_or_the_new(tmp_path: Path) -> None:
    """A commit is seen whole, while another thread refreshes."""
    with flin.engine.open(tmp_path / "db", memory_limit="1mb", runner="thread") as writer:
        writer.put_many({b"a": b"0", b"b": b"0"})
        reader = flin.engine.open(tmp_path / "db", read_only=True)
        wrong: list[object] = []
        done: list[bool] = []

        def read() -> None:
            last = -1
            while not done:
                with reader.snapshot() as view:
                    seen = view[b"a"], view[b"b"], dict(view.scan(stop=b"c"))
                pair = {b"a": seen[0], b"b": seen[1]}
                if seen[0] != seen[1] or seen[2] != pair or int(seen[0]) < last:
                    wrong.append((last, seen))
                last = int(reader[b"a"])

        threads = [Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(400):
            filler = {b"f%05d" % (number * 13 % 900): b"x" * 400, b"g%d" % number: b"y" * 2000}
            writer.put_many({b"a": b"%d" % number, b"b": b"%d" % number, **filler})
            if number % 100 == 99:
                writer.delete_range(b"f", b"f00400")
            reader.refresh()
            assert reader[b"a"] == b"%d" % number
        done.append(True)
        for thread in threads:
            thread.join()
        assert not wrong
        same(reader, writer)
        reader.close()


def test_a_reader_starts_nothing(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline") as writer:
        writer.put_many({b"%d" % number: b"v" for number in range(50_000)})
        writer.flush()
        with flin.engine.open(tmp_path / "db", read_only=True) as reader:
            assert len(reader) == 50_000
            assert reader.stats()["background"]["helper_pids"] == []
            assert reader._compactor._threads == []
            assert isinstance(store_of(reader), ReaderStore)
        assert [name for name in (path.name for path in (tmp_path / "db").iterdir()) if maybe_parse(name) is None] == [
            name for name in (path.name for path in (tmp_path / "db").iterdir()) if name in (LOCK, MANIFEST)
        ]


def test_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of docs/readers.md run as they are written."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "readers.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    names["reader"].close()
    names["writer"].close()
