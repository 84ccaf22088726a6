"""The run writer: where tables end, and which part of a range delete each of them gets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.background.job_files import Outputs
from flin.engine.background.run_writer import RunWriter
from flin.engine.boundaries import boundaries_of
from flin.engine.catalog.version import Run
from flin.engine.entry import Entry, Range
from flin.engine.key import KEYS_END
from flin.engine.sstable import Table, TableOptions
from flin.testing.disk import SimulatedDisk

OPTIONS = TableOptions(block_size_bytes=64, codec="none")


def write(
    keys: list[bytes],
    ranges: list[Range],
    target: int = 1 << 20,
    output_boundaries: tuple[bytes, ...] = (),
    page: int = 3,
    fences: tuple[bytes, ...] = (),
) -> tuple[Run, list[list[bytes]], list[tuple[Range, ...]]]:
    """The run of these keys; each table's keys and its range deletes."""
    disk = SimulatedDisk()
    with Outputs(disk, "/", 1, 1) as outputs:
        writer = RunWriter(
            outputs,
            OPTIONS,
            lambda start, stop: (len(start), 10 + len(stop)),
            boundaries_of(ranges),
            target_table_bytes=target,
            output_boundaries=output_boundaries,
            fences=fences,
        )
        for at in range(0, len(keys), page):
            some = keys[at : at + page]
            entries: list[Entry] = [b"x" * 20] * len(some)
            writer.add(some, entries)
        run = writer.finish()
        outputs.keep()
    tables = [Table(disk.open(f"/{meta.file}"), meta, None) for meta in run]
    found = [[key for some, _ in table.pages(b"", KEYS_END) for key in some] for table in tables]
    return run, found, [table.ranges for table in tables]


@pytest.mark.parametrize(
    ("keys", "ranges", "output_boundaries", "expected_keys", "expected_ranges"),
    [
        ([], [], (), [], []),
        ([], [(b"a", b"c"), (b"b", b"d")], (), [[]], [((b"a", b"d"),)]),
        ([], [(b"a", b"c"), (b"x", b"z")], (b"f",), [[], []], [((b"a", b"c"),), ((b"x", b"z"),)]),
        ([b"a", b"b"], [], (b"a", b"b", b"c"), [[b"a"], [b"b"]], [(), ()]),
        ([b"a", b"p"], [(b"b", b"c")], (b"f",), [[b"a"], [b"p"]], [((b"b", b"c"),), ()]),
        ([b"a", b"p"], [(b"q", b"r")], (b"f", b"g"), [[b"a"], [b"p"]], [(), ((b"q", b"r"),)]),
        ([b"m"], [(b"a", b"b"), (b"y", b"z")], (b"d", b"w"), [[], [b"m"], []], [((b"a", b"b"),), (), ((b"y", b"z"),)]),
    ],
)
def test_tables_end_at_output_boundaries(
    keys: list[bytes],
    ranges: list[Range],
    output_boundaries: tuple[bytes, ...],
    expected_keys: list[list[bytes]],
    expected_ranges: list[tuple[Range, ...]],
) -> None:
    _, found, pieces = write(keys, ranges, output_boundaries=output_boundaries)
    assert found == expected_keys
    assert pieces == expected_ranges


def test_a_range_is_cut_at_the_last_key_of_a_full_table() -> None:
    keys = [b"%02d" % number for number in range(12)]
    run, found, pieces = write(keys, [(b"00", b"99")], target=100, page=6)
    assert found == [keys[:6], keys[6:], []]
    assert pieces == [((b"00", b"05"),), ((b"05\0", b"11"),), ((b"11\0", b"99"),)]
    assert [(meta.smallest, meta.largest) for meta in run] == [(b"00", b"05"), (b"05\0", b"11"), (b"11\0", b"99")]


some_keys = st.lists(st.integers(0, 99).map(lambda number: b"%02d" % number), unique=True).map(sorted)
some_ranges = st.lists(
    st.tuples(st.integers(0, 99), st.integers(1, 30)).map(lambda pair: (b"%02d" % pair[0], b"%03d" % sum(pair))),
    max_size=5,
).map(lambda ranges: [(start, stop) for start, stop in ranges if start < stop])


some_fences = st.lists(st.integers(0, 99).map(lambda number: b"%02d" % number), unique=True, max_size=5).map(sorted)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], [[b"a"], [b"f", b"g"]]),
        ([(b"b", b"e")], [[b"a"], [b"f", b"g"]]),
        ([(b"f", b"ff")], [[b"a"], [b"f", b"g"]]),
        ([(b"b", b"f")], [[b"a", b"f", b"g"]]),  # the range would end at the key at which the next table begins
        ([(b"b", b"x")], [[b"a", b"f", b"g"]]),
    ],
)
def test_tables_end_at_fences_outside_of_range_deletes(ranges: list[Range], expected: list[list[bytes]]) -> None:
    run, found, _ = write([b"a", b"f", b"g"], ranges, fences=(b"f", b"z"))
    assert found == expected
    assert all(left.largest < right.smallest for left, right in pairwise(run))


def test_tables_have_the_sequences_of_their_part() -> None:
    run, _, _ = write([b"a", b"ffff", b"x"], [], fences=(b"f",), output_boundaries=(b"hhh",))
    assert [(table.smallest_sequence, table.largest_sequence) for table in run] == [
        (len(b""), 10 + len(b"f")),
        (len(b"f"), 10 + len(b"hhh")),
        (len(b"hhh"), 10 + len(KEYS_END)),
    ]


@given(some_keys, some_ranges, st.sampled_from([50, 200, 1 << 20]), st.integers(1, 7), some_fences)
def test_nothing_is_lost_and_nothing_overlaps(
    keys: list[bytes], ranges: list[Range], target: int, page: int, fences: list[bytes]
) -> None:
    run, found, pieces = write(keys, ranges, target, page=page, fences=tuple(fences))
    assert [key for some in found for key in some] == keys
    assert all(left.largest < right.smallest for left, right in pairwise(run))
    # Each key of the ranges is covered, or is a point itself; no other one is covered.
    for number in range(100):
        for key in (b"%02d" % number, b"%02d\0" % number, b"%03d" % number):
            asked = any(start <= key < stop for start, stop in ranges)
            covered = any(start <= key < stop for some in pieces for start, stop in some)
            assert covered == asked or (asked and key in keys)
