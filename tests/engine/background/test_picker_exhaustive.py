"""The picker over all small shards: whatever it picks, whatever is under way meanwhile, and in whatever order that is
installed, each key's entries keep their order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import pytest

from flin.engine.background.compaction import CompactionOptions
from tests.engine.background.merge_model import MergeModel, all_runs

KEYS = (b"b", b"d", b"f")

TINY = CompactionOptions(
    target_table_bytes=2, merge_width=2, maximum_runs=3, plan_bytes=2, range_bytes=2, smallest_move_share=0.5
)
"""Two entries are a full table, and a plan; a range of three gets a fence."""

FENCES = ((), (b"d",), (b"c", b"f"))

FLUSHES = ({b"b": True, b"f": False}, {b"d": True})
"""What is flushed while compactions are under way."""


def explore(model: MergeModel, flushes: int) -> int:
    """All orders of picks, ends and flushes, two compactions at most under way. Returns how many steps were checked."""
    steps = 0
    if len(model.busy) < 2:
        one = model.copy()
        if one.begin() is not None:
            steps += 1 + explore(one, flushes)
    for compaction in model.busy:
        one = model.copy()
        one.end(compaction)
        steps += 1 + explore(one, flushes)
    if model.busy and flushes:
        one = model.copy()
        one.flush(FLUSHES[flushes - 1])
        steps += 1 + explore(one, flushes - 1)
    return steps


def alive_in(run: int, position: int) -> bool:
    """A pattern with tombstones above puts, puts above tombstones, and tombstones at the bottom."""
    return (run + position) % 3 != 0


def shards(count: int, keys: tuple[bytes, ...] = KEYS) -> Iterator[tuple[MergeModel, int]]:
    """Every shard of so many runs over the keys, with each of the fences, settled and not."""
    for number, chosen in enumerate(product(all_runs(keys), repeat=count)):
        for fences in FENCES:
            for unsettled in range(count + 1):
                model = MergeModel(TINY, fences=fences)
                for index, (some, parts) in enumerate(chosen):
                    model.settles_flushes = index < count - unsettled
                    model.flush({key: alive_in(index, keys.index(key)) for key in some}, parts)
                model.settles_flushes = unsettled == 0
                yield model, number


@pytest.mark.parametrize(("count", "step"), [(1, 1), (2, 4), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_every_small_shard(count: int, step: int) -> None:
    """Of two runs, the ordinary suite takes every fourth."""
    steps = 0
    for model, number in shards(count):
        if number % step == 0:
            model.check()
            steps += explore(model, 1)
    assert steps > 100


def test_a_part_of_the_shards_of_three_runs() -> None:
    steps = 0
    for model, number in shards(3):
        if number % 541 == 0:
            steps += explore(model, 1)
    assert steps > 300


SMALL = CompactionOptions(
    target_table_bytes=8, merge_width=3, maximum_runs=6, plan_bytes=20, range_bytes=16, smallest_move_share=0.25
)
"""Some 40 keys make several ranges, and tables that reach over several of them."""


def wander(seed: int, steps: int) -> MergeModel:
    """Random flushes, picks, ends and counts."""
    chance = random.Random(seed)
    model = MergeModel(SMALL, settles_flushes=chance.random() < 0.3)
    for _ in range(steps):
        what = chance.random()
        if what < 0.4:
            low = chance.randrange(40)
            high = min(40, low + chance.choice((3, 10, 40)))
            keys = chance.sample(range(low, high), chance.randrange(1, high - low + 1))
            model.flush({b"%02d" % key: chance.random() < 0.8 for key in keys})
        elif what < 0.6 and len(model.busy) < 2:
            model.begin()
        elif what < 0.95 and model.busy:
            model.end(chance.choice(model.busy))
        elif what > 0.98:
            model.settle(chance.randrange(3))
        model.check()
    while model.busy or model.begin():
        model.end(model.busy[0])
    assert len(model.runs) <= SMALL.maximum_runs
    return model


@pytest.mark.parametrize("seed", range(12))
def test_random_work(seed: int) -> None:
    model = wander(seed, 150)
    assert model.written


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_much_random_work(seed: int) -> None:
    for each in range(30):
        wander(1000 * seed + each, 300)


@pytest.mark.slow
def test_a_twelfth_of_the_shards_of_three_runs() -> None:
    steps = 0
    for model, number in shards(3):
        if number % 12 == 0:
            steps += explore(model, 1)
    assert steps > 10_000
