"""`flin dump`: shows the contents of one file. Its magic decides of which kind it is, never its name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flin.cli import exit_code
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key, positive
from flin.engine.catalog import manifest
from flin.engine.disk.file_name import COLLECTED, GROUPS, MANIFEST, group_name
from flin.engine.disk.fs import FileSystem, OsFileSystem, ReadableFile
from flin.engine.disk.sealed_files import MAGIC as SEALED_MAGIC
from flin.engine.disk.sealed_files import unlocked
from flin.engine.entry import TOMBSTONE, Entry, Pointer
from flin.engine.key import USER_END, namespace_of, user_key
from flin.engine.sstable import Table
from flin.engine.table import footer as table_footer
from flin.engine.table.value_files import row_of
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.sealed import maybe_opener
from flin.errors import CorruptionError

if TYPE_CHECKING:
    from flin.engine.table.meta import TableMeta

CUT_BYTES: Final = 64
"""Bytes of a key or value that are shown without --full: they fit on a line."""

SUMMARY = "show the contents of a WAL segment, a value file, an SSTable or a manifest"
DETAILS = """\
Prints one line for each operation of a WAL segment or a value file, each entry of an SSTable, or each table and value
file of a manifest. Of a value that lies in a value file an SSTable knows only the place. Bytes that are not printable
ASCII are shown as \\xNN. Keys and values over 64 bytes are cut; --full shows all of them. A damaged file is shown up to
the damage; the last line then names it (exit code 1)."""
EXAMPLES = """\
  flin dump data/MANIFEST
  flin dump data/00000003.2.wal --limit 20
  flin dump data/00000009-0000.2.val
  flin dump data/00000002-0000.2.sst --full | grep user:42"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "dump", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="the file to show")
    parser.add_argument("--limit", type=positive, metavar="N", help="show at most N entries or frames")
    parser.add_argument("--full", action="store_true", help="show whole keys and values")
    add_key_option(parser)


def run(arguments: argparse.Namespace) -> int:
    path = Path(arguments.file)
    key = maybe_key(arguments.encryption_key_file)
    if path.is_dir():
        below = path / group_name(0) if (path / GROUPS).exists() else path
        raise UsageError(f"{path} is a directory: name one of its files, such as {below / MANIFEST}")
    if not path.is_file():
        raise UsageError(f"there is no file {arguments.file!r}")
    fs = unlocked(OsFileSystem(), str(path.parent), key) if key else OsFileSystem()
    file = fs.open(str(path))
    try:
        for line in _Dump(file, arguments.full, fs).lines(arguments.limit):
            print(line)
    except CorruptionError as error:
        print(f"damaged at offset {error.offset}: {error.reason}")
        return exit_code.PROBLEMS
    finally:
        file.close()
    return exit_code.OK


class _Dump:
    """The lines of one file."""

    def __init__(self, file: ReadableFile, full: bool, fs: FileSystem | None = None) -> None:
        """`fs`: the file's, which opens what is sealed."""
        self._fs = fs
        self._file = file
        self._full = full

    def lines(self, limit: int | None) -> Iterator[str]:
        head = self._file.pread(8, 0)
        size = self._file.size()
        tail = self._file.pread(8, max(0, size - 8))
        if head == wal_frames.MAGIC:
            return self._wal(limit)
        if head == manifest.MAGIC:
            return self._manifest()
        if tail == table_footer.MAGIC:
            return self._sstable(limit)
        if head == SEALED_MAGIC:
            raise UsageError(f"{self._file.path} is encrypted: give the key with --encryption-key-file")
        raise UsageError(f"{self._file.path} ({size} bytes) is no WAL segment, value file, SSTable or manifest of Flin")

    def _wal(self, limit: int | None) -> Iterator[str]:
        data = self._file.map()
        header = wal_frames.decode_header(data, self._file.path)
        kind = f"WAL segment {header.number}" if header.number < COLLECTED else f"value file {header.number}"
        yield f"{kind}, format {wal_frames.FORMAT_VERSION}, {len(data):,} bytes"
        yield f"  database {header.database_id.hex()}, salt {header.salt.hex()}"
        yield f"  base {header.base}, first sequence {header.first_sequence}, synced to {header.synced}"
        if header.predecessor:
            yield f"  follows segment {header.predecessor}, valid to offset {header.predecessor_end}"
        opener = None if self._fs is None else maybe_opener(self._fs, header, self._file.path)
        frames = wal_replay.read_frames(data, header, self._file.path, end=len(data), opener=opener)
        for frame in islice(frames, limit):
            yield f"{frame.offset:>10}  {_FRAME_KINDS.get(frame.kind & wal_frames.PLAIN_KIND, str(frame.kind))}" + (
                f", sequence {frame.first_sequence}, {frame.count} operation{'s'[: frame.count != 1]}"
                if frame.count
                else ""
            )
            for start, stop in frame.ranges:
                yield f"            delete range {self._key(start)} to {self._key(stop)}"
            for key, entry in frame.points:
                yield f"            {self._entry(key, entry)}"

    def _sstable(self, limit: int | None) -> Iterator[str]:
        metas = table_footer.read_metas(self._file)
        size, sections = f"{self._file.size():,} bytes", _many(len(metas), "section")
        version = int.from_bytes(self._file.pread(4, self._file.size() - 16), "little")
        yield f"SSTable, format {version}, {size}, {sections}"
        for number, meta in enumerate(metas):
            yield f"section {number}: {self._describe(meta)}"
            table = Table(self._file, meta, None)
            for start, stop in table.ranges:
                yield f"  delete range {self._key(start)} to {self._key(stop)}"
            entries = ((key, entry) for page in table.pages(cached=False) for key, entry in zip(*page, strict=True))
            for key, entry in islice(entries, limit):
                yield f"  {self._entry(key, entry)}"

    def _manifest(self) -> Iterator[str]:
        data = self._file.pread(self._file.size(), 0)
        found = manifest.decode(data, self._file.path)
        yield f"manifest, format {int.from_bytes(data[8:12], 'little')}, {len(data):,} bytes"
        yield f"  database {found.database_id.hex()}, epoch {found.epoch}, {_many(found.shards, 'shard')}"
        yield f"  next job {found.next_job}, clock {_time(found.clock_ms)}"
        yield f"  WAL from segment {found.wal_floor}, position {found.wal_position}, sequence {found.next_sequence}"
        for namespace, count in sorted(found.version.counts.items()):
            yield f"  namespace {namespace}: {count:,} keys in tables"
        for shard, runs in enumerate(found.version.shards):
            for age, tables in enumerate(runs):
                yield f"shard {shard}, run {age} (0 is the newest): {_many(len(tables), 'table')}"
                for meta in tables:
                    yield f"  {meta.file} at {meta.offset}: {self._describe(meta)}"
        for each in found.version.value_files:
            live = f"{each.live_bytes:,} of {each.length:,} bytes are live"
            yield f"value file {each.number}: {each.file}, {live} ({each.live_bytes / each.length:.0%})"

    def _describe(self, meta: TableMeta) -> str:
        parts = [f"{meta.length:,} bytes", _many(meta.entry_count, "entry", "entries")]
        if meta.tombstones:
            parts.append(_many(meta.tombstones, "tombstone"))
        if meta.range_deletes:
            parts.append(_many(meta.range_deletes, "range delete"))
        if meta.expiring:
            parts.append(f"{meta.expiring:,} with an expiry")
        parts.append(f"keys {self._key(meta.smallest)} to {self._key(meta.largest)}")
        parts.append(f"sequences {meta.smallest_sequence} to {meta.largest_sequence}")
        parts.append(f"{meta.raw_bytes:,} bytes raw")
        return ", ".join(parts)

    def _entry(self, key: bytes, entry: Entry) -> str:
        if entry is TOMBSTONE:
            return f"delete {self._key(key)}"
        value, expires_at_ms, tag = (entry, 0, 0) if isinstance(entry, bytes) else entry
        expiry = f", expires {_time(expires_at_ms)}" if expires_at_ms else ""
        kind = f", tag {tag}" if tag else ""
        return f"put {self._key(key)} = {self._value(value)}{expiry}{kind}"

    def _value(self, value: bytes) -> str:
        if type(value) is not Pointer:
            return self._bytes(value)
        number, offset, length, _ = row_of(value)
        return f"{length:,} bytes at {offset} in value file {number}"

    def _key(self, stored: bytes) -> str:
        """A user's key as the user wrote it; an internal one with its namespace."""
        if stored < USER_END:
            return self._bytes(user_key(stored))
        return f"[namespace {namespace_of(stored)}] {self._bytes(stored[4:])}"

    def _bytes(self, data: bytes) -> str:
        if self._full or len(data) <= CUT_BYTES:
            return printable(data)
        return f"{printable(data[:CUT_BYTES])} … ({len(data):,} bytes)"


_FRAME_KINDS: Final = {
    wal_frames.FRAME_PUT: "put",
    wal_frames.FRAME_PUTS: "puts",
    wal_frames.FRAME_OPERATIONS: "operations",
    wal_frames.FRAME_END: "end: closed cleanly",
}


def printable(data: bytes) -> str:
    r"""The data as a Python literal in double quotes: "a\x00b"."""
    return '"' + ascii(data)[2:-1].replace('"', '\\"').replace("\\'", "'") + '"'


def _many(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _time(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):  # an expiry may lie beyond the year 9999
        return f"{time_ms} ms"
