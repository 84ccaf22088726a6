"""Commands that make their result as a whole: one of more than a quarter of memory_limit is refused before anything
changes, and one that just fits is made whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import pytest

from flin.net.settings.options import ServerOptions
from flin.rdb import dump, listpack
from flin.rdb.crc64 import crc64
from flin.rdb.primitives import string
from tests.net.commands.handling import Handling

OUT_OF_MEMORY: Final = "-OOM command not allowed when used memory > 'maxmemory'."

ELEMENTS: Final = 100
"""More than are packed."""


def fill(server: Handling) -> None:
    """Every type, spread: s, s2 sets; z a sorted set; h a hash; l a list; x a stream with a group; g places; b bits."""
    for number in range(ELEMENTS):
        name = b"m%d" % number
        server.call(b"SADD", b"s", name)
        server.call(b"SADD", b"s2", name, b"other%d" % number)
        server.call(b"ZADD", b"z", b"%d" % number, name)
        server.call(b"HSET", b"h", name, b"v")
        server.call(b"RPUSH", b"l", name)
        server.call(b"XADD", b"x", b"%d-1" % (number + 1), b"f", b"v")
        server.call(b"GEOADD", b"g", b"%d.5" % (number % 50), b"7", name)
    server.call(b"XGROUP", b"CREATE", b"x", b"new", b"0")
    server.call(b"XGROUP", b"CREATE", b"x", b"old", b"0")
    server.call(b"XREADGROUP", b"GROUP", b"old", b"c", b"STREAMS", b"x", b">")
    server.call(b"SETBIT", b"b", b"400000", b"1")
    server.call(b"SET", b"t", b"x" * 20_000)
    server.call(b"SET", b"d", b"there before")
    server.pending.commit()


def words(line: str) -> Callable[[Handling], list[bytes]]:
    return lambda _: line.encode().split()


def restore(line: str) -> Callable[[Handling], list[bytes]]:
    """RESTORE of what DUMP gives of a key."""
    return lambda server: [b"RESTORE", b"d", b"0", server.call(b"DUMP", line.encode()), b"REPLACE"]


def restore_listpack(_: Handling) -> list[bytes]:
    covered = b"\x10" + string(listpack.encode(range(2 * ELEMENTS))) + b"\x0a\x00"
    return [b"RESTORE", b"d", b"0", covered + dump.stored(crc64(covered)), b"REPLACE"]


COMMANDS: Final[dict[str, Callable[[Handling], list[bytes]]]] = {
    line: words(line)
    for line in (
        "SINTERSTORE d s s2",
        "SUNIONSTORE d s s2",
        "SDIFFSTORE d s2 s",
        "ZUNIONSTORE d 2 z s2",
        "ZINTERSTORE d 2 z s",
        "ZDIFFSTORE d 2 z l2",
        "ZRANGESTORE d z 0 -1",
        "GEOSEARCHSTORE d g FROMLONLAT 20 7 BYRADIUS 9000 km",
        "GEORADIUS g 20 7 9000 km STORE d",
        "SORT l ALPHA STORE d",
        "SORT z BY nosort STORE d",
        "COPY s d REPLACE",
        "COPY z d REPLACE",
        "COPY h d REPLACE",
        "COPY l d REPLACE",
        "COPY x d REPLACE",
        "COPY b d REPLACE",
        "DUMP s",
        "DUMP z",
        "DUMP h",
        "DUMP l",
        "DUMP x",
        "DUMP b",
        "DUMP t",
        "BITOP OR d b t",
        "BITOP NOT d b",
        "XREADGROUP GROUP new c STREAMS x >",
        "XREADGROUP GROUP old c STREAMS x 0",
        "XAUTOCLAIM x old c2 0 0 COUNT 1000",
        "XCLAIM x old c2 0 1-1 2-1 3-1 4-1 5-1",
        "XGROUP DELCONSUMER x old c",
        "ZREMRANGEBYRANK z 1 -2",
        "LPOP l 90",
        "LMPOP 1 l RIGHT COUNT 90",
        "SPOP s 100",
        "ZPOPMIN z 90",
        "ZMPOP 1 z MAX COUNT 90",
        "SUNION s s2",
        "ZUNION 2 z s2",
        "SORT l ALPHA",
    )
} | {f"RESTORE of {key}": restore(key) for key in ("s", "z", "h", "l", "x", "t")}
COMMANDS["RESTORE of a listpack"] = restore_listpack


@cache
def filled() -> dict[bytes, Any]:
    server = Handling()
    fill(server)
    return dict(server.store.entries)


def serve(limit: int = ServerOptions().memory_limit) -> Handling:
    """At this limit, over fresh data."""
    server = Handling()
    server.store.entries.update(filled())
    object.__setattr__(server.services.config.options, "memory_limit", limit)
    return server


@pytest.mark.parametrize("line", COMMANDS)
def test_a_quarter_of_the_limit(line: str) -> None:
    server = serve()
    request = COMMANDS[line](server)
    expected = server.call(*request)
    assert not str(expected).startswith("-")
    expected_writes = dict(server.pending.points)
    refused, fitting = 0, 4 * (200_000 + 1000 * ELEMENTS)  # a thousand bytes an element, and the strings
    while fitting - refused > 4:
        middle = (refused + fitting) // 8 * 4
        server = serve(middle)
        found = server.call(*request)
        if found == OUT_OF_MEMORY:
            assert not server.pending.points
            assert not server.pending.ranges
            assert server.call(b"GET", b"d") == b"there before"
            refused = middle
        else:
            assert found == expected
            assert server.pending.points.keys() == expected_writes.keys()
            fitting = middle
    assert fitting >= 4 * 100, "it is refused by what its result takes"


@pytest.mark.parametrize("line", [b"SORT few BY w_* ALPHA", b"SORT few BY w_* ALPHA STORE d"])
def test_weights_that_are_larger_than_what_is_sorted(line: bytes) -> None:
    server = serve()
    server.call(b"RPUSH", b"few", b"1", b"2", b"3")
    for number in (b"1", b"2", b"3"):
        server.call(b"SET", b"w_" + number, b"w" * 5000)
    object.__setattr__(server.services.config.options, "memory_limit", 4 * 15_000)
    assert server.call(*line.split()) == OUT_OF_MEMORY
    object.__setattr__(server.services.config.options, "memory_limit", 4 * 15_500)
    assert server.call(*line.split()) in ([b"1", b"2", b"3"], 3)
