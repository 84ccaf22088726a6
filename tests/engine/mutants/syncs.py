"""The order of syncs: what must be durable before what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import pytest

from flin.engine.background.job_files import Outputs
from flin.engine.catalog import recovery
from flin.engine.catalog.manifest import ManifestWriter
from flin.engine.tree import opening
from flin.engine.tree.store import Store
from flin.engine.wal import frames as wal_frames
from flin.engine.wal.writer import WalWriter
from flin.testing import SimulatedDisk
from flin.testing.disk import SimulatedAppendFile
from tests.engine.hunts import (
    concurrent_writes,
    crashed_recoveries,
    failing_calls,
    long_writes,
    short_workloads,
    unsynced_workloads,
)
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(short_workloads)
def wal_not_synced(patch: Patch) -> None:
    """a commit is durable when its sync returns"""
    _forget_sync(patch, ".wal")


@caught_by(short_workloads)
def tables_not_synced(patch: Patch) -> None:
    """a table is durable before the manifest names it"""
    _forget_sync(patch, ".sst")


@caught_by(short_workloads)
def manifest_not_synced(patch: Patch) -> None:
    """a manifest is durable before it takes the old one's place"""
    _forget_sync(patch, "MANIFEST")


@caught_by(short_workloads)
def no_directory_sync(patch: Patch) -> None:
    """a file's name is durable before anything depends on it"""
    patch.setattr(SimulatedDisk, "sync_directory", lambda *_: None)


@caught_by(short_workloads)
def rename_not_synced(patch: Patch) -> None:
    """a manifest's rename is durable before WAL segments and inputs are removed"""

    def write(self: ManifestWriter, manifest: Any) -> None:
        with without(self.fs, "sync_directory"):
            original(self, manifest)

    original = ManifestWriter.write
    patch.setattr(ManifestWriter, "write", write)


@caught_by(short_workloads)
def segment_name_not_synced(patch: Patch) -> None:
    """a new segment's name is durable before a commit in it is"""

    def begin(self: Any) -> Any:
        file = original(self)
        self._named = self._files.begun
        return file

    original = WalWriter._begin
    patch.setattr(WalWriter, "_begin", begin)


@caught_by(short_workloads)
def table_name_not_synced(patch: Patch) -> None:
    """a table's name is durable before the manifest names it"""

    def keep(self: Any) -> None:
        with without(self._fs, "sync_directory"):
            original(self)

    original = Outputs.keep
    patch.setattr(Outputs, "keep", keep)


@caught_by(short_workloads)
def accepted_segments_not_synced(patch: Patch) -> None:
    """recovered commits are durable before anything new is promised"""
    patch.setattr(opening, "_make_durable", lambda *_: None)


@caught_by(unsynced_workloads)
def copied_segment_not_synced(patch: Patch) -> None:
    """recovery's copy of a segment is durable before the original is removed"""

    def copy(fs: Any, old: str, new: str, size: int) -> None:
        with without(SimulatedAppendFile, "sync"):
            original(fs, old, new, size)

    original = opening._copy
    patch.setattr(opening, "_copy", copy)


@caught_by(crashed_recoveries)
def copied_segment_not_named(patch: Patch) -> None:
    """the copy's name is durable before the original is removed"""

    def make_durable(fs: Any, *rest: Any) -> None:
        with without(fs, "sync_directory"):
            original(fs, *rest)

    original = opening._make_durable
    patch.setattr(opening, "_make_durable", make_durable)


@caught_by(failing_calls)
def recovery_trusts_the_page_cache(patch: Patch) -> None:
    """after an unclean end segments are copied, because a sync may have failed"""

    def recover(*arguments: Any) -> Any:
        result = original(*arguments)
        result.clean = True
        return result

    original = recovery.recover
    patch.setattr(opening, "recover", recover)


@caught_by(short_workloads)
def sync_reported_before_it_is_made(patch: Patch) -> None:
    """a position counts as synced only once the sync has returned"""

    def sync(self: Any, position: int) -> None:
        self.synced = max(self.synced, position)

    patch.setattr(WalWriter, "sync", sync)


@caught_by(concurrent_writes)
def sync_covers_what_came_later(patch: Patch) -> None:
    """a sync covers what was written before it began"""

    def sync_all(self: Any) -> None:
        original(self)
        self.synced = self.position

    original = WalWriter._sync_all
    patch.setattr(WalWriter, "_sync_all", sync_all)


@caught_by(failing_calls)
def ended_segments_not_synced(patch: Patch) -> None:
    """a sync covers the segments that ended since the last one"""

    def sync_all(self: Any) -> None:
        self._synced_files = self._files.ended_before + len(self._files.ended)
        original(self)

    original = WalWriter._sync_all
    patch.setattr(WalWriter, "_sync_all", sync_all)


@caught_by(failing_calls)
def failed_sync_tried_again(patch: Patch) -> None:
    """after a failed sync nothing is promised any more"""

    def sync(self: Any, position: int | None = None) -> None:
        try:
            self._wal.sync(self._wal.position if position is None else position)
        finally:
            self._wal._failed = None

    patch.setattr(Store, "sync", sync)


@caught_by(failing_calls)
def failed_wal_sync_is_passed_over(patch: Patch) -> None:
    """a commit whose sync failed is not promised"""
    _pass_over_failed_syncs(patch, ".wal")


@caught_by(failing_calls)
def failed_table_sync_is_passed_over(patch: Patch) -> None:
    """no manifest names a table whose sync failed"""
    _pass_over_failed_syncs(patch, ".sst")


@caught_by(failing_calls)
def failed_manifest_sync_is_passed_over(patch: Patch) -> None:
    """a manifest whose sync failed does not take the old one's place"""
    _pass_over_failed_syncs(patch, "MANIFEST")


@caught_by(failing_calls)
def failed_directory_sync_is_passed_over(patch: Patch) -> None:
    """nothing depends on a name whose sync failed"""

    def sync_directory(self: Any, directory: str) -> None:
        with suppress(OSError):
            original(self, directory)

    original = SimulatedDisk.sync_directory
    patch.setattr(SimulatedDisk, "sync_directory", sync_directory)


def _pass_over_failed_syncs(patch: Patch, where: str) -> None:
    def sync(self: Any) -> None:
        with suppress(OSError) if where in self.path else nullcontext():
            original(self)

    original = SimulatedAppendFile.sync
    patch.setattr(SimulatedAppendFile, "sync", sync)


@caught_by(long_writes)
def end_frame_before_the_sync(patch: Patch) -> None:
    """an end frame is written only when everything before it is synced"""

    def close_cleanly(self: Any) -> None:
        if self._file is not None:
            self._append(self._file, wal_frames.encode_end(self._salt, self.position, self.sequence, self.position), 0)
        self.sync(self.position)
        self.close()

    patch.setattr(WalWriter, "close_cleanly", close_cleanly)


def _forget_sync(patch: Patch, where: str) -> None:
    sync = SimulatedAppendFile.sync
    patch.setattr(SimulatedAppendFile, "sync", lambda self: None if where in self.path else sync(self))


@contextmanager
def without(owner: Any, name: str) -> Iterator[None]:
    """In the block, calls of this name do nothing."""
    with pytest.MonkeyPatch.context() as inner:
        inner.setattr(owner, name, lambda *_: None)
        yield
