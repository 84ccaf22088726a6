"""What open tables take in memory is bounded, however many there are."""

from __future__ import annotations

import random
import weakref
from typing import Any

import flin.engine
from flin.engine.disk.open_files import OPEN_FILES
from flin.engine.sstable import Table
from flin.engine.table.index_block import MappedSeparators
from flin.testing import SimulatedDisk

BLOCK_BYTES = 512
KEYS = [b"%05d" % number for number in range(24_000)]


def value_of(number: int) -> bytes:
    return b"%0150d" % number


def loaded_database() -> Any:
    """Some 4 MB in small tables of small blocks: their indexes would take more than the memory limit."""
    options: dict[str, Any] = {"memory_limit": "1mb", "block_size_bytes": BLOCK_BYTES, "compression": "none"}
    db = flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", value_cache=False, **options)
    for start in range(0, len(KEYS), 1000):
        db.put_many({KEYS[number]: value_of(number) for number in range(start, start + 1000)})
    db.compact()
    return db


def tables_of(db: Any) -> list[Table]:
    return [table for run in db._store.state.runs[0] for table in run.tables]


def in_place(table: Table) -> bool:
    return table.state is not None and isinstance(table.state.separators, MappedSeparators)


def check_bound(db: Any) -> None:
    """Indexes and blocks together have what the budget gives them; counted from each table, not from a sum."""
    budget = db._store.options.budget.block_cache
    used = sum(table.memory_bytes for table in tables_of(db))
    cache = db._store.tables.block_cache
    largest = max(table.memory_bytes for table in tables_of(db))
    assert used <= budget // 2 + largest
    assert cache.used_bytes <= cache.capacity_bytes
    assert used + cache.used_bytes <= budget + largest
    assert db._store.tables.memory_bytes() == used


def test_the_limit_holds_with_many_tables() -> None:
    db = loaded_database()
    tables = tables_of(db)
    blocks = sum(table.meta.raw_bytes for table in tables) // BLOCK_BYTES
    assert len(tables) > 10
    assert blocks * 80 > db._store.options.budget.block_cache, "or nothing has to go"
    rng = random.Random(1)
    for turn in range(2000):
        number = rng.randrange(len(KEYS))
        assert db.get(KEYS[number]) == value_of(number)
        if turn % 50 == 0:
            check_bound(db)
            db._store.tables.memory.fit(db._store.options.budget.block_cache)  # what the maintenance does
            check_bound(db)
    assert any(map(in_place, tables))
    assert not all(map(in_place, tables)), "what fits is in memory"
    assert db.get(b"00000x") is None
    first = rng.randrange(len(KEYS) - 30)
    page = [(KEYS[number], value_of(number)) for number in range(first, first + 30)]
    assert list(db.scan(start=KEYS[first], limit=30)) == page
    assert list(db.scan(reverse=True)) == [(KEYS[number], value_of(number)) for number in reversed(range(len(KEYS)))]
    check_bound(db)
    assert not db.verify()
    db.close()


def test_tables_are_closed_if_even_the_rest_is_too_much() -> None:
    db = loaded_database()
    memory = db._store.tables.memory
    for key in KEYS[::40]:
        db.get(key)
    memory.fit(40_000)
    tables = tables_of(db)
    opened = [table for table in tables if table.state is not None]
    assert 1 <= len(opened) < len(tables)
    assert memory.used_bytes() <= 20_000
    assert db._store.tables.block_cache.capacity_bytes >= 20_000
    assert [OPEN_FILES._clock.count(weakref.ref(table)) for table in tables] == [table in opened for table in tables]
    for number in range(0, len(KEYS), 997):
        assert db.get(KEYS[number]) == value_of(number)
        assert memory.used_bytes() <= 20_000 + max(table.memory_bytes for table in tables)
    db.close()
