"""The WAL's format: by tables in both directions, by hypothesis, and every bit flipped and every byte cut."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import KIND_DELETE, KIND_MERGE, TOMBSTONE, Entry, Range
from flin.engine.memtable import Memtable
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import lost_header
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import FRAME_BYTES, HEADER_BYTES, SegmentSlice
from flin.errors import CorruptionError, FormatVersionError, LimitError
from flin.testing import SimulatedDisk
from tests.engine.wal_segment import HEADER, Segment, prefixes, replayed, sample_segment

SALT = HEADER.salt.hex()


def hexadecimal(text: str) -> bytes:
    return bytes.fromhex(text.replace("SALT", SALT))


def frame_bytes(payload: bytes, *, kind: int, count: int, position: int = HEADER_BYTES, sequence: int = 1) -> bytes:
    """Any frame with a correct checksum, made without the encoder."""
    rest = struct.pack("<I8sQQQIB", len(payload), HEADER.salt, position, sequence, 0, count, kind) + payload
    return struct.pack("<I", crc32(rest)) + rest


# Layout, field by field.


@given(st.binary(max_size=40), st.integers(0, 2**60), st.integers(1, 2**60))
def test_the_frame_of_a_delete_is_that_of_its_commit(key: bytes, position: int, sequence: int) -> None:
    fast = wal_frames.encode_delete(HEADER.salt, position, sequence, 7, key)
    assert fast == wal_frames.encode_commit(HEADER.salt, position, sequence, 7, {key: TOMBSTONE})


def test_header_layout() -> None:
    fields = hexadecimal(
        "466c696e57414c00 01000000 000102030405060708090a0b0c0d0e0f 0300000000000000 SALT e803000000000000"
        "0700000000000000 0200000000000000 2c01000000000000 6400000000000000"
    )
    header = wal_frames.SegmentHeader(bytes(range(16)), 3, HEADER.salt, 1000, 7, 2, 300, 100)
    data = fields + struct.pack("<I", crc32(fields))
    assert wal_frames.encode_header(header) == data
    assert wal_frames.decode_header(data + b"frames", "w") == header
    assert len(data) == HEADER_BYTES == 88


REST = "SALT 5800000000000000 0900000000000000 0800000000000000"  # position 88, sequence 9, synced 8


@pytest.mark.parametrize(
    ("points", "ranges", "rest"),
    [
        ({b"k": b"v"}, [], f"0a000000 {REST} 01000000 02 01000000 01000000 6b 76"),
        (
            {b"a": b"1", b"bc": b""},
            [],
            f"14000000 {REST} 02000000 02 01000000 02000000 01000000 00000000 616263 31",
        ),
        ({b"k": TOMBSTONE}, [], f"13000000 {REST} 01000000 03 02 00 0000000000000000 01000000 00000000 6b"),
        ({b"k": (b"v", 258, 0)}, [], f"14000000 {REST} 01000000 03 01 00 0201000000000000 01000000 01000000 6b 76"),
        ({b"k": (b"v", 0, 7)}, [], f"14000000 {REST} 01000000 03 01 07 0000000000000000 01000000 01000000 6b 76"),
        ({}, [(b"a", b"c")], f"14000000 {REST} 01000000 03 03 00 0000000000000000 01000000 01000000 61 63"),
        (
            {b"b": b"2"},
            [(b"a", b"c")],
            f"28000000 {REST} 02000000 03 0301 0000 0000000000000000 0000000000000000 01000000 01000000"
            "01000000 01000000 6162 6332",
        ),
    ],
)
def test_commit_layout(points: dict[bytes, Entry], ranges: list[Range], rest: str) -> None:
    body = hexadecimal(rest)
    frame = struct.pack("<I", crc32(body)) + body
    assert wal_frames.encode_commit(HEADER.salt, 88, 9, 8, points, ranges) == frame
    memtable = Memtable()
    header = replace(HEADER, first_sequence=9)
    done = wal_replay.replay(wal_frames.encode_header(header) + frame, header, "w", memtable, end=88 + len(frame))
    assert (memtable.entries, list(memtable.ranges)) == (points, ranges)
    assert (done.next_sequence, done.synced, done.frames, done.stop_reason) == (9 + len(points) + len(ranges), 8, 1, "")


def test_put_layout() -> None:
    body = hexadecimal(f"07000000 {REST} 01000000 01 01000000 6b 7676")
    frame = struct.pack("<I", crc32(body)) + body
    assert wal_frames.encode_put(HEADER.salt, 88, 9, 8, b"k", b"vv") == frame


def test_end_layout() -> None:
    body = hexadecimal(f"08000000 {REST} 00000000 04 5800000000000000")
    assert wal_frames.encode_end(HEADER.salt, 88, 9, 8) == struct.pack("<I", crc32(body)) + body


# Round trips.

keys = st.binary(max_size=6)
entries: st.SearchStrategy[Any] = st.one_of(
    st.binary(max_size=20),
    st.just(TOMBSTONE),
    st.tuples(st.binary(max_size=9), st.integers(-(2**63), 2**63 - 1).filter(bool), st.integers(0, 255)),
    st.tuples(st.binary(max_size=9), st.just(0), st.integers(1, 255)),
)
ranges = st.tuples(keys, keys).filter(lambda pair: pair[0] < pair[1])
commits: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("put"), keys, st.binary(max_size=20)),
    st.tuples(st.just("commit"), st.dictionaries(keys, st.binary(max_size=9), min_size=1, max_size=5), st.just([])),
    st.tuples(st.just("commit"), st.dictionaries(keys, entries, max_size=5), st.lists(ranges, max_size=3)).filter(
        lambda commit: commit[1] or commit[2]
    ),
)


@given(st.lists(commits, max_size=8), st.booleans())
def test_round_trip(script: list[Any], closed: bool) -> None:
    segment, expected = Segment(), Memtable()
    for name, *arguments in script:
        getattr(segment, name)(*arguments)
        if name == "put":
            expected.apply((), {arguments[0]: arguments[1]})
        else:
            expected.apply(arguments[1], arguments[0])
    if closed:
        segment.end()
    data = bytes(segment.data)
    done, memtable = replayed(data)
    assert (memtable.entries, memtable.ranges) == (expected.entries, expected.ranges)
    assert (done.end, done.next_sequence, done.closed, done.stop_reason) == (len(data), segment.sequence, closed, "")
    assert done.operations == segment.sequence - 1
    again = Memtable()
    for frame in wal_replay.read_frames(data, HEADER, "w", end=len(data)):
        again.apply(frame.ranges, frame.points)
        assert frame.end in segment.ends
    assert (again.entries, again.ranges) == (expected.entries, expected.ranges)


def test_replay_can_begin_at_any_frame() -> None:
    segment = sample_segment()
    data = bytes(segment.data)
    for start in segment.ends[1:-1]:
        memtable = Memtable()
        done = wal_replay.replay(data, HEADER, "w", memtable, start=start, end=len(data))
        assert done.stop_reason == ""
        assert done.next_sequence == segment.sequence


shapes = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=6)


def segment_of_shapes(stretches: list[tuple[int, int, int, bool]]) -> Segment:
    """Stretches of puts with keys of one length and values of one length, deletes and syncs between some of them."""
    segment = Segment(replace(HEADER, base=1000))
    for number, key_size, value_size, syncs in stretches:
        for index in range(number):
            segment.put((b"%03d" % index)[:key_size], (b"%05d" % (number * index))[:value_size])
        if syncs:
            segment.sync().commit({b"x": TOMBSTONE})
    return segment


@given(shapes, st.data())
def test_puts_of_one_shape_replay_as_one_by_one(
    stretches: list[tuple[int, int, int, bool]], draw: st.DataObject
) -> None:
    segment = segment_of_shapes(stretches)
    data = bytearray(segment.data)
    for _ in range(draw.draw(st.integers(0, 2))):
        if len(data) > HEADER_BYTES:
            data[draw.draw(st.integers(HEADER_BYTES, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    end = draw.draw(st.integers(HEADER_BYTES, len(data)))
    answers = []
    for few in (0, wal_frames.MIN_GROUP_FRAMES):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(wal_frames, "MIN_GROUP_FRAMES", few)
            memtable = Memtable()
            answers.append(
                (wal_replay.replay(bytes(data), segment.header, "w", memtable, end=end), list(memtable.entries.items()))
            )
    assert answers[0] == answers[1]


def test_puts_after_an_end_frame_of_their_size() -> None:
    """They are checked many at once, and the segment does not end with an end frame."""
    data = bytearray(wal_frames.encode_header(HEADER))
    sequence = HEADER.first_sequence
    data += wal_frames.encode_end(HEADER.salt, HEADER.base + len(data), sequence, 0)
    for number in range(3):
        data += wal_frames.encode_put(
            HEADER.salt, HEADER.base + len(data), sequence + number, 0, b"k%d" % number, b"vv"
        )
    memtable = Memtable()
    done = wal_replay.replay(bytes(data), HEADER, "w", memtable, end=len(data))
    assert (done.closed, done.operations, done.stop_reason, len(memtable.entries)) == (False, 3, "", 3)


def test_the_end_frame_counts_only_at_the_end() -> None:
    segment = Segment().put(b"a", b"1").end()
    assert replayed(bytes(segment.data))[0].closed
    segment.put(b"b", b"2")
    assert not replayed(bytes(segment.data))[0].closed


# Damage.


def test_every_flipped_bit_of_the_frames_ends_the_replay_there() -> None:
    segment = sample_segment()
    data = bytes(segment.data)
    states = prefixes(segment)
    for bit in range(HEADER_BYTES * 8, len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        done, memtable = replayed(bytes(damaged))
        intact = sum(end <= bit // 8 for end in segment.ends) - 1
        assert done.stop_reason
        assert (done.end, done.frames) == (segment.ends[intact], intact)
        assert (memtable.entries, memtable.ranges) == states[intact]


def test_every_flipped_bit_of_the_header_is_found() -> None:
    data = wal_frames.encode_header(HEADER)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatVersionError)):
            wal_frames.decode_header(bytes(damaged), "w")


def test_every_truncation_leaves_whole_frames() -> None:
    segment = sample_segment()
    data = bytes(segment.data)
    states = prefixes(segment)
    for size in range(len(data)):
        if size < HEADER_BYTES:
            with pytest.raises(CorruptionError, match="shorter than its header"):
                wal_frames.decode_header(data[:size], "w")
            continue
        done, memtable = replayed(data[:size])
        whole = sum(end <= size for end in segment.ends) - 1
        assert done.end == segment.ends[whole]
        assert bool(done.stop_reason) == (size != segment.ends[whole])
        assert (memtable.entries, memtable.ranges) == states[whole]


@pytest.mark.parametrize("size", [1, 44, FRAME_BYTES, FRAME_BYTES + 1, 5000])
def test_zeros_never_pass(size: int) -> None:
    """They are no frames, and no damage either: a window that was not filled. Anything after them is."""
    segment = Segment().put(b"a", b"1")
    for tail, stop_reason in ((b"", False), (b"\1", True)):
        done, memtable = replayed(bytes(segment.data) + bytes(size) + tail)
        assert (done.end, done.frames, bool(done.stop_reason)) == (len(segment.data), 1, stop_reason)
        assert memtable.entries == {b"a": b"1"}
        assert not done.closed


@pytest.mark.parametrize("tail", [b"", bytes(1), bytes(500)])
def test_a_closed_segment_may_end_in_zeros(tail: bytes) -> None:
    segment = sample_segment()
    done, _ = replayed(bytes(segment.data) + tail)
    assert done.closed
    assert (done.stop_reason, done.end) == ("", len(segment.data))
    frames = list(wal_replay.read_frames(bytes(segment.data) + tail, HEADER, "w", end=len(segment.data) + len(tail)))
    assert len(frames) == len(segment.ends) - 1


def _second_put(**changes: Any) -> bytes:
    """A segment with a put, and a second one whose frame differs in one thing from the right one."""
    segment = Segment().put(b"a", b"1")
    right = {"salt": HEADER.salt, "position": segment.position, "sequence": 2, "synced": 0}
    return bytes(segment.data) + wal_frames.encode_put(**{**right, **changes}, key=b"b", value=b"2")


@pytest.mark.parametrize(
    ("changes", "stop_reason"),
    [
        ({"salt": b"othersal"}, "not a frame of this segment"),
        ({"position": 0}, "header is wrong"),
        ({"position": 1 << 60}, "header is wrong"),
        ({"sequence": 1}, "sequence 1 follows where 2 should"),
        ({"sequence": 3}, "sequence 3 follows where 2 should"),
    ],
)
def test_a_whole_frame_in_the_wrong_place(changes: dict[str, Any], stop_reason: str) -> None:
    done, memtable = replayed(_second_put(**changes))
    assert stop_reason in done.stop_reason
    assert memtable.entries == {b"a": b"1"}


def test_an_old_segments_frames_are_not_taken_for_this_ones() -> None:
    """A disk block that was not written may show the frames of a file that was there before."""
    old = Segment(wal_frames.SegmentHeader(HEADER.database_id, 1, b"old salt", 0, 1, 0, 0, 0)).put(b"a", b"old")
    old.put(b"b", b"old")
    new = Segment().put(b"a", b"new")
    assert len(new.data) == old.ends[1]
    done, memtable = replayed(bytes(new.data) + bytes(old.data[old.ends[1] :]))
    assert done.stop_reason == "not a frame of this segment"
    assert memtable.entries == {b"a": b"new"}


@pytest.mark.parametrize(
    ("payload", "kind", "count"),
    [
        (b"", 1, 1),
        (b"\x05\0\0\0abc", 1, 1),  # a key longer than its frame
        (b"\x01\0\0\0ab", 1, 2),  # one put that counts two
        (b"\x01\0\0", 1, 1),
        (b"\x01\0\0\0", 2, 1),
        (b"\x01\0\0\0\x01\0\0\0a", 2, 1),  # lengths that do not add up
        (b"\x01\0\0\0\x01\0\0\0abc", 2, 1),
        (b"x", 2, 0),
        (b"\x01\0\0\0\x01\0\0\0ab", 2, 1 << 31),
        (b"\x01" + bytes(9), 3, 1),
        (b"x", 3, 0),
    ],
)
def test_payloads_that_no_encoder_writes(payload: bytes, kind: int, count: int) -> None:
    frame = frame_bytes(payload, kind=kind, count=count)
    data = wal_frames.encode_header(HEADER) + frame
    try:
        done, memtable = replayed(data)
    except CorruptionError as error:
        assert (error.path, error.offset) == ("w", HEADER_BYTES)
    else:
        assert done.stop_reason  # length 0 is no frame at all
        assert not memtable


@pytest.mark.parametrize("kind", [5, 6, 255])
def test_a_newer_kind_of_frame_is_refused(kind: int) -> None:
    with pytest.raises(FormatVersionError, match=f"kind {kind}; a newer Flin"):
        replayed(wal_frames.encode_header(HEADER) + frame_bytes(b"payload", kind=kind, count=1))


@pytest.mark.parametrize("kind", [KIND_MERGE, 5, 6, 255])
def test_a_newer_kind_of_operation_is_refused(kind: int) -> None:
    frame = bytearray(wal_frames.encode_commit(HEADER.salt, 88, 1, 0, {b"k": TOMBSTONE}))
    at = frame.index(KIND_DELETE, FRAME_BYTES)
    frame[at] = kind
    frame[:4] = struct.pack("<I", crc32(frame[4:]))
    with pytest.raises(FormatVersionError, match=f"kind {kind}"):
        replayed(wal_frames.encode_header(HEADER) + bytes(frame))


@pytest.mark.parametrize("version", [2, 3, 0xFFFF_FFFF])
def test_a_newer_segment_is_refused_whatever_its_layout(version: int) -> None:
    """Never taken for a torn header: a torn one may be discarded, one that a newer Flin wrote may not."""
    data = bytearray(Segment().put(b"a", b"1").data)
    data[8:12] = struct.pack("<I", version)
    with pytest.raises(FormatVersionError, match="up to 1"):
        wal_frames.decode_header(bytes(data), "w")


def test_not_a_segment() -> None:
    with pytest.raises(CorruptionError, match="not a WAL segment"):
        wal_frames.decode_header(b"SQLite format 3\0" * 10, "w")


# What can be read after damage.


def test_later_frames_vouch_for_what_was_synced() -> None:
    segment = Segment().put(b"a", b"1").put(b"b", b"2")
    assert wal_frames.highest_claimed_sync(bytes(segment.data), HEADER, HEADER_BYTES) == 0
    synced = segment.sync().synced
    segment.put(b"c", b"3")
    data = bytearray(segment.data)
    assert wal_frames.highest_claimed_sync(bytes(data), HEADER, HEADER_BYTES) == synced
    data[HEADER_BYTES + 60] ^= 1  # the first frame; the last one still says what it says
    assert wal_frames.highest_claimed_sync(bytes(data), HEADER, HEADER_BYTES) == synced
    data[-1] ^= 1
    assert wal_frames.highest_claimed_sync(bytes(data), HEADER, HEADER_BYTES) == 0


@given(st.binary(max_size=60), st.integers(0, 8))
def test_a_salt_alone_vouches_for_nothing(garbage: bytes, cut: int) -> None:
    data = wal_frames.encode_header(HEADER) + garbage + HEADER.salt[cut:] + garbage
    assert wal_frames.highest_claimed_sync(data, HEADER, HEADER_BYTES) == 0


def test_header_of_frames() -> None:
    segment = Segment(wal_frames.SegmentHeader(HEADER.database_id, 2, HEADER.salt, 500, 9, 1, 200, 400)).put(b"a", b"1")
    data = bytes(segment.data)
    damaged = bytes(HEADER_BYTES) + data[HEADER_BYTES:]
    found = lost_header.maybe_lost_header(damaged)
    assert found is not None
    assert (found.salt, found.base, found.first_sequence, found.synced) == (HEADER.salt, 500, 9, 400)
    assert lost_header.claimed_sync_without_header(damaged, lambda base: base == 500) == 400
    assert lost_header.claimed_sync_without_header(damaged, lambda base: base < 500) == 0
    for nothing in (damaged[:-1], b"", bytes(500), data[:HEADER_BYTES]):
        assert lost_header.maybe_lost_header(nothing) is None


@given(st.integers(0, 400), st.integers(0, 2), st.randoms(use_true_random=False))
def test_frames_after_a_damaged_head(size: int, filling: int, random: Random) -> None:
    """If one whole frame is left, it tells what was lost, wherever it begins."""
    header = wal_frames.SegmentHeader(HEADER.database_id, 2, HEADER.salt, 7000, 9, 1, 200, 6000)
    segment = Segment(header)
    ends = [HEADER_BYTES]
    for number in range(8):
        segment.put(b"%d" % number, b"v" * random.randrange(60)).sync()
        ends.append(len(segment.data))
    damage = (bytes(size), b"\xff" * size, random.randbytes(size))[filling]
    damaged = damage + bytes(segment.data[size:])
    left = [number for number, end in enumerate(ends[:-1]) if end >= size]
    found = lost_header.maybe_lost_header(damaged)
    if not left:
        assert found is None
        return
    assert found is not None
    assert (found.salt, found.base, found.first_sequence) == (HEADER.salt, 7000, 9 + left[0])
    assert lost_header.claimed_sync_without_header(damaged, lambda base: base == 7000) == 7000 + ends[7]


# Files.


def _disk_with(data: bytes) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    disk.write("/db/w", data)
    return disk


def test_load_segment() -> None:
    segment = Segment().put(b"a", b"1").put(b"b", b"2")
    disk = _disk_with(bytes(segment.data) + b"what a failed write left")
    memtable = Memtable()
    done = wal_replay.load_segment(disk, "/db", SegmentSlice("w", HEADER_BYTES, len(segment.data)), memtable)
    assert (done.operations, memtable.entries) == (2, {b"a": b"1", b"b": b"2"})


@pytest.mark.parametrize(("frames", "least"), [("single", 1000 // wal_replay.SINGLE_FRAMES), ("alike", 1000 // 256)])
def test_load_segment_with_checkpoints(frames: str, least: int) -> None:
    """They come often, between frames, and change nothing."""
    segment = Segment()
    for number in range(1000):
        segment.put(b"%05d" % number, b"v" * (10 + (number % 7 if frames == "single" else 0)))
    disk = _disk_with(bytes(segment.data))
    piece = SegmentSlice("w", HEADER_BYTES, len(segment.data))
    plain, memtable = Memtable(), Memtable()
    seen: list[int] = []
    expected = wal_replay.load_segment(disk, "/db", piece, plain)
    done = wal_replay.load_segment(disk, "/db", piece, memtable, None, lambda: seen.append(len(memtable.entries)))
    assert (done, memtable.entries) == (expected, plain.entries)
    assert len(seen) >= least
    assert max(after - before for before, after in pairwise([0, *seen, 1000])) <= 256


@pytest.mark.parametrize("more", [-1, 1, 30])
def test_load_segment_finds_damage(more: int) -> None:
    """A slice is known to be good: anything that does not fit it is corruption, with the offset."""
    segment = Segment().put(b"a", b"1")
    size = len(segment.data)
    disk = _disk_with(bytes(segment.data)[:-1] if more > 0 else bytes(segment.data))
    with pytest.raises(CorruptionError) as raised:
        wal_replay.load_segment(disk, "/db", SegmentSlice("w", HEADER_BYTES, size - (more < 0)), Memtable())
    assert raised.value.path == "/db/w"


def test_read_frames_stops_at_damage() -> None:
    data = bytearray(sample_segment().data)
    data[-1] ^= 1
    frames = wal_replay.read_frames(bytes(data), HEADER, "w", end=len(data))
    assert next(frames).points == [(b"key", b"value")]
    with pytest.raises(CorruptionError, match="checksum"):
        list(frames)
    with pytest.raises(CorruptionError, match="cut off"):
        list(wal_replay.read_frames(bytes(data), HEADER, "w", end=HEADER_BYTES + 3))


def test_a_commit_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_frames, "MAX_PAYLOAD_BYTES", 100)
    monkeypatch.setattr(wal_frames, "MAX_KEY_BYTES", 100)  # from here on sizes are checked
    points: Mapping[bytes, Entry] = {b"k": bytes(100)}
    with pytest.raises(LimitError, match="a commit's bytes is 109, the maximum is 100"):
        wal_frames.encode_commit(HEADER.salt, 88, 1, 0, points)
