"""The manifest under arbitrary bytes.

Invariant: any bytes decode to a manifest, which encodes to the same bytes again, or raise CorruptionError or
FormatVersionError; no name in a manifest leaves the directory; and an open of a directory with these bytes as its
manifest changes nothing unless it succeeds.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Final
from zlib import crc32

import flin.engine
from flin.engine.catalog import manifest
from flin.engine.catalog.version import ValueFile, Version
from flin.engine.disk.file_name import collected_number, table_name, value_name, wal_name
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk

ALLOWED: Final = (CorruptionError, FormatVersionError)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        _decode(rest)
    elif kind < b"\x80":
        _decode(_with_prefix(rest))
    else:
        _decode(_with_prefix(_changed(_sample(), rest)))


def _decode(data: bytes) -> None:
    try:
        found = manifest.decode(data, "m")
    except ALLOWED:
        return
    if data[8] == manifest.FORMAT_VERSION:  # an older one is written anew in the present format
        assert manifest.encode(found) == data
    for runs in found.version.shards:
        for run in runs:
            assert all("/" not in table.file and table.file.endswith(".sst") for table in run)
    assert all("/" not in each.file and each.file.endswith((".wal", ".val")) for each in found.version.value_files)
    _open(data)


def _open(data: bytes) -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    disk.write("/db/MANIFEST", data)
    try:
        db = flin.engine.open("/db", fs=disk, runner="inline", memory_limit="1mb", clock_ms=ManualClock())
    except ALLOWED:
        assert disk.files() == {"/db/LOCK": disk.read("/db/LOCK"), "/db/MANIFEST": data}
        return
    with suppress(*ALLOWED), db:
        db.put(b"k", b"v")
        assert db[b"k"] == b"v"


def _with_prefix(body: bytes) -> bytes:
    return b"FlinMAN\0" + struct.pack("<IIQ", manifest.FORMAT_VERSION, crc32(body), len(body)) + body


def _sample() -> bytes:
    """The body of a manifest with two shards and three tables."""

    def table(number: int, smallest: bytes, largest: bytes) -> TableMeta:
        return TableMeta(table_name(number, 0, 1), 0, 4096, 9, 1, 0, 0, smallest, largest, 1, 9, 500, ((0, 8),))

    shards = (((table(2, b"a", b"c"), table(3, b"d", b"f")),), ((table(1, b"", b"z"),),))
    files = (ValueFile(4, wal_name(4, 1), 5000, 3000), ValueFile(collected_number(2, 1), value_name(2, 1, 1), 99, 9))
    version = Version(shards, {0: 18, 3: 1}, (1, 0), ((b"d",), ()), files)
    return manifest.encode(manifest.Manifest(bytes(16), 2, 2, 4, 1, 0, 1, 0, version))[24:]


def _changed(body: bytes, changes: bytes) -> bytes:
    """Bytes replaced, removed and doubled at places that the changes name."""
    for at in range(0, len(changes) - 3, 4):
        how, value = changes[at] % 3, changes[at + 3]
        place = int.from_bytes(changes[at + 1 : at + 3]) % (len(body) + 1)
        body = {
            0: body[:place] + bytes([value]) + body[place + 1 :],
            1: body[:place] + body[place + value :],
            2: body[: place + value] + body[place:],
        }[how]
    return body
