"""Entries of a log: bytes, cutting, and parts that become whole again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from flin.cluster.log.log_entry import (
    HEADER_BYTES,
    MAX_DATA_BYTES,
    MAX_ENTRY_BYTES,
    Assembler,
    LogEntry,
    cut,
    decode,
    encode,
)
from flin.engine.wal.frames import encode_commit, encode_put
from flin.errors import CorruptionError, FormatVersionError

SALT = b"saltsalt"
ENTRY = LogEntry(3, 1_764_400_000_000, 0, 1, SALT, 88, 1, b"frames")


def part(number: int, parts: int, *, epoch: int = 1, position: int = 88) -> LogEntry:
    return LogEntry(epoch, 0, number, parts, SALT, position, 1, b"%d" % number)


@dataclass
class Run:
    """Frames as a writer would put them one after the other."""

    data: bytes = b""
    sequence: int = 10
    position: int = 1000

    def put(self, size: int, keys: int = 1) -> int:
        """Returns the frame's length."""
        place = self.position + len(self.data)
        points = {b"key%d" % number: bytes(size) for number in range(keys)}
        frame = encode_commit(SALT, place, self.sequence, 0, points)
        self.data += frame
        self.sequence += keys
        return len(frame)

    @property
    def entry(self) -> LogEntry:
        return LogEntry(3, 17, 0, 1, SALT, 1000, 10, self.data)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        ENTRY._replace(clock_ms=-5),
        ENTRY._replace(part=2, parts=3),
        LogEntry(2**64 - 1, 2**63 - 1, 2**32 - 2, 2**32 - 1, b"\xff" * 8, 2**64 - 1, 2**64 - 1, bytes(MAX_DATA_BYTES)),
    ],
)
def test_bytes_and_back(entry: LogEntry) -> None:
    data = encode(entry)
    assert len(data) == HEADER_BYTES + len(entry.data) <= MAX_ENTRY_BYTES
    assert decode(data, "log/1") == entry


def test_the_layout_is_as_it_is_told() -> None:
    """An entry that an earlier Flin has put into the log must be read forever."""
    expected = "371ca039010300000000000000006c6fce9a0100000000000001000000"
    expected += "73616c7473616c7458000000000000000100000000000000"
    assert encode(ENTRY).hex() == expected + b"frames".hex()


def test_every_bit_and_every_length_counts() -> None:
    data = encode(ENTRY)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatVersionError)):
            decode(bytes(changed), "log/1")
    for length in range(len(data)):
        with pytest.raises(CorruptionError, match="log/1"):
            decode(data[:length], "log/1")


def test_a_newer_format_is_named() -> None:
    data = bytearray(encode(ENTRY))
    data[4] = 2
    with pytest.raises(FormatVersionError, match="install the newer one"):
        decode(bytes(data), "log/1")


@pytest.mark.parametrize("entry", [ENTRY._replace(part=1), ENTRY._replace(parts=0), ENTRY._replace(data=bytes(70_000))])
def test_what_no_leader_puts(entry: LogEntry) -> None:
    with pytest.raises(CorruptionError, match="an entry of"):
        decode(encode(entry), "log/1")


def test_what_fits_is_not_cut() -> None:
    run = Run()
    run.put(100)
    assert cut(run.entry) == [run.entry]


def test_frames_stay_whole_where_they_fit() -> None:
    run = Run()
    sizes = [run.put(20_000, keys) for keys in (1, 2, 1, 1, 1, 1, 3)]
    entries = cut(run.entry)
    assert [len(entry.data) for entry in entries] == [sum(sizes[:2]), sum(sizes[2:5]), sizes[5], sizes[6]]
    assert [entry.sequence for entry in entries] == [10, 13, 16, 17]
    assert [entry.position for entry in entries] == [
        1000 + sum(sizes[:2]) * bool(n) + sum(sizes[2:5]) * (n > 1) + sizes[5] * (n > 2) for n in range(4)
    ]
    assert all((entry.part, entry.parts, entry.epoch, entry.clock_ms) == (0, 1, 3, 17) for entry in entries)
    assert b"".join(entry.data for entry in entries) == run.data


def test_a_long_frame_is_cut_and_becomes_whole() -> None:
    run = Run()
    before, long, after = run.put(10), run.put(200_000), run.put(10)
    entries = cut(run.entry)
    assert [(entry.part, entry.parts) for entry in entries] == [(0, 1), (0, 4), (1, 4), (2, 4), (3, 4), (0, 1)]
    assert all(len(encode(entry)) <= MAX_ENTRY_BYTES for entry in entries)
    assembler = Assembler()
    found = [whole for entry in entries if (whole := assembler.add(entry, "log/1")) is not None]
    assert [(len(whole.data), whole.position, whole.sequence) for whole in found] == [
        (before, 1000, 10),
        (long, 1000 + before, 11),
        (after, 1000 + before + long, 12),
    ]
    assert b"".join(whole.data for whole in found) == run.data
    assert not assembler.is_within


def test_a_frame_as_long_as_an_entry_is_one() -> None:
    size = MAX_DATA_BYTES - len(encode_put(SALT, 0, 0, 0, b"key0", b""))
    for more, parts in ((0, 1), (1, 2)):
        data = encode_put(SALT, 1000, 10, 0, b"key0", bytes(size + more))
        data += encode_put(SALT, 1000 + len(data), 11, 0, b"key1", b"")
        assert cut(ENTRY._replace(position=1000, sequence=10, data=data))[0].parts == parts


def test_parts_without_an_end_count_for_nothing() -> None:
    assembler = Assembler()
    assert assembler.add(part(0, 3), "e") is None
    assert assembler.add(part(1, 3), "e") is None
    assert assembler.is_within
    following = part(0, 1, epoch=2)
    assert assembler.add(following, "e") == following
    assert not assembler.is_within


def test_an_epoch_that_begins_with_parts() -> None:
    assembler = Assembler()
    assembler.add(part(0, 2), "e")
    assert assembler.add(part(0, 2, epoch=2), "e") is None
    whole = assembler.add(part(1, 2, epoch=2), "e")
    assert whole is not None
    assert (whole.epoch, whole.data, whole.part, whole.parts) == (2, b"01", 0, 1)


@pytest.mark.parametrize(
    "following",
    [
        part(0, 1),  # the leader has begun a frame, and must end it
        part(0, 3),
        part(2, 3),
        part(1, 2),
        part(1, 3, position=99),
        part(1, 3, epoch=2),
        part(1, 3, epoch=0),
    ],
)
def test_what_cannot_follow_a_part(following: LogEntry) -> None:
    assembler = Assembler()
    assembler.add(part(0, 3), "e")
    with pytest.raises(CorruptionError):
        assembler.add(following, "e")


def test_the_log_begins_with_no_later_part() -> None:
    with pytest.raises(CorruptionError, match="part 1 of a frame at 88, after 0 parts"):
        Assembler().add(part(1, 2), "log/17")
