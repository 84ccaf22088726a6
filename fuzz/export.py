"""Exports under arbitrary bytes.

Invariant: any bytes are records, which are written and read again as the same in both forms, or raise ImportDataError
(which names a line), CorruptionError or FormatVersionError; what was read before the error are good records; and an
import of them raises ImportDataError alone, and leaves a database in which all is well.
"""

from __future__ import annotations

import io
import json
import struct
from contextlib import suppress
from typing import Final
from zlib import crc32

import flin.engine
from flin.errors import CorruptionError, FormatVersionError, ImportDataError
from flin.testing import ManualClock, SimulatedDisk
from flin.transfer import compact, ndjson
from flin.transfer.importing import Import
from flin.transfer.record import Record
from fuzz.byte_source import ByteSource

ALLOWED: Final = (ImportDataError, CorruptionError, FormatVersionError)

NOW_MS: Final = ManualClock()()


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x30":
        _check(list(_lines(rest)))
    elif kind < b"\x60":
        _check(list(_lines(_made_lines(rest))))
    elif kind < b"\x90":
        _check(list(_blocks(rest)))
    else:
        _check(list(_blocks(_with_checksum(rest))))


def _lines(data: bytes) -> list[Record]:
    found: list[Record] = []
    try:
        found.extend(ndjson.read(io.BytesIO(data), "f", NOW_MS))
    except ALLOWED as error:
        assert not isinstance(error, ImportDataError) or error.place.startswith("line ")
    return found


def _blocks(data: bytes) -> list[Record]:
    found: list[Record] = []
    with suppress(*ALLOWED):
        found.extend(compact.read(io.BytesIO(data), "f"))
    return found


def _check(records: list[Record]) -> None:
    for form, read in ((ndjson, _lines), (compact, _blocks)):
        file = io.BytesIO()
        form.write(iter(records), file)
        assert read(file.getvalue()) == records
    if not records:
        return
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", clock_ms=ManualClock()) as db:
        adding = Import(db, "f")
        for record in records:
            try:
                adding.add(record)
            except ImportDataError:
                continue
        adding.end()
        assert not db.verify()


def _made_lines(data: bytes) -> bytes:
    """Lines of objects with the right fields, whose values the data choose."""
    source = ByteSource(data)
    values = ["", "a", "/wA=", "hash", "string", 0, 1, 15, 16, -1, 1.5, True, None, [], "BAEBZgF2CgA=", "\u2028"]
    lines = ['{"flin_export": 1}'] if source.randrange(2) else []
    for _ in range(source.randrange(4)):
        names = [name for name in sorted(ndjson._FIELDS) if source.randrange(3) == 0]
        fields = {name: values[source.randrange(len(values))] for name in ["key", "value", *names]}
        lines.append(json.dumps(fields))
    if source.randrange(2):
        end: dict[str, object] = {"end": source.randrange(4)}
        if source.randrange(2):
            before = "".join(f"{line}\n" for line in lines).encode()
            end["crc32"] = [f"{crc32(before):08x}", "00000000", None][source.randrange(3)]
        lines.append(json.dumps(end))
    return "\n".join(lines).encode()


def _with_checksum(data: bytes) -> bytes:
    """The data as a block, with its checksum, between a good beginning and a good end."""
    head = struct.pack("<8sI", compact.MAGIC, compact.FORMAT)
    end = struct.pack("<Q", data[0] % 4 if data else 0)
    block = struct.pack("<II", len(data), crc32(data)) + data if data else b""
    return head + block + struct.pack("<II", 0, crc32(end)) + end
