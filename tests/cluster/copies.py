"""Databases full of random keys of every type, and all that a client can tell of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeAlias

import pytest

from flin.cli.overlay import open_unchanged
from flin.cluster.resize.places import places_in
from flin.cluster.resize.resizing import OpenUnchanged
from flin.engine.disk.fs import FileSystem
from flin.engine.engine import Engine, store_of
from flin.engine.slot import slot_of
from flin.objects import limits
from tests.net.commands.handling import Handling
from tests.process.collections_load import KEYS, MAKERS, NAMES, RARE, Request

LOW: Final = {"MAX_PACKED_ELEMENTS": 3, "MAX_WHOLE": 6, "MIN_REWRITTEN": 2, "MAX_REWRITES": 2, "PAGE": 4}
"""Limits with which a few elements make a collection spread, and a few more none that stays whole."""

MEMORY_LIMIT: Final = 8 << 20

GROUP: Final = b"g0"

STREAMS: Final[dict[str, Callable[[Random], Request]]] = {
    "xreadgroup": lambda r: [b"xreadgroup", b"group", GROUP, r.choice(NAMES), b"count", b"%d" % r.randrange(1, 9),
                             b"streams", r.choice(KEYS), b">"],
    "xack": lambda r: [b"xack", r.choice(KEYS), GROUP, *(b"%d-%d" % (r.randrange(99), r.randrange(3)) for _ in "abc")],
    "xdel": lambda r: [b"xdel", r.choice(KEYS), b"%d-0" % r.randrange(99)],
    "xclaim": lambda r: [b"xclaim", r.choice(KEYS), GROUP, r.choice(NAMES), b"0", b"%d-0" % r.randrange(99), b"force"],
}  # fmt: skip

Contents: TypeAlias = dict[tuple[int, bytes], tuple[Any, ...]]
"""By database and key: the payload of DUMP, the expiry, the encoding."""


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOW.items():
        monkeypatch.setattr(limits, name, value)


def handling_over(engine: Engine) -> Handling:
    handling = Handling(store_of(engine))
    handling.services.databases.block_reads(blocking=True)
    return handling


def write(engine: Engine, random: Random, commands: int, database: int = 0) -> None:
    """Random commands over some fifty keys; now and then the batch is committed, and memory flushed."""
    handling = handling_over(engine)
    handling.call(b"select", b"%d" % database)
    makers = [make for name, make in MAKERS.items() for _ in range(1 if name in RARE else 9)]
    makers += 5 * [*STREAMS.values(), MAKERS["xgroup"], MAKERS["pexpireat"]]
    for _ in range(commands):
        suffix = b"%d" % random.randrange(8)
        handling.call(*(word + suffix if word in KEYS else word for word in random.choice(makers)(random)))
        if random.random() < 0.05:
            handling.pending.commit()
        if random.random() < 0.003:
            engine.flush()
    handling.pending.commit()


def contents(directory: str, opened: OpenUnchanged = open_unchanged, fs: FileSystem | None = None) -> Contents:
    """Of a database, or of all groups: then each key lies in the group of its slot, and nowhere else."""
    found: Contents = {}
    for place in places_in(directory, fs):
        with opened(place.directory, MEMORY_LIMIT) as engine:
            assert engine.verify() == []
            handling = handling_over(engine)
            for database in range(16):
                handling.call(b"select", b"%d" % database)
                keys = handling.call(b"keys", b"*")
                assert handling.call(b"dbsize") == len(keys)
                for key in keys:
                    assert (database, key) not in found
                    assert place.group is None or place.group.first <= slot_of(key) <= place.group.last
                    found[database, key] = (
                        handling.call(b"dump", key),
                        handling.call(b"pexpiretime", key),
                        handling.call(b"object", b"encoding", key),
                    )
    return found
