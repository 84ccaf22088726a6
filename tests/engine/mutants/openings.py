"""What an open believes, copies and removes, and where the WAL continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flin.engine.catalog import recovery
from flin.engine.disk.file_name import maybe_parse
from flin.engine.tree import opening
from flin.engine.tree.store import Store
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.writer import WalWriter
from flin.testing import SimulatedDisk
from tests.engine.hunts import (
    crashed_recoveries,
    damaged_stretches,
    failing_calls,
    layered_workloads,
    lost_segments,
    moved_files,
    past_failures,
    reopened_workloads,
    short_workloads,
    turned_bits,
)
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(lost_segments)
def one_salt_for_all_segments(patch: Patch) -> None:
    """frames that a lost segment left on the disk are never taken for a new segment's"""
    original = WalWriter.__init__

    def begin(self: Any, fs: Any, directory: str, identity: bytes, epoch: int, _: Any, **rest: Any) -> None:
        original(self, fs, directory, identity, epoch, bytes, **rest)

    patch.setattr(WalWriter, "__init__", begin)


@caught_by(lost_segments)
def segment_numbers_used_twice(patch: Patch) -> None:
    """no number is used again, even if a power cut removed its segment"""

    def recover(*arguments: Any) -> Any:
        result = original(*arguments)
        result.next_number = max(result.last_segment, arguments[2].wal_floor - 1) + 1
        return result

    original = recovery.recover
    patch.setattr(opening, "recover", recover)


@caught_by(lost_segments)
def segment_number_not_compared(patch: Patch) -> None:
    """a segment has the number that its name says"""

    def read_header(number: int, name: str, path: str, data: Any, manifest: Any) -> Any:
        written = int.from_bytes(data[28:36], "little") if len(data) >= wal_frames.HEADER_BYTES else number
        return replace(original(written, name, path, data, manifest), number=number)

    original = recovery._read_header
    patch.setattr(recovery, "_read_header", read_header)


@caught_by(moved_files)
def identity_not_compared(patch: Patch) -> None:
    """another database's segments are not replayed"""

    def read_header(number: int, name: str, path: str, data: Any, manifest: Any) -> Any:
        return original(number, name, path, data, replace(manifest, database_id=bytes(data[12:28])))

    original = recovery._read_header
    patch.setattr(recovery, "_read_header", read_header)


@caught_by(moved_files)
def older_manifest_is_believed(patch: Patch) -> None:
    """a manifest that is older than the other files is damage"""
    patch.setattr(opening, "check_manifest", lambda *_: None)


@caught_by(turned_bits)
def damaged_header_vouches_for_nothing(patch: Patch) -> None:
    """if only a header is damaged, its frames still say what was synced"""
    patch.setattr(recovery, "claimed_sync_without_header", lambda *_: 0)


@caught_by(damaged_stretches)
def only_the_first_frame_vouches(patch: Patch) -> None:
    """if a header and the frames after it are damaged, later frames still say what was synced"""

    def first_frame(data: Any, can_be_base: Any) -> int:
        found = wal_frames.maybe_header_of_frame(data, wal_frames.HEADER_BYTES, can_be_base)
        return 0 if found is None else wal_frames.highest_claimed_sync(data, found, wal_frames.HEADER_BYTES)

    patch.setattr(recovery, "claimed_sync_without_header", first_frame)


@caught_by(short_workloads)
def sync_into_a_removed_directory(patch: Patch) -> None:
    """a sync in a removed directory makes nothing durable"""
    patch.setattr(SimulatedDisk, "check_directory", lambda *_: None)


@caught_by(short_workloads)
def directories_go_by_path(patch: Patch) -> None:
    """the handle of a removed directory touches nothing in a new one of the same name"""
    patch.setattr(SimulatedDisk, "_check_held", lambda *_: None)


@caught_by(turned_bits)
def damaged_headers_are_passed_over(patch: Patch) -> None:
    """a segment without a good header is damage, or the end of the WAL"""

    def live_segments(*arguments: Any) -> Any:
        return [segment for segment in original(*arguments) if segment.header is not None]

    original = recovery._live_segments
    patch.setattr(recovery, "_live_segments", live_segments)


@caught_by(past_failures)
def end_frame_is_built_on(patch: Patch) -> None:
    """the next segment does not follow an end frame, whose sync may have failed"""
    patch.setattr(recovery, "END_BYTES", 0)


@caught_by(failing_calls)
def bytes_after_the_end_are_replayed(patch: Patch) -> None:
    """bytes of a failed write after the end that the next segment names are ignored"""

    def replay(data: Any, *rest: Any, end: int, **named: Any) -> Any:
        return original(data, *rest, end=len(data), **named)

    original = wal_replay.replay
    patch.setattr(recovery, "replay", replay)


@caught_by(reopened_workloads)
def sequences_begin_again(patch: Patch) -> None:
    """sequences continue after a recovery"""
    _begin_wal(patch, lambda state: {**state, "sequence": 1})


@caught_by(reopened_workloads)
def positions_begin_again(patch: Patch) -> None:
    """positions continue after a recovery"""
    _begin_wal(patch, lambda state: {**state, "position": 0})


@caught_by(reopened_workloads)
def predecessor_forgotten(patch: Patch) -> None:
    """the first segment of an open follows the last one that was recovered"""
    _begin_wal(patch, lambda state: {**state, "predecessor": 0, "predecessor_end": 0})


def _begin_wal(patch: Patch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    def begin(self: Any, *arguments: Any, **state: Any) -> None:
        original(self, *arguments, **change(state))

    original = WalWriter.__init__
    patch.setattr(WalWriter, "__init__", begin)


@caught_by(crashed_recoveries)
def unfinished_copies_count(patch: Patch) -> None:
    """of two files of one segment the original counts: the copy may be incomplete"""

    def parse(name: str) -> Any:
        parsed = maybe_parse(name)
        return parsed and replace(parsed, epoch=-parsed.epoch)

    patch.setattr(recovery, "maybe_parse", parse)


@caught_by(past_failures)
def unfinished_copies_stay(patch: Patch) -> None:
    """an unfinished copy is removed before its original"""

    calls = 0

    def remove(*arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        return calls % 2 == 0 and original(*arguments)

    original = opening._remove_unnamed
    patch.setattr(opening, "_remove_unnamed", remove)


@caught_by(crashed_recoveries)
def copies_before_their_epoch(patch: Patch) -> None:
    """an epoch is durable before anything is written in it"""

    def recover(fs: Any, directory: str, manifest: Any, *rest: Any) -> Any:
        result = original(fs, directory, manifest, *rest)
        make_durable(fs, directory, replace(manifest, epoch=manifest.epoch + 1), result)
        return result

    original, make_durable = recovery.recover, opening._make_durable
    patch.setattr(opening, "recover", recover)
    patch.setattr(opening, "_make_durable", lambda *_: None)


@caught_by(short_workloads)
def removals_not_synced(patch: Patch) -> None:
    """removals of an open are durable before the database is ready"""

    forgets = False

    def make_durable(*arguments: Any) -> None:
        nonlocal forgets
        original(*arguments)
        forgets = True

    def sync_directory(self: Any, directory: str) -> None:
        nonlocal forgets
        if not forgets:
            sync(self, directory)
        forgets = False

    original, sync = opening._make_durable, SimulatedDisk.sync_directory
    patch.setattr(opening, "_make_durable", make_durable)
    patch.setattr(SimulatedDisk, "sync_directory", sync_directory)


@caught_by(layered_workloads)
def recovered_generations_in_the_wrong_order(patch: Patch) -> None:
    """the later of two commits wins, also after a recovery"""

    def recovered_state(self: Any, recovered: Any) -> Any:
        return original(self, recovered[::-1])

    original = Store._recovered_state
    patch.setattr(Store, "_recovered_state", recovered_state)
