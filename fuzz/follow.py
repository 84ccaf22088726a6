"""The stream of a source that is followed as a replica follows it: cut anywhere, lost and gone on with, or spoilt.

Invariant: of a good source each key and each request comes once, in order, however its bytes are cut, and whenever the
connection is lost or the source refuses for a while; it is never told more than was done, and nothing before all keys
are there; what was given is passed on before it waits for more; no transaction is begun and left while the source is
there. A spoilt source raises PeerError or ImportDataError alone, or is waited for.

The first byte says whether the source is good, the next ones what it sends; then how it is cut, lost and spoilt.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, cast
from unittest.mock import patch

from flin.address import parse
from flin.errors import ImportDataError, PeerError
from flin.rdb import body
from flin.rdb import file as rdb
from flin.rdb.crc64 import crc64
from flin.rdb.dump import stored
from flin.rdb.value import String
from flin.transfer import replica_feed
from flin.transfer.link import Link, pack
from flin.transfer.record import Record, Request
from flin.transfer.replica_feed import ReplicaFeed
from fuzz.byte_source import ByteSource

ADDRESS: Final = parse("redis://source:6379")
BEGIN: Final = 1000
"""The offset of the source's stream at which its keys were written."""

MOST_LOSSES: Final = 8
MOST_REFUSALS: Final = 20
"""Each costs half a second of the clock, and a minute is the end."""

MOST_SILENCES: Final = 300
"""Draws from the input make a few dozen at most."""

REQUESTS: Final = (
    [b"SET", b"k", b"v"], [b"INCR", b"n"], [b"MULTI"], [b"EXEC"], [b"multi"], [b"exec"], [b"PING"],
    [b"REPLCONF", b"GETACK", b"*"], [b"SELECT", b"1"], [b"SET", b"", b"\r\n*1\r\n$4\r\nPING\r\n"], [b"X", b"x" * 3000],
)  # fmt: skip

SPOILT: Final = (
    b"", b"\n", b"\r\n", b"*", b"*-1\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"-ERR\r\n", b"+FULLRESYNC\r\n", b"$-1\r\n",
    b"*1\r\n*1\r\n", b"$99999999\r\n", b"*99999999\r\n", b"%1\r\n", b"\0",
)  # fmt: skip


class Clock:
    """Time passes where somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """What connections to it say, as the input has it."""

    def __init__(self, source: ByteSource, clock: Clock, *, is_good: bool) -> None:
        self.draw: Final = source
        self.clock: Final = clock
        self.is_good: Final = is_good
        self.requests: Final = list(_requests(source))
        self.stream: Final = pack(self.requests)
        self.losses = self.refusals = self.silences = 0
        self.is_lost = False
        self.told: list[int] = []
        self.given = self.flushed = 0  # requests
        self.identity = self.heard_identity = b"a" * 40

    def answer(self, words: list[bytes]) -> bytes:
        """To PSYNC, and all that follows."""
        if words[1] == b"?":
            keys = _file()
            empty = b"\n" * self.draw.randrange(3)
            head = b"+FULLRESYNC %b %d\r\n%b$%d\r\n" % (self.identity, BEGIN, empty, len(keys))
            return self.spoilt(empty + head + keys) + self.spoilt(self.stream)
        at = int(words[2]) - 1 - BEGIN
        assert words[1] in (self.identity, self.heard_identity) or not self.is_good, f"it knows it as {words[1]!r}"
        assert 0 <= at <= len(self.stream) or not self.is_good, f"it goes on at {at}"
        how = self.draw.randrange(4)
        if how == 1 and self.refusals < MOST_REFUSALS:
            self.refusals += 1
            return b"-LOADING Redis is loading the dataset in memory\r\n"
        if how == 2:
            self.identity = b"b" * 40
            return self.spoilt(b"+CONTINUE %b\r\n" % self.identity) + self.stream[at:]
        return self.spoilt(b"+CONTINUE\r\n" if how else b"\n+CONTINUE %b\r\n" % self.identity) + self.stream[at:]

    def check_told(self, given: int, settled: int) -> None:
        """What it was told since the last time, when so much had been given, of which so much was settled."""
        assert not self.told or given > len(_keys()), "its keys are not there yet"
        for offset in self.told if self.is_good else ():
            done = [words for words in self.requests if not _is_silent(words)][: max(0, given - 1 - len(_keys()))]
            assert offset <= BEGIN or settled == given, "not all is settled"
            assert offset <= self._end_of(len(done)), f"it was told {offset} when {given} were done"
        self.told.clear()

    def _end_of(self, count: int) -> int:
        """The offset behind so many requests, and what is silent behind them."""
        end = BEGIN
        for words in self.requests:
            count -= not _is_silent(words)
            if count < 0:
                break
            end += len(pack([words]))
        return end

    def spoilt(self, data: bytes) -> bytes:
        if self.is_good or not self.draw.randrange(2):
            return data
        at = self.draw.randrange(len(data) + 1)
        return data[:at] + self.draw.choice(SPOILT) + data[at + self.draw.randrange(9) :]


class FakeLink:
    """A connection that gives some bytes at a time, or is lost."""

    address = ADDRESS

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = b""
        self._line_bytes = 0  # until the line has come that says the source's name

    def maybe(self, *words: bytes) -> bytes:
        return b"OK"

    def close(self) -> None:
        self._left = b""

    def send_bytes(self, data: bytes) -> None:
        if data == b"\n":  # it lives, and loads its keys
            return
        words = data.split(b"\r\n")[2::2]
        if words[0] == b"PSYNC":
            self._left = self._source.answer(words)
            line = self._left[: self._left.find(b"\r\n") + 2]
            self._line_bytes = len(line) if self._source.identity in line else len(self._left) + 1
            self._source.is_lost = self._left.startswith(b"-")
        else:
            assert words[:2] == [b"REPLCONF", b"ACK"]
            self._source.told.append(int(words[2]))

    def bytes_within(self, seconds: float) -> bytes:
        source = self._source
        assert not seconds or source.flushed == source.given, "it waits with what it was to pass on"
        how = source.draw.randrange(8)
        if how == 0 and source.losses < MOST_LOSSES and (self._left or source.told):
            source.losses += 1
            source.is_lost = True
            raise PeerError(str(ADDRESS), "it has closed the connection")
        if how == 1 or not self._left:
            source.clock.now += 0.3 if self._left else seconds
            source.silences += 1
            if source.silences > MOST_SILENCES:
                raise Enough
            return b""
        size = source.draw.randrange(400) or 1 << 20
        data, self._left = self._left[:size], self._left[size:]
        self._line_bytes -= len(data)
        if self._line_bytes <= 0:
            source.heard_identity = source.identity
        return data


class Enough(Exception):
    """A spoilt source has said nothing for long: it is waited for."""


def one_input(data: bytes) -> None:
    source = Source(ByteSource(data[1:]), Clock(), is_good=data[:1] < b"\xa0")
    stop = source.draw.randrange(40) or len(source.requests) + len(_keys())
    given: list[Record | Request] = []
    settled = 0

    def is_over() -> bool:
        is_all = feed.is_used_up and (feed.offset == BEGIN + len(source.stream) or not source.is_good)
        return is_all or len(given) > stop

    def flush() -> None:
        source.flushed = source.given

    def settle() -> None:
        nonlocal settled
        settled = len(given)
        flush()

    with (
        patch.object(replica_feed, "monotonic", source.clock),
        patch.object(replica_feed, "sleep", source.clock.sleep),
    ):
        feed = ReplicaFeed(lambda: cast(Link, FakeLink(source)), is_over, flush, settle, lambda: None)
        try:
            for item in feed.items():
                source.check_told(len(given), settled)
                given.append(cast(Record | Request, item))
                source.given += isinstance(item, Request)
                source.clock.now += 0.3 * source.draw.randrange(5)
        except (PeerError, ImportDataError, Enough) as error:
            if source.is_good and feed.is_loaded:
                raise AssertionError("a good source is given up") from error
            return
    if source.is_good:
        source.check_told(len(given), settled)
        _check(source, given, is_cut=len(given) > stop)


def _check(source: Source, given: list[Record | Request], *, is_cut: bool) -> None:
    keys, asked = given[: len(_keys())], [item.words for item in given[len(_keys()) :] if isinstance(item, Request)]
    assert [item.key for item in keys if isinstance(item, Record)] == _keys()
    expected = [[b"SELECT", b"3"], *(words for words in source.requests if not _is_silent(words))]
    assert asked == (expected[: len(asked)] if is_cut else expected), f"{asked} of {expected}"
    assert source.is_lost or not _is_open(asked), "half a transaction"


def _is_silent(words: list[bytes]) -> bool:
    """Whether it is between the source and those who follow it."""
    return words[0] in (b"PING", b"REPLCONF")


def _is_open(requests: list[list[bytes]]) -> bool:
    """Whether a transaction was begun and not ended."""
    is_open = False
    for words in requests:
        name = words[0].upper()
        is_open = name == b"MULTI" or (is_open and name != b"EXEC")
    return is_open


def _requests(source: ByteSource) -> Iterator[list[bytes]]:
    requests = [source.choice(REQUESTS) for _ in range(source.randrange(30))]
    yield from requests
    if _is_open(requests):
        yield [b"EXEC"]


def _keys() -> list[bytes]:
    return [b"k%d" % number for number in range(4)]


@cache
def _file() -> bytes:
    """Keys of a source that is a replica: its stream begins in database 3."""
    data = rdb.head() + rdb.fact(b"repl-stream-db", b"3") + rdb.database(0)
    for key in _keys():
        entry = body.encode(String(b"v" * 300))
        data += rdb.entry_head(entry[0], key, 0) + entry[1:]
    data += rdb.end()
    return data + stored(crc64(data))
