"""RESP on the wire: bytes into requests, values into replies. No I/O.

Requests. hiredis parses the ordinary case in C, behind guards that it lacks. A chunk is parsed as a whole before any of
its requests runs, so at the first doubt the pure-Python parser takes the same bytes over from their beginning:

- `*` with seven digits or more is looked for before hiredis sees the bytes (it allocates what a header announces), and
  so are counts below one, which are no request;
- a type that hiredis turns into anything but bytes (a number, a null, a nested array …) is found by joining all
  arguments;
- a byte that opens a type which it does turn into bytes, or into a container of them, must occur in the chunk as often
  as in the arguments: then none of them stands outside;
- the asterisks are counted: as many as requests, and nothing left in hiredis, means that no request is cut.

`fuzz/resp.py` holds the two parsers against each other.

A chunk that is exactly one request of two or three arguments, as clients without a pipeline send, needs neither
hiredis nor guards: it is split at its line ends, and every length it names is compared with what stands there.

A request that is cut by the end of a chunk is carried once; at the second cut the pure-Python parser, which is
incremental, takes over until it is empty. So is all that arrives before authentication, where tighter limits hold.

Replies. `encode2` and `encode3` turn a handler's value into bytes for RESP2 and RESP3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from flin.errors import CommandError, ProtocolError
from flin.net.replies import NullArray, Reply, Value, Verbatim
from flin.net.resp_python import TRUSTED, UNTRUSTED, PythonParser, RequestLimits

hiredis: Any
try:
    import hiredis
except ImportError:  # the pure-Python parser does everything
    hiredis = None

CARRIED_BYTES: Final = 64 * 1024
"""A longer rest goes to the incremental parser at once: carrying it would copy it again."""

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
    """What announces a bulk of so many bytes: a lookup costs 20 ns, formatting 100. Longer ones are not kept."""

    def __missing__(self, length: int) -> bytes:
        return b"$%d" % length


_HEADERS: Final = _Headers({length: b"$%d" % length for length in range(4097)})


class RequestParser:
    """Feed bytes, take requests: lists of bytes, never empty. `error` is final, as in PythonParser."""

    __slots__ = ("_carry", "_feed", "_gets", "_has_data", "_limits", "_python", "error", "is_trusted")

    def __init__(self, *, is_trusted: bool = True, limits: RequestLimits = TRUSTED) -> None:
        """limits: once the client is trusted. A bulk that comes whole in one chunk may be as long as the chunk."""
        self.error: ProtocolError | None = None
        self._limits = limits
        self.is_trusted = is_trusted
        self._carry = b""  # the beginning of an incomplete request; hiredis holds the same bytes
        self._python: PythonParser | None = None
        if hiredis is None or not is_trusted:
            self._python = PythonParser(limits if is_trusted else UNTRUSTED, limits)
        else:
            self._use_hiredis()

    def trust(self, trusted: bool = True) -> None:
        """Authentication succeeded: the ordinary limits from now on. Or it was taken back (RESET)."""
        self.is_trusted = trusted
        if self._python is None and not trusted:
            self._python = PythonParser(self._limits, self._limits)
            self._python.feed(self._carry, 0)
            self._carry = b""
        if self._python is not None:
            self._python.limits = self._limits if trusted else UNTRUSTED

    @property
    def buffered_bytes(self) -> int:
        return len(self._carry) if self._python is None else self._python.buffered_bytes

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a request, and the guarded parser would read it."""
        return self._python is None and not self._carry

    @property
    def has_more(self) -> bool:
        """Whether feed(b"") may give more: before authentication a request is given at a time."""
        return self._python is not None and not self._python.is_empty and self.error is None

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The requests that are complete now. After an error, those before it, then none."""
        if self._python is not None:
            return self._feed_python(data)
        if not self._carry:
            single = maybe_single(data)
            if single is not None:
                return [single]
        whole = self._carry + data if self._carry else data
        if not whole or whole[0] != _ASTERISK or _unusual_header(whole) is not None:
            return self._hand_over(whole)
        requests: list[list[bytes]] = []
        append = requests.append
        gets = self._gets
        try:
            self._feed(data)
            while (request := gets()) is not False:
                append(request)
            joined = b"".join(_flatten(requests))
        except (hiredis.ProtocolError, TypeError):
            return self._hand_over(whole)
        # A lone type byte at the end is consumed by hiredis at once; whole requests end with a line end.
        if whole.count(_ASTERISK) != len(requests) or whole[-1] != _NEWLINE or self._has_data():
            return self._settle(whole, requests, joined)
        if _holds_other_type(whole, joined):
            return self._hand_over(whole)
        self._carry = b""
        # An empty bulk in a request's place: joining found nothing wrong with it.
        return requests if all(requests) else self._hand_over(whole)

    def _settle(self, whole: bytes, requests: list[list[bytes]], joined: bytes) -> list[list[bytes]]:
        """There is a cut request at the end, or an asterisk in an argument, or worse.

        The cut request begins at the last asterisk if there is one asterisk too many and the last request ends there:
        were the asterisk inside an argument, it would be the last request's, whose own asterisk is the one before.
        The second cut of the same request ends with the incremental parser.
        """
        last = whole.rfind(b"*")
        rest = whole[last:]
        if whole.count(_ASTERISK) != len(requests) + 1 or len(rest) > CARRIED_BYTES or (self._carry and not requests):
            return self._hand_over(whole)
        if not all(requests) or not whole.endswith(encode_requests(requests[-1:]), 0, last):
            return self._hand_over(whole)
        if _holds_other_type(whole[:last], joined):
            return self._hand_over(whole)
        parser = PythonParser(self._limits, self._limits)
        if parser.feed(rest) or parser.is_empty or parser.error is not None:
            return self._hand_over(whole)
        self._carry = rest
        return requests

    def _hand_over(self, whole: bytes) -> list[list[bytes]]:
        """None of these bytes has had an effect yet: the pure-Python parser begins with them."""
        self._carry = b""
        self._python = PythonParser(self._limits, self._limits)
        return self._feed_python(whole)

    def _feed_python(self, data: bytes) -> list[list[bytes]]:
        parser = self._python
        assert parser is not None
        # Before authentication one at a time: the next may come after AUTH, under other limits.
        requests = parser.feed(data) if self.is_trusted else parser.feed(data, 1)
        self.error = parser.error
        if self.is_trusted and parser.is_empty and self.error is None and hiredis is not None:
            self._python = None
            self._use_hiredis()
        return requests

    def _use_hiredis(self) -> None:
        reader = hiredis.Reader()
        self._feed: Callable[[bytes], None] = reader.feed
        self._gets: Callable[[], Any] = reader.gets
        self._has_data: Callable[[], bool] = reader.has_data


def maybe_single(data: bytes) -> list[bytes] | None:
    """The request that these bytes are, if they are exactly one of two or three arguments that hold no line end, but
    for the last. None says nothing: the parsers look.

    Against hiredis and its guards, which count and search the whole chunk: a GET 1,420 ns before, 500 after,
    a SET of 1 KiB 2,220 and 830."""
    count = data[:4]
    if count == b"*2\r\n":
        parts = data.split(b"\r\n", 4)
        if len(parts) == 5:
            _, name_header, name, key_header, rest = parts
            key = rest[:-2]
            if key_header == _HEADERS[len(key)] and name_header == _HEADERS[len(name)] and rest[-2:] == b"\r\n":
                return [name, key]
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
                return [name, key, value]
    return None


def _holds_other_type(wire: bytes, joined: bytes) -> bool:
    """Whether a byte that may open another type stands anywhere but inside an argument (`joined`: all of them)."""
    # A number in bytes is one memchr, 20 ns; a search for a class of bytes costs 1 ns per byte.
    return (
        (_PLUS in wire and wire.count(_PLUS) != joined.count(_PLUS))
        or (_EQUALS in wire and wire.count(_EQUALS) != joined.count(_EQUALS))
        or (_PERCENT in wire and wire.count(_PERCENT) != joined.count(_PERCENT))
        or (_TILDE in wire and wire.count(_TILDE) != joined.count(_TILDE))
        or (_GREATER in wire and wire.count(_GREATER) != joined.count(_GREATER))
        or (_BAR in wire and wire.count(_BAR) != joined.count(_BAR))
        or (_PARENTHESIS in wire and wire.count(_PARENTHESIS) != joined.count(_PARENTHESIS))
    )


def encode_requests(requests: list[list[bytes]]) -> bytes:
    """The requests as clients send them."""
    parts: list[bytes] = []
    for request in requests:
        parts.append(b"*%d\r\n" % len(request))
        parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in request]
    return b"".join(parts)


# Replies.


def split_replies(data: bytes) -> list[bytes]:
    """Whole replies, one after the other, in RESP2 or RESP3, taken apart."""
    replies: list[bytes] = []
    start = 0
    while start < len(data):
        position, missing = start, 1
        while missing:
            missing -= 1
            line_end = data.index(b"\r\n", position)
            kind = data[position]
            if kind in b"$=!*~>%|":
                length = max(-1, int(data[position + 1 : line_end]))
                if kind in b"$=!":
                    line_end += length + 2 if length >= 0 else 0
                else:
                    missing += max(0, length) * (2 if kind in b"%|" else 1)
            position = line_end + 2
        replies.append(data[start:position])
        start = position
    return replies


def encode2(value: Value) -> bytes:
    """A value for RESP2."""
    parts: list[bytes] = []
    _ENCODERS2[type(value)](value, parts.append)
    return b"".join(parts)


def encode3(value: Value) -> bytes:
    """A value for RESP3."""
    parts: list[bytes] = []
    _ENCODERS3[type(value)](value, parts.append)
    return b"".join(parts)


def encode_error(text: str) -> bytes:
    """An error reply. Whatever the text holds, it stays one line."""
    return b"-" + text.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace") + b"\r\n"


_Append = Callable[[bytes], None]


def _reply(value: Reply, append: _Append) -> None:
    append(value.data)


def _bulk(value: bytes, append: _Append) -> None:
    append(b"$%d\r\n" % len(value))
    append(value)
    append(b"\r\n")


def _integer(value: int, append: _Append) -> None:
    append(b":%d\r\n" % value)


def _simple(value: str, append: _Append) -> None:
    append(b"+%b\r\n" % value.encode())


def _error(value: CommandError, append: _Append) -> None:
    append(encode_error(str(value)))


def _null2(value: None, append: _Append) -> None:
    append(b"$-1\r\n")


def _null_array2(value: NullArray, append: _Append) -> None:
    append(b"*-1\r\n")


def _boolean2(value: bool, append: _Append) -> None:
    append(b":1\r\n" if value else b":0\r\n")


def _float2(value: float, append: _Append) -> None:
    _bulk(format_float(value), append)


def _verbatim2(value: Verbatim, append: _Append) -> None:
    _bulk(value.text, append)


def _array2(value: Any, append: _Append) -> None:
    append(b"*%d\r\n" % len(value))
    for element in value:
        _ENCODERS2[type(element)](element, append)


def _map2(value: dict[Any, Any], append: _Append) -> None:
    append(b"*%d\r\n" % (2 * len(value)))
    for element in _flatten(value.items()):
        _ENCODERS2[type(element)](element, append)


def _null3(value: object, append: _Append) -> None:
    append(b"_\r\n")


def _boolean3(value: bool, append: _Append) -> None:
    append(b"#t\r\n" if value else b"#f\r\n")


def _float3(value: float, append: _Append) -> None:
    append(b",%b\r\n" % format_float(value))


def _verbatim3(value: Verbatim, append: _Append) -> None:
    append(b"=%d\r\ntxt:%b\r\n" % (len(value.text) + 4, value.text))


def _elements3(value: Any, append: _Append) -> None:
    for element in value:
        _ENCODERS3[type(element)](element, append)


def _array3(value: Any, append: _Append) -> None:
    append(b"*%d\r\n" % len(value))
    _elements3(value, append)


def _set3(value: Any, append: _Append) -> None:
    append(b"~%d\r\n" % len(value))
    _elements3(value, append)


def _map3(value: dict[Any, Any], append: _Append) -> None:
    append(b"%%%d\r\n" % len(value))
    _elements3(_flatten(value.items()), append)


def format_float(value: float) -> bytes:
    """The shortest text that reads back as the same number, without a needless `.0`."""
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    text = repr(value)
    return text.removesuffix(".0").encode()


_ENCODERS2: Final[dict[type, Callable[[Any, _Append], None]]] = {
    Reply: _reply,
    bytes: _bulk,
    int: _integer,
    str: _simple,
    CommandError: _error,
    type(None): _null2,
    NullArray: _null_array2,
    bool: _boolean2,
    float: _float2,
    Verbatim: _verbatim2,
    list: _array2,
    tuple: _array2,
    set: _array2,
    frozenset: _array2,
    dict: _map2,
}
_ENCODERS3: Final[dict[type, Callable[[Any, _Append], None]]] = {
    **_ENCODERS2,
    type(None): _null3,
    NullArray: _null3,
    bool: _boolean3,
    float: _float3,
    Verbatim: _verbatim3,
    list: _array3,
    tuple: _array3,
    set: _set3,
    frozenset: _set3,
    dict: _map3,
}
