"""How many entries have an expiry, by namespace, and what a sample of them says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import flin.engine
from flin.engine import Engine
from flin.engine.entry import TOMBSTONE, Entry
from flin.engine.expiring import ByNamespace, Expiries, Expiring
from flin.engine.key import namespace_prefix

NOW_MS = 1_800_000_000_000
THIRD = namespace_prefix(3)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with flin.engine.open(str(tmp_path / "db"), runner="inline", clock_ms=lambda: NOW_MS) as engine:
        yield engine


def figures(expiring: Expiring) -> ByNamespace:
    steps = expiring.steps()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: ByNamespace = end.value
            return found


def numbers(expiring: Expiring) -> dict[int, int]:
    return {namespace: expiries.entry_count for namespace, expiries in figures(expiring).items()}


def write(engine: Engine, prefix: bytes, first: int, stop: int, ttl_ms: int) -> None:
    batch: dict[bytes, Entry] = {
        prefix + b"k%05d" % number: (b"v", NOW_MS + ttl_ms, 0) for number in range(first, stop)
    }
    engine._store.commit(batch)


def test_in_memtables_and_tables(engine: Engine) -> None:
    expiring = Expiring(engine._store)
    assert numbers(expiring) == {}
    engine.put(b"plain", b"v")
    write(engine, b"", 0, 50, 10_000)
    write(engine, THIRD, 0, 5, 10_000)
    assert numbers(expiring) == {0: 50, 3: 5}
    engine.flush()
    assert numbers(expiring) == {0: 50, 3: 5}, "of a table with both"
    write(engine, b"", 50, 3000, 40_000)
    engine.flush()
    assert numbers(expiring) == {0: 3000, 3: 5}
    average = figures(expiring)[0].average_ttl_ms(NOW_MS)
    assert 39_000 < average < 40_000
    engine.compact()
    assert numbers(expiring) == {0: 3000, 3: 5}


def test_what_is_written_again_counts_once(engine: Engine) -> None:
    expiring = Expiring(engine._store)
    for ttl_ms in (1000, 2000, 3000):
        write(engine, b"", 0, 10, ttl_ms)
    assert numbers(expiring) == {0: 10}
    assert figures(expiring)[0].average_ttl_ms(NOW_MS) == 3000
    engine._store.commit({b"k00000": TOMBSTONE, b"k00001": b"plain"})
    assert numbers(expiring) == {0: 8}


def test_what_is_hidden_counts_until_a_merge(engine: Engine) -> None:
    expiring = Expiring(engine._store)
    write(engine, b"", 0, 10, 1000)
    engine.flush()
    engine._store.commit({b"k00000": TOMBSTONE})
    assert numbers(expiring) == {0: 10}
    engine.compact()
    assert numbers(expiring) == {0: 9}


def test_the_average_leaves_out_what_has_passed() -> None:
    expiries = Expiries(3, [(NOW_MS - 5, 100), (NOW_MS + 100, 1), (NOW_MS + 400, 2)])
    assert expiries.average_ttl_ms(NOW_MS) == 300
    assert Expiries(1, [(NOW_MS, 1)]).average_ttl_ms(NOW_MS) == 0


def test_a_sample_reads_the_chunks_that_hold_it(engine: Engine) -> None:
    write(engine, b"", 0, 5000, 10_000)
    engine.flush()
    [table] = [table for table in engine._store.tables.tables() if table.meta.expiring]
    every = list(table.expiries())
    assert table.sampled_expiries(20) == every[125::250]
    assert table.sampled_expiries(10_000) == every


def test_two_at_once_while_tables_come_and_go(engine: Engine) -> None:
    """Two clients ask; between two steps of one, a merge replaces the tables and the other gets its answer."""
    expiring = Expiring(engine._store)
    for first in (0, 50):
        write(engine, b"", first, first + 50, 10_000)
        engine.flush()
    steps = expiring.steps()
    next(steps)
    next(steps)
    engine.compact()
    assert numbers(expiring) == {0: 100}
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert {namespace: found.entry_count for namespace, found in end.value.items()} == {0: 100}
            break
    assert numbers(expiring) == {0: 100}
