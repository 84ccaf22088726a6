"""Resolving counts against a plain recount, over memtables and tables in any order of layers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.boundaries import boundaries_of
from flin.engine.disk.fs import append_all
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.key import (
    KEYS_END,
    count_by_namespace,
    is_counted,
    namespace_of,
    namespace_prefix,
)
from flin.engine.memtable import Memtable, add_counts
from flin.engine.read import count
from flin.engine.read.count import DEALT, SORTED_AT_ONCE, Layer, live_keys, resolve, resolving, sorting, subtract_counts
from flin.engine.sstable import Table, TableOptions, TableWriter
from flin.engine.table import writer as table_writer
from flin.testing.disk import SimulatedDisk
from tests.engine.shard_tree import Model

KEYS = [
    *(b"%02d" % number for number in range(30)),
    *(namespace_prefix(9) + b"%d" % number for number in range(5)),
    *(namespace_prefix(0x8000) + b"\0%c" % number for number in range(4)),
    *(namespace_prefix(0xFFFE) + b"\0%c" % number for number in range(2)),
    namespace_prefix(0xFFFF) + b"versions",
]
PIECES = {key for key in KEYS if not is_counted(key)}


def table_of(disk: SimulatedDisk, name: str, entries: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> Table:
    file = disk.create(f"/{name}")
    writer = TableWriter(lambda data: append_all(file, data), TableOptions(), 1, 1, file=name)
    keys = sorted(entries)
    writer.add(keys, [entries[key] for key in keys])
    writer.add_ranges(ranges)
    return Table(disk.open(f"/{name}"), writer.finish(), None)


@pytest.fixture(params=["stream", "look up", "as measured", "key part", "stream of a key part"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How tables are asked: by reading all keys, by single lookups, or as their sizes decide."""
    kind: str = request.param
    if "key part" in kind:
        monkeypatch.setattr(table_writer, "MIN_SHARE", 0)  # all tables have one
        monkeypatch.setattr(count, "KEY_PART_COST", 0 if "stream" in kind else 10**9)
    elif kind == "stream":
        monkeypatch.setattr(count, "FILTER_COST", 10**9)
    elif kind == "look up":
        monkeypatch.setattr(count, "BYTES_READ", 0.001)
    return kind


layer_contents = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from([b"v", (b"v", 5, 0), TOMBSTONE]), max_size=20),
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.sampled_from([*KEYS, KEYS_END])).filter(lambda pair: pair[0] < pair[1]),
        max_size=2,
    ),
    st.booleans(),
)


def apply_layer(model: Model, entries: dict[bytes, Entry], ranges: Sequence[Range]) -> None:
    for start, stop in ranges:
        for key in [key for key in model if start <= key < stop]:
            del model[key]
    for key, entry in entries.items():
        if entry is TOMBSTONE:
            model.pop(key, None)
        else:
            model[key] = entry


def resolve_all(contents: list[tuple[dict[bytes, Entry], list[Range], bool]]) -> None:
    """Each layer over the older ones: the changes add up, and the live keys are those of the model."""
    disk = SimulatedDisk()
    layers: list[Layer] = []
    model: Model = {}
    total: dict[int, int] = {}
    for number, (entries, ranges, as_table) in enumerate(contents):
        part = Memtable(dict(entries), boundaries_of(ranges))
        change = resolve(part, sorted(entries), ranges, layers)
        apply_layer(model, entries, ranges)
        total = add_counts(total, change)
        assert total == dict(Counter(map(namespace_of, model.keys() - PIECES)))
        if as_table and (entries or ranges):
            layers.insert(0, [table_of(disk, f"{number}", entries, ranges)])
        else:
            layers.insert(0, part)
        live = [key for keys in live_keys(layers, b"", KEYS_END) for key in keys]
        assert live == sorted(model)


@pytest.mark.parametrize("as_table", [False, True])
def test_resolving_by_example(way: str, as_table: bool) -> None:
    puts: dict[bytes, Entry] = dict.fromkeys(KEYS[:10], b"v")
    resolve_all(
        [
            (puts, [], as_table),
            ({KEYS[0]: TOMBSTONE, KEYS[20]: TOMBSTONE, KEYS[1]: (b"v", 5, 0)}, [], as_table),
            ({}, [(KEYS[2], KEYS[5])], as_table),
            ({KEYS[3]: b"v"}, [(KEYS[0], KEYS[2]), (KEYS[8], KEYS[25])], as_table),
            (dict.fromkeys(KEYS, b"v"), [], as_table),
            ({KEYS[30]: TOMBSTONE}, [(b"", KEYS_END)], as_table),
        ]
    )


@given(st.lists(layer_contents, max_size=6))
def test_changes_add_up(contents: list[tuple[dict[bytes, Entry], list[Range], bool]]) -> None:
    resolve_all(contents)


def test_large_tables_are_resolved_in_slices(way: str) -> None:
    disk = SimulatedDisk()
    keys = [b"%08d" % number for number in range(0, 40_000, 2)]
    half = len(keys) // 2
    run = [
        table_of(disk, "a", {key: TOMBSTONE if key.endswith(b"6") else b"v" for key in keys[:half]}),
        table_of(disk, "b", dict.fromkeys(keys[half:], b"v")),
    ]
    asked = [b"%08d" % number for number in range(0, 40_000, 7)]
    part = Memtable(dict.fromkeys(asked, b"new"), [b"00001000", b"00035000"])
    work = resolving(part, asked, part.ranges, [run])
    costs = []
    while True:
        try:
            costs.append(next(work))
        except StopIteration as end:
            change = end.value
            break
    assert len(costs) > 5
    assert all(cost > 0 for cost in costs)
    live = {key for key in keys[:half] if not key.endswith(b"6")} | set(keys[half:])
    after = {key for key in live if not b"00001000" <= key < b"00035000"} | set(asked)
    assert change == {0: len(after) - len(live)}


def test_runs_are_asked_only_where_keys_may_be() -> None:
    disk = SimulatedDisk()
    run = [table_of(disk, name, {name.encode(): b"v"}) for name in ("a", "c", "e")]
    touched: list[str] = []

    class WorkloadRun(Sequence[Table]):
        def __len__(self) -> int:
            return len(run)

        def __getitem__(self, index: int) -> Table:  # type: ignore[override]
            touched.append(run[index].meta.file)
            return run[index]

    assert list(live_keys([WorkloadRun()], b"b", b"d")) == [[b"c"]]
    assert resolve(Memtable({b"c": TOMBSTONE}), [b"c"], (), [WorkloadRun()]) == {0: -1}
    assert resolve(Memtable({b"d": TOMBSTONE}), [b"d"], (), [WorkloadRun()]) == {}


def test_count_by_namespace() -> None:
    assert count_by_namespace([]) == {}
    assert count_by_namespace([b"", b"a"]) == {0: 2}
    keys = [b"a", b"\xff\x00", *(namespace_prefix(number) for number in (1, 1, 7))]
    assert count_by_namespace(keys) == {0: 2, 1: 2, 7: 1}
    assert subtract_counts({0: 2, 1: 1}, {1: 1, 2: 1}) == {0: 2, 2: -1}


@pytest.mark.parametrize("size", [0, 1, 2 * SORTED_AT_ONCE, 2 * SORTED_AT_ONCE + 1, 50_000])
@pytest.mark.parametrize("order", ["random", "ascending", "descending", "alike"])
def test_a_memtable_is_sorted_in_parts(size: int, order: str) -> None:
    numbers = list(range(0, size * 7, 7)) if order != "alike" else [2**40 * (n % 9 == 0) + n for n in range(size)]
    if order == "random":
        random.Random(size).shuffle(numbers)
    elif order == "descending":
        numbers.reverse()
    entries: dict[bytes, Entry] = dict.fromkeys((b"%d" % number for number in numbers), b"v")
    work = sorting(Memtable(entries))
    costs = []
    while True:
        try:
            costs.append(next(work))
        except StopIteration as end:
            assert list(end.value) == sorted(entries)
            break
    assert max(costs, default=0) <= 4 * SORTED_AT_ONCE // DEALT
    assert bool(costs) == (size > 2 * SORTED_AT_ONCE)
