"""The manifest: one file that lists what makes up the database. Written whole, synced, and renamed into place.

    offset  size
         0     8  magic "FlinMAN\\0"
         8     4  format version, 2
        12     4  CRC-32 of the body
        16     8  length of the body
        24        body

The body (integers little-endian): a fixed part (`_FIXED` below: identity, epoch, shards, next job, WAL floor, WAL
position and next sequence at that floor, clock, number of counts, number of runs, number of tables), then

    counts       namespace (u32), live keys of the settled runs (i64)
    runs         shard (u32), number of tables (u32); of each shard the newest run first
    tables       of the runs in order: `_TABLE` (numbers and the lengths of what follows), file name, smallest, largest
                 key; then the number of points (u32; NO_POINTS: not known) and of each: namespace (u32), puts (u64)
    shards       of each: how many of its newest runs are unsettled (u32), number of fences (u32); of each fence the
                 length (u32) and the key
    value files  their number (u32); of each: `_VALUE_FILE` (number, length, live bytes, length of the name), file name

Version 1 ends with the tables, which have no points.

A file name in a manifest is data: one that Flin would not write is corruption, so no path leaves the directory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from flin.engine.catalog.version import Run, ValueFile, Version
from flin.engine.checksum import crc32
from flin.engine.disk.file_name import MANIFEST, maybe_parse, maybe_value_number, temporary_name
from flin.engine.disk.fs import FileSystem, append_all, join
from flin.engine.disk.sealed_files import MAGIC as SEALED_MAGIC
from flin.engine.disk.sealed_files import SealedAppendFile, raw_of
from flin.engine.slot import MAX_SHARDS
from flin.engine.table.meta import Points, TableMeta
from flin.errors import CorruptionError, FormatVersionError

MAGIC: Final = b"FlinMAN\0"
FORMAT_VERSION: Final = 2

_PREFIX: Final = struct.Struct("<8sIIQ")
BODY_OFFSET: Final = _PREFIX.size
_FIXED: Final = struct.Struct("<16sQIQQQQQIII")
_COUNT: Final = struct.Struct("<Iq")
_RUN: Final = struct.Struct("<II")
_TABLE: Final = struct.Struct("<QQQQQQQQQHII")
_NUMBER: Final = struct.Struct("<I")
_POINTS: Final = struct.Struct("<IQ")
_SHARD: Final = struct.Struct("<II")
_VALUE_FILE: Final = struct.Struct("<QQQH")

NO_POINTS: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Manifest:
    database_id: bytes  # 16 bytes
    epoch: int
    shards: int
    next_job: int  # number of the next job; its files have it in their names
    wal_floor: int  # number of the first segment that may hold something that no table holds
    wal_position: int  # where the WAL goes on if no segment is left
    next_sequence: int  # with which it goes on then
    clock_ms: int  # the latest "now" of a job
    version: Version


@dataclass(slots=True)
class ManifestWriter:
    """Writes manifests; keeps the encoded tables, since most of a new manifest is that of the old one."""

    fs: FileSystem
    directory: str
    uncertain: bool = False
    """The new manifest may be on the disk, but `confirm` was not called yet: a sync or the rename failed, or the writer
    was interrupted before the manifest counted in memory."""
    _encoded: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def write(self, manifest: Manifest) -> None:
        """Write the manifest: durable on return, and `uncertain` until `confirm`. After an OSError the same holds, or
        the old manifest is still in place."""
        temporary = join(self.directory, temporary_name(manifest.epoch))
        self._remove_leftover(temporary)
        file = self.fs.create(temporary)
        try:
            append_all(file, self._encode(manifest))
            if isinstance(file, SealedAppendFile):
                file.end()  # a disk that is full has failed no sync
            self.uncertain = True
            file.sync()
        finally:
            file.close()
        self.fs.rename(temporary, join(self.directory, MANIFEST))
        self.fs.sync_directory(self.directory)

    def confirm(self) -> None:
        """The manifest that was written last counts."""
        self.uncertain = False

    def _remove_leftover(self, temporary: str) -> None:
        """Remove the file that a failed write of this epoch may have left."""
        if self.fs.is_file(temporary):
            self.fs.remove(temporary)

    def _encode(self, manifest: Manifest) -> bytes:
        known, self._encoded = self._encoded, {}
        for runs in manifest.version.shards:
            for run in runs:
                for table in run:
                    key = (table.file, table.offset)
                    self._encoded[key] = known.get(key) or _encode_table(table)
        return encode(manifest, self._encoded)


def encode(manifest: Manifest, tables: dict[tuple[str, int], bytes] | None = None) -> bytes:
    """The bytes of the file; `tables` has the encoded tables by file and offset, if the caller keeps them."""
    version = manifest.version
    runs = [(shard, run) for shard, runs in enumerate(version.shards) for run in runs]
    metas = [table for _, run in runs for table in run]
    parts = [
        _FIXED.pack(
            manifest.database_id,
            manifest.epoch,
            manifest.shards,
            manifest.next_job,
            manifest.wal_floor,
            manifest.wal_position,
            manifest.next_sequence,
            manifest.clock_ms,
            len(version.counts),
            len(runs),
            len(metas),
        )
    ]
    parts += [_COUNT.pack(namespace, count) for namespace, count in sorted(version.counts.items())]
    parts += [_RUN.pack(shard, len(run)) for shard, run in runs]
    if tables is None:
        parts += map(_encode_table, metas)
    else:
        parts += [tables[table.file, table.offset] for table in metas]
    for unsettled, fences in zip(version.unsettled, version.fences, strict=True):
        parts.append(_SHARD.pack(unsettled, len(fences)))
        for fence in fences:
            parts += (_NUMBER.pack(len(fence)), fence)
    parts.append(_NUMBER.pack(len(version.value_files)))
    for each in version.value_files:
        name = each.file.encode()
        parts += (_VALUE_FILE.pack(each.number, each.length, each.live_bytes, len(name)), name)
    body = b"".join(parts)
    return _PREFIX.pack(MAGIC, FORMAT_VERSION, crc32(body), len(body)) + body


def decode(data: bytes, path: str) -> Manifest:
    """The manifest in these bytes. CorruptionError unless it is whole and valid; FormatVersionError for a newer one."""
    if len(data) < _PREFIX.size:
        raise CorruptionError(path, len(data), "the manifest is shorter than its header")
    magic, version, crc, length = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise CorruptionError(path, 0, "not a manifest")
    if version > FORMAT_VERSION:
        raise FormatVersionError(path, f"manifest format {version}; this Flin reads up to {FORMAT_VERSION}")
    body = data[_PREFIX.size :]
    if not version or len(body) != length or crc32(body) != crc:
        raise CorruptionError(path, 8, "the manifest's checksum or length does not match")
    try:
        return _Decoder(body, version, path).manifest()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise CorruptionError(path, _PREFIX.size, f"the manifest's body is cut: {error}") from error


def read(fs: FileSystem, directory: str) -> Manifest | None:
    """The manifest of a directory; None if it has none."""
    path = join(directory, MANIFEST)
    if MANIFEST not in fs.names(directory):
        return None
    if not fs.is_file(path):
        raise CorruptionError(path, 0, "not a regular file")
    file = fs.open(path)
    try:
        return decode(file.pread(file.size(), 0), path)
    finally:
        file.close()


def is_manifest(fs: FileSystem, directory: str) -> bool:
    """Whether the directory's manifest begins like one, sealed or not, whatever follows. CorruptionError for a link or
    a pipe."""
    path = join(directory, MANIFEST)
    if not fs.is_file(path):
        raise CorruptionError(path, 0, "not a regular file")
    file = raw_of(fs).open(path)
    try:
        return file.pread(len(MAGIC), 0) in (MAGIC, SEALED_MAGIC)
    finally:
        file.close()


def _encode_table(table: TableMeta) -> bytes:
    name = table.file.encode()
    fixed = _TABLE.pack(
        table.offset,
        table.length,
        table.entry_count,
        table.tombstones,
        table.range_deletes,
        table.expiring,
        table.smallest_sequence,
        table.largest_sequence,
        table.raw_bytes,
        len(name),
        len(table.smallest),
        len(table.largest),
    )
    points = table.points
    counted = (
        [_NUMBER.pack(NO_POINTS)]
        if points is None
        else [_NUMBER.pack(len(points)), *[_POINTS.pack(*pair) for pair in points]]
    )
    return b"".join((fixed, name, table.smallest, table.largest, *counted))


class _Decoder:
    """Decodes a body. struct.error, IndexError or UnicodeDecodeError where it is cut."""

    def __init__(self, body: bytes, version: int, path: str) -> None:
        self._body = body
        self._version = version
        self._path = path
        self._offset = 0

    def manifest(self) -> Manifest:
        database_id, epoch, shards, *numbers, count_number, run_number, table_number = self._take(_FIXED)
        if not 1 <= shards <= MAX_SHARDS or shards & (shards - 1):
            raise CorruptionError(self._path, BODY_OFFSET, f"{shards} shards: not a power of two up to {MAX_SHARDS}")
        counts = dict(self._take(_COUNT) for _ in range(count_number))
        layout = [self._take(_RUN) for _ in range(run_number)]
        tables = [self._table() for _ in range(table_number)]
        if sum(size for _, size in layout) != table_number:
            raise self._corruption("the manifest's counts do not match its tables")
        order = [shard for shard, _ in layout]
        if order != sorted(order) or list(counts) != sorted(counts) or len(counts) != count_number:
            raise CorruptionError(self._path, BODY_OFFSET, "the manifest's runs or counts are not in order")
        if not all(size for _, size in layout):
            raise CorruptionError(self._path, BODY_OFFSET, "the manifest has a run without tables")
        runs_of: list[list[Run]] = [[] for _ in range(shards)]
        position = 0
        for shard, size in layout:
            runs_of[shard].append(tuple(tables[position : position + size]))
            position += size
        if self._version == 1:
            version = Version(tuple(map(tuple, runs_of)), counts)
        else:
            unsettled, fences = zip(*[self._shard(len(runs)) for runs in runs_of], strict=True)
            version = Version(tuple(map(tuple, runs_of)), counts, unsettled, fences, self._value_files())
            if version.value_files and not tables:
                raise self._corruption("the manifest has value files and no tables that could name them")
        if self._offset != len(self._body):
            raise self._corruption("the manifest's body goes on after its end")
        next_job, wal_floor, wal_position, next_sequence, clock_ms = numbers
        return Manifest(database_id, epoch, shards, next_job, wal_floor, wal_position, next_sequence, clock_ms, version)

    def _take(self, fields: struct.Struct) -> tuple[Any, ...]:
        offset = self._offset
        self._offset += fields.size
        return fields.unpack_from(self._body, offset)

    def _bytes(self, size: int) -> bytes:
        start = self._offset
        if start + size > len(self._body):
            raise self._corruption("a record of the manifest is cut")
        self._offset += size
        return self._body[start : start + size]

    def _name(self, size: int, *roles: str) -> str:
        file = self._bytes(size).decode("ascii", "backslashreplace")
        name = maybe_parse(file)
        if name is None or name.role not in roles:
            raise self._corruption(f"{file!r} is not the name of a {' or '.join(roles)} file")
        return file

    def _table(self) -> TableMeta:
        *numbers, name_length, smallest_length, largest_length = self._take(_TABLE)
        file = self._name(name_length, "table")
        smallest, largest = self._bytes(smallest_length), self._bytes(largest_length)
        section, length, entries, tombstones, range_deletes, expiring, *sequences, raw_bytes = numbers
        return TableMeta(
            file=file,
            offset=section,
            length=length,
            entry_count=entries,
            tombstones=tombstones,
            range_deletes=range_deletes,
            expiring=expiring,
            smallest=smallest,
            largest=largest,
            smallest_sequence=sequences[0],
            largest_sequence=sequences[1],
            raw_bytes=raw_bytes,
            points=None if self._version == 1 else self._points(),
        )

    def _points(self) -> Points | None:
        (number,) = self._take(_NUMBER)
        if number == NO_POINTS:
            return None
        points = tuple(self._take(_POINTS) for _ in range(number))
        if not _ascend([namespace for namespace, _ in points]) or not all(count for _, count in points):
            raise self._corruption("a table's points are not in order")
        return points

    def _shard(self, runs: int) -> tuple[int, tuple[bytes, ...]]:
        unsettled, fence_number = self._take(_SHARD)
        fences = tuple(self._bytes(self._take(_NUMBER)[0]) for _ in range(fence_number))
        if unsettled > runs or not _ascend(fences):
            raise self._corruption("a shard has more unsettled runs than runs, or fences that are not in order")
        return unsettled, fences

    def _value_files(self) -> tuple[ValueFile, ...]:
        (number,) = self._take(_NUMBER)
        files = []
        for _ in range(number):
            file_number, length, live_bytes, name_length = self._take(_VALUE_FILE)
            file = self._name(name_length, "wal", "value")
            if maybe_value_number(file) != file_number or not live_bytes <= length:
                raise self._corruption(f"value file {file!r} has another's number, or more values than bytes")
            files.append(ValueFile(file_number, file, length, live_bytes))
        if not _ascend([each.number for each in files]) or not all(each.live_bytes for each in files):
            raise self._corruption("the manifest's value files are not in order")
        return tuple(files)

    def _corruption(self, reason: str) -> CorruptionError:
        return CorruptionError(self._path, BODY_OFFSET + self._offset, reason)


def _ascend(items: Sequence[Any]) -> bool:
    return all(left < right for left, right in pairwise(items))
