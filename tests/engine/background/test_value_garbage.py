"""Garbage in value files: what is picked, and that the disk stays within bounds whatever is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, TypeAlias

import pytest

import flin.engine
from flin.engine.background.compaction import CompactionOptions
from flin.engine.background.picker import COLLECTS, pick_collection
from flin.engine.background.value_garbage import (
    is_mostly_garbage,
    may_be_mostly_garbage,
    options_for,
    worn_files,
    worn_tables,
)
from flin.engine.catalog.version import Run, ValueFile, Version, value_totals
from flin.engine.disk.file_name import table_name, wal_name
from flin.engine.table.meta import TableMeta
from flin.testing import ManualClock, SimulatedDisk

OPTIONS = CompactionOptions(target_table_bytes=1000)


def table(number: int, first: str, last: str, length: int = 2000) -> TableMeta:
    points = ((0, 10),)
    return TableMeta(
        table_name(number, 0, 1), 0, length, 10, 0, 0, 0, first.encode(), last.encode(), 1, 9, length, points
    )


def file(number: int, live: int, length: int = 1000) -> ValueFile:
    return ValueFile(number, wal_name(number, 1), length, live)


def pick(runs: tuple[Run, ...], files: tuple[ValueFile, ...], values: dict[TableMeta, int], busy: Any = ()) -> Any:
    """`values`: by table, the file into which it points."""
    version = Version((runs,), value_files=files)
    return pick_collection(version, OPTIONS, busy, lambda of: ((values[of], 10),) if of in values else ())


def numbers_of(files: tuple[ValueFile, ...]) -> list[int]:
    return [each.number for each in files]


def test_the_emptiest_files_are_worn_until_the_others_are_full_enough() -> None:
    runs = ((table(1, "a", "b"),),)
    assert worn_files(Version((runs,))) == ()
    files = (file(1, 600), file(2, 300), file(3, 900), file(4, 990), file(5, 990))
    assert worn_files(Version((runs,), value_files=files)) == (), "3,780 of 5,000"
    files = (file(1, 600), file(2, 300), file(3, 900), file(4, 900), file(5, 500))
    assert numbers_of(worn_files(Version((runs,), value_files=files))) == [2]
    files = (file(1, 550), file(2, 300), file(3, 700), file(4, 700), file(5, 500))
    assert numbers_of(worn_files(Version((runs,), value_files=files))) == [2, 5]


def test_what_is_not_known_yet_counts_as_garbage_but_full_files_are_left() -> None:
    above, bottom = table(1, "a", "c"), table(2, "a", "b")
    files = (file(1, 700), file(2, 940), file(3, 940))
    assert worn_files(Version((((bottom,),),), value_files=files)) == ()
    assert numbers_of(worn_files(Version((((above,), (bottom,)),), value_files=files))) == [1]


def test_no_more_is_collected_at_once_than_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.engine.background.value_garbage.LEAST_COLLECTED_BYTES", 0)
    bottom = tuple(table(number, f"{number:02d}", f"{number:02d}x") for number in range(10))
    files = tuple(file(number, 500 + number) for number in range(16))
    assert numbers_of(worn_files(Version(((bottom,),), value_files=files))) == [0, 1, 2], "an eighth"
    runs = (bottom[:5], bottom)
    assert len(worn_files(Version((runs,), value_files=files))) == 9, "half as much as there is lies above"


def test_when_most_is_garbage() -> None:
    assert not is_mostly_garbage(Version(((),)))
    assert not is_mostly_garbage(Version(((),), value_files=(file(1, 499), file(2, 500), file(3, 900))))
    assert is_mostly_garbage(Version(((),), value_files=(file(1, 499), file(2, 500), file(3, 800))))


def test_what_is_probably_garbage() -> None:
    """New keys hide nothing, and merges find that out."""
    above, bottom = table(1, "a", "c"), table(2, "a", "b")
    runs = ((above,), (above,), (bottom,))

    def unseen(live: int) -> float:
        return value_totals(Version((runs,), value_files=(file(1, live),))).likely_unseen

    assert value_totals(Version((runs,))).likely_unseen == 0
    assert unseen(940) == 0
    assert unseen(860) == pytest.approx(1)
    assert unseen(800) == pytest.approx(2) == unseen(300)


def test_nothing_is_picked_while_most_is_live() -> None:
    runs = ((table(1, "a", "b"),),)
    assert pick(runs, (file(1, 100), file(2, 1000), file(3, 1000)), {runs[0][0]: 1}) is None
    assert pick(runs, (file(1, 100), file(2, 400)), {runs[0][0]: 1}) is not None
    assert pick(runs, (file(1, 100), file(2, 400)), {}) is None


def test_the_bottom_is_written_anew_where_it_points_into_worn_files() -> None:
    a, c, e, g = (table(number, first, first + "x") for number, first in enumerate("aceg", 1))
    files = (file(1, 100), file(2, 700))
    picked = pick(((a, c, e, g),), files, {a: 2, c: 1, e: 1, g: 2})
    assert picked.rewrite == ((c, e),)
    assert picked.moves == ()
    assert picked.bottom
    assert picked.reason == COLLECTS
    busy = picked
    assert pick(((a, c, e, g),), files, {a: 2, c: 1, e: 1, g: 2}, [busy]) is None
    after = pick(((a, c, e, g),), files, {a: 1, c: 2, e: 2, g: 1}, [busy])
    assert after.rewrite == ((a,),)


def test_what_is_above_is_written_anew_if_nothing_is_beneath() -> None:
    above, beside, bottom = table(1, "a", "b"), table(2, "x", "z"), table(3, "a", "c")
    files = (file(1, 100), file(2, 700))
    picked = pick(((above, beside), (bottom,)), files, {above: 1, beside: 1})
    assert picked.rewrite == ((beside,),)
    assert picked.bottom
    picked = pick(((above,), (bottom,)), files, {above: 1})
    assert picked.rewrite == ((above,), (bottom,)), "with what it hides"
    assert picked.bottom


def test_what_is_not_known_yet_is_found_out() -> None:
    """Most is live as far as merges know, but not if the run above hides as many values as it has entries."""
    above, bottom = table(1, "a", "c"), table(2, "a", "b")
    live = (file(1, 900), file(2, 600))
    assert may_be_mostly_garbage(Version((((above,), (bottom,)),), value_files=live))
    picked = pick(((above,), (bottom,)), live, {})
    assert picked.rewrite == ((above,), (bottom,))
    assert picked.bottom
    assert pick(((bottom,),), live, {}) is None
    assert pick(((above,), (bottom,)), live, {}, [picked]) is None
    assert not may_be_mostly_garbage(Version((((bottom,),),), value_files=live))
    assert not may_be_mostly_garbage(Version((((above,), (bottom,)),)))


def test_a_merge_for_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tuple(table(number, f"{number:02d}", f"{number:02d}x") for number in range(20))
    monkeypatch.setattr("flin.engine.background.value_garbage.MAX_COLLECTED_BYTES", 7000)
    assert worn_tables(run, {1}, lambda of: ((1, 500),)) == run[:3]
    assert worn_tables(run, {2}, lambda of: ((1, 500),)) == ()


@pytest.mark.parametrize(("live", "ratio"), [(6_000, 0.3), (400_000, 0.25), (1_000_000, 0.1), (9_000_000, 0.05)])
def test_pointers_merge_the_earlier_the_less_they_weigh(live: int, ratio: float) -> None:
    version = Version((((table(1, "a", "b", 5000),),),), value_files=(file(1, live, live),))
    assert options_for(version, OPTIONS).bottom_ratio == pytest.approx(ratio)
    assert options_for(version, OPTIONS).bottom_width == 2, "however few runs hold the pointers"


def test_values_in_tables_merge_as_ever() -> None:
    few = Version((((table(1, "a", "b", 5000),),),), value_files=(file(1, 4000, 9000),))
    assert options_for(few, OPTIONS) is OPTIONS
    assert options_for(Version(((),)), OPTIONS) is OPTIONS


def test_merges_are_urgent_if_the_runs_above_outgrow_the_bottom_or_much_may_be_garbage() -> None:
    above, bottom = table(1, "a", "b", 300), tuple(table(number, f"{number}", f"{number}x", 300) for number in range(4))
    full = (file(1, 9000, 9000),)
    assert not options_for(Version((((above,), bottom),), value_files=full), OPTIONS).urgent
    assert options_for(Version((((above,), (above,), (above,), bottom),), value_files=full), OPTIONS).urgent
    assert options_for(Version((((above,), bottom),), value_files=(file(1, 7000, 9000),)), OPTIONS).urgent
    assert not options_for(Version((((above,), (above,), bottom),)), OPTIONS).urgent


# Bounds, on a simulated disk. Scaled down: values of 1 KiB, a memory limit of 1 MB (generations of 250 KB), 2,000 keys.

KEYS = 2000
VALUE_BYTES = 1024
VALUE = Random(5).randbytes
"""Each value is another, since blocks of equal ones would be compressed to nothing."""

MEAN, MOST = 1.55, 1.75
"""Bounds of what the disk takes, as shares of the live values, on average and at any time. Measured here, with
generations that are an eighth of the data: 1.46 and 1.65 for uniform overwrites."""


Write: TypeAlias = tuple[bytes, bool]
"""A key, and whether it is put or deleted."""


def key(number: int) -> bytes:
    return b"%06d" % number


def uniform(random: Random) -> Iterator[Write]:
    for _ in range(5 * KEYS):
        yield key(random.randrange(KEYS)), True


def zipf(random: Random) -> Iterator[Write]:
    """Keys by their rank to the power of -0.99, the ranks scattered."""
    order = list(range(KEYS))
    random.shuffle(order)
    weights = [1 / (rank + 1) ** 0.99 for rank in range(KEYS)]
    for number in random.choices(order, weights, k=5 * KEYS):
        yield key(number), True


def in_order(_: Random) -> Iterator[Write]:
    for number in range(4 * KEYS):
        yield key(number % KEYS), True


def queue(_: Random) -> Iterator[Write]:
    for number in range(3 * KEYS):
        yield key(KEYS + number), True
        yield key(number), False


def filled() -> tuple[Any, set[bytes]]:
    """A database of KEYS keys, and these."""
    db = flin.engine.open(
        "/db", fs=SimulatedDisk(), runner="inline", clock_ms=ManualClock(), memory_limit="1mb", sync="never",
        value_threshold=512,
    )  # fmt: skip
    live = {key(number) for number in range(KEYS)}
    for name in sorted(live):
        db.put(name, VALUE(VALUE_BYTES))
    return db, live


@pytest.mark.parametrize("writes", [uniform, zipf, in_order, queue])
def test_the_disk_stays_in_bounds(writes: Callable[[Random], Iterator[Write]]) -> None:
    """Without any call: what value files and tables take, while it is written, beside the live values."""
    db, live = filled()
    ratios = []
    for at, (name, is_put) in enumerate(writes(Random(3))):
        if is_put:
            db.put(name, VALUE(VALUE_BYTES))
            live.add(name)
        else:
            db.delete(name)
            live.discard(name)
        if at % 100 == 99:
            ratios.append(taken(db) / (len(live) * VALUE_BYTES))
    assert len(db) == len(live)
    assert not db.verify()
    assert sum(ratios) / len(ratios) < MEAN
    assert max(ratios) < MOST
    db.close()


def test_deleted_values_leave_the_disk_though_nothing_else_is_written() -> None:
    """Three quarters of the keys are deleted. What is deleted in memory is no garbage yet: hence the flush."""
    db, live = filled()
    numbers = sorted(live)
    Random(3).shuffle(numbers)
    for name in numbers[: 3 * KEYS // 4]:
        db.delete(name)
    db.flush()
    assert taken(db) / (KEYS // 4 * VALUE_BYTES) < MEAN
    assert len(db) == KEYS // 4
    assert not db.verify()
    db.close()


def test_what_is_cleared_leaves_the_disk() -> None:
    db, _ = filled()
    assert db.stats()["value_files"]["files"] > 2
    db.clear()
    db.put(b"one", VALUE(VALUE_BYTES))
    db.flush()
    assert db.stats()["value_files"]["bytes"] < 2 * VALUE_BYTES
    files = db._store.options.fs.files()
    assert sum(len(data) for path, data in files.items() if path.endswith((".wal", ".val"))) < 300_000
    db.close()


def taken(db: Any) -> int:
    """Bytes of tables and value files, without the WAL of what is still in memory."""
    stats = db.stats()
    taken: int = stats["tables"]["bytes"] + stats["value_files"]["bytes"]
    return taken
