"""The entries of many keys are those that single lookups find, up to the first that waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest

from flin.engine.entry import Live
from flin.engine.read.table_batch import add_from_tables
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree.store import Store
from flin.errors import CorruptionError
from flin.net.data import live_entries as module
from flin.net.data.live_entries import live_entries
from flin.net.run.services import make_services
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.objects.layout import SET
from flin.objects.packed import encode_set
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

KEYS = [b"%02d" % number for number in range(40)] + [b"", b"\xff", b"\xff\x01"]


def one_by_one(look_up: Callable[[bytes], Live | None], keys: list[bytes]) -> list[Live | None]:
    found: list[Live | None] = []
    try:
        for key in keys:
            found.append(look_up(key))  # noqa: PERF401  those before an exception stay
    except (ColdRead, CorruptionError):
        pass
    return found


def compare(open_engine: OpenEngine, seed: int, shards: int) -> None:
    """Random writes to two databases over an engine that flushes now and then, and lookups of many keys in between."""
    chance, clock = Random(seed), ManualClock()
    disk = SimulatedDisk()
    db = open_engine(
        fs=disk, memory_limit="1mb", shards=shards, clock_ms=clock, value_threshold=64, block_size_bytes=512
    )
    store = db._store
    services = make_services(store, Config(ServerOptions()), lambda callback: None)
    pending, keyspaces = services.pending, services.databases.keyspaces
    looped = waited = 0
    for _ in range(200):
        key, keyspace = chance.choice(KEYS), keyspaces[chance.choice([0, 0, 0, 1])]
        match chance.randrange(14):
            case 0:
                pending.commit()
                db.flush()
            case 1:
                pending.commit()
                store.freeze()
            case 2 if keyspace.is_there(key):
                keyspace.delete(key)
            case 3 if chance.random() < 0.2:
                pending.delete_range(KEYS[chance.randrange(9)], b"09")
            case 4:
                keyspace.put(key, (chance.randbytes(3), clock() + chance.randrange(1, 9) * 1000, 0))
            case 5:
                keyspace.put(key, (encode_set([b"m"], False), 0, SET))
            case 6:
                clock.advance(1.0)
                pending.refresh_clock()
            case 7:
                pending.commit()
            case 8:
                disk.resident = chance.random() < 0.8
            case _:
                keyspace.put_value(key, chance.randbytes(chance.choice([2, 100])))
        asked = chance.choices(KEYS, k=chance.randrange(1, 30))
        keyspace = chance.choice(keyspaces[:2])
        values = chance.random() < 0.7
        expected = one_by_one(keyspace.entry if values else keyspace.outline, asked)
        found = live_entries(keyspace, pending, asked, values=values)
        # A lookup that waited may have left its block for the next one.
        assert found == expected[: len(found)] or found[: len(expected)] == expected
        if disk.resident:
            assert found == expected
        looped += len(found)
        waited += len(found) < len(asked)
    assert looped > 300
    assert waited > 5


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_they_are_those_of_single_lookups(open_engine: OpenEngine, seed: int, shards: int) -> None:
    compare(open_engine, seed, shards)


def trust_memory(patch: pytest.MonkeyPatch) -> None:
    """memory was not asked of a database but the first, of a sharded one, or under the batch's range deletes"""
    patch.setattr(module, "_are_asked", lambda *_: True)


def forget_expiry(patch: pytest.MonkeyPatch) -> None:
    """what tables hold may have expired"""
    patch.setattr(module, "is_alive", lambda entry, now_ms: entry is not None)


def ignore_range_deletes(patch: pytest.MonkeyPatch) -> None:
    """a memtable's range deletes hide what tables hold"""

    def in_tables(self: Store, keys: list[bytes], *, values: bool = True) -> list[Live | None]:
        found: list[Live | None] = []
        with suppress(ColdRead):
            add_from_tables(found, self.state, keys, values=values)
        return found

    patch.setattr(Store, "in_tables", in_tables)


@pytest.mark.parametrize("bug", [trust_memory, forget_expiry, ignore_range_deletes], ids=lambda bug: bug.__name__)
def test_seeded_bugs_are_found(open_engine: OpenEngine, bug: Callable[[Any], None]) -> None:
    def hunt() -> None:
        for seed in range(6):
            for shards in (1, 2):
                compare(partial(open_engine, name=f"{seed}-{shards}"), seed, shards)

    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises(AssertionError):
            hunt()
