"""Replies on the wire: values into bytes, for RESP2 and RESP3, and bytes into whole replies. No I/O.

`encode2` and `encode3` turn a handler's value into bytes. requests.py reads requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain, repeat
from typing import Any, Final

from flin.errors import CommandError
from flin.net.wire.replies import BigNumber, Map, NullArray, Reply, Value, Verbatim

_SHORT_BYTES: Final = 1024
"""A longer bulk is not copied into one piece with its header: the join of all pieces copies it anyway."""

_flatten = chain.from_iterable

BULK_HEADERS: Final = tuple(b"$%d\r\n" % length for length in range(4097))
"""The headers of bulks by length: a lookup costs 20 ns, formatting 100."""

MIN_BULKS: Final = 4
"""Arrays of fewer elements are encoded one by one."""


def encode_requests(requests: list[list[bytes]]) -> bytes:
    """The requests as clients send them."""
    parts: list[bytes] = []
    most = len(BULK_HEADERS)
    for request in requests:
        parts.append(b"*%d\r\n" % len(request))
        for argument in request:
            size = len(argument)
            parts += (BULK_HEADERS[size] if size < most else b"$%d\r\n" % size, argument, b"\r\n")
    return b"".join(parts)


def split_replies(data: bytes) -> list[bytes]:
    """Split whole replies, one after the other, in RESP2 or RESP3."""
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


def encode_bulks(values: Collection[bytes]) -> bytes:
    """Bulks, one after the other. In loops of C: 10 ns for each if all are of one length, else 60."""
    lengths = list(map(len, values))
    if not lengths:
        return b""
    if lengths.count(lengths[0]) == len(lengths):
        header = b"$%d\r\n" % lengths[0]
        return header + (b"\r\n" + header).join(values) + b"\r\n"
    if max(lengths) < len(BULK_HEADERS):
        return b"".join(_flatten(zip(map(BULK_HEADERS.__getitem__, lengths), values, repeat(b"\r\n"))))
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])


_Append = Callable[[bytes], None]
_Encoders = dict[type, Callable[[Any, _Append], None]]


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


def _verbatim2(value: Verbatim | BigNumber, append: _Append) -> None:
    _bulk(value.text, append)


def _elements(values: Collection[Any], encoders: _Encoders, append: _Append) -> None:
    if len(values) >= MIN_BULKS and set(map(type, values)) == _ONLY_BYTES:
        append(encode_bulks(values))
        return
    for element in values:
        if type(element) is bytes and len(element) <= _SHORT_BYTES:
            append(b"$%d\r\n%b\r\n" % (len(element), element))
        else:
            encoders[type(element)](element, append)


def _array2(value: Any, append: _Append) -> None:
    append(b"*%d\r\n" % len(value))
    _elements(value, _ENCODERS2, append)


def _map2(value: dict[Any, Any], append: _Append) -> None:
    append(b"*%d\r\n" % (2 * len(value)))
    _elements(list(_flatten(value.items())), _ENCODERS2, append)


def _pairs2(value: Map, append: _Append) -> None:
    _array2(_parts(value), append)


def _parts(value: Map) -> list[Any]:
    return [key for key, _ in value.pairs] if value.is_set else list(_flatten(value.pairs))


def _null3(value: object, append: _Append) -> None:
    append(b"_\r\n")


def _boolean3(value: bool, append: _Append) -> None:
    append(b"#t\r\n" if value else b"#f\r\n")


def _float3(value: float, append: _Append) -> None:
    append(b",%b\r\n" % format_float(value))


def _verbatim3(value: Verbatim, append: _Append) -> None:
    append(b"=%d\r\n%b:%b\r\n" % (len(value.text) + 4, value.format, value.text))


def _big_number3(value: BigNumber, append: _Append) -> None:
    append(b"(%b\r\n" % value.text)


def _pairs3(value: Map, append: _Append) -> None:
    append(b"%b%d\r\n" % (b"~" if value.is_set else b"%", len(value.pairs)))
    _elements(_parts(value), _ENCODERS3, append)


def _array3(value: Any, append: _Append) -> None:
    append(b"*%d\r\n" % len(value))
    _elements(value, _ENCODERS3, append)


def _set3(value: Any, append: _Append) -> None:
    append(b"~%d\r\n" % len(value))
    _elements(value, _ENCODERS3, append)


def _map3(value: dict[Any, Any], append: _Append) -> None:
    append(b"%%%d\r\n" % len(value))
    _elements(list(_flatten(value.items())), _ENCODERS3, append)


def format_float(value: float) -> bytes:
    """As Redis 7.0 writes it: with 17 digits, which read back as the same number."""
    return b"%.17g" % value


_ONLY_BYTES: Final = {bytes}

_ORDERED: Final[type] = type(dict[Any, Any]().keys())

_ENCODERS2: Final[_Encoders] = {
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
    BigNumber: _verbatim2,
    Map: _pairs2,
    list: _array2,
    tuple: _array2,
    set: _array2,
    frozenset: _array2,
    _ORDERED: _array2,
    dict: _map2,
}
_ENCODERS3: Final[_Encoders] = {
    **_ENCODERS2,
    type(None): _null3,
    NullArray: _null3,
    bool: _boolean3,
    float: _float3,
    Verbatim: _verbatim3,
    BigNumber: _big_number3,
    Map: _pairs3,
    list: _array3,
    tuple: _array3,
    set: _set3,
    frozenset: _set3,
    _ORDERED: _set3,
    dict: _map3,
}
