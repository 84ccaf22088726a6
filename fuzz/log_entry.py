"""Entries of a group's log under arbitrary bytes.

Invariant: any bytes are an entry, which encodes to the very same bytes, or CorruptionError or FormatVersionError.
Entries in any order give whole ones, each of the parts of one epoch, in order and without a hole, or CorruptionError.
Entries with arbitrary frames, behind right checksums, are commits, or refused with these errors. What is cut gives
entries of at most 64 KiB, and the same frames again. A changed bit is found out.
"""

from __future__ import annotations

from typing import Final

from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import Keys
from flin.cluster.log import log_entry
from flin.cluster.log.follower import Follower
from flin.cluster.log.leader import INDEX_KEY
from flin.cluster.log.log_entry import HEADER_BYTES, MAX_ENTRY_BYTES, Assembler, LogEntry
from flin.cluster.log.replicated_log import Numbered, ReplicatedLog
from flin.engine.checksum import crc32
from flin.engine.wal.frames import FRAME_BYTES, FRAME_PUT, FRAME_REST, encode_commit, pack_crc
from flin.errors import CorruptionError, FormatVersionError
from fuzz.byte_source import ByteSource

ALLOWED: Final = (CorruptionError, FormatVersionError)
SALT: Final = b"saltsalt"


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        _decode(rest)
        _decode(pack_crc(crc32(b"\1" + rest)) + b"\1" + rest)
    elif kind < b"\xa0":
        _assemble(ByteSource(rest))
    elif kind < b"\xe0":
        _cut(ByteSource(rest))
    else:
        _follow(kind[0], rest)


def _decode(data: bytes) -> None:
    try:
        entry = log_entry.decode(data, "e")
    except ALLOWED:
        return
    assert log_entry.encode(entry) == data
    assert 0 <= entry.part < entry.parts
    assert entry.data


def _assemble(source: ByteSource) -> None:
    """Entries of small numbers, so that some fit together. Their bytes say what they are."""
    assembler, given = Assembler(), []
    while not source.is_empty:
        parts = 1 + source.randrange(3)
        epoch, part, position = 1 + source.randrange(3), source.randrange(parts), source.randrange(2)
        entry = LogEntry(epoch, 0, part, parts, SALT, position, position, bytes((epoch, part, parts, position)))
        given.append(entry)
        try:
            whole = assembler.add(entry, "e")
        except CorruptionError:
            return
        last = given[-parts:]
        assert assembler.epoch == epoch == max(each.epoch for each in given)
        if whole is None:
            assert assembler.is_within
            continue
        assert not assembler.is_within
        assert [(each.epoch, each.part, each.parts, each.position) for each in last] == [
            (epoch, number, parts, position) for number in range(parts)
        ]
        assert whole == last[0]._replace(part=0, parts=1, data=b"".join(each.data for each in last))


def _follow(kind: int, payload: bytes) -> None:
    """A frame with this payload, and an entry of it."""
    count, rest = payload[:1], payload[1:]
    if not rest:
        return
    fields = FRAME_REST.pack(len(rest), SALT, 1000, 7, 0, count[0] % 8, 1 + kind % 4)
    frame = pack_crc(crc32(fields + rest)) + fields + rest
    log = ReplicatedLog(MemoryKeyValues().client(), Keys("fuzz"), 0)
    try:
        commit = Follower(log, 4).take(Numbered(5, LogEntry(1, 17, 0, 1, SALT, 1000, 7, frame)))
    except ALLOWED:
        return
    assert commit is not None
    assert (commit.number, commit.epoch, commit.clock_ms) == (5, 1, 17)
    assert INDEX_KEY not in commit.points
    if commit.points or commit.ranges:
        again = encode_commit(SALT, 1000, 7, 0, commit.points, commit.ranges)
        operations = len(commit.points) + len(commit.ranges)
        assert operations <= count[0] % 8
        if operations == count[0] % 8 and frame[44] != FRAME_PUT:
            found = Follower(log, 4).take(Numbered(5, LogEntry(1, 17, 0, 1, SALT, 1000, 7, bytes(again))))
            assert found is not None
            assert (found.points, found.ranges) == (commit.points, commit.ranges)


def _cut(source: ByteSource) -> None:
    """Frames of any lengths around those at which something is cut."""
    frames: list[bytes] = []
    sequence, position, length = 7, 1000, 0
    while not source.is_empty and len(frames) < 8:
        size = source.choice((0, 100, 30_000, MAX_ENTRY_BYTES - HEADER_BYTES - FRAME_BYTES - 9, 140_000))
        size += source.randrange(16)
        points = {b"%d" % number: bytes(size) for number in range(1 + source.randrange(2))}
        frames.append(bytes(encode_commit(SALT, position + length, sequence, 0, points)))
        length += len(frames[-1])
        sequence += len(points)
    if not frames:
        return
    run = LogEntry(3, 17, 0, 1, SALT, position, 7, b"".join(frames))
    entries = log_entry.cut(run)
    encoded = [log_entry.encode(entry) for entry in entries]
    assert max(map(len, encoded)) <= MAX_ENTRY_BYTES
    assembler, end, following = Assembler(), position, 7
    for data in encoded:
        whole = assembler.add(log_entry.decode(data, "e"), "e")
        if whole is not None:
            assert (whole.position, whole.sequence) == (end, following), "the frames go on where they ended"
            while end < whole.position + len(whole.data):
                frame = frames.pop(0)
                assert whole.data[end - whole.position :].startswith(frame)
                end += len(frame)
                following += int.from_bytes(frame[40:44], "little")
    assert not frames
    assert not assembler.is_within
    changed = bytearray(encoded[0])
    changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    try:
        log_entry.decode(bytes(changed), "e")
    except ALLOWED:
        return
    raise AssertionError("a changed bit was not found out")
