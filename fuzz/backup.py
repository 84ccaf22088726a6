"""The catalogue of backups under arbitrary bytes.

Invariant: any bytes decode to an entry, which encodes to one that decodes to the same again, or raise CorruptionError
or FormatVersionError; no name in an entry leaves its directory; and a directory of backups with these bytes as an entry
is listed, verified and restored from with documented errors alone, of which none leaves anything that opens. Changes of
an entry behind a right checksum are among the bytes.
"""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from typing import Any, Final

import flin.engine
from flin.engine.backup import entry as entry_format
from flin.engine.disk.file_name import maybe_parse
from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk
from fuzz.byte_source import ByteSource

ALLOWED: Final = (CorruptionError, FormatVersionError)

BACKUPS: Final = "/backups"
ENTRY: Final = f"{BACKUPS}/catalogue/00000001.json"


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        _try(rest)
    elif kind < b"\xa0":
        _try(_replaced(rest))
    else:
        _try(_resealed(rest))


def _try(data: bytes) -> None:
    try:
        found = entry_format.decode(data, "e", 1)
    except ALLOWED:
        _restore(data)
        return
    assert entry_format.decode(entry_format.encode(found), "e", 1) == found
    assert all(maybe_parse(file.name) is not None and "/" not in file.name for file in found.files)
    _restore(data)


def _restore(data: bytes) -> None:
    disk = _sample()
    disk.write(ENTRY, data)
    outside = {path for path in disk.files() if not path.startswith(BACKUPS)}
    with suppress(*ALLOWED):
        flin.engine.backups(BACKUPS, fs=disk)
    flin.engine.verify_backup(BACKUPS, fs=disk)
    try:
        flin.engine.restore(BACKUPS, "/restored", fs=disk)
    except FlinError:
        assert {path for path in disk.files() if not path.startswith(BACKUPS)} == outside
        return
    with suppress(*ALLOWED), flin.engine.open("/restored", fs=disk, runner="inline", memory_limit="1mb") as db:
        dict(db.scan())


def _replaced(changes: bytes) -> bytes:
    """An entry with some bytes replaced."""
    data = bytearray(_sample().read(ENTRY))
    for at in range(0, len(changes) - 2, 3):
        data[int.from_bytes(changes[at : at + 2]) % len(data)] = changes[at + 2]
    return bytes(data)


def _resealed(changes: bytes) -> bytes:
    """An entry with other values in some of its fields, and the checksum of these."""
    source = ByteSource(changes)
    content: Any = json.loads(_sample().read(ENTRY))
    fields = content["entry"]
    values: list[Any] = [0, 1, -1, 1 << 70, True, None, "", "AAAA", [], {}, 1.5]
    values += [[["../x", 1, "0" * digits]] for digits in (8, 32)]
    for _ in range(1 + source.randrange(3)):
        name = sorted(fields)[source.randrange(len(fields))]
        value = deepcopy(values[source.randrange(len(values))])  # a later round changes it: it must not hold itself
        if name == "files" and isinstance(fields[name], list) and fields[name] and source.randrange(2):
            row = fields[name][source.randrange(len(fields[name]))]
            if row:
                row[source.randrange(len(row))] = value
        else:
            fields[name] = value
    content["crc32"] = entry_format._checksum(fields)
    return json.dumps(content).encode()


_DISKS: Final[list[dict[str, bytes]]] = []


def _sample() -> SimulatedDisk:
    """A disk with one backup of a small database."""
    if not _DISKS:
        disk = SimulatedDisk()
        with flin.engine.open("/db", fs=disk, runner="inline", clock_ms=ManualClock(), random_bytes=bytes) as db:
            db.put(b"table", b"1" * 100)
            db.flush()
            db.put(b"wal", b"2")
            db.backup(BACKUPS)
        _DISKS.append({path: data for path, data in disk.files().items() if path.startswith(BACKUPS)})
    disk = SimulatedDisk()
    for folder in ("catalogue", "files"):
        disk.make_directory(f"{BACKUPS}/{folder}")
    for path, data in _DISKS[0].items():
        disk.write(path, data)
    return disk
