"""Where fences stand, and at which of them tables end."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from flin.engine.background.fences import cuts, parted, stands_out
from flin.engine.background.run_profile import RunProfile, RunProfiles, spans
from flin.engine.catalog.version import Run
from tests.engine.background.merge_model import table_of

FENCES = tuple(b"%04d" % number for number in range(0, 2000, 2))


def run_of(count: int, size: int, first: int = 0) -> Run:
    """Tables of this size, each with two of the numbers as keys."""
    tables = [table_of({b"%04d" % at: (1, True), b"%04d" % (at + 1): (1, True)}, {}) for at in range(0, 2 * count, 2)]
    return tuple(replace(table, raw_bytes=size) for table in tables[first:])


def test_few_and_small_tables_have_no_fences() -> None:
    assert parted((), (), 100) == ()
    assert parted((run_of(10, 10),), (), 100) == ()


def test_a_range_that_has_grown_is_parted_into_equal_ones() -> None:
    run = run_of(11, 10)
    assert parted((run,), (), 100) == (b"0010",)
    assert parted((run_of(40, 10),), (), 100) == tuple(b"%04d" % at for at in range(10, 80, 10))
    above = run_of(1, 60)
    assert parted((above, run), (b"0010",), 100) == (b"0004", b"0010")


def test_a_single_large_table_cannot_be_parted() -> None:
    assert parted((run_of(1, 1000),), (), 100) == ()


def test_ranges_that_have_become_small_are_joined() -> None:
    fences = (b"0010", b"0020", b"0030")
    assert parted((run_of(20, 1),), fences, 100) == ()
    assert parted((run_of(20, 2),), fences, 100) == (b"0020",)
    assert parted((run_of(20, 5),), fences, 100) == fences
    assert parted((), fences, 100) == ()


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(20, 200))
def test_no_range_stays_too_large_where_tables_allow(sizes: list[int], range_bytes: int) -> None:
    run = tuple(replace(table, raw_bytes=size) for table, size in zip(run_of(len(sizes), 0), sizes, strict=True))
    runs = (run,) if run else ()
    fences = parted(runs, (), range_bytes)
    assert list(fences) == sorted(set(fences))
    assert set(fences) <= {table.smallest for table in run}
    held = RunProfile.of(run, fences).sizes
    assert all(size <= range_bytes + max(sizes, default=0) + 1 for size in held)


def test_the_smaller_a_run_the_fewer_fences_it_ends_at_all_of_them_those_of_larger_runs() -> None:
    before: set[bytes] = set(FENCES)
    for size in (1000 * 32, 1000 * 8, 1000 * 2, 1000, 100):
        found = cuts(FENCES, b"", b"9", size, 8)
        assert set(found) <= before
        before = set(found)
        # Tables hold about eight bytes or more, and not many times as much.
        parts = [after - at for at, after in zip([0, *map(int, found)], [*map(int, found), 2000], strict=True)]
        assert max(parts) / 2 <= max(8, 8 * 8 * 1000 / size)
    assert cuts(FENCES, b"", b"9", 1000 * 32, 8) == FENCES
    assert cuts((), b"", b"9", 1000, 8) == ()
    assert cuts(FENCES, b"0000", b"0002", 1000, 8) == ()


def test_a_further_fence_changes_only_what_is_near() -> None:
    chance = random.Random(1)
    for _ in range(20):
        at = chance.randrange(len(FENCES))
        more = (*FENCES[: at + 1], FENCES[at] + b"x", *FENCES[at + 1 :])
        before = {fence for index, fence in enumerate(FENCES) if stands_out(FENCES, index, 5)}
        after = {fence for index, fence in enumerate(more) if stands_out(more, index, 5)}
        assert {int(fence[:4]) for fence in before ^ after} <= set(range(2 * at - 12, 2 * at + 14))


def test_a_profile_spreads_tables_over_ranges() -> None:
    run = run_of(4, 10)
    assert spans(run, (b"0002", b"0003")) == [(0, 1), (1, 3), (2, 3), (2, 3)]
    profile = RunProfile.of(run, (b"0002", b"0003"))
    assert (profile.sizes, profile.raw_bytes, profile.entries) == ([10, 5, 25], 40, [2, 1, 5])
    assert profile.tombstones is None


def test_profiles_are_remembered_until_they_are_not_asked_for() -> None:
    known = RunProfiles()
    one, other = run_of(2, 1), run_of(3, 1)
    found = known.of(one, ())
    known.begin()
    assert known.of(one, ()) is found
    assert known.of(one, (b"0002",)) is not found
    known.begin()
    known.of(other, ())
    known.begin()
    assert known.of(one, ()) is not found
