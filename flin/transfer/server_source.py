"""The keys of a running server: SCAN, then for each key its expiry and its DUMP, in pipelines.

The next pipeline is on its way before the replies to the last one are used, so that the server works meanwhile. A
SCAN's reply stands first in its pipeline: the keys of the following one are known at once.

SCAN gives every key that is there from its beginning to its end, perhaps twice; one that is written meanwhile may come
as it was before or after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from flin.errors import ImportDataError, LimitError, PayloadError, PeerError
from flin.rdb import body, dump, lzf
from flin.rdb.value import String, Value
from flin.transfer.link import Link, Reply, pack
from flin.transfer.record import STRING, Item, Library, Record, record_of

SCAN_COUNT: Final = 1000

PIPELINE_BYTES: Final = 8 << 20
"""A pipeline's values, by what those before took: the server keeps them in memory until they are read."""

FIRST_KEYS: Final = 64
"""Keys of the first pipeline, when nothing is known of the values."""

MAX_VALUE_BYTES: Final = 1 << 32
"""What one value may take while it is decoded."""

BEGINNING: Final = b"0"
"""The cursor of the beginning, and of the end."""

_ABSOLUTE_EXPIRY_SINCE: Final = (7, 0)  # PEXPIRETIME
_KINDS: Final = {
    **dict.fromkeys((1, 10, 14, 18), "list"),
    **dict.fromkeys((2, 11), "set"),
    **dict.fromkeys((3, 5, 12, 17), "sorted set"),
    **dict.fromkeys((4, 9, 13, 16), "hash"),
    **dict.fromkeys((15, 19), "stream"),
}
_STRING_TYPE: Final = b"\0"
_SHORT: Final = 0x40
"""A string whose first byte is below has as many bytes; below twice as much, it is the upper part of 14 bits."""
_COMPRESSED: Final = 0xC3


class Dumped(NamedTuple):
    key: bytes
    payload: bytes
    """What DUMP gives."""
    expires_at_ms: int
    """0: never."""


class Page(NamedTuple):
    database: int
    dumped: list[Dumped]
    cursor: bytes
    """From here a later walk goes on, once this page is kept; BEGINNING: the database is done."""


class ServerSource:
    def __init__(self, link: Link, now_ms: int, match: bytes | None = None) -> None:
        """now_ms: this machine's clock, for expiries of servers before 7.0. match: only keys of this pattern, as SCAN
        takes it. PeerError if the server refuses the database that its URL names."""
        self._link: Final = link
        self._match: Final = match
        told = _lines(link.ask(b"INFO"))
        self.run_id: Final = told.get("run_id", "")
        """Another one: the server was started anew, and no cursor of before means anything."""
        self.version: Final = _version(told.get("redis_version", ""))
        self._is_absolute: Final = self.version >= _ABSOLUTE_EXPIRY_SINCE
        self._database = 0
        self._now_ms: Final = now_ms
        self.databases: Final = _databases(told)
        """How many keys each database has that has any."""
        if link.address.database is not None:
            keys = self.databases.get(link.address.database, 0)
            self.databases.clear()
            self.databases[link.address.database] = keys
            self.select(link.address.database)  # refused now: nothing is begun yet

    @property
    def database(self) -> int:
        """The one that is selected."""
        return self._database

    def select(self, database: int) -> None:
        if database != self._database:
            self._link.ask(b"SELECT", b"%d" % database)
            self._database = database

    def count(self, database: int) -> int:
        self.select(database)
        count: int = self._link.ask(b"DBSIZE")
        return count

    def pages(self, database: int, cursor: bytes = BEGINNING) -> Iterator[Page]:
        """Its keys from the cursor on. PeerError if the server refuses, or is gone."""
        self.select(database)
        return _Walk(self, self._link, database, cursor).pages()

    def items(self) -> Iterator[Item]:
        """Libraries, and each key once."""
        yield from self.libraries()
        address = str(self._link.address)
        for database in self.databases:
            seen: set[bytes] = set()
            for page in self.pages(database):
                for dumped in page.dumped:
                    if dumped.key not in seen:
                        seen.add(dumped.key)
                        yield record(dumped, database, address, decodes=False)

    def libraries(self) -> list[Library]:
        """Those of functions; none from a server before 7.0, or that does not let us see them."""
        reply = self._link.maybe(b"FUNCTION", b"DUMP")
        if self._link.is_error(reply):
            return []
        from flin.net.scripting import functions  # only who has libraries needs it

        return [Library(source) for source in functions.decode(reply)]

    def values(self, database: int, keys: list[bytes]) -> list[Dumped | None]:
        """What keys are now; None: gone."""
        self.select(database)
        found: list[Dumped | None] = []
        for start in range(0, len(keys), FIRST_KEYS):
            some = keys[start : start + FIRST_KEYS]
            self._link.send(self.asked(some))
            found += self.dumped(some, self._link.replies(2 * len(some)))
        return found

    def scan(self, cursor: bytes) -> list[bytes]:
        pattern = [] if self._match is None else [b"MATCH", self._match]
        return [b"SCAN", cursor, *pattern, b"COUNT", b"%d" % SCAN_COUNT]

    def asked(self, keys: list[bytes]) -> bytes:
        """The requests about keys."""
        name = b"PEXPIRETIME" if self._is_absolute else b"PTTL"
        form = b"*2\r\n$%d\r\n%b\r\n$%%d\r\n%%b\r\n*2\r\n$4\r\nDUMP\r\n$%%d\r\n%%b\r\n" % (len(name), name)
        return b"".join([form % (size := len(key), key, size, key) for key in keys])

    def dumped(self, keys: list[bytes], replies: list[Reply]) -> list[Dumped | None]:
        """What the replies say."""
        return [
            Dumped(key, payload, 0) if expiry == -1 and type(payload) is bytes else self._dumped(key, expiry, payload)
            for key, expiry, payload in zip(keys, replies[::2], replies[1::2], strict=True)
        ]

    def _dumped(self, key: bytes, expiry: Reply, payload: Reply) -> Dumped | None:
        if type(payload) is bytes and type(expiry) is int:
            if expiry < 0:
                return Dumped(key, payload, 0)
            return Dumped(key, payload, max(1, expiry) if self._is_absolute else self._now_ms + expiry)
        if payload is None:
            return None
        refusal = payload if self._link.is_error(payload) else expiry
        raise PeerError(str(self._link.address), f"it answers to DUMP of the key {key!r}: {refusal}")


class _Pipeline(NamedTuple):
    """One that was sent."""

    keys: list[bytes]
    scans: bool
    """A SCAN stands before them."""
    cursor: bytes
    """That of its Page."""


class _Walk:
    """One way through a database. What a SCAN gives is asked for by one pipeline or several; the first of these asks
    for the next SCAN, too."""

    def __init__(self, source: ServerSource, link: Link, database: int, cursor: bytes) -> None:
        self._source: Final = source
        self._link: Final = link
        self._database: Final = database
        self._size = FIRST_KEYS
        self._begin, self._end = cursor, cursor  # the cursors of the SCAN, and of the next one
        self._keys: list[bytes] = []  # that it gave, to be asked for
        self._has_asked = False  # for the next one
        self._next: tuple[bytes, list[bytes]] | None = None  # what that gave

    def pages(self) -> Iterator[Page]:
        self._link.send(pack([self._source.scan(self._begin)]))
        self._receive_scan()
        self._begin_next(self._begin)
        current = self._send()
        while current is not None:
            if current.scans:
                self._receive_scan()
            following = self._send()
            replies = self._link.replies(2 * len(current.keys))
            found = [each for each in self._source.dumped(current.keys, replies) if each is not None]
            self._learn(found)
            yield Page(self._database, found, current.cursor)
            current = following

    def _receive_scan(self) -> None:
        (reply,) = self._link.replies(1)
        if self._link.is_error(reply):
            raise self._link.refused(b"SCAN", reply)
        cursor, keys = reply
        self._next = cursor, keys

    def _begin_next(self, begin: bytes) -> None:
        assert self._next is not None, "it was asked for by the first pipeline of what is done"
        self._begin, (self._end, self._keys) = begin, self._next
        self._next, self._has_asked = None, self._end == BEGINNING

    def _send(self) -> _Pipeline | None:
        """The next pipeline; None: there is no more."""
        if not self._keys and self._has_asked:
            if self._end == BEGINNING:
                return None
            self._begin_next(self._end)
            if not self._keys and self._end == BEGINNING:
                return None
        keys, self._keys = self._keys[: self._size], self._keys[self._size :]
        scans, self._has_asked = not self._has_asked, True
        scan = pack([self._source.scan(self._end)]) if scans else b""
        self._link.send(scan + self._source.asked(keys))
        return _Pipeline(keys, scans, self._begin if self._keys else self._end)

    def _learn(self, found: list[Dumped]) -> None:
        """How many keys the next pipelines may ask for."""
        if found:
            mean_bytes = sum(len(each.payload) for each in found) // len(found)
            self._size = max(1, min(2 * self._size, SCAN_COUNT, PIPELINE_BYTES // (mean_bytes + 1)))


# What replies say.


def record(dumped: Dumped, database: int, address: str, *, decodes: bool) -> Record:
    """The record of a key. decodes: a collection is there as a value, not as a payload: its checksum is not compared,
    as no other reply's is. ImportDataError if it is no value, or none that Flin has."""
    key, payload, expires_at_ms = dumped
    text = maybe_text(payload)
    if text is not None:
        return Record(key, text, STRING, expires_at_ms, database)
    kind = _KINDS.get(payload[0]) if payload else None
    if kind is not None and not decodes:
        return Record(key, payload, kind, expires_at_ms, database)
    value = value_of(dumped, address)
    # One of a later type is put into an older one, which is read wherever the record goes.
    again = b"" if decodes or type(value) is String else dump.encode(value)
    return record_of(key, value, expires_at_ms, database, payload=again)


def maybe_text(payload: bytes) -> bytes | None:
    """A string in one of the forms that nearly all have, read without a Reader, in a third of its time; None: see
    value_of."""
    if payload[:1] != _STRING_TYPE:
        return None
    size = len(payload) - dump.FOOTER_BYTES
    try:
        first = payload[1]
        if first < _SHORT:
            return payload[2:size] if size == 2 + first else None
        if first < 2 * _SHORT:
            return payload[3:size] if size == 3 + ((first & 63) << 8 | payload[2]) else None
        if first != _COMPRESSED:
            return None
        compressed, middle = _short_length(payload, 2)
        plain, start = _short_length(payload, middle)
        return lzf.decompress(payload[start:size], plain) if size == start + compressed else None
    except (IndexError, PayloadError):
        return None


def _short_length(data: bytes, at: int) -> tuple[int, int]:
    """A length of up to 14 bits, and where it ends; IndexError for a longer one."""
    first = data[at]
    if first < _SHORT:
        return first, at + 1
    if first < 2 * _SHORT:
        return (first & 63) << 8 | data[at + 1], at + 2
    raise IndexError


def value_of(dumped: Dumped, address: str) -> Value:
    """ImportDataError if it is no value, or none that Flin has."""
    try:
        return body.decode_later(dumped.payload[: -dump.FOOTER_BYTES], MAX_VALUE_BYTES)
    except (PayloadError, LimitError) as error:
        raise ImportDataError(address, f"the key {dumped.key!r}", str(error)) from error


def _lines(info: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines() if ":" in line)
    return {name: text for name, _, text in pairs}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _databases(told: dict[str, str]) -> dict[int, int]:
    """From lines like `db0:keys=5,expires=0,avg_ttl=0`."""
    found = {}
    for name, text in told.items():
        if name.startswith("db") and name[2:].isdigit():
            keys = dict(part.partition("=")[::2] for part in text.split(",")).get("keys", "0")
            found[int(name[2:])] = int(keys)
    return dict(sorted(found.items()))
