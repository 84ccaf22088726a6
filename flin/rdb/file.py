"""A whole RDB file, in any version from Redis 1 to 8 that holds nothing of its own from 7.4 on; version 10 is written.

REDIS  version         five letters and four digits
then items, each begun by a byte:
  0 to 21              a value's type (body.py), its key, its value; of the database that was selected last
  F5  string           the source of a library of functions
  F7                   what a module keeps beside its values: passed over
  F8  length           how long the next key was idle: passed over
  F9  u8               how often the next key is used: passed over
  FA  string string    a fact about the file: passed over
  FB  length length    how many keys the database has, and how many that expire: passed over
  FC  i64              when the next key expires, in milliseconds since 1970, little-endian
  FD  i32              the same, in seconds
  FE  length           another database is selected
  FF                   the end; from version 5 on CRC-64 of all before follows (u64, little-endian; 0: none)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias

from flin.errors import PayloadError
from flin.rdb import body
from flin.rdb.crc64 import crc64
from flin.rdb.primitives import Reader, length, string
from flin.rdb.value import Value

MAGIC: Final = b"REDIS"
VERSION: Final = 10
"""What is written: that of Redis 7.0."""

NEWEST: Final = 12
"""The version of Redis 7.4 and 8: nearly all of its values are those of 7.0."""

_FIRST_WITH_CHECKSUM: Final = 5
_HEAD: Final = re.compile(rb"REDIS(\d{4})")
HEAD_BYTES: Final = 9

_SLOT: Final = 0xF4
_OLD_FUNCTION: Final = 0xF6
_FUNCTION: Final = 0xF5
_MODULE: Final = 0xF7
_IDLE: Final = 0xF8
_FREQUENCY: Final = 0xF9
_FACT: Final = 0xFA
_SIZES: Final = 0xFB
_EXPIRES_MS: Final = 0xFC
_EXPIRES: Final = 0xFD
_DATABASE: Final = 0xFE
_END: Final = 0xFF

_REFUSED: Final = {
    _SLOT: "a table of slots (Redis 8)",
    _OLD_FUNCTION: "a library of functions as only release candidates of Redis 7.0 wrote it",
}

_MODULE_END, _MODULE_SIGNED, _MODULE_UNSIGNED, _MODULE_FLOAT, _MODULE_DOUBLE, _MODULE_STRING = range(6)

_OF_LOG: Final = (b"aof-base", b"aof-preamble")
"""Facts of Redis 7, and of Redis 4 to 6."""

_STREAM_DATABASE: Final = b"repl-stream-db"

_CHECKSUM: Final = struct.Struct("<Q")
_SECONDS: Final = struct.Struct("<i")


class Entry(NamedTuple):
    """A key of a database, with its value."""

    key: bytes
    value: Value
    expires_at_ms: int
    """0: never."""
    database: int
    offset: int
    """Where it begins."""


class Library(NamedTuple):
    """The source of a library of functions."""

    source: bytes
    offset: int


Item: TypeAlias = Entry | Library


def is_head(data: bytes) -> bool:
    """Whether a file that begins so is one, or one that only Valkey reads: `read` says so."""
    return data.startswith((MAGIC, b"VALKEY"))


def maybe_fact(data: bytes, *names: bytes) -> bytes | None:
    """What a file says at its beginning of the first of these facts. Raises PayloadError."""
    reader = Reader(data, len(data))
    _version(reader)
    while reader.byte() == _FACT:
        reader.begin()
        name, text = reader.string(), reader.string()
        if name in names:
            return text
    return None


def is_base_of_log(data: bytes) -> bool:
    """Whether requests follow, in this file or another: an append-only file of Redis begins with it. Raises
    PayloadError."""
    return maybe_fact(data, *_OF_LOG) == b"1"


def stream_database(data: bytes) -> int:
    """The database that the requests after these keys begin in. A source that is a replica itself passes on the stream
    of its own source, in which no SELECT comes for whoever joins it. Raises PayloadError."""
    text = maybe_fact(data, _STREAM_DATABASE)
    return int(text) if text is not None and text.isdigit() else 0


def read(data: bytes, most_bytes: int) -> Generator[Item, None, int]:
    """The items of a file; data: its bytes, or the file mapped into memory. Raises PayloadError with the offset of what
    is none, or not Flin's to read, and at the end if the checksum is another; LimitError if a value takes more than
    most_bytes. The generator's value is where the file ends: an append-only file goes on there."""
    reader = Reader(data, most_bytes)
    version = _version(reader)
    database = expires_at_ms = 0
    while True:
        offset = reader.at
        opcode = reader.byte()
        if opcode < _SLOT:
            reader.begin()
            key = reader.string()
            yield Entry(key, body.read(reader, opcode, body.LATER_FORMS), expires_at_ms, database, offset)
            expires_at_ms = 0
        elif opcode == _EXPIRES_MS:
            expires_at_ms = max(1, reader.milliseconds())
        elif opcode == _EXPIRES:
            expires_at_ms = max(1, _SECONDS.unpack(reader.take(4))[0] * 1000)
        elif opcode == _DATABASE:
            database = reader.length()
        elif opcode == _FUNCTION:
            reader.begin()
            yield Library(reader.string(), offset)
        elif opcode == _END:
            break
        else:
            _pass_over(reader, opcode)
    if version >= _FIRST_WITH_CHECKSUM:
        _check_sum(reader, data)
    return reader.at


def _version(reader: Reader) -> int:
    head = reader.take(HEAD_BYTES)
    matched = _HEAD.fullmatch(head)
    if matched is None:
        raise PayloadError("RDB file", 0, f"it begins with {head!r}, no {MAGIC.decode()} and four digits")
    version = int(matched[1])
    if not 1 <= version <= NEWEST:
        raise PayloadError("RDB file", len(MAGIC), f"version {version} is none, or newer than {NEWEST} (of Redis 8)")
    return version


def _pass_over(reader: Reader, opcode: int) -> None:
    """What says nothing of keys or values."""
    reader.begin()
    if opcode == _FACT:
        reader.string()
        reader.string()
    elif opcode == _SIZES:
        reader.length()
        reader.length()
    elif opcode == _IDLE:
        reader.length()
    elif opcode == _FREQUENCY:
        reader.byte()
    elif opcode == _MODULE:
        _pass_over_module(reader)
    else:
        raise reader.bad(f"the item {opcode} is {_REFUSED[opcode]}")


def _pass_over_module(reader: Reader) -> None:
    """A module's ID, when it reads this, and what it reads."""
    for _ in range(3):
        reader.length()
    while (kind := reader.length()) != _MODULE_END:
        if kind in (_MODULE_SIGNED, _MODULE_UNSIGNED):
            reader.length()
        elif kind == _MODULE_FLOAT:
            reader.take(4)
        elif kind == _MODULE_DOUBLE:
            reader.take(8)
        elif kind == _MODULE_STRING:
            reader.begin()
            reader.string()
        else:
            raise reader.bad(f"nothing of a module is of the kind {kind}")


def _check_sum(reader: Reader, data: bytes) -> None:
    end = reader.at
    (expected,) = _CHECKSUM.unpack(reader.take(_CHECKSUM.size))
    if not expected:  # `rdbchecksum no`
        return
    with memoryview(data) as view, view[:end] as covered:
        found = crc64(covered)
    if found != expected:
        raise PayloadError("RDB file", end, f"its checksum is {expected:016x}, and that of its bytes {found:016x}")


# Writing: the head, then items, then the end.


def head() -> bytes:
    return b"%b%04d" % (MAGIC, VERSION)


def fact(name: bytes, text: bytes) -> bytes:
    return bytes((_FACT,)) + string(name) + string(text)


def library(source: bytes) -> bytes:
    return bytes((_FUNCTION,)) + string(source)


def database(number: int) -> bytes:
    """What comes before the keys of a database."""
    return bytes((_DATABASE,)) + length(number)


def entry_head(type_: int, key: bytes, expires_at_ms: int) -> bytes:
    """What comes before a value without its type byte."""
    if not expires_at_ms:
        return bytes((type_,)) + string(key)
    return struct.pack("<BqB", _EXPIRES_MS, expires_at_ms, type_) + string(key)


def end() -> bytes:
    """What comes before the checksum."""
    return bytes((_END,))
