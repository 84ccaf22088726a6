"""The manifest: one file that lists what makes up the database. Written whole, synced, and renamed into place.

    offset  size
         0     8  magic "FlinMAN\\0"
         8     4  format version, 1
        12     4  CRC-32 of the body
        16     8  length of the body
        24        body

The body (integers little-endian): a fixed part (`_FIXED` below: identity, epoch, shards, next job, WAL floor, WAL
position and next sequence at that floor, clock, number of counts, number of runs, number of tables), then

    counts   namespace (u32), live keys in the tables (i64)
    runs     shard (u32), number of tables (u32); of each shard the newest run first
    tables   of the runs in order: `_TABLE` (numbers and the lengths of what follows), file name, smallest, largest key

A file name in a manifest is data: one that Flin would not write is corruption, so no path leaves the directory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from flin.engine.catalog.version import Run, Version
from flin.engine.disk.file_name import MANIFEST, maybe_parse, temporary_name
from flin.engine.disk.fs import FileSystem, append_all, join
from flin.engine.slot import MAX_SHARDS
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError

MAGIC: Final = b"FlinMAN\0"
FORMAT_VERSION: Final = 1

_PREFIX: Final = struct.Struct("<8sIIQ")
BODY_OFFSET: Final = _PREFIX.size
_FIXED: Final = struct.Struct("<16sQIQQQQQIII")
_COUNT: Final = struct.Struct("<Iq")
_RUN: Final = struct.Struct("<II")
_TABLE: Final = struct.Struct("<QQQQQQQQQHII")


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
    if version != FORMAT_VERSION or len(body) != length or crc32(body) != crc:
        raise CorruptionError(path, 8, "the manifest's checksum or length does not match")
    try:
        return _decode_body(body, path)
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
    """Whether the directory's manifest begins like one, whatever follows. CorruptionError for a link or a pipe."""
    path = join(directory, MANIFEST)
    if not fs.is_file(path):
        raise CorruptionError(path, 0, "not a regular file")
    file = fs.open(path)
    try:
        return file.pread(len(MAGIC), 0) == MAGIC
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
    return b"".join((fixed, name, table.smallest, table.largest))


def _decode_body(body: bytes, path: str) -> Manifest:
    database_id, epoch, shards, *numbers, count_number, run_number, table_number = _FIXED.unpack_from(body)
    offset = _FIXED.size
    if not 1 <= shards <= MAX_SHARDS or shards & (shards - 1):
        raise CorruptionError(path, _PREFIX.size, f"{shards} shards: not a power of two up to {MAX_SHARDS}")
    counts = {}
    for _ in range(count_number):
        namespace, count = _COUNT.unpack_from(body, offset)
        counts[namespace] = count
        offset += _COUNT.size
    layout = []
    for _ in range(run_number):
        layout.append(_RUN.unpack_from(body, offset))
        offset += _RUN.size
    tables = []
    for _ in range(table_number):
        table, offset = _decode_table(body, offset, path)
        tables.append(table)
    if offset != len(body) or sum(size for _, size in layout) != table_number:
        raise CorruptionError(path, _PREFIX.size + offset, "the manifest's counts do not match its tables")
    order = [shard for shard, _ in layout]
    if order != sorted(order) or list(counts) != sorted(counts) or len(counts) != count_number:
        raise CorruptionError(path, _PREFIX.size, "the manifest's runs or counts are not in order")
    if not all(size for _, size in layout):
        raise CorruptionError(path, _PREFIX.size, "the manifest has a run without tables")
    runs_of: list[list[Run]] = [[] for _ in range(shards)]
    position = 0
    for shard, size in layout:
        runs_of[shard].append(tuple(tables[position : position + size]))
        position += size
    version = Version(tuple(tuple(runs) for runs in runs_of), counts)
    next_job, wal_floor, wal_position, next_sequence, clock_ms = numbers
    return Manifest(database_id, epoch, shards, next_job, wal_floor, wal_position, next_sequence, clock_ms, version)


def _decode_table(body: bytes, offset: int, path: str) -> tuple[TableMeta, int]:
    (
        section,
        length,
        entries,
        tombstones,
        range_deletes,
        expiring,
        smallest_sequence,
        largest_sequence,
        raw_bytes,
        name_length,
        smallest_length,
        largest_length,
    ) = _TABLE.unpack_from(body, offset)
    name_end = offset + _TABLE.size + name_length
    smallest_end = name_end + smallest_length
    end = smallest_end + largest_length
    if end > len(body):
        raise CorruptionError(path, _PREFIX.size + offset, "a table's record is cut")
    file = body[offset + _TABLE.size : name_end].decode("ascii", "backslashreplace")
    name = maybe_parse(file)
    if name is None or name.role != "table":
        raise CorruptionError(path, _PREFIX.size + offset, f"{file!r} is not the name of a table")
    smallest, largest = body[name_end:smallest_end], body[smallest_end:end]
    table = TableMeta(
        file=file,
        offset=section,
        length=length,
        entry_count=entries,
        tombstones=tombstones,
        range_deletes=range_deletes,
        expiring=expiring,
        smallest=smallest,
        largest=largest,
        smallest_sequence=smallest_sequence,
        largest_sequence=largest_sequence,
        raw_bytes=raw_bytes,
    )
    return table, end
