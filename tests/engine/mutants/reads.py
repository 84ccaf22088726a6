"""Reads of tables and of memory, and rules that hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from operator import add
from typing import Any

from flin.engine import memtable
from flin.engine.background.sweep import Sweeper
from flin.engine.catalog import generation
from flin.engine.catalog.generation import DueHeap, RetiredGeneration, SealedGeneration, empty_memtables, with_commit
from flin.engine.disk.open_files import TableFile
from flin.engine.entry import TOMBSTONE
from flin.engine.memtable import Memtable
from flin.engine.read import merge
from flin.engine.read.read_state import ReadState
from flin.engine.read.value_cache import ValueCache
from flin.engine.table import bloom, range_block, stored_block
from flin.engine.tree import commits, edits, store
from flin.engine.tree.dead_stretches import DeadStretches
from flin.engine.tree.store import Store
from tests.engine.hunts import layered_workloads, past_failures, running_workloads, turned_bits
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(turned_bits)
def block_checksum_not_compared(patch: Patch) -> None:
    """a damaged data block is detected"""
    patch.setattr(stored_block, "verify", lambda *_: None)


@caught_by(turned_bits)
def filter_checksum_not_compared(patch: Patch) -> None:
    """a damaged filter is detected"""
    patch.setattr(bloom, "crc32", lambda *_: 7)


@caught_by(turned_bits)
def range_checksum_not_compared(patch: Patch) -> None:
    """a damaged range delete is detected"""
    patch.setattr(range_block, "crc32", lambda *_: 7)


@caught_by(past_failures)
def tables_are_opened_after_close(patch: Patch) -> None:
    """a snapshot that outlives a close never shows what another database has at its path"""
    patch.setattr(TableFile, "end", lambda _: None)


@caught_by(layered_workloads)
def value_cache_not_told_of_a_flush(patch: Patch) -> None:
    """no cache returns a value that a later commit has replaced"""
    patch.setattr(ValueCache, "begin_flush", lambda self, flushes, _: setattr(self, "flushes", flushes))


@caught_by(layered_workloads)
def retired_generations_hide_newer_memtables(patch: Patch) -> None:
    """a retired generation is asked after all memtables that are newer"""
    original = ReadState.__post_init__

    def mix(self: ReadState) -> None:
        original(self)
        mixed = tuple(map(add, self.retired_memtables, self.older))
        object.__setattr__(self, "older", mixed)

    patch.setattr(ReadState, "__post_init__", mix)


@caught_by(layered_workloads)
def older_generation_stays_retired_alone(patch: Patch) -> None:
    """a retired generation is asked only if all that were flushed after it are, too"""
    original = generation.kept
    patch.setattr(commits, "kept", lambda newest_first, room: original(newest_first[-1:], room))


@caught_by(layered_workloads)
def retired_without_its_range_deletes(patch: Patch) -> None:
    """the range deletes of a retired generation hide what older ones say"""
    original = generation.retired

    def bare(generation: SealedGeneration) -> RetiredGeneration:
        found = original(generation)
        for kept in chain.from_iterable(found.memtables):
            kept.deleted = []
        return found

    patch.setattr(edits, "retired", bare)


@caught_by(running_workloads)
def head_keeps_the_older_entry(patch: Patch) -> None:
    """the newest entry of a key counts, in the first entries of a scan, too"""
    inserted = merge._inserted

    def keep(
        keys: list[bytes], entries: list[Any], newer: list[bytes], newer_entries: list[Any], count: int
    ) -> tuple[list[bytes], list[Any]]:
        new = [(key, entry) for key, entry in zip(newer, newer_entries, strict=True) if key not in keys]
        return inserted(keys, entries, [key for key, _ in new], [entry for _, entry in new], count)

    patch.setattr(merge, "_inserted", keep)


@caught_by(running_workloads)
def snapshot_shares_the_memtable(patch: Patch) -> None:
    """a snapshot does not change"""

    def freeze(self: Any) -> Any:
        state = self.state
        frozen = tuple((memtable, *older) for memtable, older in zip(state.active, state.frozen, strict=True))
        return replace(state, active=empty_memtables(len(frozen)), frozen=frozen)

    patch.setattr(Store, "_freeze", freeze)


@caught_by(running_workloads)
def range_delete_after_its_points(patch: Patch) -> None:
    """in a commit range deletes come before points"""

    def apply(self: Memtable, ranges: Any, points: Any) -> None:
        self.entries.update(points)
        for start, stop in ranges:
            self.delete_range(start, stop)

    patch.setattr(memtable.Memtable, "apply", apply)


@caught_by(running_workloads)
def range_delete_in_one_shard(patch: Patch) -> None:
    """a range delete reaches every shard"""

    def one(active: Any, points: Any, ranges: Any) -> Any:
        return original((*original(active[:1], {}, ranges), *active[1:]), points, ())

    original = with_commit
    patch.setattr(commits, "with_commit", one)


@caught_by(running_workloads)
def puts_do_not_split_a_dead_stretch(patch: Patch) -> None:
    """a scan finds what was put where nothing lived before"""
    patch.setattr(DeadStretches, "put", lambda *_: None)


@caught_by(running_workloads)
def dead_stretch_includes_its_end(patch: Patch) -> None:
    """a dead stretch ends before the first live key"""
    original = DeadStretches.end
    patch.setattr(
        DeadStretches,
        "end",
        lambda self, search, start=b"", stop=b"": original(self, search, start, stop + b"\0" if stop else b""),
    )


@caught_by(layered_workloads)
def sweep_does_not_look_again(patch: Patch) -> None:
    """a sweep deletes only keys that are still expired"""

    def delete(self: Any, keys: list[bytes], _: int) -> int:
        self.commit(dict.fromkeys(keys, TOMBSTONE))
        return len(keys)

    patch.setattr(Store, "delete_expired", delete)


@caught_by(layered_workloads)
def refused_sweep_forgets_its_keys(patch: Patch) -> None:
    """keys that a sweep could not delete are tried again"""
    patch.setattr(Sweeper, "give_back", lambda *_: None)


@caught_by(layered_workloads)
def owed_keys_are_due_at_their_sweep(patch: Patch) -> None:
    """keys that a sweep could not delete are due at their own moment, whatever the clock was then"""
    due, give_back = Sweeper.due, Sweeper.give_back
    began = [0]

    def note(self: Sweeper, now_ms: int, limit: int) -> DueHeap:
        began[0] = now_ms
        return due(self, now_ms, limit)

    patch.setattr(Sweeper, "due", note)
    patch.setattr(Sweeper, "give_back", lambda self, keys: give_back(self, [(began[0], key) for _, key in keys]))


@caught_by(layered_workloads)
def expiries_forgotten_by_recovery(patch: Patch) -> None:
    """keys that expire after a crash are swept, too"""
    patch.setattr(store, "due_of", lambda _: [])
    patch.setattr(generation, "due_of", lambda _: [])
