"""File names: by a table in both directions; a name that Flin would not write is not Flin's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.disk.file_name import (
    FileName,
    maybe_parse,
    maybe_value_number,
    table_name,
    temporary_name,
    value_name,
    wal_name,
)

numbers = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("00000001.1.wal", FileName("wal", 1, 0, 1)),
        ("123456789012.34.wal", FileName("wal", 123456789012, 0, 34)),
        ("00000007-0003.2.sst", FileName("table", 7, 3, 2)),
        ("00000007-12345.2.sst", FileName("table", 7, 12345, 2)),
        ("00000007-0003.2.val", FileName("value", 7, 3, 2)),
        ("8796093022207-1048575.2.val", FileName("value", 2**43 - 1, 2**20 - 1, 2)),
        ("MANIFEST.5.tmp", FileName("temporary", 0, 0, 5)),
    ],
)
def test_names(name: str, parsed: FileName) -> None:
    assert maybe_parse(name) == parsed


@given(numbers, st.integers(0, 10**9), numbers)
def test_round_trip(number: int, part: int, epoch: int) -> None:
    assert maybe_parse(wal_name(number, epoch)) == FileName("wal", number, 0, epoch)
    assert maybe_parse(table_name(number, part, epoch)) == FileName("table", number, part, epoch)
    assert maybe_parse(temporary_name(epoch)) == FileName("temporary", 0, 0, epoch)


@given(st.integers(0, 2**43 - 1), st.integers(0, 2**20 - 1), numbers)
def test_files_of_values_have_numbers_that_pointers_hold(number: int, part: int, epoch: int) -> None:
    name = value_name(number, part, epoch)
    assert maybe_parse(name) == FileName("value", number, part, epoch)
    assert maybe_value_number(name) == 2**63 + number * 2**20 + part < 2**64
    assert maybe_value_number(wal_name(number, epoch)) == number
    assert maybe_value_number(table_name(number, part, epoch)) is None
    assert maybe_value_number("MANIFEST") is None


@pytest.mark.parametrize(
    "name",
    ["", "MANIFEST", "LOCK", "1.1.wal", "0000001.1.wal", "000000001.1.wal", "00000001.01.wal", "00000001.wal",
     "00000001.-1.wal", "00000001.1.wal ", " 00000001.1.wal", "00000001.1.wal\n", "00000001.1.WAL", "x00000001.1.wal",
     "../00000001.1.wal", "/00000001.1.wal", "00000001-0000.1.wal", "00000001-000.1.sst", "00000001-00000.1.sst",
     "8796093022208-0000.1.val", "00000001-1048576.1.val", "00000001-000.1.val", "00000001.1.val",
     "00000001.1.sst", "00000001-0000.1.sst.tmp", "MANIFEST.tmp", "MANIFEST.05.tmp", "MANIFEST.1.tmp.", "notes.wal",
     "99999999999999999999.1.wal", "00000001.99999999999999999999.wal",
     "\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661.1.wal"],
)  # fmt: skip
def test_what_is_not_flins(name: str) -> None:
    assert maybe_parse(name) is None


@given(st.text(max_size=30))
def test_a_name_that_parses_is_the_one_that_flin_writes(name: str) -> None:
    parsed = maybe_parse(name)
    assert parsed is None or name == wal_name(parsed.number, parsed.epoch)


def test_names_sort_by_number() -> None:
    names = [wal_name(number, 1) for number in (1, 2, 10, 99, 12345678)]
    assert names == sorted(names)
