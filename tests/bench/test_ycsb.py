"""YCSB: each workload's mix, popularity and answers."""

from __future__ import annotations

from collections import Counter

import pytest

from flin.bench.row import LOAD, WrongAnswerError
from flin.bench.workload import Workload
from flin.bench.ycsb import MAX_SCAN, MIXES, MODIFY, READ, SCAN, WRITE, YCSB_ROWS, operations
from tests.bench.dict_store import DictStore

SHARES = {
    "a": {READ: 0.5, WRITE: 0.5},
    "b": {READ: 0.95, WRITE: 0.05},
    "c": {READ: 1.0},
    "d": {READ: 0.95, WRITE: 0.05},
    "e": {SCAN: 0.95, WRITE: 0.05},
    "f": {READ: 0.5, MODIFY: 0.5},
}


@pytest.mark.parametrize("letter", MIXES)
def test_the_mix_is_the_published_one(letter: str) -> None:
    todo = operations(Workload(20_000, 10), letter)
    shares = {kind: count / len(todo) for kind, count in Counter(operation.kind for operation in todo).items()}
    assert shares == pytest.approx(SHARES[letter], abs=0.03)


@pytest.mark.parametrize("letter", MIXES)
def test_every_key_is_there_when_it_is_asked_for(letter: str) -> None:
    load = Workload(2000, 10)
    there = set(load.keys)
    inserts = letter in "de"
    for kind, key, value, length in operations(load, letter):
        if kind == WRITE and inserts:
            assert key not in there
            there.add(key)
        assert key in there
        assert len(value) == 10
        assert (1 <= length <= MAX_SCAN) if kind == SCAN else length == 0


def test_reads_of_d_are_of_the_newest() -> None:
    load = Workload(1000, 10)
    records = load.keys.copy()
    ages = []
    for kind, key, _value, _length in operations(load, "d"):
        if kind == WRITE:
            records.append(key)
        else:
            ages.append(len(records) - records.index(key))
    assert sorted(ages)[len(ages) // 2] < 100


def test_popular_keys_are_few_and_scattered() -> None:
    load = Workload(1000, 10)
    popular = Counter(operation.key for operation in operations(load, "c")).most_common(10)
    assert sum(count for _, count in popular) > 300
    numbers = sorted(int(key) for key, _ in popular)
    assert numbers[-1] - numbers[0] > 500


@pytest.mark.parametrize("letter", MIXES)
def test_wrong_answers_are_found_out(letter: str) -> None:
    load = Workload(300, 20)
    good, bad = DictStore(), DictStore(lose=2)
    calls: list[int] = []
    for database in (good, bad):
        LOAD.run(database, load, None)
    row = YCSB_ROWS[f"ycsb-{letter}"]
    assert row.run(good, load, calls) == len(calls) > 0
    with pytest.raises(WrongAnswerError):
        row.run(bad, load, None)
