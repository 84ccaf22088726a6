"""The manifest under arbitrary bytes.

Invariant: any bytes decode to a manifest, which encodes to the same bytes again, or raise CorruptionError or
FormatVersionError; no name in a manifest leaves the directory; and an open of a directory with these bytes as its
manifest changes nothing unless it succeeds. Unsettled runs, fences, points and value files as the data say are decoded
as they were encoded, or refused if they contradict each other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final
from zlib import crc32

import flin.engine
from flin.engine.catalog import manifest
from flin.engine.catalog.version import ValueFile, Version
from flin.engine.disk.file_name import collected_number, maybe_value_number, table_name, value_name, wal_name
from flin.engine.table.meta import Points, TableMeta
from flin.errors import CorruptionError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk
from fuzz.byte_source import ByteSource

ALLOWED: Final = (CorruptionError, FormatVersionError)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        _decode(rest)
    elif kind < b"\x80":
        _decode(_with_prefix(rest))
    elif kind < b"\xf0":
        _decode(_with_prefix(_changed(_sample(), rest)))
    else:
        _encode(rest)


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


def _encode(data: bytes) -> None:
    """A manifest of one shard whose numbers, in any order and of any size, come from the data."""
    source = ByteSource(data)
    runs = tuple(
        (_table(number, b"%d" % number, b"%d" % number, _points(source)),) for number in range(1, source.randrange(4))
    )
    fences = tuple(source.randbytes(source.randrange(3)) for _ in range(source.randrange(4)))
    files = tuple(_value_file(source) for _ in range(source.randrange(4)))
    counts = dict.fromkeys(range(source.randrange(3)), source.randrange(256))
    version = Version((runs,), counts, (source.randrange(4),), (fences,), files)
    given = manifest.Manifest(bytes(16), 2, 1, 4, 1, 0, 1, 0, version)
    is_right = (
        version.unsettled[0] <= len(runs)
        and _ascend(fences)
        and _ascend([each.number for each in files])
        and all(0 < each.live_bytes <= each.length and maybe_value_number(each.file) == each.number for each in files)
        and (bool(runs) or not files)
        and all(
            points is None or (_ascend([namespace for namespace, _ in points]) and all(count for _, count in points))
            for points in (run[0].points for run in runs)
        )
    )
    encoded = manifest.encode(given)
    _decode(encoded)
    try:
        found = manifest.decode(encoded, "m")
    except CorruptionError:
        assert not is_right
    else:
        assert is_right
        assert found == given


def _points(source: ByteSource) -> Points | None:
    if source.randrange(4) == 0:
        return None
    return tuple((source.randrange(5), source.randrange(3)) for _ in range(source.randrange(3)))


def _value_file(source: ByteSource) -> ValueFile:
    number, other, length, live_bytes = (
        source.randrange(9),
        source.randrange(8),
        source.randrange(256),
        source.randrange(256),
    )
    if other == 0:
        return ValueFile(number, value_name(number, 1, 1), length, live_bytes)
    if other < 4:
        return ValueFile(collected_number(number, other), value_name(number, other, 1), length, live_bytes)
    return ValueFile(number, wal_name(number, 1), length, live_bytes)


def _ascend(items: Sequence[Any]) -> bool:
    return all(left < right for left, right in pairwise(items))


def _with_prefix(body: bytes) -> bytes:
    return b"FlinMAN\0" + struct.pack("<IIQ", manifest.FORMAT_VERSION, crc32(body), len(body)) + body


def _sample() -> bytes:
    """The body of a manifest with two shards and three tables."""

    points = ((0, 8),)
    first, second, third = (2, b"a", b"c"), (3, b"d", b"f"), (1, b"", b"z")
    shards = (((_table(*first, points), _table(*second, points)),), ((_table(*third, points),),))
    files = (ValueFile(4, wal_name(4, 1), 5000, 3000), ValueFile(collected_number(2, 1), value_name(2, 1, 1), 99, 9))
    version = Version(shards, {0: 18, 3: 1}, (1, 0), ((b"d",), ()), files)
    return manifest.encode(manifest.Manifest(bytes(16), 2, 2, 4, 1, 0, 1, 0, version))[24:]


def _table(number: int, smallest: bytes, largest: bytes, points: Points | None) -> TableMeta:
    return TableMeta(table_name(number, 0, 1), 0, 4096, 9, 1, 0, 0, smallest, largest, 1, 9, 500, points)


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
