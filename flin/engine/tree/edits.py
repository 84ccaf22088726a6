"""Edits: the commits of the background. Manifest first, then the state; one at a time, under the edit lock.

An edit is on the disk before any reader sees it. If that cannot be known (a failed rename, a failed sync), no file is
removed and nothing is written any more, until the next open finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from flin.engine.catalog.generation import SealedGeneration, retired
from flin.engine.catalog.manifest import Manifest
from flin.engine.catalog.version import Run, ValueFile, Version, with_flush, with_values
from flin.engine.read.live_count import LiveCount
from flin.engine.read.read_state import OpenRuns
from flin.engine.reentry import holds_lock, is_held
from flin.engine.tree.closed_state import CLOSED_STATE
from flin.engine.tree.ordered_reads import OrderedReads
from flin.engine.tree.table_cache import TableCache
from flin.engine.tree.version_set import VersionSet
from flin.engine.wal.teed_writer import TeedWalWriter
from flin.errors import CLOSED_TEXT, ClosedError, ReadOnlyError, StorageError


class Edits(OrderedReads):
    """The store's tables, and how others replace them."""

    tables: TableCache
    _versions: VersionSet
    _live_count: LiveCount
    _teed: TeedWalWriter | None  # the WAL of a replica

    @property
    def manifest(self) -> Manifest:
        return self._versions.manifest

    @holds_lock
    def next_job(self) -> int:
        """A job number that no other job of this epoch has."""
        with self._versions.lock:
            self._versions.next_job += 1
            return self._versions.next_job - 1

    @property
    def coming_job(self) -> int:
        """The number that the next job will have: files of jobs that have begun have smaller ones."""
        return self._versions.next_job

    @contextmanager
    @holds_lock
    def editing(self) -> Iterator[None]:
        """Hold the edit lock. ReadOnlyError, ClosedError."""
        with self._versions.lock:
            self._check_writable()
            yield

    def end_segment(self) -> None:
        """End the WAL's current segment: the next commit begins another one."""
        self._exclusively(self._wal.end_segment)

    @holds_lock
    def install_flush(
        self,
        generation: SealedGeneration,
        tables: dict[int, Run],
        now_ms: int,
        value_files: Sequence[ValueFile] = (),
    ) -> None:
        """Commit the flush of the oldest sealed generation. Those of its segments that are no value files are obsolete
        then."""
        self.sync(generation.end_position)  # the prefix holds across files: no table is ahead of the durable WAL
        teed = self._teed
        if teed is not None and value_files:
            self._sync_or_refuse(lambda: teed.sync_ended([each.file for each in value_files]))
        with self._versions.lock:
            assert self.state.sealed[-1] is generation, "flushes commit oldest first"
            manifest = replace(
                self._versions.manifest,
                version=with_flush(self._settled_version(), tables, value_files),
                wal_floor=generation.next_segment,
                wal_position=generation.end_position,
                next_sequence=generation.next_sequence,
            )
            self._edit(manifest, now_ms, generation)
        if teed is not None:
            teed.let_go([segment.file for segment in generation.segments])

    @holds_lock
    def install_compaction(
        self,
        change: Callable[[Version], Version],
        now_ms: int,
        value_files: Sequence[ValueFile] = (),
        live_values: Mapping[int, int] | None = None,
    ) -> None:
        """Commit a compaction: `change` maps the present version to the one that it leaves; `value_files` are new, and
        `live_values` is the change of live bytes in older ones."""
        with self._versions.lock:
            version = change(self._settled_version())
            version = with_values(version, value_files, live_values or {})
            self._edit(replace(self._versions.manifest, version=version), now_ms, None)

    @holds_lock
    def install_counted(self, now_ms: int) -> None:
        """Commit what was counted since the last edit, if it is anything."""
        with self._versions.lock:
            manifest = self._versions.manifest
            version = self._settled_version()
            if version is not manifest.version:
                self._edit(replace(manifest, version=version), now_ms, None)

    def _settled_version(self) -> Version:
        """The present version; a count on demand since the last edit joins the next one."""
        return self._live_count.settled(self._versions.manifest.version)

    def _edit(self, manifest: Manifest, now_ms: int, flushed: SealedGeneration | None) -> None:
        versions = self._versions
        assert is_held(versions.lock)
        if self.state is CLOSED_STATE:
            raise ClosedError(CLOSED_TEXT)
        if self.read_only_reason is not None:
            raise ReadOnlyError(self.read_only_reason)
        manifest = replace(manifest, next_job=versions.next_job, clock_ms=max(versions.manifest.clock_ms, now_ms))
        runs = self.tables.runs_of(manifest.version)
        try:
            versions.writer.write(manifest)
            self._install_edit(manifest, runs, flushed)
            versions.writer.confirm()
        except BaseException as error:  # also an interrupt: files that the new manifest names must stay
            if versions.writer.uncertain and not isinstance(error, OSError):
                self._finish_edit(manifest, runs, flushed)
            if versions.writer.uncertain:
                self.tables.keep_files()
                self.make_read_only(f"nobody knows which manifest is on the disk: {error!r}")
            elif versions.manifest is not manifest:
                self.tables.runs_of(versions.manifest.version)
            if isinstance(error, OSError):
                raise StorageError("write the manifest of", self.directory, error) from error
            raise

    def _finish_edit(self, manifest: Manifest, runs: OpenRuns, flushed: SealedGeneration | None) -> None:
        """Finish after an interrupt in the middle (a signal handler that raised, no memory): the disk refused nothing,
        so the whole edit is made again. If that fails, too, it stays uncertain."""
        with suppress(Exception):
            self._versions.writer.write(manifest)
            if self.state.version is not manifest.version:
                self._install_edit(manifest, runs, flushed)
            self._versions.writer.confirm()

    def _install_edit(self, manifest: Manifest, runs: OpenRuns, flushed: SealedGeneration | None) -> None:
        self._versions.manifest = manifest
        self.tables.wal_floor = manifest.wal_floor
        flushes = self.state.flushes
        self.value_cache.begin_edit(manifest.clock_ms)
        if flushed is not None:
            flushes += 1
            self.value_cache.begin_flush(
                flushes, [memtable for memtables in flushed.memtables for memtable in memtables]
            )

        def install() -> None:
            if flushed is None:
                self._dead.forget()
            state = self.state
            if flushed is None:
                sealed, cached = state.sealed, state.retired
            else:
                sealed = state.sealed[:-1]
                cached = self._kept((retired(flushed), *state.retired), sealed)
            self._install(
                replace(
                    state,
                    runs=runs,
                    version=manifest.version,
                    value_files=self.tables.value_files,
                    sealed=sealed,
                    retired=cached,
                    flushes=flushes,
                )
            )

        self._exclusively(install)
