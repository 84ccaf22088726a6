"""Flush and compaction jobs against a model: what they write, count, keep, drop and leave behind."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flin.engine.background.compaction import Compaction
from flin.engine.background.job import CompactionJob, CountJob, JobCancelled
from flin.engine.background.job_run import check_result, remove_outputs, run_job
from flin.engine.background.picker import pick_compaction, pick_full_compaction
from flin.engine.catalog.version import Run, Version
from flin.engine.disk.file_name import table_name
from flin.engine.disk.fs import AppendFile, Buffer, OsAppendFile, OsFileSystem
from flin.engine.entry import EXPIRED_MS, TOMBSTONE, Entry
from flin.engine.key import KEYS_END, is_counted, namespace_of, namespace_prefix
from flin.engine.sstable import TableOptions
from flin.errors import CorruptionError, StorageError
from tests.engine.shard_tree import Commit, Model, Tree, apply_to, no_checkpoint, small_options

NOW = 1000

KEYS = [
    *(b"%d" % number for number in range(40)),
    *(namespace_prefix(3) + b"%d" % number for number in range(10)),
    *(namespace_prefix(0x8000) + bytes((16 * number, 0)) + b"piece" for number in range(4)),  # in several shards
]


def puts(*keys: bytes, value: bytes = b"v") -> Commit:
    return (), dict.fromkeys(keys, value)


def deletes(*keys: bytes) -> Commit:
    return (), dict.fromkeys(keys, TOMBSTONE)


def names(tree: Tree) -> list[str]:
    return [name for name in tree.fs.names(tree.directory) if name.endswith(".sst")]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(str(tmp_path))


# Flush.


def test_flush_writes_sorted_runs_and_counts(tree: Tree) -> None:
    result = tree.flush([puts(b"b", b"a"), deletes(b"b"), puts(b"c", value=b"1"), puts(b"c", value=b"2")])
    assert result.counts == {0: 2}
    assert tree.read() == {b"a": b"v", b"c": b"2"}
    (meta,) = tree.runs[0][0]
    assert (meta.entry_count, meta.tombstones, meta.smallest_sequence, meta.largest_sequence) == (3, 1, 1, 5)
    assert meta.points == ((0, 2),)
    assert (result.statistics.entries_in, result.statistics.entries_out) == (5, 3)
    assert result.statistics.bytes_out == meta.length


def test_pieces_of_larger_values_are_not_counted(tree: Tree) -> None:
    pieces = namespace_prefix(0x8000)
    assert tree.flush([puts(b"a", pieces + b"\0\0x", pieces + b"\0\0y")]).counts == {0: 1}
    result = tree.flush([deletes(pieces + b"\0\0x", pieces + b"\0\0none", b"none")])
    assert (result.counts, tree.counts) == ({}, {0: 1})
    result = tree.flush([(((pieces, namespace_prefix(0x8001)), (b"q", b"r")), {})])
    assert (result.counts, tree.runs[0][0][0].range_deletes) == ({}, 2)
    assert tree.read() == {b"a": b"v"}


def test_flush_counts_against_older_tables(tree: Tree) -> None:
    tree.flush([puts(b"a", b"b", b"c", b"d")])
    result = tree.flush([puts(b"a", b"e"), deletes(b"b", b"x")])
    assert result.counts == {}  # one more, one less
    assert tree.counts == {0: 4}
    (meta,) = tree.runs[0][0]
    assert (meta.entry_count, meta.tombstones) == (4, 2)  # also x, which is nowhere beneath: nobody looks
    # a tombstone beneath counts as nothing
    assert tree.flush([deletes(b"b")]).counts == {}
    assert tree.flush([puts(b"b")]).counts == {0: 1}


def test_flush_joins_generations_oldest_first(tree: Tree) -> None:
    tree.flush([puts(b"a"), puts(b"b")], [deletes(b"a"), puts(b"b", value=b"new")], [puts(b"c")])
    assert tree.read() == {b"b": b"new", b"c": b"v"}
    assert tree.counts == {0: 2}
    assert len(tree.runs[0]) == 1


def test_flush_of_nothing_writes_nothing(tree: Tree) -> None:
    result = tree.flush([])
    assert (result.tables, result.counts, names(tree)) == ({}, {}, [])


def test_tombstones_that_hide_nothing_go_with_the_first_merge(tree: Tree) -> None:
    tree.flush([deletes(b"a")])
    assert tree.runs[0][0][0].tombstones == 1
    tree.compact_runs(0, 1)
    assert tree.runs == [()]


def test_expired_puts_count_until_they_are_deleted(tree: Tree) -> None:
    tree.now_ms = NOW
    assert tree.flush([((), {b"a": (b"v", NOW - 1, 0), b"b": (b"v", NOW + 1, 0)})]).counts == {0: 2}
    assert tree.flush([puts(b"a")]).counts == {}
    assert tree.flush([deletes(b"b")]).counts == {0: -1}


def test_namespaces_are_counted_apart(tree: Tree) -> None:
    one, two = namespace_prefix(1), namespace_prefix(2)
    assert tree.flush([puts(b"a", one + b"a", two + b"a", two + b"b")]).counts == {0: 1, 1: 1, 2: 2}
    assert tree.flush([((((two, one[:-1] + b"\x03"),)), {b"b": b"v"})]).counts == {0: 1, 2: -2}
    assert tree.counts == {0: 2, 1: 1}


def test_range_deletes_take_what_is_beneath_off_the_count(tree: Tree) -> None:
    tree.flush([puts(b"a", b"b", b"c", b"d", b"e")])
    tree.flush([deletes(b"b")])
    result = tree.flush([puts(b"d"), (((b"b", b"e"),), {b"c": b"new"})])
    # b was gone, c is put again, d is deleted.
    assert result.counts == {0: -1}
    assert tree.read() == {b"a": b"v", b"c": b"new", b"e": b"v"}
    assert tree.counts == {0: 3}


def test_range_deletes_that_hide_nothing_change_no_count(tree: Tree) -> None:
    tree.flush([puts(b"a", b"z")])
    result = tree.flush([(((b"b", b"c"), (b"m", b"n")), {b"q": b"v"})])
    (meta,) = result.tables[0]
    assert meta.range_deletes == 2
    assert result.counts == {0: 1}
    assert tree.flush([(((b"b", b"y"),), {})]).counts == {0: -1}
    assert tree.flush([(((b"b", b"y"),), {})]).counts == {}


def test_a_count_writes_nothing(tree: Tree) -> None:
    tree.flush([puts(b"a")])
    tree.flush([puts(b"a", b"b"), deletes(b"c")])
    before = names(tree)
    job = CountJob(tree.directory, 9, 1, 0, tree.runs[0][:1], tree.runs[0][1:], urgent=True)
    result = tree.do(job)
    assert (result.tables, result.counts, names(tree)) == ({}, {0: 1}, before)
    assert (result.statistics.entries_in, result.statistics.entries_out) == (3, 0)
    with pytest.raises(JobCancelled):
        run_job(tree.fs, job, _cancel)
    Path(tree.directory, tree.runs[0][1][0].file).unlink()
    with pytest.raises(StorageError):
        tree.do(job)


def _cancel() -> None:
    raise JobCancelled


def test_clearing_everything(tree: Tree) -> None:
    tree.flush([puts(*KEYS)])
    assert tree.flush([(((b"", KEYS_END),), {})]).counts == {0: -40, 3: -10}
    assert (tree.counts, tree.read()) == ({}, {})
    tree.compact_runs(0, 2)
    assert tree.runs == [()]


def test_one_file_with_a_section_per_shard(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path), shards=16)
    keys = [b"key-%d" % number for number in range(300)]
    result = tree.flush([puts(*keys)])
    assert len(names(tree)) == 1
    assert len(result.tables) == 16
    assert sum(run[0].entry_count for run in result.tables.values()) == 300
    assert tree.read() == dict.fromkeys(keys, b"v")
    tree.verify()
    tree.flush([(((b"key-1", b"key-2"),), {})])
    assert tree.counts == {0: 300 - 111}
    assert tree.read().keys() == {key for key in keys if not key.startswith(b"key-1")}
    # A shard without a key of that range has no section.
    assert tree.flush([deletes(keys[0]), puts(b"other")]).tables.keys() <= set(range(16))


def test_table_sizes_decide_how_older_tables_are_asked(tree: Tree) -> None:
    """By reading all keys, by the filter and all keys, and by the filter and single lookups."""
    tree.options = TableOptions(codec="zstd")
    chance = random.Random(3)
    model: Model = {}
    for count in (20_000, 3_000, 30, 1, 5_000, 4):
        entries: dict[bytes, Entry] = {
            b"%08d" % chance.randrange(30_000): TOMBSTONE if chance.random() < 0.3 else b"x" * 20 for _ in range(count)
        }
        tree.flush([((), entries)])
        apply_to(model, [((), entries)])
        assert tree.counts == {0: len(model)}
    assert tree.read() == model


# Compaction.


def test_compaction_keeps_the_newest_and_the_count(tree: Tree) -> None:
    tree.flush([puts(b"a", b"b", b"c")])
    tree.flush([puts(b"b", value=b"2"), deletes(b"c")])
    tree.flush([puts(b"a", value=b"3")])
    before = tree.read()
    result = tree.compact_runs(0, 2)
    assert tree.read() == before == {b"a": b"3", b"b": b"2"}
    assert tree.runs[0][0][0].tombstones == 1  # c is still beneath
    tree.compact_runs(0, 2)
    assert tree.read() == before
    (meta,) = tree.runs[0][0]
    assert (meta.entry_count, meta.tombstones, meta.smallest_sequence, meta.largest_sequence) == (2, 0, 1, 6)
    assert (result.statistics.entries_in, result.statistics.entries_out) == (3, 3)


def test_compaction_empties_expired_values_and_keeps_the_key(tree: Tree) -> None:
    tree.flush([puts(b"a", b"b", b"c")])
    tree.flush([((), {b"a": (b"long", NOW, 7), b"b": (b"long", NOW + 1, 0), b"c": (b"long", 0, 7)})])
    tree.now_ms = NOW
    tree.compact_runs(0, 2)
    assert tree.read() == {b"a": (b"", EXPIRED_MS, 7), b"b": (b"long", NOW + 1, 0), b"c": (b"long", 0, 7)}


def test_range_deletes_stay_older_than_the_points_with_them(tree: Tree) -> None:
    tree.flush([puts(b"a", b"b", b"c", b"d")])  # 2: beneath all
    tree.flush([(((b"a", b"c"),), {b"b": b"1"})])  # 1
    tree.flush([(((b"c", b"e"),), {}), puts(b"a", value=b"0")])  # 0
    tree.compact_runs(0, 2)
    (meta,) = tree.runs[0][0]
    assert meta.range_deletes == 1  # they are neighbours, so they are joined
    assert tree.read() == {b"a": b"0", b"b": b"1"}
    tree.compact_runs(0, 2)
    (meta,) = tree.runs[0][0]
    assert (meta.range_deletes, meta.entry_count) == (0, 2)
    assert tree.read() == {b"a": b"0", b"b": b"1"}


def test_a_range_delete_is_cut_where_tables_end(tree: Tree) -> None:
    keys = [b"%04d" % number for number in range(500)]
    tree.flush([puts(*keys, value=b"x" * 100)])
    tree.flush([(((b"0000", b"9999"),), dict.fromkeys(keys[::2], b"y" * 100))])
    tree.compact_runs(0, 1, target_table_bytes=8000)
    run = tree.runs[0][0]
    assert len(run) > 2
    assert sum(meta.range_deletes for meta in run) >= len(run)
    assert all(left.largest < right.smallest for left, right in pairwise(run))
    assert tree.read() == dict.fromkeys(keys[::2], b"y" * 100)
    tree.verify()


def test_tables_that_a_newer_range_covers_are_not_read(tree: Tree) -> None:
    tree.flush([puts(b"a", b"b")])
    (covered,) = tree.runs[0][0]
    tree.flush([(((b"", b"z"),), {b"c": b"v"})])
    tree.fs.remove(f"{tree.directory}/{covered.file}")
    tree.compact_runs(0, 2)
    assert tree.read() == {b"c": b"v"}


def test_outputs_end_at_output_boundaries(tree: Tree) -> None:
    keys = [b"%02d" % number for number in range(40)]
    tree.flush([puts(*keys)])
    tree.flush([(((b"05", b"07"), (b"35", b"38")), dict.fromkeys(keys[20:30], b"n"))])
    runs = tree.runs[0]
    output_boundaries = (b"00", b"02x", b"10x", b"10y", b"32x", b"40")
    compaction = Compaction(0, (0, 1), runs, runs, (), output_boundaries, False, "test")
    tree.compact(compaction)
    bounds = [(meta.smallest, meta.largest) for meta in tree.runs[0][0]]
    assert bounds == [(b"00", b"02"), (b"03", b"10"), (b"11", b"32"), (b"33", b"39")]
    assert tree.read().keys() == set(keys) - {b"05", b"06", b"35", b"36", b"37"}


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_large_compaction_is_cut_into_tables(tree: Tree, codec: str) -> None:
    tree.options = TableOptions(codec=codec)
    chance = random.Random(4)
    model: Model = {}
    for _ in range(3):
        commit: Commit = (), {b"%08d" % chance.randrange(10**6): chance.randbytes(100) for _ in range(3000)}
        tree.flush([commit])
        apply_to(model, [commit])
    result = tree.compact_runs(0, 3, target_table_bytes=100_000)
    run = result.tables[0]
    assert 5 <= len(run) <= 12
    assert all(left.largest < right.smallest for left, right in pairwise(run))
    assert tree.read() == model
    assert tree.counts == {0: len(model)}
    tree.verify()


operation = st.one_of(
    st.tuples(
        st.just("put"), st.sampled_from(KEYS), st.sampled_from([b"", b"x", b"y" * 300, (b"t", 500, 0), (b"t", 5000, 3)])
    ),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.none()),
    st.tuples(st.just("range"), st.sampled_from(KEYS), st.sampled_from([*KEYS, KEYS_END])),
)
step = st.one_of(
    st.lists(operation, max_size=12),
    st.tuples(st.integers(0, 3), st.integers(1, 4)),
    st.sampled_from(["pick", "full"]),
)


def commits_of(operations: Sequence[tuple[str, bytes, object]]) -> list[Commit]:
    commits: list[Commit] = []
    for kind, key, what in operations:
        if kind == "put":
            commits.append(((), {key: what}))  # type: ignore[dict-item]
        elif kind == "delete":
            commits.append(((), {key: TOMBSTONE}))
        elif isinstance(what, bytes) and key < what:
            commits.append((((key, what),), {}))
    return commits


def without_expired(model: Model) -> Model:
    return {
        key: (b"", EXPIRED_MS, entry[2]) if type(entry) is tuple and 0 < entry[1] <= NOW else entry
        for key, entry in model.items()
    }


@settings(max_examples=80)
@given(st.lists(step, max_size=12), st.sampled_from([1, 4]), st.sampled_from([600, 1 << 20]))
def test_any_history_against_a_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[object], shards: int, target: int
) -> None:
    tree = Tree(str(tmp_path_factory.mktemp("history")), shards=shards, now_ms=NOW)
    model: Model = {}
    options = small_options(target)
    for one in steps:
        if isinstance(one, list):
            commits = commits_of(one)
            if commits:
                tree.flush(commits[:5], commits[5:])
                apply_to(model, commits)
        else:
            for shard in range(shards):
                if isinstance(one, tuple):
                    start, width = one
                    if len(tree.runs[shard]) > start:
                        stop = min(start + width, len(tree.runs[shard]))
                        tree.compact_runs(start, stop, shard=shard, target_table_bytes=target)
                    continue
                version = Version(tuple(tree.runs))
                full = pick_full_compaction(version, shard, options) if one == "full" else None
                found = full or pick_compaction(version, options)
                if found is not None:
                    tree.compact(found, target)
        assert without_expired(tree.read()) == without_expired(model)
        assert tree.counts == dict(Counter(map(namespace_of, filter(is_counted, model))))
        for runs in tree.runs:
            for run in runs:
                assert all(left.largest < right.smallest for left, right in pairwise(run))
    tree.verify()


# The files that a job leaves.


def compaction_of(tree: Tree) -> CompactionJob:
    runs = tree.runs[0]
    plan = Compaction(0, tuple(range(len(runs))), runs, runs, (), (), True, "test")
    return tree.compaction_job(plan, 40_000, slice_bytes=2000)


@pytest.fixture
def filled(tree: Tree) -> Tree:
    for value in (b"1" * 50, b"2" * 50):
        tree.flush([puts(*(b"%04d" % number for number in range(3000)), value=value)])
    return tree


def test_a_cancelled_job_removes_its_outputs(filled: Tree) -> None:
    job = compaction_of(filled)
    before = names(filled)
    calls = 0
    for cancel_at in (1, 2, 5, 8):
        calls = 0

        def checkpoint(at: int = cancel_at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise JobCancelled

        with pytest.raises(JobCancelled):
            run_job(filled.fs, job, checkpoint)
        assert names(filled) == before
    run_job(filled.fs, job, no_checkpoint)
    assert len(names(filled)) > len(before)


def test_outputs_are_created_exclusively_and_others_files_stay(filled: Tree) -> None:
    job = compaction_of(filled)
    foreign = f"{filled.directory}/{table_name(job.number, 1, 1)}"
    Path(foreign).write_bytes(b"not ours")
    before = names(filled)
    with pytest.raises(StorageError):
        run_job(filled.fs, job, no_checkpoint)
    assert names(filled) == before
    assert Path(foreign).read_bytes() == b"not ours"


def test_missing_and_damaged_inputs(filled: Tree) -> None:
    job = compaction_of(filled)
    path = Path(filled.directory) / filled.runs[0][0][0].file
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" + data[101:])
    before = names(filled)
    with pytest.raises(CorruptionError):
        run_job(filled.fs, job, no_checkpoint)
    assert names(filled) == before
    path.unlink()
    with pytest.raises(StorageError):
        run_job(filled.fs, job, no_checkpoint)


def test_results_are_compared_with_the_files(filled: Tree) -> None:
    job = compaction_of(filled)
    result = run_job(filled.fs, job, no_checkpoint)
    check_result(filled.fs, job, result)
    run = result.tables[0]
    wrong: list[Run] = [
        (replace(run[0], entry_count=run[0].entry_count - 1), *run[1:]),
        (replace(run[0], largest=b"zzzz"), *run[1:]),
        (replace(run[0], file="../x"), *run[1:]),
        (replace(run[0], file=filled.runs[0][0][0].file), *run[1:]),
        (replace(run[0], length=run[0].length - 1), *run[1:]),
        (run[1], run[0], *run[2:]),
    ]
    for tables in wrong:
        with pytest.raises(CorruptionError):
            check_result(filled.fs, job, replace(result, tables={0: tables}))
    (Path(filled.directory) / run[0].file).unlink()
    with pytest.raises(StorageError):
        check_result(filled.fs, job, result)


def test_outputs_of_a_dead_job_are_removed_by_name(filled: Tree) -> None:
    job = compaction_of(filled)
    before = names(filled)
    for part, number, epoch in ((0, job.number, 1), (7, job.number, 1), (0, job.number + 1, 1), (0, job.number, 2)):
        (Path(filled.directory) / table_name(number, part, epoch)).write_bytes(b"")
    assert len(remove_outputs(filled.fs, job)) == 2
    kept = [table_name(job.number, 0, 2), table_name(job.number + 1, 0, 1)]
    assert names(filled) == sorted([*before, *kept])


def test_outputs_that_somebody_else_removes(filled: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The background removes obsolete files at the same time: that hides no error."""
    job = compaction_of(filled)
    gone, there = table_name(job.number, 0, 1), table_name(job.number, 1, 1)
    (Path(filled.directory) / there).write_bytes(b"")
    listed = filled.fs.names
    monkeypatch.setattr(filled.fs, "names", lambda directory: sorted([*listed(directory), gone]))
    assert remove_outputs(filled.fs, job) == [there]


class Recording(OsFileSystem):
    """Notes what is made durable, and fails the n-th call if asked to."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.fail_at = fail_at

    def note(self, call: str) -> None:
        self.calls.append(call)
        if len(self.calls) == self.fail_at:
            raise OSError(28, "No space left on device")

    def create(self, path: str) -> OsAppendFile:
        self.note("create")
        return _RecordingFile(path, self)

    def sync_directory(self, directory: str) -> None:
        self.note("sync directory")
        super().sync_directory(directory)


class _RecordingFile(OsAppendFile):
    def __init__(self, path: str, fs: Recording) -> None:
        super().__init__(path)
        self._fs = fs

    def append(self, data: Buffer) -> int:
        self._fs.note("append")
        return super().append(data)

    def sync(self) -> None:
        self._fs.note("sync")
        super().sync()


def test_data_is_synced_before_names_and_every_failure_is_cleared_up(filled: Tree) -> None:
    _: AppendFile = OsAppendFile(f"{filled.directory}/x")
    job = compaction_of(filled)
    before = names(filled)
    fs = Recording()
    result = run_job(fs, job, no_checkpoint)
    assert fs.calls[-1] == "sync directory"
    assert fs.calls.count("sync") == fs.calls.count("create") == len(result.tables[0])
    assert fs.calls[-2] == "sync"
    remove_outputs(fs, job)
    for fail_at in range(1, len(fs.calls) + 1):
        with pytest.raises(StorageError) as raised:
            run_job(Recording(fail_at), job, no_checkpoint)
        assert raised.value.errno == 28
        assert names(filled) == before


def test_expired_values_are_emptied_by_the_flush_already(tree: Tree) -> None:
    tree.now_ms = NOW
    tree.flush([((), {b"a": (b"long", NOW, 7), b"b": (b"long", NOW + 1, 0)})])
    assert tree.read() == {b"a": (b"", EXPIRED_MS, 7), b"b": (b"long", NOW + 1, 0)}


def test_a_compaction_holds_its_slice_and_no_more(tree: Tree) -> None:
    """8 MB of data in two runs of many tables, a slice of 256 KB: in addition it holds only parts of single tables."""
    tree.options = TableOptions(codec="none")
    for number in range(2):
        entries: dict[bytes, Entry] = {b"%08d" % key: b"x" * 400 for key in range(number, 20_000, 2)}
        tree.flush([((), entries)])
    tree.compact_runs(0, 1, target_table_bytes=200_000)
    tree.compact_runs(1, 2, target_table_bytes=200_000)
    runs = tree.runs[0]
    plan = Compaction(0, (0, 1), runs, runs, (), (), True, "test")
    job = tree.compaction_job(plan, 200_000, slice_bytes=256 << 10)
    tracemalloc.start()
    run_job(tree.fs, job, no_checkpoint)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The slices twice (read, merged), a 256 KB read of each source, and 256 KB that the writer holds back.
    assert peak < 3 << 20
