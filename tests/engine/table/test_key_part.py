"""The key part: it says what the data blocks say, and any damage in it is found."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import KIND_DELETE, KIND_PUT, TOMBSTONE, Entry
from flin.engine.key import KEYS_END
from flin.engine.sstable import TableOptions
from flin.engine.table import footer as table_footer
from flin.engine.table import writer as table_writer
from flin.engine.table.key_part import KeyPage
from flin.errors import CorruptionError, FlinError
from tests.engine.table_file import KEYS, PACKED, PLAIN, TABLES, MemoryFile, open_table, sample_entries, write_table


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table has a key part."""
    monkeypatch.setattr(table_writer, "MIN_SHARE", 0)


def flat(pages: Any) -> list[tuple[bytes, int]]:
    found = []
    page: KeyPage
    for page in pages:
        assert page[0]
        found += list(zip(*page, strict=True))
    return found


def kinds_of(entries: dict[bytes, Entry]) -> list[tuple[bytes, int]]:
    return [(key, KIND_DELETE if entry is TOMBSTONE else KIND_PUT) for key, entry in sorted(entries.items())]


@given(TABLES, st.sampled_from([PLAIN, PACKED]), st.integers(1, 300), st.lists(KEYS, max_size=6), st.integers(0, 99))
def test_it_says_what_the_table_holds(
    entries: dict[bytes, Any], options: TableOptions, page: int, others: list[bytes], base: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_writer, "MIN_SHARE", 0)
        data, meta = write_table(entries, options, page=page, base_offset=base)
    table = open_table(bytes(base) + data, meta)
    assert table.has_key_part
    assert table.verify() == []
    pairs = kinds_of(entries)
    assert flat(table.key_pages()) == pairs
    assert flat(table.key_pages(reverse=True)) == pairs[::-1]
    bounds = sorted([*others, *list(entries)[:3], KEYS_END])
    for start, stop in pairwise(bounds):
        assert flat(table.key_pages(start, stop)) == [pair for pair in pairs if start <= pair[0] < stop]
    wanted = sorted({*others, *list(entries)[::5]})
    near = flat(table.key_pages_near(wanted))
    assert near == [pair for pair in pairs if pair in near]
    assert {key for key, _ in near} >= entries.keys() & wanted


def test_pages_near_are_few() -> None:
    entries: dict[bytes, Entry] = {b"%06d" % number: bytes(200) for number in range(2000)}
    data, meta = write_table(entries, page=500)
    table = open_table(data, meta)
    keys = sorted(entries)
    assert [len(page[0]) for page in table.key_pages_near([keys[0], keys[3], keys[700]])] == [256, 256]
    assert flat(table.key_pages_near([keys[700]]))[0] == (keys[512], KIND_PUT)
    assert sum(len(page[0]) for page in table.key_pages()) == 2000


def test_only_large_values_have_one() -> None:
    for size, expected in ((16 * 6, True), (16 * 6 - 1, False), (0, False)):
        data, meta = write_table({b"%06d" % number: bytes(size) for number in range(300)}, page=100)
        assert open_table(data, meta).has_key_part is expected


def test_values_that_get_small_end_it() -> None:
    entries: dict[bytes, Entry] = {b"%06d" % number: bytes(1000 if number < 100 else 1) for number in range(20_000)}
    data, meta = write_table(entries, page=100)
    table = open_table(data, meta)
    assert not table.has_key_part
    assert flat(table.key_pages()) == kinds_of(entries)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("options", [PLAIN, PACKED])
def test_every_damage_is_found(options: TableOptions) -> None:
    entries = sample_entries(40)
    data, meta = write_table(entries, options)
    footer = table_footer.read_footer(MemoryFile(data), 0, len(data))
    properties = table_footer.read_properties(MemoryFile(data), footer, 0, "t.sst")
    assert properties.keys is not None
    for at in range(8 * properties.keys[0], 8 * footer.expiry, 3):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        table = open_table(bytes(damaged), meta)
        assert table.verify()
        assert all(table.get(key) == entry for key, entry in entries.items())
        with pytest.raises(FlinError):
            flat(table.key_pages())


@pytest.mark.usefixtures("always")
def test_a_part_of_another_table_is_found() -> None:
    one, other = dict.fromkeys([b"a", b"b"], b"v"), {b"a": b"v", b"c": b"v"}
    data, meta = write_table(one)
    foreign, _ = write_table(other)
    footer = table_footer.read_footer(MemoryFile(data), 0, len(data))
    start = table_footer.read_properties(MemoryFile(data), footer, 0, "t.sst").keys
    assert start is not None
    mixed = data[: start[0]] + foreign[start[0] : footer.expiry] + data[footer.expiry :]
    assert [error.reason for error in open_table(mixed, meta).verify()] == [
        "the key part does not list what the data blocks hold"
    ]


@pytest.mark.parametrize("keys", [(5, 4), (9, 11), (0, 99)])
def test_a_part_out_of_its_place_is_corrupt(keys: tuple[int, int]) -> None:
    _, meta = write_table({b"a": b"v"})
    data = table_footer.encode_properties(meta, "none", keys)
    with pytest.raises(CorruptionError, match="not in its place"):
        table_footer.decode_properties(data, table_footer.Footer(10, 10, 10, 10, 10, 99), "t.sst", 0, "t")
