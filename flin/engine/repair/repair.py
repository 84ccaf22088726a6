"""Repair: everything in a damaged directory whose checksum is right becomes a new database in another directory.

The damaged directory is read and never written to: what one repair cannot use, a better one may. The result's tables
are written first and its manifest last, so that an interrupted repair leaves a directory that does not open.

The newest version of a key wins, as in a merge: the WAL before the tables, and the tables by their order in the
manifest, or without one by what they say themselves (salvaged_tables.py). Each shard becomes one run, in which
tombstones and range deletes have been applied. If a newer value or a deletion was lost, an older value may reappear:
the report names the first and the last key of such ranges. Values that lie in value files are put into the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from flin.engine.background.job_files import Outputs
from flin.engine.background.run_writer import RunWriter
from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest, ManifestWriter
from flin.engine.catalog.version import ShardRuns, Version
from flin.engine.disk.data_keys import key_of
from flin.engine.disk.file_name import COLLECTED, MANIFEST, maybe_parse, maybe_value_number
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.lock import lock_directory
from flin.engine.disk.sealed_files import unlock
from flin.engine.entry import TOMBSTONE, Entry, Page, is_alive
from flin.engine.key import KEYS_END, is_counted, namespace_of
from flin.engine.memtable import Memtable, add_counts
from flin.engine.options import Options
from flin.engine.read.merge import Source, merge_pages
from flin.engine.repair.report import Loss, RepairReport
from flin.engine.repair.salvaged_tables import Aged, SalvagedTables
from flin.engine.repair.salvaged_values import GivenBack, SalvagedValues
from flin.engine.repair.salvaged_wal import SalvagedSegment, SalvagedWal
from flin.engine.slot import shard_of_stored
from flin.engine.sstable import TableOptions
from flin.engine.wal.frames import HEADER_BYTES, decode_header
from flin.errors import CorruptionError, FormatVersionError, StorageError

EPOCH: Final = 1
TARGET_TABLE_BYTES: Final = 32 << 20  # as compaction makes them


@dataclass(frozen=True, slots=True)
class RepairOptions:
    use_manifest: bool = True
    """False: ignore a manifest that is whole but wrong, being old or another database's."""
    force: bool = False
    """Treat a file that says it is of a newer format as a damaged one."""
    shards: int | None = None
    """The number of shards, if there is no manifest that says it."""


class Repair:
    """One repair. `report` fills as it goes on; LockedError if an engine has either directory open."""

    def __init__(
        self,
        source_fs: FileSystem,
        source: str,
        options: RepairOptions,
        target: Options | None = None,
        target_directory: str | None = None,
    ) -> None:
        """`target`: file system, clock and random bytes for the result; without it nothing is written."""
        self.report = RepairReport(source, target_directory if target is not None else None)
        self._fs = source_fs
        self._options = options
        self._target = target
        self._now_ms = (target or Options()).clock_ms()
        self._counts: dict[int, int] = {}

    def run(self) -> RepairReport:
        """Repair. FormatVersionError if a newer Flin wrote something; StorageError if the result cannot be written."""
        with ExitStack() as stack:
            options = self._target or Options(fs=self._fs)
            source_lock = lock_directory(self._fs, self.report.source, options.clock_ms())
            stack.callback(source_lock.release)
            manifest = self._manifest()
            identities = self._identities()
            if manifest is not None and not self._is_ours(manifest, identities):
                manifest = None
            tables = self._tables()
            values = self._values(manifest, tables)
            wal = self._wal(manifest, values)
            if manifest is not None:
                shards = tables.by_manifest(manifest)
                segments = list(wal.segments(manifest.database_id, manifest.next_sequence))
            else:
                shards = tables.by_themselves(self._options.shards)
                most = identities.most_common(1)
                segments = list(wal.segments(most[0][0] if most else None, None))
            self.report.shards = len(shards)
            self._check_shards(manifest)
            self._warn_of_overlap(manifest, shards, segments)
            self._write(manifest, shards, segments, values, stack)
            tables.count_kept()
            self._warn_of_losses()
        return self.report

    # Reading.

    def _manifest(self) -> Manifest | None:
        report = self.report.file(MANIFEST, "manifest")
        if not self._options.use_manifest:
            report.add_note("not used, as requested")
            self.report.warn(_AGES)
            return None
        try:
            found = manifest_format.read(self._fs, self.report.source)
            if found is not None:
                return found
            report.lose(Loss(0, 0, "there is no manifest"))
        except FormatVersionError as error:
            if not self._options.force:
                raise
            report.lose(Loss(0, 0, error.reason))
        except CorruptionError as error:
            report.lose(Loss(error.offset, 0, error.reason))
        except OSError as error:
            report.lose(Loss(0, 0, str(error)))
        self.report.warn(_AGES)
        return None

    def _tables(self) -> SalvagedTables:
        return SalvagedTables(self._fs, self.report.source, self.report, self._options.force)

    def _values(self, manifest: Manifest | None, tables: SalvagedTables) -> SalvagedValues:
        """The value files: those that the manifest names, or else tables; and then all that merges wrote."""
        if manifest is not None:
            named = manifest.version.value_files
            lengths = {each.file: each.length for each in named}
            return SalvagedValues(self._fs, self.report.source, self.report, {each.number for each in named}, lengths)
        numbers = tables.value_numbers()
        for name in self._fs.names(self.report.source):
            number = maybe_value_number(name)
            if number is not None and number >= COLLECTED:
                numbers.add(number)
        return SalvagedValues(self._fs, self.report.source, self.report, numbers, {})

    def _wal(self, manifest: Manifest | None, values: SalvagedValues) -> SalvagedWal:
        wal = SalvagedWal(self._fs, self.report.source, self.report, self._options.force)
        names = [(parsed, name) for name in self._fs.names(self.report.source) if (parsed := maybe_parse(name))]
        floor = 0 if manifest is None else manifest.wal_floor
        wal.read(
            [
                (parsed, name)
                for parsed, name in names
                if parsed.role == "wal" and (name not in values.names or 0 < floor <= parsed.number)
            ]
        )
        return wal

    def _identities(self) -> Counter[bytes]:
        """The databases that segments and value files name, with their numbers of files."""
        identities: Counter[bytes] = Counter()
        for name in self._fs.names(self.report.source):
            path = join(self.report.source, name)
            if maybe_value_number(name) is not None and self._fs.is_file(path):
                with suppress(OSError, CorruptionError, FormatVersionError):
                    file = self._fs.open(path)
                    try:
                        identities[decode_header(file.pread(HEADER_BYTES, 0), path).database_id] += 1
                    finally:
                        file.close()
        return identities

    def _is_ours(self, manifest: Manifest, identities: Counter[bytes]) -> bool:
        """Whether the manifest is this database's: not if there are segments and all are another's."""
        if not identities or manifest.database_id in identities:
            return True
        self.report.files[0].lose(Loss(24, 16, "the manifest and the segments belong to different databases"))
        self.report.warn(_AGES)
        return False

    def _check_shards(self, manifest: Manifest | None) -> None:
        asked = self._options.shards
        if asked is not None and manifest is not None and asked != manifest.shards:
            raise ValueError(f"the manifest says {manifest.shards} shards, which is fixed, not {asked}")

    def _warn_of_overlap(
        self, manifest: Manifest | None, shards: list[list[Aged]], segments: list[SalvagedSegment]
    ) -> None:
        """Without a manifest nothing says which segments are flushed but not removed yet."""
        if manifest is not None:
            return
        newest = max([each.largest_sequence for aged in shards for each in aged], default=0)
        for segment in segments:
            if segment.first_sequence <= newest:
                self.report.warn(f"{segment.report.file} holds commits that tables hold too, or newer ones replaced")

    # Merging and writing.

    def _write(
        self,
        manifest: Manifest | None,
        shards: list[list[Aged]],
        segments: list[SalvagedSegment],
        values: SalvagedValues,
        stack: ExitStack,
    ) -> None:
        newest = max([segment.last_sequence for segment in segments], default=0)
        newest = max([newest, *(each.largest_sequence for aged in shards for each in aged)])
        if manifest is not None:
            newest = max(newest, manifest.next_sequence - 1)
        memtables = [_split(segment.memtable, len(shards)) for segment in segments]
        given = self._given_back(values, shards)
        runs: list[ShardRuns] = []
        outputs: list[Outputs] = []
        options, directory = self._target, self.report.target
        if options is not None and directory is not None:
            options.fs.make_directory(directory)
            stack.callback(lock_directory(options.fs, directory, options.clock_ms()).release)
            key = None if options.encryption_key is None else key_of(options.encryption_key)
            unlock(options.fs, directory, key, options.random_bytes)
        try:
            with ExitStack() as written:
                for shard, aged in enumerate(shards):
                    own = [memtable[shard] for memtable in memtables]
                    by_age = _by_age(aged, segments, own, given[shard], manifest is None)
                    pages = self._live(values.resolved(merge_pages(list(by_age))))
                    if options is None or directory is None:
                        for _ in pages:
                            pass
                        continue
                    output = written.enter_context(Outputs(options.fs, directory, shard + 1, EPOCH))
                    outputs.append(output)
                    writer = RunWriter(
                        output,
                        TableOptions(options.block_size_bytes, codec=options.compression),
                        lambda *_: (1, max(1, newest)),
                        (),
                        target_table_bytes=TARGET_TABLE_BYTES,
                        output_boundaries=(),
                    )
                    for keys, entries in pages:
                        writer.add(keys, entries)
                    run = writer.finish()
                    runs.append((run,) if run else ())
                for output in outputs:
                    output.keep()
                if options is not None and directory is not None:
                    self._write_manifest(options, directory, manifest, Version(tuple(runs), self._counts), newest)
        except OSError as error:
            raise StorageError("write", directory or self.report.source, error) from error

    def _given_back(self, values: SalvagedValues, shards: list[list[Aged]]) -> list[list[GivenBack]]:
        """What value files hold of lost tables. Only a complete reading tells what is lost."""
        if values:
            for table in (table for aged in shards for each in aged for table in each.tables):
                for _ in table.pages():
                    pass
        return values.given_back(shards)

    def _live(self, pages: Iterator[Page]) -> Iterator[Page]:
        """The pages without tombstones, counted: beneath the result there is nothing to hide."""
        for keys, entries in pages:
            if TOMBSTONE in entries:
                alive = [(key, entry) for key, entry in zip(keys, entries, strict=True) if entry is not TOMBSTONE]
                if not alive:
                    continue
                keys, entries = [key for key, _ in alive], [entry for _, entry in alive]
            self.report.keys += len(keys)
            self.report.expired += sum(not is_alive(entry, self._now_ms) for entry in entries if type(entry) is tuple)
            if keys[-1] < b"\xff":
                self._counts = add_counts(self._counts, {0: len(keys)})
            else:
                for key in filter(is_counted, keys):
                    namespace = namespace_of(key)
                    self._counts[namespace] = self._counts.get(namespace, 0) + 1
            yield keys, entries

    def _write_manifest(
        self, options: Options, directory: str, manifest: Manifest | None, version: Version, newest: int
    ) -> None:
        """Write the manifest of a new database: a segment of the damaged one never passes for one of its WAL."""
        clock_ms = 0 if manifest is None else manifest.clock_ms
        shards = len(version.shards)
        ManifestWriter(options.fs, directory).write(
            Manifest(
                database_id=options.random_bytes(16),
                epoch=EPOCH,
                shards=shards,
                next_job=shards + 1,
                wal_floor=1,
                wal_position=0,
                next_sequence=newest + 1,
                clock_ms=max(clock_ms, options.clock_ms()),
                version=version,
            )
        )

    def _warn_of_losses(self) -> None:
        if any(file.losses for file in self.report.files if file.role != "manifest"):
            self.report.warn("if a newer value or a deletion was lost, an older value may reappear")


_AGES: Final = "the order of the tables comes from their own sequence numbers, not from the manifest"


def _split(memtable: Memtable, shards: int) -> list[Memtable]:
    if shards == 1:
        return [memtable]
    split: list[dict[bytes, Entry]] = [{} for _ in range(shards)]
    for key, entry in memtable.entries.items():
        split[shard_of_stored(key, shards)][key] = entry
    return [Memtable(entries, memtable.deleted) for entries in split]


def _by_age(
    aged: Sequence[Aged],
    segments: Sequence[SalvagedSegment],
    memtables: Sequence[Memtable],
    given: Sequence[GivenBack],
    by_sequence: bool,
) -> Iterator[Source]:
    """The sources of one shard, newest first. By the manifest every segment is newer than every table."""
    waiting = [(not by_sequence, segment.last_sequence, own) for segment, own in zip(segments, memtables, strict=True)]
    waiting += [(False, each.last_sequence, each.memtable) for each in given]
    waiting.sort(key=lambda each: each[:2])
    for each in aged:
        while waiting and (waiting[-1][0] or waiting[-1][1] > each.largest_sequence):
            yield _source(waiting.pop()[2])
        yield Source(each.pages(), each.deleted())
    while waiting:
        yield _source(waiting.pop()[2])


def _source(memtable: Memtable) -> Source:
    return Source(memtable.pages(b"", KEYS_END), memtable.deleted)
