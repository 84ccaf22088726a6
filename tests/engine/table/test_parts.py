"""The small parts of a table: stored blocks, index, expiry, range and properties blocks, footer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.table import block, expiry_block, index_block, range_block, stored_block
from flin.engine.table import footer as table_footer
from flin.engine.table.expiry_block import Expiry
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError
from tests.engine.table_file import MemoryFile, sample_entries, write_table

META = TableMeta("t.sst", 0, 0, 3, 1, 0, 1, b"a", b"\xff\x01z", 7, 9, 55)
PAYLOAD = block.encode([b"k%d" % index for index in range(9)], [b"v" * 60] * 9, 2, 60)

EXPIRIES: list[Expiry] = [(-(2**63), b""), (-1, b"b"), (5, b""), (5, b"a"), (2**63 - 1, b"long" * 30)]
RANGES = [(b"", b"a"), (b"b", b"\xff\x02")]


def decode_expiries(data: bytes) -> list[Expiry]:
    return list(expiry_block.decode(lambda offset, size: data[offset : offset + size], 0, len(data), "t"))


def unpack_at_9(data: bytes) -> bytes:
    stored_block.verify(data, 9, "t", 0)
    return stored_block.unpack(data, "t", 9)


# The encoded bytes, the decoder, the result.
PARTS: list[tuple[bytes, Callable[[bytes], object], object]] = [
    (
        index_block.encode([b"", b"k", b"kk"], [0, 10, 30, 77]),
        lambda data: (lambda index: (index.separators, list(index.starts)))(index_block.decode(data, 77, "t", 0)),
        ([b"", b"k", b"kk"], [0, 10, 30, 77]),
    ),
    (
        index_block.encode([], [0]),
        lambda data: index_block.decode(data, 0, "t", 0).separators,
        [],
    ),
    (expiry_block.encode(EXPIRIES), decode_expiries, EXPIRIES),
    (range_block.encode(RANGES), lambda data: range_block.decode(data, "t", 0), tuple(RANGES)),
    (range_block.encode([]), lambda data: range_block.decode(data, "t", 0), ()),
    (
        table_footer.encode_footer(table_footer.Footer(1, 2, 3, 4, 5, 100)),
        lambda data: table_footer.decode_footer(data, "t", 0),
        table_footer.Footer(1, 2, 3, 4, 5, 100),
    ),
    (
        table_footer.encode_properties(META, "zstd"),
        lambda data: table_footer.decode_properties(data, table_footer.Footer(0, 0, 0, 0, 0, 0), "t.sst", 0, "t"),
        table_footer.Properties(META, "zstd", "murmur3_x86_32"),
    ),
    *[
        (b"".join(stored_block.store(PAYLOAD, 9, stored_block.compressor(codec, 1))), unpack_at_9, PAYLOAD)
        for codec in stored_block.CODECS
    ],
]


@pytest.mark.parametrize(("data", "decode", "expected"), PARTS)
def test_parts_come_back(data: bytes, decode: Callable[[bytes], object], expected: object) -> None:
    assert decode(data) == expected


@pytest.mark.parametrize(("data", "decode", "expected"), PARTS)
def test_each_flipped_bit_and_each_cut_is_found(
    data: bytes, decode: Callable[[bytes], object], expected: object
) -> None:
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError):
            decode(bytes(damaged))
    for size in range(1, len(data)):
        with pytest.raises(CorruptionError):
            decode(data[:size])
    with pytest.raises(CorruptionError):
        decode(data + b"\0")


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=9))).map(sorted))
def test_expiries_come_back(expiries: list[Expiry]) -> None:
    assert decode_expiries(expiry_block.encode(expiries)) == expiries


def test_many_expiries_are_read_in_chunks() -> None:
    expiries = [(index, b"%d" % index) for index in range(5000)]
    data = expiry_block.encode(expiries)
    assert decode_expiries(data) == expiries
    reads: list[int] = []

    def read(offset: int, size: int) -> bytes:
        reads.append(size)
        return data[offset : offset + size]

    assert next(expiry_block.decode(read, 0, len(data), "t")) == expiries[0]
    assert sum(reads) < len(data) // 3


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(min_size=1, max_size=9))))
def test_ranges_come_back(pairs: list[tuple[bytes, bytes]]) -> None:
    ranges = [(start, start + more) for start, more in pairs]
    assert range_block.decode(range_block.encode(ranges), "t", 0) == tuple(ranges)


def test_a_block_from_another_place_is_found() -> None:
    stored = b"".join(stored_block.store(PAYLOAD, 4096, None))
    stored_block.verify(stored, 4096, "t", 0)
    with pytest.raises(CorruptionError):
        stored_block.verify(stored, 8192, "t", 0)


def test_a_block_that_does_not_shrink_is_stored_raw() -> None:
    payload = block.encode([b"k"], [bytes(range(256))], 1, 256)
    compress = stored_block.compressor("zstd", 1)
    assert stored_block.store(payload, 0, compress)[0] is payload
    assert stored_block.store(PAYLOAD, 0, compress)[0][0] == block.COMPRESSED


def test_a_compressed_block_that_lies_about_its_size_is_corrupt() -> None:
    stored, _ = stored_block.store(PAYLOAD, 0, stored_block.compressor("zstd", 1))
    for size in (0, 1, len(PAYLOAD) - 1, len(PAYLOAD) + 1, 2**32 - 1):
        with pytest.raises(CorruptionError):
            stored_block.unpack(stored[:1] + size.to_bytes(4, "little") + stored[5:] + bytes(4), "t", 0)
    with pytest.raises(CorruptionError):
        stored_block.unpack(b"\x80", "t", 0)


def test_a_want_of_memory_is_no_corruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that met corruption is set aside for good; one that lacked memory is tried again."""

    def decompress(*_: object, **__: object) -> bytes:
        raise MemoryError

    stored = b"".join(stored_block.store(PAYLOAD, 0, stored_block.compressor("zstd", 1)))
    monkeypatch.setattr(stored_block._local, "decompress", decompress, raising=False)
    with pytest.raises(MemoryError):
        stored_block.unpack(stored, "t", 0)


def test_unknown_codec() -> None:
    with pytest.raises(ValueError, match="lz4"):
        stored_block.compressor("lz4", 1)
    with pytest.raises(FormatVersionError, match="lz4"):
        stored_block.require_codec("lz4", "t")


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "zstandard", None)
    stored_block.require_codec("none", "t")
    with pytest.raises(FormatVersionError, match="zstandard"):
        stored_block.require_codec("zstd", "t")


def reseal(data: bytes) -> bytes:
    return data[:-4] + crc32(data[:-4]).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("separators", "starts"),
    [([b"a", b"a"], [0, 1, 2]), ([b"b", b"a"], [0, 1, 2]), ([b""], [1, 2]), ([b""], [0, 3]), ([b"", b"a"], [0, 2, 2])],
)
def test_an_index_out_of_order_is_corrupt(separators: list[bytes], starts: list[int]) -> None:
    with pytest.raises(CorruptionError):
        index_block.decode(index_block.encode(separators, starts), 2, "t", 0)


def test_a_newer_format_is_refused() -> None:
    data = bytearray(table_footer.encode_footer(table_footer.Footer(1, 2, 3, 4, 5, 100)))
    data[52] = table_footer.FORMAT_VERSION + 1
    data[56:60] = crc32(data[:56]).to_bytes(4, "little")
    with pytest.raises(FormatVersionError, match="format version 4"):
        table_footer.decode_footer(bytes(data), "t", 0)


def test_a_property_that_is_not_known_is_passed_over() -> None:
    data = table_footer.encode_properties(META, "none")
    more = reseal(data[:-4] + b"\x05later" + (3).to_bytes(4, "little") + b"abc" + data[-4:])
    footer = table_footer.Footer(0, 0, 0, 0, 0, 0)
    assert table_footer.decode_properties(more, footer, "t.sst", 0, "t").meta == META


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"\x07entries", b"\x07Entries", CorruptionError),
        (b"\x01\x00\x00\x003", b"\x01\x00\x00\x00x", CorruptionError),
        (b"\x04\x00\x00\x00none", b"\xff\x00\x00\x00none", CorruptionError),
        (b"\x04\x00\x00\x00none", b"\x04\x00\x00\x00n\xffne", CorruptionError),
    ],
)
def test_properties_that_make_no_sense(old: bytes, new: bytes, error: type[Exception]) -> None:
    data = table_footer.encode_properties(META, "none")
    assert old in data
    with pytest.raises(error):
        table_footer.decode_properties(
            reseal(data.replace(old, new, 1)), table_footer.Footer(0, 0, 0, 0, 0, 0), "t.sst", 0, "t"
        )


def test_what_a_file_says_of_its_tables() -> None:
    first, first_meta = write_table(sample_entries(9))
    second, second_meta = write_table(sample_entries(50), base_offset=len(first), ranges=[(b"zz", b"zzz")])
    file = MemoryFile(first + second, "/somewhere/t.sst")
    assert table_footer.read_metas(file) == [first_meta, second_meta]
    assert table_footer.read_meta(file, 0, len(first)) == first_meta
    assert table_footer.read_meta(file, len(first), len(second)) == second_meta
    for offset, length in ((0, len(first) - 1), (1, len(first)), (0, len(first) + len(second)), (0, 10**9), (-1, 99)):
        with pytest.raises(CorruptionError):
            table_footer.read_meta(file, offset, length)
    with pytest.raises(CorruptionError):
        table_footer.read_metas(MemoryFile(first[3:] + second))
    assert table_footer.read_metas(MemoryFile(b"")) == []


@given(st.lists(st.binary(max_size=12), unique=True, max_size=40), st.binary(max_size=9), st.binary(max_size=13))
def test_separators_are_read_in_place(separators: list[bytes], before: bytes, key: bytes) -> None:
    separators.sort()
    data = before + index_block.encode(separators, [10 * number for number in range(len(separators) + 1)]) + before
    found = index_block.MappedSeparators(data, len(before))
    assert list(found) == separators
    assert found[1:] == separators[1:]
    assert bisect_right(found, key) == bisect_right(separators, key)
    assert bisect_left(found, key) == bisect_left(separators, key)
