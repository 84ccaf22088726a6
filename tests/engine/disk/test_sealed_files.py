"""Sealed tables and manifests: read as they were written, and every change of what lies there is noticed."""

from __future__ import annotations

import errno
import os
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.disk.cipher import TAG_BYTES
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.fs import append_all
from flin.engine.disk.open_files import TableFile
from flin.engine.disk.sealed_files import (
    CHUNK_BYTES,
    HEADER_BYTES,
    MAGIC,
    SealedFileSystem,
    SealedReadableFile,
    raw_of,
)
from flin.errors import CorruptionError, FormatVersionError
from flin.testing import SimulatedDisk
from tests.engine.nonces import Nonces

TABLE, OTHER = "/db/00000001-0000.1.sst", "/db/00000002-0000.1.sst"
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 500]


@pytest.fixture
def fs() -> SealedFileSystem:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    return SealedFileSystem(disk, DataKeys({7: b"k" * 32}))


def disk_of(fs: SealedFileSystem) -> SimulatedDisk:
    disk = raw_of(fs)
    assert isinstance(disk, SimulatedDisk)
    return disk


def written(fs: SealedFileSystem, data: bytes, path: str = TABLE, step: int = 5000) -> None:
    file = fs.create(path)
    for at in range(0, len(data), step):
        append_all(file, data[at : at + step])
    file.sync()
    file.close()


@pytest.mark.parametrize("size", SIZES)
def test_read_as_written(fs: SealedFileSystem, size: int) -> None:
    data = Random(size).randbytes(size)
    written(fs, data)
    file = fs.open(TABLE)
    assert file.size() == fs.file_size(TABLE) == size
    assert file.pread(size + 10, 0) == data
    assert file.map() == b""
    random = Random(1)
    for _ in range(60):
        start = random.randrange(size + 2)
        length = random.choice((0, 1, 100, CHUNK_BYTES, size))
        assert file.pread(length, start) == data[start : start + length]
        assert file.pread_nowait(length, start) in (data[start : start + length], None)
        file.will_need(length + 1, start)


def test_a_long_append(fs: SealedFileSystem) -> None:
    data = Random(0).randbytes(300_000)
    written(fs, data, step=300_000)
    assert fs.open(TABLE).pread(len(data), 0) == data
    assert fs.file_size(TABLE) == len(data)


def test_what_is_appended_at_once_is_a_chunk(fs: SealedFileSystem) -> None:
    pieces = [Random(size).randbytes(size) for size in (5, 8000, 1, 16_000, 40_000, 3)]
    file = fs.create(TABLE)
    for piece in pieces:
        assert file.append(piece) == len(piece)
    file.sync()
    file.close()
    whole = fs.open(TABLE)
    at = 0
    for piece in pieces:
        assert whole.pread(len(piece), at) == piece
        at += len(piece)
    assert whole.pread(at, 0) == b"".join(pieces)


def test_a_mapping_opens_whole_chunks(fs: SealedFileSystem) -> None:
    """What is not one is read by the file; what was changed or cut is noticed where it is opened."""
    pieces = [Random(size).randbytes(size) for size in (5, 8000, 1, 300)]
    file = fs.create(TABLE)
    for piece in pieces:
        file.append(piece)
    file.sync()
    file.close()
    mapping = TableFile(fs, TABLE).maybe_sealed()
    assert mapping is not None
    offset = 0
    for number, piece in enumerate(pieces):
        size = len(piece)
        assert mapping.first_chunk(offset) == number
        assert mapping.maybe_chunk(number, size, offset) == piece
        for wrong in ((number, size, offset + 1), (number, size + 1, offset), (number + 1, size, offset)):
            assert mapping.maybe_chunk(*wrong) is None
        offset += size


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_mapping_of_what_was_changed(fs: SealedFileSystem, is_cut: bool) -> None:
    data = Random(0).randbytes(10_000)
    written(fs, data)
    file = fs.open(TABLE)
    assert isinstance(file, SealedReadableFile)
    mapping = file.mapping()
    at = HEADER_BYTES + 2 * TAG_BYTES + 5000
    if is_cut:
        mapping._data = mapping._data[:at]  # type: ignore[misc]  # the file became shorter since it was opened
    else:
        changed = bytearray(mapping._data)
        changed[at - TAG_BYTES + 10] ^= 1
        mapping._data = bytes(changed)  # type: ignore[misc]
    assert mapping.maybe_chunk(0, 5000, 0) == data[:5000]
    with pytest.raises(CorruptionError, match="a seal is broken"):
        mapping.maybe_chunk(1, 5000, 5000)


def test_a_plain_file_has_no_sealed_mapping(fs: SealedFileSystem) -> None:
    written(fs, b"as it is", "/db/LOCK")
    assert TableFile(fs, "/db/LOCK").maybe_sealed() is None


def test_other_files_are_left_alone(fs: SealedFileSystem) -> None:
    for path in ("/db/00000001.1.wal", "/db/00000001-0000.1.val", "/db/LOCK"):
        written(fs, b"as it is", path)
        assert disk_of(fs).read(path) == b"as it is"
        assert (fs.open(path).pread(20, 0), fs.file_size(path)) == (b"as it is", 8)


def test_a_manifest_is_renamed(fs: SealedFileSystem) -> None:
    written(fs, b"contents", "/db/MANIFEST.3.tmp")
    fs.rename("/db/MANIFEST.3.tmp", "/db/MANIFEST")
    assert fs.open("/db/MANIFEST").pread(20, 0) == b"contents"
    assert disk_of(fs).read("/db/MANIFEST").startswith(MAGIC)


def test_every_flipped_bit(fs: SealedFileSystem) -> None:
    data = Random(0).randbytes(300)
    written(fs, data)
    whole = disk_of(fs).read(TABLE)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        disk_of(fs).write(TABLE, bytes(damaged))
        with pytest.raises((CorruptionError, FormatVersionError)):
            fs.open(TABLE).pread(300, 0)


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(data: bytes, with_header: bool) -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    fs = SealedFileSystem(disk, DataKeys({7: b"k" * 32}))
    written(fs, b"something")
    disk.write(TABLE, disk.read(TABLE)[:HEADER_BYTES] + data if with_header else data)
    with pytest.raises((CorruptionError, FormatVersionError)):
        fs.open(TABLE).pread(100, 0)


def test_chunks_are_neither_moved_nor_cut_off(fs: SealedFileSystem) -> None:
    data = Random(0).randbytes(3 * CHUNK_BYTES)
    written(fs, data, step=CHUNK_BYTES)
    whole = disk_of(fs).read(TABLE)
    sealed = CHUNK_BYTES + TAG_BYTES
    stop = HEADER_BYTES + 3 * sealed
    header, end = whole[:HEADER_BYTES], whole[stop:]
    chunks = [whole[at : at + sealed] for at in range(HEADER_BYTES, stop, sealed)]
    for order in ([1, 0, 2], [0, 0, 2], [0, 2, 1]):
        disk_of(fs).write(TABLE, header + b"".join(chunks[number] for number in order) + end)
        with pytest.raises(CorruptionError, match="a seal is broken") as caught:
            fs.open(TABLE).pread(len(data), 0)
        assert (caught.value.offset - HEADER_BYTES) % sealed == 0
    other = SealedFileSystem(disk_of(fs), fs.keys)  # what a file of two chunks ends with
    file = other.create(OTHER)
    file.append(data[: 2 * CHUNK_BYTES])
    file.sync()
    shorter = disk_of(fs).read(OTHER)[HEADER_BYTES + 2 * sealed :]
    for content in (
        whole[:-1],
        whole[: stop - sealed] + shorter,
        whole[: stop - sealed] + end,
        whole[: HEADER_BYTES + 9],
    ):
        disk_of(fs).write(TABLE, content)
        with pytest.raises(CorruptionError, match=r"cut|not as long"):
            fs.open(TABLE).pread(10, 0)


def test_files_do_not_pass_for_each_other(fs: SealedFileSystem) -> None:
    written(fs, b"one")
    written(fs, b"two", OTHER)
    disk_of(fs).write(OTHER, disk_of(fs).read(TABLE))
    with pytest.raises(CorruptionError, match="another file's"):
        fs.open(OTHER).pread(3, 0)


def test_a_plain_file_is_refused(fs: SealedFileSystem) -> None:
    disk_of(fs).write(TABLE, b"x" * 100)
    with pytest.raises(CorruptionError, match="not sealed"):
        fs.open(TABLE).pread(3, 0)


def test_a_key_that_is_gone(fs: SealedFileSystem) -> None:
    written(fs, b"one")
    fs.keys = DataKeys({8: b"l" * 32})
    with pytest.raises(CorruptionError, match="data key 7, which KEYS does not hold"):
        fs.open(TABLE).pread(3, 0)
    written(fs, b"two", OTHER)
    assert fs.open(OTHER).pread(3, 0) == b"two"


def test_nothing_is_sealed_twice_after_a_failed_write(fs: SealedFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = Nonces()
    nonces.watch(monkeypatch)
    disk = disk_of(fs)
    file = fs.create(TABLE)
    disk.capacity_bytes = 100
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.append(b"a" * 20 * CHUNK_BYTES)
    disk.capacity_bytes = 1 << 30
    with pytest.raises(OSError, match="has ended"):
        file.append(b"b" * 20 * CHUNK_BYTES)
    file.close()
    assert not nonces.repeated
