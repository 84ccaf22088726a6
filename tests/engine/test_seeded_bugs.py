"""The tests are tested: each bug here is switched on, one at a time, and the crash tests must catch it.

Some are the disk's calls that somebody forgot (a sync that is not made), some are wrong steps in the engine. Each says
which workloads find it; a bug that is not caught means that test_crash.py would not see it either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from flin.engine import count, job, merge, opening, recovery, wal
from flin.engine.entry import DELETED
from flin.engine.manifest import ManifestWriter
from flin.engine.store import Store
from flin.engine.wal_writer import WalWriter
from flin.testing import SimulatedDisk
from flin.testing.disk import SimulatedAppendFile
from flin.testing.judge import Judge, crash_every_workload, every_workload
from flin.testing.operation import Delete, DeleteRange, Maintenance, Put, Refused
from flin.testing.run import Scene, Workload
from tests.engine.test_crash import ALPHABET

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

FLUSH = Maintenance("flush")
LAYERED: list[Workload] = [
    (Put(b"a", b"1"), FLUSH, Delete(b"a"), FLUSH),
    (Put(b"a", b"1"), FLUSH, DeleteRange(b"a", b"b"), FLUSH),
    (Put(b"a", b"1"), FLUSH, Put(b"a", b"2"), FLUSH, Maintenance("compact")),
]
ROTATED: list[Workload] = [
    (Put(b"a", b"1"), Refused(Put(b"b", b"2" * 600)), Put(b"c", b"3")),
]
LONG_WRITES: list[Workload] = [
    (Put(b"a", b"x" * 3000), Put(b"b", b"y" * 3000)),
]


def _forget_sync(patch: Patch, where: str) -> None:
    sync = SimulatedAppendFile.sync
    patch.setattr(SimulatedAppendFile, "sync", lambda self: None if where in self.path else sync(self))


def wal_not_synced(patch: Patch) -> None:
    _forget_sync(patch, ".wal")


def tables_not_synced(patch: Patch) -> None:
    _forget_sync(patch, ".sst")


def manifest_not_synced(patch: Patch) -> None:
    _forget_sync(patch, "MANIFEST")


def no_directory_sync(patch: Patch) -> None:
    patch.setattr(SimulatedDisk, "sync_directory", lambda *_: None)


def no_directory_sync_behind_the_manifest(patch: Patch) -> None:
    def write(self: ManifestWriter, manifest: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.fs, "sync_directory", lambda _: None)
            original(self, manifest)

    original = ManifestWriter.write
    patch.setattr(ManifestWriter, "write", write)


def segment_name_not_synced(patch: Patch) -> None:
    def begin(self: Any) -> Any:
        file = original(self)
        self._named = self._segments
        return file

    original = WalWriter._begin
    patch.setattr(WalWriter, "_begin", begin)


def accepted_segments_not_synced(patch: Patch) -> None:
    patch.setattr(opening, "_make_durable", lambda *_: None)


def sync_reports_too_early(patch: Patch) -> None:
    def sync(self: Any, position: int) -> None:
        self.synced = max(self.synced, position)

    patch.setattr(WalWriter, "sync", sync)


def wal_removed_before_the_manifest(patch: Patch) -> None:
    def install(self: Any, generation: Any, *rest: Any) -> None:
        self._remove_segments(generation.next_segment)
        original(self, generation, *rest)

    original = Store.install_flush
    patch.setattr(Store, "install_flush", install)


def floor_raised_too_far(patch: Patch) -> None:
    def edit(self: Any, manifest: Any, *rest: Any) -> None:
        original(self, replace(manifest, wal_floor=manifest.wal_floor + 1), *rest)

    original = Store._edit
    patch.setattr(Store, "_edit", edit)


def batch_in_two_frames(patch: Patch) -> None:
    def commit(self: Any, points: Any, ranges: Any = ()) -> int:
        position: int = self.position
        for piece in [({}, ranges)] * bool(ranges) + [({key: entry}, ()) for key, entry in points.items()]:
            position = original(self, *piece)
        return position

    original = WalWriter.commit
    patch.setattr(WalWriter, "commit", commit)


def frame_checksum_not_compared(patch: Patch) -> None:
    patch.setattr(wal, "crc32", lambda *_: 7)


def torn_tail_is_an_error(patch: Patch) -> None:
    patch.setattr(recovery, "_vouched_by", lambda _: 1 << 60)


def replay_goes_on_behind_a_broken_link(patch: Patch) -> None:
    patch.setattr(recovery, "_broken_link", lambda *_: "")


def orphans_stay(patch: Patch) -> None:
    patch.setattr(opening, "_remove_unnamed", lambda *_: None)


def named_files_are_removed(patch: Patch) -> None:
    remove = opening._remove_unnamed
    patch.setattr(opening, "_remove_unnamed", lambda fs, directory, named: remove(fs, directory, list(named)[:-1]))


def tombstone_dropped_too_early(patch: Patch) -> None:
    def drop(entries: Any, keys: list[bytes], *_: Any) -> list[bytes]:
        return [key for key in keys if entries[key] is not DELETED]

    patch.setattr(job, "_without_needless", drop)


def range_delete_dropped_at_the_flush(patch: Patch) -> None:
    def settling(*arguments: Any) -> Any:
        settlement = yield from original(*arguments)
        return replace(settlement, ranges=())

    original = count.settling
    patch.setattr(job, "settling", settling)


def counts_not_settled(patch: Patch) -> None:
    patch.setattr(job, "add_counts", lambda left, _: left)


def older_entry_wins(patch: Patch) -> None:
    original = merge._join
    patch.setattr(merge, "_join", lambda slices: original(slices[::-1]))


def tables_not_flushed_in_full(patch: Patch) -> None:
    original = job._split
    patch.setattr(job, "_split", lambda part, shards: [keys[:1] for keys in original(part, shards)])


BUGS: dict[Bug, list[Workload]] = {
    wal_not_synced: [],
    tables_not_synced: [],
    manifest_not_synced: [],
    no_directory_sync: [],
    no_directory_sync_behind_the_manifest: [],
    segment_name_not_synced: [],
    accepted_segments_not_synced: [],
    sync_reports_too_early: [],
    wal_removed_before_the_manifest: [],
    floor_raised_too_far: [],
    batch_in_two_frames: [],
    frame_checksum_not_compared: LONG_WRITES,
    torn_tail_is_an_error: [],
    replay_goes_on_behind_a_broken_link: ROTATED,
    orphans_stay: [],
    named_files_are_removed: [],
    tombstone_dropped_too_early: LAYERED,
    range_delete_dropped_at_the_flush: LAYERED,
    counts_not_settled: [],
    older_entry_wins: LAYERED,
    tables_not_flushed_in_full: [],
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_seeded_bug_is_caught(bug: Bug, monkeypatch: Patch) -> None:
    workloads: Iterator[Workload] = iter([*BUGS[bug], *every_workload(ALPHABET, 2)])
    bug(monkeypatch)
    # Two segments that are not synced have many more outcomes than one.
    judge = Judge(Scene("interval"), limit=60) if BUGS[bug] is ROTATED else Judge(Scene("always"), limit=6)
    with pytest.raises(AssertionError):
        crash_every_workload(judge, workloads)
    print(f"caught after {judge.states} crash states")
