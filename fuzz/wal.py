"""The WAL under arbitrary bytes.

Invariant: any bytes as segments of a database's directory are recovered to a prefix of their good frames or refused
with CorruptionError or FormatVersionError; nothing else escapes, recovery changes nothing, and reading frame by frame
gives the same as the replay. If good segments were changed afterwards, the recovered state is one that the writer once
had. A pointer into arbitrary bytes of a value file gives the value that it was made for, or CorruptionError. In a
database whose value files were changed, every key has its value or CorruptionError; the value files of a sound one are
found to be sound; and a repair gives back right values and nothing else.

The first byte of an input chooses what the rest is: bytes as they are, payloads after correct checksums (so that the
decoders of payloads are reached), changes to a chain of good segments, pointers, or changes to value files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Final
from zlib import crc32

import flin.engine
from flin.cli.dump import _Dump as Dump
from flin.cli.parsing import UsageError
from flin.engine.catalog import manifest
from flin.engine.catalog.recovery import recover
from flin.engine.catalog.version import Version
from flin.engine.disk.file_name import wal_name
from flin.engine.entry import TOMBSTONE, Entry, Pointer, pack_pointer
from flin.engine.memtable import Memtable
from flin.engine.options import Options
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.table.cold_read import ColdRead
from flin.engine.table.value_files import OpenValueFile, ValueFiles
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import lost_header
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader
from flin.engine.wal.large_values import value_checksum
from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk, killed

ALLOWED: Final = (CorruptionError, FormatVersionError)
ID: Final = bytes(16)
MANIFEST: Final = manifest.Manifest(ID, 1, 1, 1, 1, 0, 1, 0, Version(((),)))
HEADER: Final = SegmentHeader(ID, 1, b"saltsalt", 0, 1, 0, 0, 0)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        _read_everything(rest)
        _recover([rest])
        _recover([wal_frames.encode_header(HEADER) + rest])
    elif kind < b"\x80":
        framed = wal_frames.encode_header(HEADER) + b"".join(_frames(rest))
        _read_everything(framed)
        _recover([framed])
    elif kind < b"\xc1" or kind > b"\xd7":
        _change_good_segments(rest)
    elif kind < b"\xd0":
        _follow_pointers(rest)
    else:  # few, for they take longer
        _change_value_files(rest)


def _read_everything(data: bytes) -> None:
    """Check that replay and the reading of single frames agree."""
    lost_header.maybe_lost_header(data)
    try:
        header = wal_frames.decode_header(data, "w")
    except ALLOWED:
        return
    wal_frames.highest_claimed_sync(data, header, HEADER_BYTES)
    memtable = Memtable()
    try:
        done = wal_replay.replay(data, header, "w", memtable, end=len(data))
    except ALLOWED:
        return
    again, frames = Memtable(), 0
    with suppress(*ALLOWED):  # at the frame where the replay ended
        for frame in wal_replay.read_frames(data, header, "w", end=len(data)):
            if frame.offset >= done.end:
                break  # a frame that is good by itself, but in the wrong order
            again.apply(frame.ranges, frame.points)
            frames += 1
    assert (again.entries, again.ranges, frames) == (memtable.entries, memtable.ranges, done.frames)


def _recover(segments: list[bytes]) -> dict[bytes, Entry] | None:
    """The recovered entries; None if recovery refuses the segments."""
    disk = SimulatedDisk()
    disk.make_directory("/db")
    for number, segment in enumerate(segments, 1):
        disk.write(f"/db/{wal_name(number, 1)}", segment)
    before = disk.files()
    try:
        result = recover(disk, "/db", MANIFEST, 1 << 20)
    except ALLOWED:
        return None
    finally:
        assert disk.files() == before
    entries: dict[bytes, Entry] = {}
    for generation in result.generations:
        entries |= generation.memtable.entries
    return entries


def _frames(data: bytes) -> Iterator[bytes]:
    """Frames with correct checksums: kind, count, length and payload of each come from the data."""
    position, sequence = HEADER_BYTES, 1
    while len(data) > 3:
        kind, count, length = data[0] % 7, data[1] % 9, data[2]
        payload, data = data[3 : 3 + length], data[3 + length :]
        rest = struct.pack("<I8sQQQIB", len(payload), HEADER.salt, position, sequence, 0, count, kind) + payload
        yield struct.pack("<I", crc32(rest)) + rest
        position += 4 + len(rest)
        sequence += count


def _good_segments(synced: bool) -> tuple[list[bytes], list[dict[bytes, Entry]]]:
    """Three segments, and every state that their writer had."""
    segments: list[bytes] = []
    states: list[dict[bytes, Entry]] = [{}]
    position, sequence, vouched, end = 0, 1, 0, 0
    for number in range(1, 4):
        salt = b"salt %03d" % number
        data = wal_frames.encode_header(SegmentHeader(ID, number, salt, position, sequence, number - 1, end, vouched))
        for index in range(3):
            if synced:
                vouched = position + len(data)
            points: dict[bytes, Entry] = {b"%d" % index: TOMBSTONE, b"%d.%d" % (number, index): b"v"}
            data += wal_frames.encode_commit(salt, position + len(data), sequence, vouched, points)
            states.append(states[-1] | points)
            sequence += 2
        segments.append(data)
        position, end = position + len(data), len(data)
    return segments, states


def _change_good_segments(data: bytes) -> None:
    """Flip, cut or overwrite at places that the data names; the result is a state that there was."""
    synced = bool(data[:1] and data[0] & 1)
    segments, states = _good_segments(synced)
    for at in range(1, len(data) - 4, 5):
        which, how, place, value = data[at] % 3, data[at + 1] % 4, int.from_bytes(data[at + 2 : at + 4]), data[at + 4]
        segment = segments[which]
        place %= len(segment) + 1
        segments[which] = {
            0: segment[:place],
            1: segment[:place] + bytes([value]) + segment[place + 1 :],
            2: segment[:place] + bytes(value) + segment[place + value :],
            3: segment + bytes([value]) * (place % 64),
        }[how]
    found = _recover(segments)
    assert found is None or found in states


# Value files.


class _StrictDisk(SimulatedDisk):
    """One on which files are read as the system does it: not at a place beyond 2**63, and no gigabytes."""

    def open(self, path: str) -> Any:
        file = super().open(path)
        for name in ("pread", "pread_nowait", "will_need"):
            setattr(file, name, _strict(getattr(file, name)))
        return file


def _strict(read: Callable[[int, int], Any]) -> Callable[[int, int], Any]:
    def checked(size: int, offset: int) -> Any:
        assert offset < 1 << 63, "OverflowError"
        assert size < 1 << 30, "MemoryError"
        return read(size, offset)

    return checked


def _follow_pointers(data: bytes) -> None:
    """Pointers of five bytes each (place, length, whether they are right) into the data, as single values, pages, cold
    reads, and in the order that they have and its reverse."""
    disk = _StrictDisk()
    disk.make_directory("/db")
    disk.write("/db/values", data)
    end = len(data) - len(data) // 4
    pairs: list[tuple[Pointer, bytes | None]] = []  # None: to be refused
    for at in range(0, min(len(data) - 4, 60), 5):
        how, place, length = data[at], int.from_bytes(data[at + 1 : at + 3]), int.from_bytes(data[at + 3 : at + 5])
        if how & 1:
            place, length = place % (end + 1), length % (end // 2 + 1)
        if how & 14 == 14:
            place <<= 48
        if how & 48 == 48:
            length <<= 16
        value: bytes = data[place : place + length]
        number = 1 + (how >> 7)
        checksum = value_checksum(number, place, value) ^ (how >> 6 & 1)
        is_right = number == 1 and not how & 64 and place + length <= end
        pairs.append((Pointer(pack_pointer(number, place, length, checksum)), value if is_right else None))
    disk.resident = bool(data[:1] and data[0] & 1)
    for order in (pairs, pairs[::-1]):
        files = ValueFiles({1: OpenValueFile(disk, "/db/values", length=end)})
        for pointer, right in order:
            entry = (pointer, 7, 3)
            cold = _or_none(files.resolved_nowait, entry)
            found = _or_none(files.resolved, entry)
            assert found == (None if right is None else (right, 7, 3))
            assert cold in (None, found)
        keys, pointers = [b"%d" % index for index in range(len(order))], [pointer for pointer, _ in order]
        expected = [right for _, right in order]
        assert _or_none(files.resolved_page, (keys, [*pointers])) == (None if None in expected else (keys, expected))


def _or_none(call: Callable[..., Any], *arguments: Any) -> Any:
    """What the call gives; None if it finds damage, or would wait for the disk."""
    with suppress(CorruptionError, ColdRead):
        return call(*arguments)
    return None


@cache
def _database() -> tuple[SimulatedDisk, dict[bytes, bytes], list[str]]:
    """A disk with a database, its content, and its value files: segments, one of them also in the WAL's use, and one
    that a merge has written."""
    disk = _StrictDisk()
    content: dict[bytes, bytes] = {}
    with _opened(disk) as db:
        for round_ in range(4):
            for index in range(round_, 12, round_ + 1):
                content[b"%02d" % index] = b"%d of %d " % (index, round_) * (9 if index % 3 else 200)
                db.put(b"%02d" % index, content[b"%02d" % index])
            db.flush()
            db.compact()
        db.put(b"kept", b"in the log alone")
        content[b"kept"] = b"in the log alone"
        named = [f"/db/{each.file}" for each in db._store.manifest.version.value_files]
        image = killed(disk)
    assert any(name.endswith(".val") for name in named)
    assert any(name.endswith(".wal") for name in named)
    return image, content, named


def _opened(disk: SimulatedDisk) -> Any:
    return flin.engine.open(
        "/db", fs=disk, runner="inline", memory_limit="1mb", clock_ms=ManualClock(), random_bytes=bytes,
        sync="always", value_threshold=8,
    )  # fmt: skip


def _change_value_files(data: bytes) -> None:
    """Flip, cut, overwrite, double or swap at places that the data names."""
    image, content, named = _database()
    disk = killed(image)
    changed = False
    for at in range(0, len(data) - 4, 5):
        path, how, value = named[data[at] % len(named)], data[at + 1] % 6, data[at + 4]
        before = disk.read(path)
        place = int.from_bytes(data[at + 2 : at + 4]) % (len(before) + 1)
        other = named[value % len(named)]
        after = {
            0: before[:place],
            1: before[:place] + bytes([value]) + before[place + 1 :],
            2: before[:place] + bytes(value) + before[place + value :],
            3: before + bytes([value]) * (place % 64),
            4: before[:place] + before[place // 2 :],
            5: disk.read(other),
        }[how]
        disk.write(path, after)
        changed |= after != before
    for path in named:
        with suppress(*ALLOWED, UsageError):
            for _ in Dump(disk.open(path), full=True).lines(None):
                pass
    repaired = killed(disk)
    try:
        db = _opened(killed(disk))
    except ALLOWED:
        assert changed
    else:
        with suppress(FlinError), db:
            _check_content(db, content, changed)
    report = Repair(
        repaired, "/db", RepairOptions(), Options(fs=repaired, clock_ms=ManualClock(), random_bytes=bytes), "/new"
    ).run()
    assert changed or not any(file.losses for file in report.files)
    with flin.engine.open("/new", fs=repaired, runner="inline", memory_limit="1mb", clock_ms=ManualClock()) as db:
        found = dict(db.scan())
        assert found.items() <= content.items()
        assert changed or found == content
        assert not db.verify()


def _check_content(db: Any, content: dict[bytes, bytes], changed: bool) -> None:
    problems = list(db.verify())
    assert changed or not problems
    whole = True
    for key, value in content.items():
        found = _or_none(db.get, key)
        assert found == value or (found is None and problems), "a get"
        whole &= found is not None
    for reverse in (False, True):
        pairs = _or_none(lambda reverse: list(db.scan(reverse=reverse)), reverse)
        assert pairs == sorted(content.items(), reverse=reverse) if whole else pairs is None, "a scan"
    with suppress(CorruptionError):
        db.compact()
    for key, value in content.items():
        found = _or_none(db.get, key)
        assert found == value or (found is None and not whole), "a get after a merge"
