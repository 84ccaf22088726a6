"""Random scenes of clients that track: who reads and writes what, in which mode, redirected to whom."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from tests.net.scenes import LEAVES, Arrived

KEYS = ("a", "b", "ab", "abc", "c")
READS = (
    *("GET KEY", "MGET KEY KEY", "EXISTS KEY KEY", "LRANGE KEY 0 -1", "TTL KEY", "HGETALL KEY", "TYPE KEY"),
    *("STRLEN KEY", "SCARD KEY", "SORT_RO KEY ALPHA"),
)
WRITES = (
    *("SET KEY 1", "MSET KEY 1 KEY 2", "DEL KEY KEY", "INCR KEY", "RPUSH KEY x", "LPOP KEY", "HSET KEY f v"),
    *("EXPIRE KEY 1000", "PERSIST KEY", "APPEND KEY x", "SET KEY x NX", "GETDEL KEY", "SADD KEY m"),
    *("COPY KEY KEY REPLACE", "GETSET KEY 2", "SETRANGE KEY 1 x", "SUNIONSTORE KEY KEY KEY"),
)
TRACKERS = ("a3", "b3", "c", "d3")
"""`c` speaks RESP2: it is told through `s`, or not at all. `z3` always tracks: the table goes when nobody does."""

_INVALIDATION = re.compile(
    rb"(?:>2\r\n\$10\r\ninvalidate\r\n|\*3\r\n\$7\r\nmessage\r\n\$20\r\n__redis__:invalidate\r\n)"
    rb"(\*\d+\r\n(?:\$\d+\r\n[a-z]*\r\n)+|_\r\n|\$-1\r\n)"
)


def script(draw: random.Random, steps: int, *, transactions: bool = False) -> Iterator[str]:
    """The steps of a scene. transactions: some of them are in MULTI."""

    def key() -> str:
        return draw.choice(KEYS)

    def filled(request: str) -> str:
        return " ".join(key() if word == "KEY" else word for word in request.split())

    def read() -> str:
        return filled(draw.choice(READS))

    def write() -> str:
        return draw.choice(("FLUSHALL", "FLUSHDB")) if draw.random() < 0.03 else filled(draw.choice(WRITES))

    def mode() -> str:
        options = [option for option in ("BCAST", "OPTIN", "OPTOUT", "NOLOOP") if draw.random() < 0.25]
        prefixes = draw.sample(("a", "ab", "b", ""), draw.choice((0, 0, 0, 1, 2)))
        options += [f"PREFIX {prefix}" for prefix in prefixes]
        if draw.random() < 0.2:
            options.append(f"REDIRECT {{{draw.choice(('s', 's', 's3', 'a3'))}}}")
        return f"CLIENT TRACKING ON {' '.join(options)}".rstrip(" ") if options else "CLIENT TRACKING ON"

    yield "z3: CLIENT TRACKING ON; GET z"
    yield "s: SUBSCRIBE __redis__:invalidate"
    yield "s3: PING"
    yield "a3: CLIENT TRACKING ON"
    yield "c: CLIENT TRACKING ON REDIRECT {s}"
    for _ in range(steps):
        who, chance = draw.choice(TRACKERS), draw.random()
        if chance < 0.4:
            yield f"{who}: {read()}"
        elif chance < 0.6:
            yield f"w: {write()}"
        elif chance < 0.75:
            yield f"{who}: {write()}"
        elif chance < 0.82:
            yield f"{who}: {mode()}"
        elif chance < 0.86:
            yield f"{who}: CLIENT TRACKING OFF"
        elif chance < 0.91:
            yield f"{who}: CLIENT CACHING {draw.choice(('YES', 'NO'))}"
        elif chance < 0.93:
            yield f"{who}: {draw.choice(('CLIENT TRACKINGINFO', 'CLIENT GETREDIR', 'RESET', 'PING'))}"
            yield f"{who}: HELLO {3 if who.endswith('3') else 2} SETNAME x; CLIENT GETNAME"
        elif chance < 0.935:
            gone = draw.choice(("s", "s3"))
            yield f"{gone}: {LEAVES}"
            yield f"{gone}: {'SUBSCRIBE __redis__:invalidate' if gone == 's' else 'PING'}"
        elif transactions:
            requests = [draw.choice((read, write))() for _ in range(draw.randint(1, 5))]
            yield f"{draw.choice((who, 'w'))}: MULTI; {'; '.join(requests)}; EXEC"
        else:
            yield f"{who}: {read()}"


def tells_the_same(ours: Arrived, theirs: Arrived) -> bool:
    """Whether Flin answers and invalidates what Redis does. (Redis tells a writer to whom another one redirects before
    it has its reply.)"""
    names = {*ours, *theirs}
    return all(_apart(ours.get(name, b"")) == _apart(theirs.get(name, b"")) for name in names)


def _apart(data: bytes) -> tuple[bytes, list[bytes]]:
    return _INVALIDATION.sub(b"", data), sorted(found[0] for found in _INVALIDATION.finditer(data))


def tells_no_less(ours: Arrived, theirs: Arrived) -> bool:
    """Whether Flin answers what Redis answers, and invalidates at least what Redis does."""
    for name in {*ours, *theirs}:
        mine, other = ours.get(name, b""), theirs.get(name, b"")
        if _INVALIDATION.sub(b"", mine) != _INVALIDATION.sub(b"", other):
            return False
        told = _keys(mine)
        if not told >= _keys(other) and b"" not in told:
            return False
    return True


def _keys(data: bytes) -> set[bytes]:
    """What is invalidated; the empty key stands for everything."""
    told: set[bytes] = set()
    for found in _INVALIDATION.finditer(data):
        told.update(found[1].split(b"\r\n")[2::2] if found[1].startswith(b"*") else [b""])
    return told
