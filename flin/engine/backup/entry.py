"""An entry of a backup's catalogue: one backup, as JSON, and what makes it a database again.

    {"flin_backup": 2,                      the format's number
     "crc32": "8 hexadecimal digits",       of the entry as JSON without blanks, its keys sorted
     "entry": {
       "number": 7,                         that of the file's name
       "made_at_ms": 1764400000000,         the time at which it was made
       "database_id": "32 hexadecimal digits",
       "sequence": 1234,                    that of the last write in it
       "copied_bytes": 4096,                what it added to the directory
       "reused_files": 12,                  how many of its files earlier backups had brought
       "manifest": "base64",                the database's manifest at that time; sealed, if it is encrypted
       "keys": "base64",                    its file of keys, if it is encrypted; else empty
       "files": [["00000003-0000.2.sst", 429, "32 hexadecimal digits"], ...]}}   name, size, BLAKE2b, by name

Format 1 had CRC-32 (8 digits), which cannot tell two tables of one layout apart, since their blocks end with their own.
A file that was copied then keeps it.

Any bytes decode to an entry or raise CorruptionError or FormatVersionError. A file name is data: what Flin would not
write is corruption, so no path leaves the directory.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest
from flin.engine.checksum import crc32
from flin.engine.disk.file_name import maybe_parse
from flin.errors import CorruptionError, FormatVersionError

FORMAT: Final = 2

_NUMBERS: Final = ("number", "made_at_ms", "sequence", "copied_bytes", "reused_files")
_FIELDS: Final = {*_NUMBERS, "database_id", "manifest", "keys", "files"}
_ROLES: Final = ("wal", "table", "value")


class StoredFile(NamedTuple):
    """A file of a backup."""

    name: str
    size: int
    checksum: str  # of the whole file, in hexadecimal digits (file_copy.py)


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    made_at_ms: int
    sequence: int
    copied_bytes: int
    reused_files: int
    database_id: bytes
    manifest: bytes  # as a file has it
    keys: bytes  # the file of keys of an encrypted database, whose manifest is sealed
    files: tuple[StoredFile, ...]  # by name


def encode(entry: Entry) -> bytes:
    fields = {name: getattr(entry, name) for name in _NUMBERS}
    fields["database_id"] = entry.database_id.hex()
    fields["manifest"], fields["keys"] = (b64encode(data).decode() for data in (entry.manifest, entry.keys))
    fields["files"] = [*map(list, entry.files)]
    content = {"flin_backup": FORMAT, "crc32": _checksum(fields), "entry": fields}
    return json.dumps(content, indent=1).encode() + b"\n"


def decode(data: bytes, path: str, number: int) -> Entry:
    """The entry in a catalogue's file of that number."""
    try:
        content: Any = json.loads(data)
        version = content["flin_backup"]
        if type(version) is int and version > FORMAT:
            raise FormatVersionError(path, f"backup format {version}, of a newer Flin: this one reads {FORMAT}")
        fields = content["entry"]
        if (
            version not in (1, FORMAT)
            or content.keys() != {"flin_backup", "crc32", "entry"}
            or fields.keys() != _FIELDS
        ):
            raise ValueError("it has not the fields of one")
        if content["crc32"] != _checksum(fields):
            raise ValueError("its checksum does not match")
        return _entry(fields, path, number)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptionError(path, 0, f"it is no entry of a backup's catalogue: {error}") from error


def _entry(fields: dict[str, Any], path: str, number: int) -> Entry:
    for name in _NUMBERS:
        if type(fields[name]) is not int or (fields[name] < 0 and name != "made_at_ms"):
            raise ValueError(f"{name} is no number")
    manifest, keys = (b64decode(fields[name], validate=True) for name in ("manifest", "keys"))
    database_id = bytes.fromhex(fields["database_id"])
    files = tuple(_file(*row) for row in fields["files"])
    names = [each.name for each in files]
    if fields["number"] != number:
        raise ValueError(f"it says that it is number {fields['number']}")
    if names != sorted({*names}):
        raise ValueError("its files are not in the order of their names")
    entry = Entry(
        **{name: fields[name] for name in _NUMBERS}, database_id=database_id, manifest=manifest, keys=keys, files=files
    )
    if not keys:
        check_manifest(entry, manifest_format.decode(manifest, path))
    return entry


def check_manifest(entry: Entry, manifest: Manifest) -> None:
    """ValueError unless it can be the entry's."""
    if entry.database_id != manifest.database_id:
        raise ValueError("its manifest is another database's")
    if not manifest.version.files() <= {each.name for each in entry.files}:
        raise ValueError("its files are not those of its manifest")


def _file(name: str, size: int, checksum: str) -> StoredFile:
    parsed = maybe_parse(name)
    if parsed is None or parsed.role not in _ROLES:
        raise ValueError(f"{name!r} is not the name of a file of a database")
    if type(size) is not int or size <= 0 or not re.fullmatch("[0-9a-f]{8}([0-9a-f]{24})?", checksum):
        raise ValueError(f"{name} has no size, or no checksum")
    return StoredFile(name, size, checksum)


def _checksum(fields: object) -> str:
    return f"{crc32(json.dumps(fields, separators=(',', ':'), sort_keys=True).encode()):08x}"
