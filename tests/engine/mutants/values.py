"""Value files: from the flush that names a segment to the last state that holds a collected file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flin.engine.background import job_files, merging
from flin.engine.background.collecting import Collector, change_of_values
from flin.engine.background.job_files import OutputFile, Outputs
from flin.engine.catalog.version import with_values
from flin.engine.disk.file_name import value_name
from flin.engine.disk.fs import join
from flin.engine.table.value_files import OpenValueFile
from flin.engine.tree import edits, opening, table_cache
from flin.engine.tree.store import Store
from flin.engine.tree.table_cache import TableCache, missing_bytes, remove_segments
from flin.errors import CorruptionError
from tests.engine.hunts import moved_files, turned_bits, value_files, valued_workloads
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(value_files)
def collected_values_not_synced(patch: Patch) -> None:
    """a collected value file is durable before a manifest names it"""

    def finish(self: Any) -> None:
        if self.name.endswith(".val"):
            self.close()
        else:
            original(self)

    original = OutputFile.finish
    patch.setattr(OutputFile, "finish", finish)


@caught_by(valued_workloads)
def flush_names_no_value_files(patch: Patch) -> None:
    """the edit of a flush names its tables and the value files that they point into"""
    original = Store.install_flush
    patch.setattr(Store, "install_flush", lambda self, *rest: original(self, *rest[:3]))


@caught_by(valued_workloads)
def merge_names_no_value_files(patch: Patch) -> None:
    """the edit of a merge names its tables and the value files that it collected"""

    def install(self: Any, change: Any, now_ms: int, _: Any = (), live: Any = None) -> None:
        original(self, change, now_ms, (), live)

    original = Store.install_compaction
    patch.setattr(Store, "install_compaction", install)


@caught_by(valued_workloads)
def named_segment_is_removed(patch: Patch) -> None:
    """a segment that the manifest names as a value file stays"""
    original = remove_segments
    patch.setattr(
        table_cache, "remove_segments", lambda fs, path, floor, _: original(fs, path, floor, lambda name: False)
    )


@caught_by(valued_workloads)
def value_files_are_removed_at_open(patch: Patch) -> None:
    """an open removes only what neither the manifest nor recovery names"""

    def named(manifest: Any, recovery: Any) -> set[str]:
        return original(replace(manifest, version=replace(manifest.version, value_files=())), recovery)

    original = opening._named
    patch.setattr(opening, "_named", named)


@caught_by(valued_workloads)
def value_file_goes_before_its_snapshots(patch: Patch) -> None:
    """a value file goes with the last state that holds it"""

    def runs_of(self: Any, version: Any) -> Any:
        before = {each.path for each in self.value_files.values()}
        runs = original(self, version)
        for path in before - {each.path for each in self.value_files.values()}:
            self._fs.remove(path)
        return runs

    original = TableCache.runs_of
    patch.setattr(TableCache, "runs_of", runs_of)


@caught_by(valued_workloads)
def live_bytes_never_change(patch: Patch) -> None:
    """the live bytes of a value file are the sum of what the tables' pointers name"""
    original = with_values
    patch.setattr(edits, "with_values", lambda version, added, _: original(version, added, {}))


@caught_by(valued_workloads)
def moved_pointers_are_not_live(patch: Patch) -> None:
    """a pointer that a merge keeps stays live"""

    def change(fs: Any, directory: str, inputs: Any, _: Any) -> Any:
        return original(fs, directory, inputs, ())

    original = change_of_values
    patch.setattr(merging, "change_of_values", change)
    patch.setattr(Collector, "collect", lambda self, keys, entries: entries)


@caught_by(moved_files)
def value_files_are_not_checked_at_open(patch: Patch) -> None:
    """an open checks that each named value file is there and long enough"""

    def missing(fs: Any, directory: str, version: Any) -> None:
        original(fs, directory, replace(version, value_files=()))

    original = missing_bytes
    patch.setattr(opening, "missing_bytes", missing)


@caught_by(turned_bits)
def value_checksum_not_compared(patch: Patch) -> None:
    """a value that a table points to is compared with its checksum"""

    def check(self: Any, row: Any, value: bytes) -> None:
        if len(value) != row[2]:
            raise CorruptionError(self.path, row[1], "the value file ends within a value")

    patch.setattr(OpenValueFile, "check", check)


@caught_by(valued_workloads)
def name_of_a_value_file_is_reused(patch: Patch) -> None:
    """no two value files ever have the same name"""
    patch.setattr(job_files, "value_name", lambda number, part, epoch: value_name(1, 0, epoch))


@caught_by(valued_workloads)
def unfinished_collection_is_named(patch: Patch) -> None:
    """all collected values are in the file that the edit names"""

    def end_values(self: Any) -> None:
        if self._values is not None:
            path, self._values = join(self._directory, self._values.name), None
            self._fs.remove(path)
            self._fs.create(path).close()

    patch.setattr(Outputs, "end_values", end_values)


@caught_by(valued_workloads)
def collected_value_is_of_another_key(patch: Patch) -> None:
    """a collected value belongs to the same key as before"""

    def resolved(self: Any, entry: Any) -> Any:
        self.previous, found = original(self, entry), getattr(self, "previous", None)
        return found if type(found) is type(self.previous) is bytes else self.previous

    original = Collector._resolved
    patch.setattr(Collector, "_resolved", resolved)


@caught_by(valued_workloads)
def collected_value_loses_its_expiry(patch: Patch) -> None:
    """a collected value keeps its expiry and its tag"""

    def collect(self: Any, keys: Any, entries: Any) -> Any:
        found = original(self, keys, entries)
        return [
            new[0] if new is not old and type(new) is tuple else new for old, new in zip(entries, found, strict=True)
        ]

    original = Collector.collect
    patch.setattr(Collector, "collect", collect)
