"""Sealed frames: what is put in comes out, with pointers in the places of large values; nothing can be changed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.checksum import crc32
from flin.engine.disk.cipher import SEAL_BYTES, SealKey
from flin.engine.entry import TOMBSTONE, Entry, Pointer, Range, read_pointer
from flin.engine.memtable import Memtable
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import FRAME_BYTES, HEADER_BYTES, SegmentHeader, ValidFrames
from flin.engine.wal.large_values import LargeValues, value_checksum
from flin.engine.wal.sealed import FrameOpener, FrameSealer
from flin.errors import CorruptionError, EncryptionError, FormatVersionError

KEY = bytes(range(32))
SALT = b"\1\0saltsa"
HEADER = SegmentHeader(bytes(16), 5, SALT, 1000, 9, 0, 0, 0)
THRESHOLD = 40

keys = st.binary(min_size=1, max_size=6)
values = st.one_of(st.binary(max_size=12), st.integers(THRESHOLD - 1, 90).map(lambda size: b"v" * size))
entries = st.one_of(
    values,
    st.just(TOMBSTONE),
    st.tuples(values, st.integers(1, 1 << 40), st.integers(0, 9)),
)
commits = st.lists(st.tuples(st.dictionaries(keys, entries, max_size=5), st.booleans()), min_size=1, max_size=6)


class Segment:
    """Frames of one segment, and what they hold."""

    def __init__(self, threshold: int = THRESHOLD) -> None:
        self.sealer = FrameSealer(SealKey(KEY), SALT, HEADER.base, threshold)
        self.data = bytearray(wal_frames.encode_header(HEADER))
        self.sequence = HEADER.first_sequence
        self.ends = [HEADER_BYTES]

    @property
    def place(self) -> tuple[int, int, int]:
        return HEADER.base + len(self.data), self.sequence, 0

    def add(self, frame: bytes, count: int = 1) -> None:
        self.data += frame
        self.sequence += count
        self.ends.append(len(self.data))

    def commit(self, points: dict[bytes, Entry], ranges: tuple[Range, ...] = ()) -> None:
        self.add(self.sealer.commit(*self.place, points, ranges), len(points) + len(ranges))

    def put(self, key: bytes, value: bytes) -> None:
        self.add(self.sealer.put(*self.place, key, value))


def opener(key: bytes = KEY) -> FrameOpener:
    return FrameOpener(SealKey(key), "w")


def replayed(data: Any, large: LargeValues | None = None, key: bytes = KEY) -> Memtable:
    memtable = Memtable()
    done = wal_replay.replay(bytes(data), HEADER, "w", memtable, end=len(data), large=large, opener=opener(key))
    assert not done.stop_reason
    return memtable


@given(commits, st.booleans())
def test_what_goes_in_comes_out(batches: list[tuple[dict[bytes, Entry], bool]], with_pointers: bool) -> None:
    segment, expected = Segment(), Memtable()
    for points, with_range in batches:
        ranges = ((b"a", b"c"),) if with_range or not points else ()
        segment.commit(points, ranges)
        expected.apply(list(ranges), list(points.items()))
    found = replayed(segment.data, LargeValues(5, THRESHOLD) if with_pointers else None)
    resolved = {key: resolved_entry(entry, segment.data) for key, entry in found.entries.items()}
    assert (resolved, list(found.deleted)) == (expected.entries, list(expected.deleted))
    pointers = [entry for entry in found.entries.values() if type(entry) is Pointer or type(entry) is tuple]
    assert with_pointers or not any(type(entry) is Pointer for entry in pointers)


def resolved_entry(entry: Any, data: bytearray) -> Any:
    value = entry[0] if type(entry) is tuple else entry
    if type(value) is not Pointer:
        return entry
    number, offset, length, checksum = read_pointer(value)
    sealed = bytes(data[offset : offset + length + SEAL_BYTES])
    assert (number, checksum) == (5, value_checksum(5, offset, sealed))
    text = opener().value(offset, sealed)
    assert len(text) == length >= THRESHOLD
    return (text, *entry[1:]) if type(entry) is tuple else text


def test_the_ways_written_out_are_the_same() -> None:
    """A put and a delete hold what a commit of them holds."""
    for threshold in (0, 8):
        one, other = Segment(threshold), Segment(threshold)
        one.put(b"key", b"the value")
        other.commit({b"key": b"the value"})
        one.put(b"large", b"x" * 50)
        other.commit({b"large": b"x" * 50})
        one.add(one.sealer.delete(*one.place, b"gone"))
        other.commit({b"gone": TOMBSTONE})
        expected = {b"key": b"the value", b"large": b"x" * 50, b"gone": TOMBSTONE}
        assert replayed(one.data).entries == replayed(other.data).entries == expected


def test_puts_of_one_size_are_opened_in_columns() -> None:
    segment = Segment(0)
    expected = {}
    for number in range(100):
        key = b"k%03d" % number if number < 60 else b"k%04d" % number
        expected[key] = b"value" if number < 60 else b"valu"
        segment.put(key, expected[key])
    valid = ValidFrames(bytes(segment.data), HEADER, HEADER_BYTES, len(segment.data))
    assert sum(isinstance(found, wal_frames.SealedColumns) for found in valid) > 1
    assert replayed(segment.data).entries == expected


def large_puts() -> tuple[Segment, dict[bytes, bytes]]:
    """Frames of one length, of which some have a longer key and a shorter value."""
    segment, expected = Segment(), {}
    for number in range(100):
        longer = 60 <= number < 63
        key = b"k%04d" % number if longer else b"k%03d" % number
        expected[key] = b"%d" % (number % 10) * (80 - longer)
        segment.put(key, expected[key])
    assert len({stop - start for start, stop in pairwise(segment.ends)}) == 1
    return segment, expected


@pytest.mark.parametrize("threshold", [None, THRESHOLD, 80, 1000])
def test_large_puts_of_one_size_are_opened_in_columns(threshold: int | None) -> None:
    """Pointers name the values that are at least as long as the threshold of whoever asks."""
    segment, expected = large_puts()
    data = bytes(segment.data)
    large = None if threshold is None else LargeValues(5, threshold)
    columns = [
        found
        for found in ValidFrames(data, HEADER, HEADER_BYTES, len(data))
        if isinstance(found, wal_frames.SealedColumns)
    ]
    assert sum(len(found.sealed) for found in columns) > 80
    found = replayed(data, large).entries
    one_by_one = [opener().points(data, start, stop, 0xC2, 1, large)[1][0] for start, stop in pairwise(segment.ends)]
    assert found == dict(one_by_one)
    assert {key: type(entry) for key, entry in found.items()} == {key: type(entry) for key, entry in one_by_one}
    if threshold in (None, THRESHOLD):
        assert {key: resolved_entry(entry, segment.data) for key, entry in found.items()} == expected


def test_large_puts_in_columns_are_opened_too() -> None:
    """Behind a right checksum nothing of one among many can be changed: not its key, and not its value."""
    segment, _ = large_puts()
    start, stop = segment.ends[40:42]
    for place in (start + FRAME_BYTES, start + FRAME_BYTES + 12, start + FRAME_BYTES + 20, stop - 20):
        data = bytearray(segment.data)
        data[place] ^= 1
        data[start : start + 4] = crc32(bytes(data[start + 4 : stop])).to_bytes(4, "little")
        with pytest.raises(CorruptionError):
            replayed(data)


def test_nothing_is_readable() -> None:
    segment = Segment()
    segment.put(b"a secret key", b"a secret value")
    segment.put(b"a secret key", b"a secret value" * 9)
    segment.commit(
        {b"a secret key": (b"a secret value", 5, 0), b"another secret": TOMBSTONE}, ((b"secret", b"secrets"),)
    )
    assert b"secret" not in segment.data


def test_every_flipped_bit_behind_a_right_checksum() -> None:
    """CRC-32 keeps nobody from changing a frame: the seal does, also what the header of the frame says."""
    segment = Segment()
    segment.commit({b"a": b"1", b"b": b"x" * 50})
    whole = bytes(segment.data)
    for bit in range(8 * (HEADER_BYTES + 4), 8 * len(whole)):
        frame = bytearray(whole)
        frame[bit // 8] ^= 1 << bit % 8
        checksum = crc32(bytes(frame[HEADER_BYTES + 4 :]))
        frame[HEADER_BYTES : HEADER_BYTES + 4] = checksum.to_bytes(4, "little")
        memtable = Memtable()
        try:
            done = wal_replay.replay(bytes(frame), HEADER, "w", memtable, end=len(frame), opener=opener())
        except (CorruptionError, FormatVersionError):
            continue
        assert done.stop_reason  # its length, salt, position or sequence


def test_a_frame_in_another_place() -> None:
    segment = Segment()
    segment.put(b"a", b"1")
    segment.put(b"a", b"2")
    first = bytes(segment.data[segment.ends[0] : segment.ends[1]])
    moved = bytearray(segment.data[: segment.ends[1]] + first)
    at = segment.ends[1]
    fields = wal_frames.FRAME_REST.unpack_from(moved, at + 4)
    wal_frames.FRAME_REST.pack_into(moved, at + 4, *fields[:2], HEADER.base + at, fields[3] + 1, *fields[4:])
    moved[at : at + 4] = crc32(bytes(moved[at + 4 :])).to_bytes(4, "little")
    with pytest.raises(CorruptionError, match="a seal is broken"):
        replayed(moved)


@pytest.mark.parametrize("hides_count", [False, True])
def test_no_commit_becomes_an_end(hides_count: bool) -> None:
    """Ends are not sealed: as one a commit amid others would be gone, and nobody would notice."""
    segment = Segment()
    for key in (b"a", b"b", b"c"):
        segment.put(key, b"1" * (key[0] - 90))  # of several sizes: not replayed in columns
    at, stop = segment.ends[1:3]
    *fields, count, _ = wal_frames.FRAME_REST.unpack_from(segment.data, at + 4)
    count = 0 if hides_count else count
    wal_frames.FRAME_REST.pack_into(segment.data, at + 4, *fields, count, wal_frames.FRAME_END)
    segment.data[at : at + 4] = crc32(bytes(segment.data[at + 4 : stop])).to_bytes(4, "little")
    with pytest.raises(CorruptionError, match="not 53" if hides_count else "counts 1 operations"):
        replayed(segment.data)


def test_a_large_value_in_another_place() -> None:
    segment = Segment()
    _, [one, other] = segment.sealer.commit_placed(*segment.place, {b"a": b"1" * 50, b"b": b"2" * 50})
    assert opener().value(one.offset, one.sealed) == b"1" * 50
    with pytest.raises(CorruptionError, match="a seal is broken"):
        opener().value(one.offset, other.sealed)


def test_frames_that_are_not_sealed_are_refused() -> None:
    for number in (1, 2, 20):
        data = bytearray(wal_frames.encode_header(HEADER))
        for each in range(number):
            data += wal_frames.encode_put(SALT, HEADER.base + len(data), HEADER.first_sequence + each, 0, b"k", b"v")
        with pytest.raises(CorruptionError, match="not sealed"):
            replayed(data)


def test_sealed_frames_need_a_key() -> None:
    for number in (1, 20):
        segment = Segment()
        for each in range(number):
            segment.put(b"%02d" % each, b"v")
        with pytest.raises(EncryptionError, match="encryption_key"):
            wal_replay.replay(bytes(segment.data), HEADER, "w", Memtable(), end=len(segment.data))
    with pytest.raises(CorruptionError, match="a seal is broken"):
        replayed(segment.data, key=bytes(32))
    assert len(list(wal_frames.find_frames(bytes(segment.data), HEADER, HEADER_BYTES, len(segment.data)))) == 20


@given(st.binary(max_size=300), st.sampled_from([0x81, 0x82, 0x83, 0xC2, 0xC3, 0xC1, 0x84]), st.integers(0, 3))
def test_any_sealed_payload(text: bytes, kind: int, count: int) -> None:
    """Somebody who has the key, or a mistake, seals nonsense: a typed error, or entries."""
    size = len(text) + SEAL_BYTES + 4 * bool(kind & wal_frames.WITH_VALUES)
    head = wal_frames.FRAME_REST.pack(size, SALT, HEADER.base + HEADER_BYTES, 9, 0, count, kind) + bytes(12)
    sealed = SealKey(KEY).cipher.encrypt(bytes(12), text, head)
    body = head + len(sealed).to_bytes(4, "little") * bool(kind & wal_frames.WITH_VALUES) + sealed
    data = wal_frames.encode_header(HEADER) + wal_frames.pack_crc(crc32(body)) + body
    try:
        wal_replay.replay(data, HEADER, "w", Memtable(), end=len(data), opener=opener())
    except (CorruptionError, FormatVersionError):
        return


def test_frames_are_as_long_as_documented() -> None:
    segment = Segment()
    segment.put(b"key", b"value")
    assert len(segment.data) == HEADER_BYTES + FRAME_BYTES + SEAL_BYTES + 4 + 8
