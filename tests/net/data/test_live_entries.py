"""The entries of many keys are those that single lookups find, up to the first that waits."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from flin.engine.entry import Live
from flin.engine.table.cold_read import ColdRead
from flin.errors import CorruptionError
from flin.net.data.keyspace import Keyspace
from flin.net.data.live_entries import live_entries
from flin.net.run.services import make_services
from flin.net.settings.config import Config, ServerOptions
from flin.objects.layout import SET
from flin.objects.packed import encode_set
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

KEYS = [b"%02d" % number for number in range(40)] + [b"", b"\xff", b"\xff\x01"]


def one_by_one(keyspace: Keyspace, keys: list[bytes]) -> list[Live | None]:
    found: list[Live | None] = []
    try:
        for key in keys:
            found.append(keyspace.entry(key))  # noqa: PERF401  those before an exception stay
    except (ColdRead, CorruptionError):
        pass
    return found


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_they_are_those_of_single_lookups(open_engine: OpenEngine, seed: int, shards: int) -> None:
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
        expected = one_by_one(keyspace, asked)
        found = live_entries(keyspace, pending, asked)
        # A lookup that waited may have left its block for the next one.
        assert found == expected[: len(found)] or found[: len(expected)] == expected
        if disk.resident:
            assert found == expected
        looped += len(found)
        waited += len(found) < len(asked)
    assert looped > 500
    assert waited > 5
