"""Bytes into requests: lists of bytes, name first, never empty. No I/O.

A recogniser gets a chunk and gives *whole requests, or no opinion* (None): then the next one gets the same bytes. They
are asked in order, cheapest first, and the incremental parser, which takes whatever comes, is the last:

1. `maybe_columns` (wire/columns.py): a pipeline as columns of arguments. Asked only by callers that can run columns.
2. `maybe_single`: exactly one request of two or three arguments, as clients without a pipeline send. It is split at
   its line ends, and every length it names is compared with that of the argument.
3. `Guarded`: hiredis, which parses in C, behind guards that it lacks itself.
4. `PythonParser` (resp_python.py), until it is empty again: inline commands, errors, what is cut twice, and all that
   arrives before authentication, where tighter limits hold.

A chunk is parsed as a whole before any of its requests runs, so a later recogniser may begin with the same bytes. A
request that is cut by the end of a chunk is carried once, by `Guarded`; meanwhile 1 and 2 are not asked. `fuzz/resp.py`
compares the recognisers with the incremental parser.

The guards:

- `*` with seven digits or more is looked for before hiredis sees the bytes (it allocates what a header announces), and
  so are counts below one, which announce no request;
- a type that hiredis turns into anything but bytes (a number, a null, a nested array …) is found by joining all
  arguments;
- a byte that opens a type which it does turn into bytes, or into a container of them, must occur in the chunk as often
  as in the arguments: then none stands outside them;
- the asterisks outside of arguments are counted: as many as requests, and nothing left in hiredis, means that no
  request is cut;
- in place of all these counts long requests are encoded again, which must give the bytes that arrived.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, TypeAlias

from flin.errors import ProtocolError
from flin.net.wire.columns import MIN_REQUESTS, Column, maybe_columns
from flin.net.wire.resp import encode_requests
from flin.net.wire.resp_python import TRUSTED, UNTRUSTED, PythonParser, RequestLimits

hiredis: Any
try:
    import hiredis
except ImportError:  # the pure-Python parser does everything
    hiredis = None

CARRIED_BYTES: Final = 64 * 1024
"""The most bytes of a cut request that are carried. A longer one goes to the incremental parser at once: carrying would
copy it again."""

LONG_REQUEST_BYTES: Final = 200
"""Where requests are longer than this on average, encoding them again and comparing all bytes is cheaper than counting
some of them: 3 µs for ten requests of any length, where the counts take 0.7 µs for each KB of text, and 7 for each KB
that holds all of these bytes, as compressed or encrypted values do."""

Requests: TypeAlias = "list[list[bytes]]"

_unusual_header = re.compile(rb"\*(?:[0-9]{7}|0|-)").search
_ASTERISK: Final = ord("*")
_NEWLINE: Final = ord("\n")
_PLUS: Final = ord("+")
_EQUALS: Final = ord("=")
_PERCENT: Final = ord("%")
_TILDE: Final = ord("~")
_GREATER: Final = ord(">")
_BAR: Final = ord("|")
_PARENTHESIS: Final = ord("(")
_flatten = chain.from_iterable


class _Headers(dict[int, bytes]):
    """The headers of bulks by length: a lookup costs 20 ns, formatting 100. Those of long bulks are not kept."""

    def __missing__(self, length: int) -> bytes:
        return b"$%d" % length


_HEADERS: Final = _Headers({length: b"$%d" % length for length in range(4097)})


class RequestParser:
    """Feed bytes, take requests. `error` is final, as in PythonParser."""

    __slots__ = (
        "_guarded",
        "_limits",
        "_recognisers",
        "error",
        "expects_columns",
        "incremental",
        "is_between_requests",
        "is_trusted",
    )

    def __init__(self, *, is_trusted: bool = True, limits: RequestLimits = TRUSTED) -> None:
        """limits: once the client is trusted. A bulk that comes whole in one chunk may be as long as the chunk."""
        self.error: ProtocolError | None = None
        self.is_trusted = is_trusted
        self.expects_columns = False  # the newest chunk looked like columns
        self._limits = limits
        self._guarded = None if hiredis is None else Guarded(limits)
        self.incremental: PythonParser | None = None  # while it parses
        self.is_between_requests = False  # nothing of a request that is cut is kept, so a chunk begins with a request
        self._recognisers: tuple[Callable[[bytes], Requests | None], ...] = ()  # asked before it
        if self._guarded is None or not is_trusted:
            self.incremental = PythonParser(limits if is_trusted else UNTRUSTED, limits)
        else:
            self._begin_recognising(self._guarded)

    def trust(self, trusted: bool = True) -> None:
        """Authentication succeeded: the ordinary limits from now on. Or it was revoked (RESET)."""
        self.is_trusted = trusted
        if self.incremental is None and not trusted:
            assert self._guarded is not None
            self._begin_incremental().feed(self._guarded.take_carried(), 0)
        if self.incremental is not None:
            self.incremental.limits = self._limits if trusted else UNTRUSTED

    @property
    def buffered_bytes(self) -> int:
        if self.incremental is not None:
            return self.incremental.buffered_bytes
        return len(self._guarded.carried) if self._guarded is not None else 0

    @property
    def has_more(self) -> bool:
        """Whether feed(b"") may give more: before authentication requests are given one at a time."""
        return self.incremental is not None and not self.incremental.is_empty and self.error is None

    def feed(self, data: bytes) -> Requests:
        """The requests that are complete now. After an error, those before it, then none."""
        for recognise in self._recognisers:
            requests = recognise(data)
            if requests is not None:
                if recognise is not maybe_single:
                    self._note_guarded(requests)
                return requests
        if self.incremental is None:
            assert self._guarded is not None
            data = self._guarded.take_carried() + data  # none of these bytes has had an effect yet
            self._begin_incremental()
        return self._feed_incremental(data)

    def maybe_columns(self, data: bytes, limit: int) -> tuple[bytes, list[Column]] | None:
        """Do what columns.py's function does. None says nothing: `feed` looks."""
        if self._guarded is not None and self.incremental is None and not self._guarded.carried:
            found = maybe_columns(data, limit)
            if found is not None:
                return found
        self.expects_columns = False
        return None

    def _note_guarded(self, requests: Requests) -> None:
        assert self._guarded is not None
        recognise = self._guarded.recognise
        self.is_between_requests = not self._guarded.carried
        self._recognisers = (maybe_single, recognise) if self.is_between_requests else (recognise,)
        if len(requests) >= MIN_REQUESTS:
            self.expects_columns = list(map(len, requests[0])) == list(map(len, requests[-1]))

    def _begin_recognising(self, guarded: Guarded) -> None:
        self.is_between_requests = True
        self._recognisers = (maybe_single, guarded.recognise)

    def _begin_incremental(self) -> PythonParser:
        self.is_between_requests = False
        self._recognisers = ()
        self.incremental = PythonParser(self._limits, self._limits)
        return self.incremental

    def _feed_incremental(self, data: bytes) -> Requests:
        parser = self.incremental
        assert parser is not None
        # Before authentication one at a time: the next may come after AUTH, under other limits.
        requests = parser.feed(data) if self.is_trusted else parser.feed(data, 1)
        self.error = parser.error
        if self.is_trusted and parser.is_empty and self.error is None and hiredis is not None:
            self.incremental = None
            self._guarded = Guarded(self._limits)
            self._begin_recognising(self._guarded)
        return requests


class Guarded:
    """hiredis behind its guards. `carried` is the beginning of a request that was cut; hiredis holds the same bytes."""

    __slots__ = ("_limits", "_reader", "carried")

    def __init__(self, limits: RequestLimits) -> None:
        self._reader: Any = None  # made at the first need: many a client never sends more than `maybe_single` knows
        self._limits = limits
        self.carried = b""

    def take_carried(self) -> bytes:
        """What is carried, for another parser: this object is of no use afterwards."""
        carried, self.carried = self.carried, b""
        return carried

    def recognise(self, data: bytes) -> Requests | None:
        """The requests of what is carried and the chunk, except one that is cut at the end. None: no opinion; `carried`
        is as it was, but hiredis is not."""
        whole = self.carried + data if self.carried else data
        if not whole or whole[0] != _ASTERISK or _unusual_header(whole) is not None:
            return None
        requests: Requests = []
        append = requests.append
        reader = self._reader
        if reader is None:
            reader = self._reader = hiredis.Reader()
        gets = reader.gets
        try:
            reader.feed(data)
            while (request := gets()) is not False:
                append(request)
            if len(whole) > LONG_REQUEST_BYTES * (len(requests) + 1):
                return self._compare(whole, requests)
            joined = b"".join(_flatten(requests))
        except (hiredis.ProtocolError, TypeError):
            return None
        # A lone type byte at the end is consumed by hiredis at once; whole requests end with a line end.
        extra = whole.count(_ASTERISK) - len(requests)
        if (extra and extra != joined.count(_ASTERISK)) or whole[-1] != _NEWLINE or reader.has_data():
            return self._carry_cut_request(whole, requests, joined)
        # An empty bulk in a request's place: joining found nothing wrong with it.
        if _holds_other_type(whole, joined) or not all(requests):
            return None
        self.carried = b""
        return requests

    def _compare(self, whole: bytes, requests: Requests) -> Requests | None:
        """Do what follows the parsing in `recognise`, where there are few requests and many bytes. TypeError for
        arguments that are no bytes."""
        encoded = encode_requests(requests)
        if encoded == whole:
            self.carried = b""
            return requests
        if not whole.startswith(encoded) or (self.carried and not requests):
            return None
        return self._carry(whole[len(encoded) :], requests)

    def _carry_cut_request(self, whole: bytes, requests: Requests, joined: bytes) -> Requests | None:
        """Carry the request that is cut at the end, if there is one: else something is wrong.

        The cut request begins at the last asterisk if there is one asterisk too many and the last request ends there:
        were the asterisk inside an argument, it would be in the last request, whose own asterisk is the one before.
        If there are more (XADD's `*`), it begins where all requests end. A request that is cut twice goes to the
        incremental parser.
        """
        if self.carried and not requests:
            return None
        if whole.count(_ASTERISK) == len(requests) + 1:
            last, before = whole.rfind(b"*"), encode_requests(requests[-1:])
        else:
            before = encode_requests(requests)
            last = len(before)
        rest = whole[last:]
        if not all(requests) or not whole.endswith(before, 0, last) or _holds_other_type(whole[:last], joined):
            return None
        return self._carry(rest, requests)

    def _carry(self, rest: bytes, requests: Requests) -> Requests | None:
        """Carry the rest, if it is the beginning of a request."""
        if rest[:1] != b"*" or len(rest) > CARRIED_BYTES:
            return None
        parser = PythonParser(self._limits, self._limits)
        if parser.feed(rest) or parser.is_empty or parser.error is not None:
            return None
        self.carried = rest
        return requests


def maybe_single(data: bytes) -> Requests | None:
    """The single request that these bytes are, in a list, if it has two to four arguments and none but the last holds
    a line end. None says nothing: the parsers look.

    Against hiredis and its guards, which count and search the whole chunk: a GET 1,420 ns before, 500 after,
    a SET of 1 KiB 2,220 and 830; an HSET costs half, too."""
    count = data[:4]
    if count == b"*2\r\n":
        parts = data.split(b"\r\n", 4)
        if len(parts) == 5:
            _, name_header, name, key_header, rest = parts
            key = rest[:-2]
            if key_header == _HEADERS[len(key)] and name_header == _HEADERS[len(name)] and rest[-2:] == b"\r\n":
                return [[name, key]]
    elif count == b"*3\r\n":
        parts = data.split(b"\r\n", 6)
        if len(parts) == 7:
            _, name_header, name, key_header, key, value_header, rest = parts
            value = rest[:-2]
            if (
                value_header == _HEADERS[len(value)]
                and key_header == _HEADERS[len(key)]
                and name_header == _HEADERS[len(name)]
                and rest[-2:] == b"\r\n"
            ):
                return [[name, key, value]]
    elif count == b"*4\r\n":
        parts = data.split(b"\r\n", 8)
        if len(parts) == 9:
            _, name_header, name, key_header, key, third_header, third, value_header, rest = parts
            value = rest[:-2]
            if (
                value_header == _HEADERS[len(value)]
                and third_header == _HEADERS[len(third)]
                and key_header == _HEADERS[len(key)]
                and name_header == _HEADERS[len(name)]
                and rest[-2:] == b"\r\n"
            ):
                return [[name, key, third, value]]
    return None


def _holds_other_type(wire: bytes, joined: bytes) -> bool:
    """Whether a byte that may open another type stands anywhere but inside an argument (`joined`: all of them)."""
    # `in` with a number is one memchr, 20 ns; a search for a class of bytes costs 1 ns per byte.
    return (
        (_PLUS in wire and wire.count(_PLUS) != joined.count(_PLUS))
        or (_EQUALS in wire and wire.count(_EQUALS) != joined.count(_EQUALS))
        or (_PERCENT in wire and wire.count(_PERCENT) != joined.count(_PERCENT))
        or (_TILDE in wire and wire.count(_TILDE) != joined.count(_TILDE))
        or (_GREATER in wire and wire.count(_GREATER) != joined.count(_GREATER))
        or (_BAR in wire and wire.count(_BAR) != joined.count(_BAR))
        or (_PARENTHESIS in wire and wire.count(_PARENTHESIS) != joined.count(_PARENTHESIS))
    )
