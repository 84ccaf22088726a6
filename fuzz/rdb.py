"""Redis's files, and payloads of other servers, under arbitrary bytes.

Invariant: any bytes are items, which are written and read again as the same, or raise PayloadError, or LimitError if a
value takes more than is allowed; imported, ImportDataError alone; the time is bounded by the number of bytes, and the
memory by the limit, whatever they claim.

The first byte of an input chooses what the rest is: a file as it is, items of a version before a correct end, a value
of any type with a key, changes to a good file, a payload with a correct checksum and any version, or requests in a
file, which are the same when they are written and read again, or raise ImportDataError; so does a manifest.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Final

from flin.errors import ImportDataError, LimitError, PayloadError
from flin.rdb import body, dump, file
from flin.rdb.crc64 import crc64
from flin.rdb.primitives import string
from flin.rdb.value import Hash, List, Set, SortedSet, Stream, StreamEntry, String, Value
from flin.transfer import append_only, command_file, rdb_file, request_file
from flin.transfer.record import Record, Request
from fuzz import restore

MOST_BYTES: Final = 1 << 16
ALLOWED: Final = (PayloadError, LimitError)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x30":
        _judge(rest)
    elif kind < b"\x60":
        _judge(_ended(rest[1:], rest[0] % 14 if rest else 10))
    elif kind < b"\x90":
        for payload in restore.payloads(rest):
            _judge(_ended(b"\xfe\x02" + payload[:1] + b"\x01k" + payload[1:-10], 11))
    elif kind < b"\xc0":
        _judge(restore._changed(_GOOD, rest))
    elif kind < b"\xd8":
        _judge_foreign(rest)
    else:
        _judge_requests(rest)


def _ended(content: bytes, version: int) -> bytes:
    data = b"REDIS%04d%b\xff" % (version, content)
    return data + struct.pack("<Q", crc64(data)) * (version >= 5)


def _judge(data: bytes) -> None:
    found: list[file.Item] = []
    try:
        found.extend(file.read(data, MOST_BYTES))
    except ALLOWED:
        whole = False
    else:
        whole = True
    assert len(found) <= len(data)
    try:
        items = list(rdb_file.read(data, "f"))
    except ImportDataError:
        assert not whole
        return
    for write in (rdb_file.write, command_file.write):
        written = io.BytesIO()
        keys = write(items, written)
        assert keys == sum(isinstance(item, Record) for item in items)
        if write is rdb_file.write:
            again = list(rdb_file.read(written.getvalue(), "again"))
            assert again == items
            assert [getattr(item, "value", None) for item in again] == [getattr(item, "value", None) for item in items]


def _judge_foreign(data: bytes) -> None:
    covered = data + b"\x0b\x00"
    try:
        value = dump.decode_foreign(covered + dump.stored(crc64(covered)), MOST_BYTES)
    except ALLOWED:
        return
    assert dump.decode(dump.encode(value), 1 << 30) == value


def _judge_requests(data: bytes) -> None:
    requests: list[Request] = []
    with suppress(ImportDataError):
        requests.extend(request_file.read(data, "f"))
    with suppress(ImportDataError):
        requests.extend(request_file.read(b"".join(b"*1\r\n$%d\r\n%b\r\n" % (n, data[:n]) for n in data[:9]), "f"))
    written = b"".join(command_file.request(*request.words) for request in requests)
    with suppress(ImportDataError):  # a transaction without its end
        assert list(request_file.read(written, "again")) == requests
    with suppress(ImportDataError):
        assert not any("/" in name for name in append_only.files_in(data, "m"))


_VALUES: Final[list[Value]] = [
    String(b"value"),
    List([b"a", b"1"]),
    Set({b"m"}),
    Hash({b"f": b"v"}),
    SortedSet({b"m": 1.5}),
    Stream([StreamEntry((5, 1), [b"a", b"1"])], (5, 9), (0, 0), 1, []),
]


def _good() -> bytes:
    content = file.fact(b"redis-ver", b"7.0.15") + file.library(b"#!lua name=l\n") + file.database(1)
    for number, value in enumerate(_VALUES):
        encoded = body.encode(value)
        content += file.entry_head(encoded[0], b"key %d" % number, number % 2 * 4_000_000_000_000) + encoded[1:]
    content += b"\x00" + string(b"k") + string(b"v") + b"\xf8\x05\xf9\x07" + b"\xf7\x05\x02\x01\x00"
    return _ended(content, file.VERSION)


_GOOD: Final = _good()
