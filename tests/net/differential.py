"""The same requests to two servers, their raw replies side by side.

A run has two connections to each server. Neighbouring requests of one connection go as one pipeline, so that pipelines
of all lengths occur; the other connection sends only when all replies are there, so that the order is certain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from tests.net.generator import OPTIONS, PLAIN, QUEUEABLE, TRANSACTIONS, Burst, Comparison, Generator, Kind, Request
from tests.net.raw_client import Raw, RawClient

MIN_OF_EACH = 30
"""Requests per command and kind that the random runs of a suite must hold."""

_NEAR = 600_000
"""The largest difference of remaining times, in seconds or milliseconds: ten minutes in ms. Delays begin at a day."""

_MAX_PIPELINE = 64
INTERNAL_ERROR = b"-ERR internal error"
"""Flin's answer when a handler raised an unexpected exception; Redis has no such reply."""


def schedule(seed: int, each: int, protocol: int = 2) -> Iterator[Request]:
    """Each command of each kind so often, in random order: about a thousand requests for one of each."""
    source = Generator(seed, protocol)
    jobs: list[tuple[str, Kind]] = [(name, "plain") for name in PLAIN for _ in range(each)]
    jobs += [(name, "options") for name in OPTIONS for _ in range(each)]
    jobs += [(name, "wrong") for name in (*PLAIN, *TRANSACTIONS) for _ in range(each)]
    jobs += [("", "plain")] * (each * 16)  # transactions: one in seven ends with DISCARD
    source.random.shuffle(jobs)
    for name, kind in jobs:
        yield from _burst(source, name, kind)


_KINDS: list[Kind] = ["plain", "options", "wrong"]


def _burst(source: Generator, name: str, kind: Kind) -> Burst:
    if not name:
        return source.transaction(QUEUEABLE)
    return source.wrong(name) if kind == "wrong" else source.burst(name, kind)


def focused(names: Sequence[str], seed: int, total: int, protocol: int = 2) -> Iterator[Request]:
    """At least `total` requests of these commands, and of the transactions and others that go with them."""
    source = Generator(seed, protocol)
    made = 0
    while made < total:
        name = "" if source.random.random() < 0.1 else source.pick(names)
        kind: Kind = "plain" if source.random.random() < 0.7 else source.pick(_KINDS)
        burst = source.transaction(names) if not name else _burst(source, name, kind)
        made += len(burst)
        yield from burst


def counts(requests: Iterable[Request]) -> Counter[tuple[str, Kind]]:
    return Counter((request.name, request.kind) for request in requests)


class Pair:
    """Two connections each to Flin and to Redis."""

    def __init__(self, flin_port: int, redis_port: int, protocol: int) -> None:
        self._flin = [RawClient(flin_port) for _ in range(2)]
        self._redis = [RawClient(redis_port) for _ in range(2)]
        self._protocol = protocol
        self.ends: Counter[str] = Counter()
        """How the transactions ended: run, touched (a watched key was), aborted."""
        self.errors: Counter[bytes] = Counter()
        """Redis's errors, by their first word."""

    def __enter__(self) -> Pair:
        self.begin_again()
        return self

    def __exit__(self, *exception: object) -> None:
        for client in [*self._flin, *self._redis]:
            client.close()

    def begin_again(self) -> None:
        """Reset the connections, and delete all keys."""
        begin = [[b"RESET"], [b"HELLO", b"%d" % self._protocol], [b"FLUSHALL"]]
        for client in [*self._flin, *self._redis]:
            reset, hello, flushed = client.pipeline(begin)
            assert (reset.data, hello.is_error, flushed.data) == (b"+RESET\r\n", False, b"+OK\r\n"), hello.data

    def differences(self, requests: Iterable[Request]) -> Iterator[str]:
        """The differences, request by request, each with the requests just before it."""
        for connection, group in groupby(requests, key=lambda request: request.connection):
            whole = list(group)
            for start in range(0, len(whole), _MAX_PIPELINE):
                yield from self._compare(connection, whole[start : start + _MAX_PIPELINE])

    def _compare(self, connection: int, pipeline: list[Request]) -> Iterator[str]:
        words = [request.words for request in pipeline]
        flin, redis = self._flin[connection], self._redis[connection]
        flin.send(words)
        redis.send(words)
        before: list[str] = []
        for request in pipeline:
            ours, theirs = flin.read(), redis.read()
            if request.name == "exec" and request.kind == "plain":
                self.ends["touched" if theirs.is_null else "aborted" if theirs.is_error else "run"] += 1
            if theirs.is_error:
                self.errors[theirs.payload.partition(b" ")[0]] += 1
            before = [*before[-6:], f"{shortened(b' '.join(request.words))} -> {shortened(theirs.data)}"]
            if not agree(request, ours, theirs):
                context = "\n    ".join(before)
                yield f"{request.name} ({request.compare}): Flin {shortened(ours.data)}\n    {context}"


def agree(request: Request, ours: Raw, theirs: Raw) -> bool:
    if ours.data.startswith(INTERNAL_ERROR):
        return False  # even where any error would do
    if request.compare == "transaction" and len(ours.items) == len(theirs.items) == len(request.elements):
        triples = zip(request.elements, ours.items, theirs.items, strict=True)
        return all(_alike(compare, one, other) for compare, one, other in triples)
    return _alike(request.compare, ours, theirs)


def _alike(compare: Comparison, ours: Raw, theirs: Raw) -> bool:
    if ours.data == theirs.data:
        return True
    if compare == "unordered":
        return _canonical(ours) == _canonical(theirs)
    if compare == "pairs":
        return _canonical_pairs(ours) == _canonical_pairs(theirs)
    if compare == "length" and not ours.is_error:
        return (ours.kind, ours.is_null, len(ours.items)) == (theirs.kind, theirs.is_null, len(theirs.items))
    if compare == "near" and ours.kind == theirs.kind == b":":
        one, other = int(ours.payload), int(theirs.payload)
        return one >= 0 and other >= 0 and abs(one - other) <= _NEAR
    if compare == "numbers":
        return _without_numbers(ours) == _without_numbers(theirs)
    return compare == "shape" and (ours.kind, ours.is_null) == (theirs.kind, theirs.is_null)


def _canonical(reply: Raw) -> tuple[bytes, list[object]] | bytes:
    if not reply.items:
        return reply.data
    return reply.kind, sorted((_canonical(item) for item in reply.items), key=repr)


def _canonical_pairs(reply: Raw) -> object:
    """A scan's reply is its cursor and then the pairs."""
    if len(reply.items) == 2 and reply.items[1].kind == b"*":
        return reply.items[0].data, [_canonical_pairs(reply.items[1])]
    if not reply.items or len(reply.items) % 2:
        return reply.data
    words = [item.data for item in reply.items]
    return reply.kind, sorted(zip(words[::2], words[1::2], strict=True))


def _without_numbers(reply: Raw) -> list[bytes]:
    """The same tree in one list, integers blanked."""
    own = reply.kind if reply.kind == b":" or reply.items else reply.data
    return [own, *(part for item in reply.items for part in _without_numbers(item))]


def shortened(data: bytes) -> str:
    text = repr(data)[2:-1]
    return text if len(text) <= 160 else f"{text[:100]}…{text[-50:]}"
