"""The WAL: its frames, its segments, and what recovery accepts of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flin.engine.catalog import recovery
from flin.engine.disk.file_name import maybe_parse
from flin.engine.tree import opening
from flin.engine.tree.store import Store
from flin.engine.wal import frames as wal_frames
from flin.engine.wal.writer import WalWriter
from flin.errors import StorageError
from flin.testing import SimulatedDisk
from tests.engine.hunts import (
    failing_calls,
    long_writes,
    past_failures,
    random_workloads,
    running_workloads,
    short_workloads,
    turned_bits,
    unsynced_workloads,
)
from tests.engine.mutants.mutant import Patch, caught_by
from tests.engine.mutants.syncs import without


@caught_by(random_workloads)
def window_begins_late(patch: Patch) -> None:
    """a frame is at the place that its position says"""

    def move_window(self: Any, file: Any, size: int) -> bool:
        moved = original(self, file, size)
        self._window_start += moved and self._window_start > self._base + wal_frames.HEADER_BYTES
        return moved

    original = WalWriter._move_window
    patch.setattr(WalWriter, "_move_window", move_window)


@caught_by(short_workloads)
def batch_in_two_frames(patch: Patch) -> None:
    """a commit is one frame: after a crash it is complete or absent"""

    def commit(self: Any, points: Any, ranges: Any = (), plain: Any = None) -> int:
        position: int = self.position
        for piece in [({}, ranges)] * bool(ranges) + [({key: entry}, ()) for key, entry in points.items()]:
            position = original(self, *piece)
        return position

    original = WalWriter.commit
    patch.setattr(WalWriter, "commit", commit)


@caught_by(long_writes)
def frame_checksum_not_compared(patch: Patch) -> None:
    """a torn frame is never replayed"""
    patch.setattr(wal_frames, "crc32", lambda *_: 7)


@caught_by(long_writes)
def frames_vouch_for_themselves(patch: Patch) -> None:
    """a frame's synced position covers only what was synced before it"""

    def shifted(encode: Callable[..., bytes]) -> Callable[..., bytes]:
        return lambda salt, position, sequence, _, *rest: encode(salt, position, sequence, position, *rest)

    for name in ("encode_put", "encode_delete", "encode_commit"):
        patch.setattr(wal_frames, name, shifted(getattr(wal_frames, name)))


@caught_by(short_workloads)
def torn_tail_is_an_error(patch: Patch) -> None:
    """unsynced writes may be torn; the database opens"""
    patch.setattr(recovery, "_vouched_by", lambda *_: 1 << 60)


@caught_by(turned_bits)
def damage_is_a_torn_tail(patch: Patch) -> None:
    """damage to synced data is an error, not the end of the WAL"""
    patch.setattr(recovery, "_vouched_by", lambda *_: 0)


@caught_by(long_writes)
def replay_goes_on_after_a_hole(patch: Patch) -> None:
    """a segment counts only if it follows what was replayed"""
    patch.setattr(recovery, "_broken_link", lambda *_: "")


@caught_by(random_workloads)
def wrong_end_of_the_predecessor(patch: Patch) -> None:
    """a segment names the end of the one before it"""

    def end_segment(self: Any) -> None:
        before = self._predecessor
        original(self)
        self._predecessor_end += self._predecessor != before

    original = WalWriter.end_segment
    patch.setattr(WalWriter, "end_segment", end_segment)


@caught_by(short_workloads)
def goes_on_after_a_torn_write(patch: Patch) -> None:
    """after a short write the segment ends at its last good frame"""

    def abandon(self: Any, cause: Any) -> StorageError:
        self.position += 10
        return StorageError("write", self._name, cause)

    patch.setattr(WalWriter, "_abandon", abandon)


@caught_by(failing_calls)
def segment_that_failed_to_begin_stays(patch: Patch) -> None:
    """a segment that could not be begun does not block another one"""

    def begin(self: Any) -> Any:
        with without(SimulatedDisk, "remove"):
            return original(self)

    original = WalWriter._begin
    patch.setattr(WalWriter, "_begin", begin)


@caught_by(past_failures)
def refused_commit_takes_a_sequence(patch: Patch) -> None:
    """a commit that the WAL refused takes no sequence"""

    def append(self: Any, file: Any, frame: bytes, operations: int) -> int:
        self.sequence += operations
        position: int = original(self, file, frame, 0)
        return position

    original = WalWriter._append
    patch.setattr(WalWriter, "_append", append)


@caught_by(running_workloads)
def refused_commit_is_applied(patch: Patch) -> None:
    """a commit that the WAL refused leaves no trace"""

    def put(self: Any, key: bytes, value: bytes) -> int:
        try:
            return original(self, key, value)
        except StorageError:
            state = self.state
            state.active[state.shard_of(key)].entries[key] = value
            raise

    original = Store.put
    patch.setattr(Store, "put", put)


@caught_by(unsynced_workloads)
def epoch_not_raised(patch: Patch) -> None:
    """every open writes files with new names"""

    def without_epoch(value: Any, **changes: Any) -> Any:
        changes.pop("epoch", None)
        return replace(value, **changes)

    patch.setattr(opening, "replace", without_epoch)


@caught_by(random_workloads)
def discarded_segments_stay(patch: Patch) -> None:
    """discarded segments never come back"""

    def remove(fs: Any, directory: str, named: Any) -> None:
        parsed = [(name, maybe_parse(name)) for name in fs.names(directory)]
        original(fs, directory, {*named, *(name for name, found in parsed if found and found.role == "wal")})

    original = opening._remove_unnamed
    patch.setattr(opening, "_remove_unnamed", remove)


@caught_by(failing_calls)
def replay_begins_below_the_floor(patch: Patch) -> None:
    """segments below the manifest's floor are not replayed"""
    original = recovery._live_segments
    patch.setattr(
        recovery, "_live_segments", lambda fs, path, manifest: original(fs, path, replace(manifest, wal_floor=0))
    )
