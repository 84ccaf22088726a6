"""The manifest, and the files that it names."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from flin.engine.background import flush_lane, job_edit
from flin.engine.background.flush_lane import FlushLane
from flin.engine.background.job_files import Outputs
from flin.engine.catalog import manifest, version
from flin.engine.catalog.manifest import ManifestWriter
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import append_all, join
from flin.engine.tree import edits, opening, table_cache
from flin.engine.tree.store import Store
from flin.engine.tree.table_cache import TableCache, remove_segments
from tests.engine.hunts import (
    concurrent_writes,
    failing_calls,
    flushes_ahead,
    reopened_workloads,
    short_workloads,
    turned_bits,
)
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(short_workloads)
def manifest_written_in_place(patch: Patch) -> None:
    """at every moment there is a complete manifest"""

    def write(self: Any, manifest: Any) -> None:
        path = join(self.directory, MANIFEST)
        self._remove_leftover(path)
        file = self.fs.create(path)
        append_all(file, self._encode(manifest))
        file.sync()
        self.fs.sync_directory(self.directory)

    patch.setattr(ManifestWriter, "write", write)


@caught_by(failing_calls)
def uncertain_manifest_is_passed_over(patch: Patch) -> None:
    """while it is unknown which manifest is on the disk, no file of either is removed"""

    def write(self: Any, manifest: Any) -> None:
        try:
            original(self, manifest)
        finally:
            self.uncertain = False

    original = ManifestWriter.write
    patch.setattr(ManifestWriter, "write", write)


@caught_by(failing_calls)
def leftover_of_a_manifest_stays(patch: Patch) -> None:
    """a manifest that could not be written does not block a later one"""
    patch.setattr(ManifestWriter, "_remove_leftover", lambda *_: None)


@caught_by(turned_bits)
def manifest_checksum_not_compared(patch: Patch) -> None:
    """a damaged manifest is detected"""
    patch.setattr(manifest, "crc32", lambda *_: 7)


@caught_by(short_workloads)
def wal_removed_before_the_manifest(patch: Patch) -> None:
    """a segment is removed only when the manifest no longer needs it"""

    def install(self: Any, generation: Any, *rest: Any) -> None:
        remove_segments(self.options.fs, self.directory, generation.next_segment, self.tables.holds)
        original(self, generation, *rest)

    original = Store.install_flush
    patch.setattr(Store, "install_flush", install)


@caught_by(failing_calls)
def inputs_removed_before_the_manifest(patch: Patch) -> None:
    """a table is removed only when no manifest names it"""

    def runs_of(self: Any, version: Any) -> Any:
        before = self._wanted
        runs = original(self, version)
        for name in before - self._wanted:
            with suppress(OSError):
                self._fs.remove(join(self._directory, name))
        return runs

    original = TableCache.runs_of
    patch.setattr(TableCache, "runs_of", runs_of)


@caught_by(short_workloads)
def floor_raised_too_far(patch: Patch) -> None:
    """the manifest's floor is the first segment whose commits are not all in tables"""

    def edit(self: Any, manifest: Any, *rest: Any) -> None:
        original(self, replace(manifest, wal_floor=manifest.wal_floor + 1), *rest)

    original = Store._edit
    patch.setattr(Store, "_edit", edit)


@caught_by(short_workloads)
def position_not_moved_by_a_flush(patch: Patch) -> None:
    """the manifest says at which position the WAL continues"""

    def edit(self: Any, manifest: Any, *rest: Any) -> None:
        original(self, replace(manifest, wal_position=self.manifest.wal_position), *rest)

    original = Store._edit
    patch.setattr(Store, "_edit", edit)


@caught_by(reopened_workloads)
def sequence_not_moved_by_a_flush(patch: Patch) -> None:
    """the manifest says with which sequence the WAL continues"""

    def edit(self: Any, manifest: Any, *rest: Any) -> None:
        original(self, replace(manifest, next_sequence=self.manifest.next_sequence), *rest)

    original = Store._edit
    patch.setattr(Store, "_edit", edit)


@caught_by(concurrent_writes)
def flush_takes_what_came_later(patch: Patch) -> None:
    """a flush frees the segments of its generation, and no more"""

    def install(self: Any, generation: Any, *rest: Any) -> None:
        generation.next_segment = self._wal.next_number
        original(self, generation, *rest)

    original = Store.install_flush
    patch.setattr(Store, "install_flush", install)


@caught_by(concurrent_writes)
def segment_at_the_floor_is_removed(patch: Patch) -> None:
    """the segment at the floor stays"""
    remove = lambda fs, path, floor, holds: remove_segments(fs, path, floor + 1, holds)  # noqa: E731
    patch.setattr(table_cache, "remove_segments", remove)


@caught_by(failing_calls)
def refused_edit_leaves_its_counts(patch: Patch) -> None:
    """a flush that is tried again computes its counts once"""

    def with_flush(version: Any, tables: Any, counts: Any, **changes: Any) -> Any:
        flushed = original(version, tables, counts, **changes)
        version.counts.update(flushed.counts)
        return flushed

    original = version.with_flush
    patch.setattr(edits, "with_flush", with_flush)


@caught_by(failing_calls)
def outputs_that_are_named_are_removed(patch: Patch) -> None:
    """files that the new manifest names stay, whatever fails after it"""
    patch.setattr(job_edit, "is_output_named", lambda *_: False)


@caught_by(failing_calls)
def outputs_of_a_refused_edit_stay(patch: Patch) -> None:
    """the files that a job wrote are removed if its edit is refused"""
    patch.setattr(job_edit, "remove_outputs", lambda *_: None)


@caught_by(flushes_ahead)
def outputs_of_a_discarded_flush_stay(patch: Patch) -> None:
    """the files of a flush that ran ahead are removed if the edit before it fails"""
    patch.setattr(flush_lane, "remove_outputs", lambda *_: None)


@caught_by(flushes_ahead)
def flush_that_ran_ahead_is_committed_first(patch: Patch) -> None:
    """after a failed edit the oldest generation is flushed first"""

    def finish(self: Any, flush: Any) -> None:
        oldest = self._store.state.sealed[-1]
        original(self, replace(flush, generation=oldest))

    original = FlushLane._finish
    patch.setattr(FlushLane, "_finish", finish)
    patch.setattr(FlushLane, "discard", lambda self: None)


@caught_by(failing_calls)
def outputs_of_a_failed_job_stay(patch: Patch) -> None:
    """a job that fails leaves no file"""

    def leave(self: Any, *_: Any) -> None:
        if self.current is not None:
            self.current.close()

    patch.setattr(Outputs, "__exit__", leave)


@caught_by(short_workloads)
def counts_not_in_the_manifest(patch: Patch) -> None:
    """the number of keys survives a crash"""

    def encode(manifest: Any, tables: Any = None) -> bytes:
        return original(replace(manifest, version=replace(manifest.version, counts={})), tables)

    original = manifest.encode
    patch.setattr(manifest, "encode", encode)


@caught_by(short_workloads)
def job_numbers_used_twice(patch: Patch) -> None:
    """no two jobs write files with the same name"""
    patch.setattr(Store, "next_job", lambda self: self._versions.next_job)


@caught_by(short_workloads)
def orphans_stay(patch: Patch) -> None:
    """files that nothing names are removed at open"""
    patch.setattr(opening, "_remove_unnamed", lambda *_: None)


@caught_by(short_workloads)
def named_files_are_removed(patch: Patch) -> None:
    """files that the manifest or recovery names stay"""
    original = opening._remove_unnamed
    patch.setattr(opening, "_remove_unnamed", lambda fs, path, named: original(fs, path, sorted(named)[:-1]))
