"""pick_compaction by tables, and simulations that measure its amplifications."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.background.compaction import (
    Compaction,
    CompactionOptions,
    install,
)
from flin.engine.background.picker import pick_compaction, pick_full_compaction
from flin.engine.catalog.version import Run, ShardRuns, Version
from flin.engine.table.meta import TableMeta

OPTIONS = CompactionOptions(target_table_bytes=100)


def table(
    smallest: str,
    largest: str,
    length: int = 100,
    *,
    file: str = "",
    entries: int | None = None,
    tombstones: int = 0,
    range_deletes: int = 0,
) -> TableMeta:
    return TableMeta(
        file=file or f"{smallest}-{largest}-{length}",
        offset=0,
        length=length,
        entry_count=length if entries is None else entries,
        tombstones=tombstones,
        range_deletes=range_deletes,
        expiring=0,
        smallest=smallest.encode(),
        largest=largest.encode(),
        smallest_sequence=1,
        largest_sequence=1,
        raw_bytes=length,
    )


def whole(number: int, length: int = 100, **more: int) -> Run:
    """A run of one table over all keys."""
    return (table("a", "z", length, file=f"whole-{number}", **more),)


def pick(*runs: Run, busy: tuple[Compaction, ...] = (), options: CompactionOptions = OPTIONS) -> Compaction | None:
    return pick_compaction(Version((runs,)), options, busy)


def names(run: Run) -> list[str]:
    return [one.file for one in run]


@pytest.mark.parametrize(
    ("sizes", "indices", "reason"),
    [
        ([], None, ""),
        ([100], None, ""),
        ([100, 100], None, ""),
        ([100, 100, 100], None, ""),  # as heavy as the bottom, but too few to be worth it
        ([100, 100, 100, 100], (0, 1, 2, 3), "bottom is outweighed"),
        ([10, 10, 10, 60], None, ""),
        ([10, 10, 20, 60], (0, 1, 2, 3), "bottom is outweighed"),
        ([100, 100, 100, 5000], None, ""),
        ([100, 100, 100, 100, 5000], (0, 1, 2, 3), "similar sizes"),
        ([100, 100, 100, 150, 5000], (0, 1, 2, 3), "similar sizes"),
        ([100, 100, 100, 151, 5000], None, ""),
        ([100, 400, 400, 400, 400, 5000], (1, 2, 3, 4), "similar sizes"),
        ([100, 100, 100, 400, 400, 400, 400, 5000], (3, 4, 5, 6), "similar sizes"),
        ([10, 10, 10, 10, 400, 400, 400, 400, 5000], (0, 1, 2, 3), "similar sizes"),  # the youngest first
        ([2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 900], (0, 1), "too many runs"),
        ([5, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 900], (2, 3, 4), "too many runs"),
        ([2, 9, 2, 9, 2, 9, 2, 9, 2, 9, 2, 900], None, ""),
    ],
)
def test_choice_by_sizes(sizes: list[int], indices: tuple[int, ...] | None, reason: str) -> None:
    found = pick(*(whole(number, size) for number, size in enumerate(sizes)))
    if indices is None:
        assert found is None
    else:
        assert found is not None
        assert (found.indices, found.reason) == (indices, reason)
        assert found.bottom == (indices[-1] == len(sizes) - 1)
        assert found.rewrite == found.runs
        assert not found.moves
        assert not found.trivial


def test_neighbours_that_share_no_key_become_one_run_for_nothing() -> None:
    newer: Run = (table("m", "p"), table("q", "z"))
    older: Run = (table("a", "c"), table("d", "l"))
    found = pick(newer, older)
    assert found is not None
    assert found.trivial
    assert found.moves == older + newer
    assert install((newer, older), found, ()).runs == (older + newer,)


def test_touching_tables_overlap() -> None:
    assert pick((table("m", "z"),), (table("a", "m"),)) is None


def test_small_neighbours_are_packed_and_not_moved_one_by_one() -> None:
    runs = [(table(f"{number}", f"{number}x", 10),) for number in range(9, 5, -1)]
    assert pick(*runs[:3]) is None
    found = pick(*runs)
    assert found is not None
    assert found.rewrite == tuple(runs)
    assert not found.moves


def test_a_small_table_between_large_ones_moves() -> None:
    found = pick((table("m", "n", 1),), (table("a", "c"), table("x", "z")))
    assert found is not None
    assert found.trivial
    assert names(found.moves) == ["a-c-100", "m-n-1", "x-z-100"]


def test_only_overlap_groups_are_rewritten() -> None:
    runs: ShardRuns = (
        (table("b", "d", 50), table("r", "s", 30)),
        (table("c", "f", 50), table("t", "u", 30)),
        (table("f", "g", 30), table("k", "l", 30), table("v", "w", 30)),
        (table("a", "f", 40), table("m", "n", 40), table("x", "z", 40)),
    )
    found = pick(*runs)
    assert found is not None
    assert found.indices == (0, 1, 2, 3)
    assert [names(run) for run in found.rewrite] == [["b-d-50"], ["c-f-50"], ["f-g-30"], ["a-f-40"]]
    assert [one.smallest for one in found.moves] == [b"k", b"m", b"r", b"t", b"v", b"x"]
    assert found.output_boundaries == tuple(one.smallest for one in found.moves)
    result = install(runs, found, (table("a", "c", 60), table("d", "g", 70))).runs
    assert [one.smallest for one in result[0]] == [b"a", b"d", b"k", b"m", b"r", b"t", b"v", b"x"]


def test_bottom_is_where_nothing_older_overlaps_what_is_rewritten() -> None:
    young = [whole(number, 100) for number in range(4)]
    over = pick(*young, (table("y", "zz", 9000),))
    beside = pick(*young, (table("zz", "zzz", 9000),))
    assert over is not None
    assert beside is not None
    assert not over.bottom
    # Where the bottom has no such keys, the merge may drop tombstones, though an older run follows.
    assert beside.bottom
    assert beside.reason in ("similar sizes", "no overlap")


def test_busy_runs_are_left_alone_and_what_is_younger_goes_on() -> None:
    old = [whole(number, 1000) for number in range(4)]
    first = pick(*old)
    assert first is not None
    young = [whole(10 + number, 10) for number in range(4)]
    second = pick(*young, *old, busy=(first,))
    assert second is not None
    assert second.indices == (0, 1, 2, 3)
    assert not second.bottom
    assert pick(*young, *old, busy=(first, second)) is None
    # Either may be installed first.
    runs: ShardRuns = (*young, *old)
    merged_old: Run = (table("a", "z", 4000, file="old"),)
    merged_young: Run = (table("a", "z", 40, file="young"),)
    one = install(install(runs, first, merged_old).runs, second, merged_young)
    two = install(install(runs, second, merged_young).runs, first, merged_old)
    assert one.runs == two.runs == (merged_young, merged_old)


def test_two_compactions_of_different_ranges_at_once() -> None:
    """Also if one of them is set aside because it met damage: the other range goes on."""
    options = CompactionOptions(target_table_bytes=100, plan_bytes=450, range_bytes=900)
    runs: ShardRuns = tuple((table("a", "c", file=f"{at}-l"), table("m", "p", file=f"{at}-h")) for at in range(4))
    version = Version((runs,), fences=((b"g",),))
    first = pick_compaction(version, options)
    assert first is not None
    second = pick_compaction(version, options, (first,))
    assert second is not None
    assert (first.start, first.stop, second.start, second.stop) == (b"a", b"c\0", b"m", b"p\0")
    assert first.indices == second.indices == (0, 1, 2, 3)
    assert pick_compaction(version, options, (first, second)) is None
    low, high = (table("a", "c", file="low"),), (table("m", "p", file="high"),)
    half = install(runs, first, low).runs
    assert [names(run) for run in half] == [["0-h"], ["1-h"], ["2-h"], ["low", "3-h"]]
    assert install(half, second, high).runs == install(install(runs, second, high).runs, first, low).runs
    # What is flushed meanwhile lies above; what another compaction took is not there any more.
    assert install((whole(9), *half), second, high).runs == (whole(9), (*low, *high))
    with pytest.raises(ValueError, match="not neighbours"):
        install(half, first, low)


def test_busy_shards_do_not_hold_others_back() -> None:
    runs = tuple(whole(number) for number in range(4))
    version = Version((runs, runs))
    first = pick_compaction(version, OPTIONS)
    assert first is not None
    second = pick_compaction(version, OPTIONS, (first,))
    assert second is not None
    assert {first.shard, second.shard} == {0, 1}
    assert pick_compaction(version, OPTIONS, (first, second)) is None


def test_the_shard_with_the_most_runs_comes_first_but_what_is_free_before() -> None:
    few = tuple(whole(number) for number in range(4))
    many = tuple(whole(number) for number in range(6))
    free: ShardRuns = ((table("m", "z"),), (table("a", "c"),))
    found = pick_compaction(Version((few, many)), OPTIONS)
    assert found is not None
    assert found.shard == 1
    found = pick_compaction(Version((few, many, free)), OPTIONS)
    assert found is not None
    assert found.shard == 2


def test_tombstones_that_hide_much_are_merged_down() -> None:
    bottom = whole(0, 1000)
    assert pick(whole(1, 100, tombstones=100), bottom) is None
    found = pick(whole(1, 300, entries=400, tombstones=400), bottom)
    assert found is not None
    assert (found.reason, found.bottom) == ("many tombstones", True)


def test_a_range_delete_over_everything_is_merged_down() -> None:
    bottom: Run = (table("a", "c"), table("d", "f"))
    found = pick((table("", "zz", 1, entries=0, range_deletes=1),), bottom)
    assert found is not None
    assert (found.reason, found.bottom, found.rewrite) == ("many tombstones", True, found.runs)
    # With points in the same table the metadata do not tell what the one range covers; the compactor asks the tables.
    mixed: Run = (table("", "zz", 1, entries=1, range_deletes=1),)
    assert pick(mixed, bottom) is None
    version = Version(((mixed, bottom),))
    few = pick_compaction(version, OPTIONS, hides=lambda table, older: 20 if older is bottom[0] else 0)
    assert few is None, "a tenth of what there is"
    found = pick_compaction(version, OPTIONS, hides=lambda table, older: 60 if older is bottom[0] else 0)
    assert found is not None
    assert (found.reason, found.rewrite) == ("many tombstones", found.runs)


def test_dense_tables_of_the_bottom_are_rewritten_alone() -> None:
    bottom: Run = (table("a", "c"), table("d", "f", tombstones=60), table("g", "h"))
    found = pick(bottom)
    assert found is not None
    assert found.bottom
    assert names(found.moves) == ["a-c-100", "g-h-100"]
    assert found.output_boundaries == (b"a", b"g")
    assert install((bottom,), found, ()).runs == ((bottom[0], bottom[2]),)
    assert pick((table("a", "c"), table("d", "f", tombstones=20))) is None


def test_full_compaction() -> None:
    version = Version(((),))
    assert pick_full_compaction(version, 0, OPTIONS) is None
    runs: ShardRuns = (whole(1), whole(2))
    found = pick_full_compaction(Version((runs,)), 0, OPTIONS)
    assert found is not None
    assert found.rewrite == runs
    assert pick_full_compaction(Version((runs,)), 0, OPTIONS, (found,)) is None
    assert pick_full_compaction(Version(((whole(1),),)), 0, OPTIONS) is None
    one = pick_full_compaction(Version(((whole(1, tombstones=1),),)), 0, OPTIONS)
    assert one is not None
    assert one.bottom
    moved = pick_full_compaction(Version((((table("m", "z"),), (table("a", "c"),)),)), 0, OPTIONS)
    assert moved is not None
    assert moved.trivial


def test_urgent_is_what_somebody_waits_for() -> None:
    at_the_cap = tuple(whole(number) for number in range(OPTIONS.maximum_runs))
    for runs, urgent in ((at_the_cap, False), ((whole(99), *at_the_cap), True)):
        found = pick(*runs)
        assert found is not None
        assert found.urgent is urgent
    asked_for = pick_full_compaction(Version((at_the_cap,)), 0, OPTIONS)
    assert asked_for is not None
    assert asked_for.urgent


def test_install_refuses_what_breaks_the_order() -> None:
    runs: ShardRuns = tuple(whole(number) for number in range(4))
    found = pick(*runs)
    assert found is not None
    with pytest.raises(ValueError, match="not neighbours"):
        install(runs[:2] + runs[3:], found, whole(9))
    with pytest.raises(ValueError, match="overlap"):
        install(runs, found, (table("a", "m"), table("m", "z")))
    assert install((whole(8), *runs), found, whole(9)).runs == (whole(8), whole(9))
    assert install((whole(8), *runs), found, ()).runs == (whole(8),)


# Simulations: tables of keys stand for files.


class Tree:
    """A shard whose tables are sets of keys; it carries out compactions and counts what they write."""

    def __init__(self, options: CompactionOptions) -> None:
        self.options = options
        self.runs: ShardRuns = ()
        self.keys: dict[str, frozenset[bytes]] = {}
        self.written = self.flushed = self.most_runs = self.jobs = 0
        self.worst_space = 0.0

    def flush(self, keys: set[bytes]) -> None:
        self.runs = ((self._write(sorted(keys)),), *self.runs)
        self.flushed += len(keys)
        while (found := pick_compaction(Version((self.runs,)), self.options)) is not None:
            before = sum(map(len, self.runs))
            merged = sorted(set().union(*(self.keys[one.file] for run in found.rewrite for one in run)))
            outputs: list[TableMeta] = []
            pending: list[bytes] = []
            output_boundaries = sorted(found.output_boundaries)
            for key in merged:
                crossed = [cut for cut in output_boundaries if cut <= key]
                if pending and (crossed or len(pending) >= self.options.target_table_bytes):
                    outputs.append(self._write(pending))
                    pending = []
                output_boundaries = output_boundaries[len(crossed) :]
                pending.append(key)
            if pending:
                outputs.append(self._write(pending))
            self.runs = install(self.runs, found, tuple(outputs)).runs
            self.jobs += not found.trivial
            assert len(self.runs) <= before
            for run in self.runs:
                assert all(left.largest < right.smallest for left, right in pairwise(run))
        self.most_runs = max(self.most_runs, len(self.runs))
        held = sum(one.length for run in self.runs for one in run)
        live = len(set().union(*(self.keys[one.file] for run in self.runs for one in run)))
        self.worst_space = max(self.worst_space, held / live)

    def _write(self, keys: list[bytes]) -> TableMeta:
        name = f"{len(self.keys)}"
        self.keys[name] = frozenset(keys)
        self.written += len(keys)
        return table(keys[0].decode(), keys[-1].decode(), len(keys), file=name)

    @property
    def write_amplification(self) -> float:
        return self.written / self.flushed


def test_random_inserts_are_rewritten_few_times() -> None:
    chance = random.Random(1)
    tree = Tree(CompactionOptions(target_table_bytes=200))
    for _ in range(200):
        tree.flush({b"%012d" % chance.randrange(10**12) for _ in range(100)})
    assert tree.write_amplification <= 6
    assert tree.most_runs <= CompactionOptions().maximum_runs


def test_overwrites_leave_little_garbage() -> None:
    chance = random.Random(2)
    tree = Tree(CompactionOptions(target_table_bytes=200))
    for _ in range(200):
        tree.flush({b"%06d" % chance.randrange(2000) for _ in range(100)})
    assert tree.write_amplification <= 6
    assert tree.most_runs <= CompactionOptions().maximum_runs
    # The bottom and 0.6 of it above, and one flush more.
    assert tree.worst_space <= 1.75


def test_sequential_inserts_are_never_rewritten() -> None:
    tree = Tree(CompactionOptions(target_table_bytes=200))
    for number in range(200):
        tree.flush({b"%012d" % key for key in range(100 * number, 100 * number + 100)})
    assert tree.jobs == 0
    assert tree.write_amplification == 1
    assert tree.most_runs == 1


def test_tiny_sequential_flushes_are_packed() -> None:
    tree = Tree(CompactionOptions(target_table_bytes=200))
    for number in range(1000):
        tree.flush({b"%012d" % key for key in range(4 * number, 4 * number + 4)})
    assert tree.write_amplification <= 4
    # A quarter of the target is enough to move, and between two such there may be a small one.
    assert sum(map(len, tree.runs)) <= 2 * 4 * 4000 / 200


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 100), st.integers(1, 20)),
        min_size=1,
        max_size=60,
    )
)
def test_any_flushes_keep_runs_disjoint_and_few(flushes: list[tuple[int, int, int]]) -> None:
    tree = Tree(CompactionOptions(target_table_bytes=50))
    for start, count, step in flushes:
        tree.flush({b"%06d" % key for key in range(start, start + count * step, step)})
    assert tree.most_runs <= CompactionOptions().maximum_runs
