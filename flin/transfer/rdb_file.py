"""RDB files: items of a file that Redis wrote, and a file that Redis 7.0 and later load."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import IO, Final

import flin
from flin.errors import ImportDataError, LimitError, PayloadError
from flin.rdb import file as rdb
from flin.rdb.crc64 import CHUNK_BYTES, crc64
from flin.rdb.dump import stored
from flin.transfer.record import Item, Library, Record, record_of

MAX_VALUE_BYTES: Final = 1 << 32
"""What one value may take while it is decoded."""


def read(data: bytes, path: str, *, is_base: bool = False) -> Generator[Item, None, int]:
    """The items of a file; data: its bytes, or the file mapped into memory. is_base: requests follow elsewhere, which a
    file of an append-only directory says itself. ImportDataError with the offset of what is
    none, and at the end if the checksum is another. The generator's value is where the file ends."""
    found = rdb.read(data, MAX_VALUE_BYTES)
    try:
        is_base = is_base or rdb.is_base_of_log(data)
        while True:
            item = next(found)
            place = f"offset {item.offset}"
            if isinstance(item, rdb.Library):
                yield Library(item.source, place)
            else:
                record = record_of(item.key, item.value, item.expires_at_ms, item.database, place)
                yield replace(record, may_be_prolonged=True) if is_base else record
    except StopIteration as end:
        stop: int = end.value
        return stop
    except PayloadError as error:
        raise ImportDataError(path, f"offset {error.offset}", f"{error.what}: {error.reason}") from error
    except LimitError as error:
        raise ImportDataError(path, "a value", str(error)) from error


def write(items: Iterable[Item], file: IO[bytes]) -> int:
    """Write a whole file. Returns the number of keys. OSError."""
    writing = _Writing(file)
    writing.add(rdb.head() + rdb.fact(b"flin-ver", flin.__version__.encode()))
    database, count = -1, 0
    for item in items:
        if isinstance(item, Library):
            writing.add(rdb.library(item.source))
            continue
        if item.database != database:
            database = item.database
            writing.add(rdb.database(database))
        writing.add(_entry(item))
        count += 1
    writing.end()
    return count


def _entry(record: Record) -> bytes:
    body = record.body()
    return rdb.entry_head(body[0], record.key, record.expires_at_ms) + body[1:]


class _Writing:
    """A file with the checksum of what was written: it is computed of long parts, since short ones take ten times as
    long by the byte."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parts: list[bytes] = []
        self._size = 0
        self._crc = 0

    def add(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= CHUNK_BYTES:
            self._write()

    def _write(self) -> None:
        data = b"".join(self._parts)
        self._parts, self._size = [], 0
        self._crc = crc64(data, self._crc)
        self._file.write(data)

    def end(self) -> None:
        self.add(rdb.end())
        self._write()
        self._file.write(stored(self._crc))
