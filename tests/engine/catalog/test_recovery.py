"""Recovery, rule by rule: what it accepts, ends at, discards, and refuses.

The segments are made by hand (wal_segment.py) and lie on a simulated disk that is compared before and after: recovery
itself changes nothing, and a refused open changes nothing either.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

import flin.engine
from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest
from flin.engine.catalog.recovery import Recovery, recover
from flin.engine.catalog.version import Version
from flin.engine.checksum import crc32
from flin.engine.disk.file_name import wal_name
from flin.engine.entry import TOMBSTONE
from flin.engine.options import MIN_MEMORY_LIMIT_BYTES
from flin.engine.wal.frames import FRAME_BYTES, FRAME_END, FRAME_REST, HEADER_BYTES, pack_crc
from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.testing import Fault, ManualClock, SimulatedDisk
from tests.engine.wal_segment import DATABASE_ID, HEADER, Segment

DB = "/db"
MANIFEST = Manifest(DATABASE_ID, 1, 1, 1, 1, 0, 1, 0, Version(((),)))
NEXT = 2 << 20  # the first number of the epoch that recovery is for


class Wal:
    """A directory with segments, and what the tests do to them."""

    def __init__(self, *segments: Segment, manifest: Manifest = MANIFEST) -> None:
        self.manifest = manifest
        self.disk = SimulatedDisk()
        self.disk.make_directory(DB)
        self.disk.write(f"{DB}/MANIFEST", manifest_format.encode(manifest))
        for segment in segments:
            self.write(segment.header.number, bytes(segment.data))

    def path(self, number: int, epoch: int = 1) -> str:
        return f"{DB}/{wal_name(number, epoch)}"

    def write(self, number: int, data: bytes) -> None:
        self.disk.write(self.path(number), data)

    def damage(self, number: int, offset: int) -> None:
        self.disk.flip(self.path(number), offset * 8)

    def recover(self, generation_bytes: int = 1 << 20) -> Recovery:
        before = self.disk.files()
        result = recover(self.disk, DB, self.manifest, generation_bytes)
        assert self.disk.files() == before
        return result

    def refused(self) -> CorruptionError:
        """The error of recovery, and of an open, which leaves the files as they were."""
        before = self.disk.files()
        with pytest.raises(CorruptionError) as raised:
            recover(self.disk, DB, self.manifest, 1 << 20)
        with pytest.raises(CorruptionError):
            self.open()
        after = self.disk.files()
        after.pop(f"{DB}/LOCK")
        assert after == {path: data for path, data in before.items() if not path.endswith("LOCK")}
        return raised.value

    def open(self, **options: Any) -> Any:
        return flin.engine.open(
            DB,
            fs=self.disk,
            runner="inline",
            clock_ms=ManualClock(),
            memory_limit=options.pop("memory_limit", MIN_MEMORY_LIMIT_BYTES),
            random_bytes=options.pop("random_bytes", lambda size: b"\x77" * size),
            **options,
        )

    def numbers(self) -> list[int]:
        return [int(name.partition(".")[0]) for name in self.disk.names(DB) if name.endswith(".wal")]


def entries(result: Recovery) -> dict[bytes, Any]:
    """The recovered entries, of all generations."""
    found: dict[bytes, Any] = {}
    for generation in result.generations:
        found.update(generation.memtable.entries)
    return found


def chain(count: int = 3, puts: int = 2) -> list[Segment]:
    """Segments one after the other, each with some puts."""
    segments = [Segment()]
    for number in range(count):
        if number:
            segments.append(segments[-1].successor())
        for index in range(puts):
            segments[-1].put(b"%d.%d" % (number + 1, index), b"value")
    return segments


def keys(*numbers: int, puts: int = 2) -> set[bytes]:
    return {b"%d.%d" % (number, index) for number in numbers for index in range(puts)}


# Nothing wrong.


def test_numbers_of_an_epoch_are_its_own() -> None:
    """Not even the number of a segment whose name was lost in a power cut is used again."""
    assert Wal(manifest=replace(MANIFEST, epoch=6)).recover().next_number == 7 << 20
    used_up = Wal(manifest=replace(MANIFEST, wal_floor=(7 << 20) + 5, epoch=6)).recover()
    assert used_up.next_number == (7 << 20) + 5


def test_no_segments() -> None:
    result = Wal(manifest=replace(MANIFEST, wal_floor=9, wal_position=500, next_sequence=40)).recover()
    assert (result.generations, result.position, result.next_sequence, result.next_number) == ([], 500, 40, NEXT)
    assert (result.last_segment, result.torn, result.clean) == (0, "", True)


def test_a_chain() -> None:
    segments = chain(3)
    position, end = segments[-1].position, len(segments[-1].data)
    segments[-1].end()
    result = Wal(*segments).recover()
    assert set(entries(result)) == keys(1, 2, 3)
    # The end frame may be only in the page cache: the next segment continues at the end that it vouches for.
    assert (result.position, result.next_sequence) == (position, segments[-1].sequence)
    assert (result.last_segment, result.last_end, result.next_number) == (3, end, NEXT)
    assert (result.torn, result.clean, result.operations) == ("", True, 6)


def test_without_an_end_frame_it_was_not_closed() -> None:
    assert not Wal(*chain(1)).recover().clean


@pytest.mark.parametrize("payload", [1, 7, 9, 200])
def test_an_end_frame_of_another_length_is_refused_at_once(payload: int) -> None:
    """Behind a right checksum it passed for one: the open succeeded, and the flush failed, for good."""
    segment = chain(1)[0]
    fields = FRAME_REST.pack(payload, HEADER.salt, segment.position, segment.sequence, 0, 0, FRAME_END)
    rest = fields + bytes(payload)
    setup = Wal(segment)
    setup.write(1, bytes(segment.data) + pack_crc(crc32(rest)) + rest)
    assert f"takes {FRAME_BYTES + payload} bytes" in setup.refused().reason


def test_segments_below_the_floor_are_in_tables() -> None:
    segments = chain(3)
    floor = segments[1]
    flushed = replace(MANIFEST, wal_floor=2, wal_position=floor.header.base, next_sequence=floor.header.first_sequence)
    setup = Wal(*segments, manifest=flushed)
    setup.damage(1, 100)
    assert set(entries(setup.recover())) == keys(2, 3)


def test_generations_are_joined_up_to_their_size() -> None:
    segments = chain(6, puts=3)
    assert len(Wal(*segments).recover().generations) == 1
    result = Wal(*segments).recover(generation_bytes=1)
    assert [len(generation.segments) for generation in result.generations] == [1] * 6
    assert [generation.next_segment for generation in result.generations] == [2, 3, 4, 5, 6, 7]
    ends = [(generation.end_position, generation.next_sequence) for generation in result.generations]
    assert ends == [(segment.position, segment.sequence) for segment in segments]


def test_a_generation_never_ends_within_a_segment() -> None:
    for left, right in pairwise(Wal(*chain(4)).recover(generation_bytes=900).generations):
        assert left.segments[-1].end > left.segments[-1].start
        assert left.end_position < right.end_position


def test_range_deletes_of_later_segments_reach_earlier_ones() -> None:
    first = Segment().put(b"a", b"1").put(b"c", b"1")
    second = first.successor().commit({b"b": b"2", b"d": TOMBSTONE}, [(b"a", b"c")])
    (generation,) = Wal(first, second).recover().generations
    assert generation.memtable.entries == {b"b": b"2", b"c": b"1", b"d": TOMBSTONE}
    assert generation.memtable.ranges == ((b"a", b"c"),)


# A torn tail.


@pytest.mark.parametrize("damage", ["cut", "flip", "zeros", "garbage"])
def test_a_torn_tail_ends_the_replay(damage: str) -> None:
    segment = Segment().put(b"a", b"1").put(b"b", b"2")
    good = segment.ends[-1]
    segment.put(b"torn", b"3")
    data = bytes(segment.data)
    torn = {
        "cut": data[:-1],
        "flip": data[:-1] + bytes([data[-1] ^ 1]),
        "zeros": data[:good] + bytes(len(data) - good),
        "garbage": data[:good] + b"\xee" * 300,
    }[damage]
    setup = Wal(segment)
    setup.write(1, torn)
    result = setup.recover()
    assert set(entries(result)) == {b"a", b"b"}
    assert (result.last_end, result.position, result.next_sequence) == (good, good, 3)
    # Zeros are what a mapped window holds where nothing was written.
    assert result.torn.startswith("00000001.1.wal: ") == (damage != "zeros")
    assert not result.clean


def test_writing_goes_on_in_a_new_segment_that_names_the_end() -> None:
    segment = Segment().put(b"a", b"1")
    good = segment.ends[-1]
    segment.put(b"torn", b"2")
    setup = Wal(segment)
    setup.write(1, bytes(segment.data)[:-1])
    engine = setup.open()
    assert engine.stats()["wal"]["torn"]
    engine.put(b"b", b"3")
    assert setup.disk.read(setup.path(1, 2)) == bytes(segment.data)[:good], "it is never appended to"
    result = setup.recover()
    assert (set(entries(result)), result.torn) == ({b"a", b"b"}, "")
    assert result.generations[0].segments[0].end == good
    engine.close(flush=False)


def test_a_second_recovery_gives_the_same() -> None:
    segment = Segment().put(b"a", b"1").put(b"torn", b"2")
    setup = Wal(segment)
    setup.write(1, bytes(segment.data)[:-1])
    for _ in range(3):
        engine = setup.open()
        assert dict(engine.scan()) == {b"a": b"1"}
        engine.close(flush=False)
    assert setup.recover().torn == "", "the copy that the first open made ends at the last good frame"
    engine = setup.open()
    engine.put(b"b", b"3")
    engine.close(flush=False)
    result = setup.recover()
    assert (result.torn, result.clean, set(entries(result))) == ("", True, {b"a", b"b"})


def test_torn_in_the_middle_discards_what_follows_whole() -> None:
    segments = chain(4)
    setup = Wal(*segments)
    setup.damage(2, segments[1].ends[1] + 20)
    result = setup.recover()
    assert set(entries(result)) == keys(1) | {b"2.0"}
    assert result.torn.startswith("00000002.1.wal: ")
    assert (result.last_segment, result.next_number) == (2, NEXT), "the discarded numbers are not used again"


def test_discarded_segments_are_gone_before_anything_is_written() -> None:
    segments = chain(4)
    setup = Wal(*segments)
    setup.damage(2, segments[1].ends[1] + 20)
    calls: list[str] = []
    setup.disk.on_change = calls.append
    engine = setup.open()
    setup.disk.on_change = None
    assert setup.numbers() == [1, 2]
    removed = max(index for index, call in enumerate(calls) if call == "remove")
    assert "sync_directory" in calls[removed:], "and durably so"
    engine.put(b"new", b"1")
    assert setup.numbers() == [1, 2, NEXT]
    assert set(engine.scan_keys()) == keys(1) | {b"2.0", b"new"}
    engine.close()


# Segments not known to be durable are made durable by a copy, before anything is promised that depends on them.


def test_segments_that_nothing_vouches_for_are_copied() -> None:
    """After a failed fsync the kernel's pages may be clean but not on the disk: only new pages can be synced."""
    segments = chain(3)
    segments[0].sync()
    segments[1] = segments[0].successor().put(b"2.0", b"value").sync().put(b"2.1", b"value")
    segments[2] = segments[1].successor().put(b"3.0", b"value").put(b"3.1", b"value")
    setup = Wal(*segments)
    calls: list[str] = []
    setup.disk.on_change = calls.append
    engine = setup.open()
    setup.disk.on_change = None
    assert set(engine.scan_keys()) == keys(1, 2, 3)
    paths = [setup.path(1), setup.path(2, 2), setup.path(3, 2)]
    assert [path for path in setup.disk.files() if path.endswith(".wal")] == paths
    assert [setup.disk.read(path) for path in paths] == [bytes(segment.data) for segment in segments]
    assert calls.index("remove") > len(calls) - calls[::-1].index("sync_file"), "first synced, then removed"
    assert calls[-1] == "sync_directory"
    engine.close()


def test_a_copy_that_an_open_did_not_finish() -> None:
    segments = chain(1)
    setup = Wal(*segments)
    setup.disk.write(setup.path(1, 2), bytes(segments[0].data)[:100])
    setup.manifest = replace(MANIFEST, epoch=2)
    setup.disk.write(f"{DB}/MANIFEST", manifest_format.encode(setup.manifest))
    assert set(entries(setup.recover())) == keys(1), "the original is still there"
    engine = setup.open()
    assert [path for path in setup.disk.files() if path.endswith(".wal")] == [setup.path(1, 3)]
    engine.close()


def test_a_full_disk_does_not_keep_the_database_closed() -> None:
    segments = chain(2)
    setup = Wal(*segments)
    manifest_bytes = len(setup.disk.read(f"{DB}/MANIFEST"))
    setup.disk.faults = [Fault(1, errno.ENOSPC, frozenset({"append"}), sticky=True)]  # the manifest still fits
    engine = setup.open()
    setup.disk.faults = []
    assert len(setup.disk.read(f"{DB}/MANIFEST")) == manifest_bytes
    assert [path for path in setup.disk.files() if path.endswith(".wal")] == [setup.path(1), setup.path(2)]
    engine.put(b"room", b"again")
    assert set(engine.scan_keys()) == keys(1, 2) | {b"room"}
    engine.close()


# Bytes after the end that a successor names: left from a failed write.


def test_garbage_after_the_end_that_the_successor_names_is_ignored() -> None:
    first = Segment().put(b"a", b"1")
    second = first.successor().put(b"b", b"2")
    setup = Wal(first, second)
    setup.write(1, bytes(first.data) + b"half a frame")
    result = setup.recover()
    assert (set(entries(result)), result.torn) == ({b"a", b"b"}, "")


def test_a_whole_frame_after_that_end_is_ignored_too() -> None:
    """A write that failed late: the writer got the error, so its operation does not count."""
    first = Segment().put(b"a", b"1")
    second = first.successor().put(b"b", b"2")
    setup = Wal(first, second)
    setup.write(1, bytes(first.put(b"refused", b"").data))
    assert set(entries(setup.recover())) == {b"a", b"b"}


def test_only_the_direct_successor_names_an_end() -> None:
    """The name of a middle segment was lost in a power cut: the one after it says nothing about the first."""
    segments = chain(1, puts=9)
    segments[0].sync()
    segments.append(segments[0].successor().put(b"2.0", b""))
    segments.append(segments[1].successor().put(b"3.0", b""))
    assert segments[2].header.predecessor_end < len(segments[0].data)
    result = Wal(segments[0], segments[2]).recover()
    assert set(entries(result)) == keys(1, puts=9), "all that was promised, though segment 3 vouches for it"
    assert "follows segment 2" in result.torn


# Missing and bad segments.


def test_a_missing_middle_segment_that_nobody_synced() -> None:
    segments = chain(3)
    result = Wal(segments[0], segments[2]).recover()
    assert set(entries(result)) == keys(1)
    assert "follows segment 2, which is missing" in result.torn


def test_a_missing_middle_segment_that_was_synced_is_corruption() -> None:
    first = Segment().put(b"a", b"1")
    second = first.successor().put(b"b", b"2").sync()
    third = second.successor().put(b"c", b"3")
    error = Wal(first, third).refused()
    assert "before a position that was synced" in error.reason


def test_a_missing_first_segment() -> None:
    segments = chain(3)
    result = Wal(*segments[1:]).recover()
    assert entries(result) == {}
    assert "begins at position" in result.torn
    segments[0].sync()
    synced = segments[0].successor().put(b"b", b"2")
    Wal(synced).refused()


def test_the_last_segment_has_no_header_yet() -> None:
    segments = chain(2)
    for size in (0, 1, HEADER_BYTES - 1):
        setup = Wal(*segments)
        setup.write(3, bytes(segments[-1].successor().data)[:size])
        result = setup.recover()
        assert set(entries(result)) == keys(1, 2)
        assert (result.last_segment, result.next_number) == (2, NEXT)
        engine = setup.open()
        assert setup.numbers() == [1, 2], "what was begun and never synced is removed"
        engine.close()


def test_a_segment_with_a_header_alone() -> None:
    segments = chain(1)
    empty = segments[0].successor()
    result = Wal(*segments, empty).recover()
    assert (set(entries(result)), result.torn, result.last_segment) == (keys(1), "", 2)
    assert result.position == segments[0].position + HEADER_BYTES


def test_what_a_failed_begin_left_blocks_nothing() -> None:
    """The disk was full, and not even the begun file could be removed: the chain skips it."""
    segments = chain(2)
    third = segments[1].successor(number=4).put(b"4.0", b"")
    setup = Wal(*segments, third)
    setup.write(3, b"FlinWAL\0")
    result = setup.recover()
    assert set(entries(result)) == keys(1, 2) | {b"4.0"}
    engine = setup.open()
    assert setup.numbers() == [1, 2, 4]
    engine.close()


def test_a_bad_header_over_unsynced_frames_is_a_torn_tail() -> None:
    segments = chain(2)
    setup = Wal(*segments)
    setup.damage(2, 40)
    result = setup.recover()
    assert set(entries(result)) == keys(1)
    assert "header's checksum" in result.torn


def test_a_bad_header_over_synced_frames_is_corruption() -> None:
    first = Segment().put(b"a", b"1")
    second = first.successor().put(b"b", b"2").sync().put(b"c", b"3")
    setup = Wal(first, second)
    setup.damage(2, 40)
    assert setup.refused().path == setup.path(2)


def test_an_old_segments_bytes_in_the_place_of_a_new_one() -> None:
    """Blocks that were never written may show what was in their place: that is no header of this segment."""
    segments = chain(2)
    flushed = replace(MANIFEST, wal_floor=2, wal_position=segments[0].position, next_sequence=segments[0].sequence)
    setup = Wal(segments[1], manifest=flushed)
    setup.write(3, bytes(segments[0].data))
    result = setup.recover()
    assert set(entries(result)) == keys(2)
    assert "it is number 1" in result.torn


# Damage before a position that something vouches for.


@pytest.mark.parametrize("offset", [HEADER_BYTES, HEADER_BYTES + 4, HEADER_BYTES + 30, HEADER_BYTES + 50])
def test_damage_before_a_synced_position_is_corruption(offset: int) -> None:
    segment = Segment().put(b"a", b"1").put(b"b", b"2").sync().put(b"c", b"3")
    setup = Wal(segment)
    setup.damage(1, offset)
    error = setup.refused()
    assert (error.path, error.offset) == (setup.path(1), HEADER_BYTES)
    assert "before a position that was synced" in error.reason


def test_damage_in_the_last_synced_frame_is_corruption() -> None:
    segment = Segment().put(b"a", b"1").put(b"b", b"2").sync().put(b"c", b"3")
    setup = Wal(segment)
    setup.damage(1, segment.ends[2] - 1)
    assert setup.refused().offset == segment.ends[1]


def test_damage_after_the_synced_position_is_a_torn_tail() -> None:
    segment = Segment().put(b"a", b"1").sync().put(b"b", b"2").put(b"c", b"3")
    setup = Wal(segment)
    setup.damage(1, segment.ends[2] - 1)
    assert set(entries(setup.recover())) == {b"a"}


def test_a_successors_header_vouches() -> None:
    first = Segment().put(b"a", b"1").put(b"b", b"2").sync()
    second = first.successor()
    setup = Wal(first, second)
    setup.damage(1, first.ends[1] + 10)
    setup.refused()


def test_a_cut_below_the_synced_position_is_corruption() -> None:
    first = Segment().put(b"a", b"1").put(b"b", b"2").sync()
    second = first.successor().put(b"c", b"3")
    setup = Wal(first, second)
    setup.write(1, bytes(first.data)[: first.ends[1]])
    assert "its successor says" in setup.refused().reason


def test_a_segment_short_of_an_end_that_was_never_synced() -> None:
    first = Segment().put(b"a", b"1").put(b"b", b"2")
    second = first.successor().put(b"c", b"3")
    setup = Wal(first, second)
    setup.write(1, bytes(first.data)[: first.ends[1]])
    result = setup.recover()
    assert set(entries(result)) == {b"a"}, "the successor goes whole: no hole in the prefix"


# Files of others.


def test_a_segment_of_another_database() -> None:
    foreign = Segment(replace(HEADER, database_id=b"\xff" * 16)).put(b"a", b"1")
    assert "another database" in Wal(foreign).refused().reason


def test_a_newer_segment_is_refused_and_kept() -> None:
    segments = chain(2)
    setup = Wal(*segments)
    data = bytearray(segments[1].data)
    data[8] = 2
    setup.write(2, bytes(data))
    before = setup.disk.files()
    with pytest.raises(FormatVersionError):
        setup.open()
    assert {path: data for path, data in setup.disk.files().items() if not path.endswith("LOCK")} == before


@pytest.mark.parametrize("name", ["notes.wal", "1.1.wal", "000000000001.1.wal", "00000001.01.wal", "00000001.wal",
                                  "99999999999999999999.1.wal", "x00000001.1.wal"])  # fmt: skip
def test_files_that_are_not_flins_are_left_alone(name: str) -> None:
    setup = Wal(*chain(1))
    setup.disk.write(f"{DB}/{name}", b"mine")
    engine = setup.open()
    engine.put(b"new", b"1")
    assert set(engine.scan_keys()) == keys(1) | {b"new"}
    engine.close()
    assert setup.disk.read(f"{DB}/{name}") == b"mine"


# Every bit, every length.


def _whole(engine_disk: SimulatedDisk, setup: Wal) -> dict[bytes, bytes]:
    engine = setup.open()
    found = dict(engine.scan())
    assert engine.verify() == []
    engine.close(flush=False)
    return found


@pytest.mark.parametrize("synced", [False, True])
def test_every_flipped_bit_is_detected_or_harmless(synced: bool) -> None:
    """Three segments, every bit of each: a prefix of what was accepted, with a report of what was cut, or a refusal."""
    segments = [Segment()]
    states: list[dict[bytes, bytes]] = [{}]
    for number in range(3):
        if number:
            segments.append(segments[-1].successor())
        for index in range(2):
            if synced:
                segments[-1].sync()
            key, value = b"%d%d" % (number, index), b"v"
            segments[-1].put(key, value)
            states.append({**states[-1], key: value})
    promised = len(states) - 2 if synced else 0  # what the last frame vouches for
    for segment in segments:
        for bit in range(len(segment.data) * 8):
            setup = Wal(*segments)
            setup.disk.flip(setup.path(segment.header.number), bit)
            try:
                result = setup.recover()
            except (CorruptionError, FormatVersionError):
                continue
            found = entries(result)
            assert found in states
            assert states.index(found) >= promised or not synced
            assert result.torn or found == states[-1]


def test_every_truncation_is_detected_or_harmless() -> None:
    segments = chain(3)
    segments[1].sync()
    third = segments[1].successor().put(b"3.0", b"value").put(b"3.1", b"value")
    segments[2] = third
    for segment in segments:
        for size in range(len(segment.data)):
            setup = Wal(*segments)
            setup.write(segment.header.number, bytes(segment.data)[:size])
            if segment is third:
                result = setup.recover()
                whole = sum(end <= size for end in third.ends[1:])
                assert set(entries(result)) == keys(1, 2) | {b"3.%d" % index for index in range(whole)}
            else:
                setup.refused()


def test_an_opened_prefix_is_whole(open_engine: Any) -> None:
    """In addition to recovery: an engine on a damaged WAL verifies and closes, or is refused with a known error."""
    segments = chain(2)
    for offset in range(0, len(segments[1].data), 7):
        setup = Wal(*segments)
        setup.damage(2, offset)
        try:
            found = _whole(setup.disk, setup)
        except FlinError as error:
            assert isinstance(error, CorruptionError | FormatVersionError)
        else:
            assert keys(1) <= set(found) <= keys(1, 2)


def test_shards_and_expiries_come_back() -> None:
    clock = ManualClock()
    disk = SimulatedDisk()
    options: dict[str, Any] = {"fs": disk, "runner": "inline", "clock_ms": clock, "memory_limit": 1 << 20}
    engine = flin.engine.open(DB, shards=16, **options)
    for number in range(100):
        engine.put(b"k%d" % number, b"v", ttl=10 if number % 2 else None)
    engine.close(flush=False)
    engine = flin.engine.open(DB, **options)
    assert len(engine) == 100
    clock.advance(11)
    assert len(engine) == 50, "the heap of what is due was made again"
    assert engine.verify() == []
    engine.close()
