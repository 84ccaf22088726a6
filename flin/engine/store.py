"""The store: the LSM tree under one commit lock. It knows stored keys and entries; engine.py and the server are above.

WAL first, then memory, then the answer: under the commit lock a commit becomes a frame, goes into the active parts,
and only then can anybody read it. A failed WAL write leaves no trace in memory. Readers take no lock: they load one
ReadState.

Three locks, taken in this order: the edit lock (one version edit at a time: manifest, then state), the commit lock
(WAL appends, active parts, replacing the state), and the WAL's own. Nothing waits for the disk under the commit lock
but the WAL's write and, in reads of `update` and `sweep`, a block that is not cached.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Condition, Lock
from time import monotonic
from typing import Final

from flin.engine import closed_state, opening
from flin.engine.block_cache import BlockCache
from flin.engine.boundaries import added
from flin.engine.closed_state import CLOSED_STATE, CLOSED_TEXT
from flin.engine.dead_stretches import DeadStretches
from flin.engine.entry import DELETED, Entry, Live, Range
from flin.engine.filter import hash_key
from flin.engine.fs import DIRECTORY_LOST
from flin.engine.generation import (
    DueHeap,
    SealedGeneration,
    apply_points,
    due_of,
    empty_parts,
    join_neighbours,
    pop_due,
    recovered_generation,
    split_part,
    with_commit,
)
from flin.engine.live_count import LiveCount
from flin.engine.manifest import Manifest
from flin.engine.memtable import ENTRY_OVERHEAD_BYTES
from flin.engine.options import MemoryBudget, Options
from flin.engine.ordered_reads import OrderedReads
from flin.engine.recovery import RecoveredGeneration
from flin.engine.stall import LOOK_SECONDS, NO_STALL, Stall, stall_of
from flin.engine.state import OpenRuns, ReadState
from flin.engine.tables import OpenTables, remove_segments
from flin.engine.value_cache import ValueCache
from flin.engine.version import Run, ShardRuns, with_flush, with_shard
from flin.engine.wal import SegmentSlice, are_plain
from flin.engine.wal_writer import WalWriter
from flin.errors import ClosedError, ReadOnlyError, StallTimeout, StorageError

COPIED_ENTRIES: Final = 128
"""Entries and range deletes that a commit with range deletes copies (5 µs at most); more are frozen first."""

SEAL_CHECK_BYTES: Final = 1 << 16
"""The least number of WAL bytes between two looks at the generation's size: 400 puts of 100 B, so the look is free."""


class Store(OrderedReads):
    """The database of one directory, open for reading and writing. Threads may share it."""

    def __init__(self, directory: str, options: Options) -> None:
        self.directory = directory
        self.options = options
        self.budget = MemoryBudget.of(options.memory_limit_bytes)
        opened = opening.open_directory(directory, options, self.budget)
        self.recovery = opened.recovery
        self.read_only_reason: str | None = None
        self.obstacle: BaseException | None = None  # why the background does not get on: a full disk, most often
        self.on_sealed: Callable[[], None] = lambda: None  # told, outside all locks, that there is something to flush
        self.on_filling: Callable[[], None] | None = None  # told once, likewise, that there will be before long
        self.on_stopped: Callable[[], None] = lambda: None  # called by a writer that is stopped, outside all locks
        self.sealed_count = 0
        self.stall_seconds = 0.0
        self.stall_waits = 0
        self.lock = opened.lock
        self._commit_lock = Lock()
        self._writable = Condition(self._commit_lock)
        self._edit_lock = Lock()
        self._live_count = LiveCount()
        self._closed = False
        self._blocked = False  # writers must look: closed, read-only or stalled
        self._dead = DeadStretches()
        self._heeds_puts = False  # puts must tell them
        self._stall = NO_STALL
        self._manifest = opened.manifest
        self._manifest_writer = opened.manifest_writer
        self._next_job = opened.manifest.next_job
        self.block_cache = BlockCache(self.budget.block_cache)
        self.value_cache = ValueCache(self.budget.value_cache if options.value_cache else 0)
        self.tables = OpenTables(options.fs, directory, self.block_cache)
        try:
            self._wal = self._begin_wal()
            self.state = self._recovered_state(opened.recovery.generations)
        except BaseException:
            opened.lock.release()
            raise
        opened.lock.tell_if_lost(self._lose_directory)
        closed_state.close_in_forked_child(self)

    # Opening.

    def _begin_wal(self) -> WalWriter:
        recovery = self.recovery
        return WalWriter(
            self.options.fs,
            self.directory,
            self._manifest.database_id,
            self._manifest.epoch,
            self.options.random_bytes,
            next_number=recovery.next_number,
            position=recovery.position,
            sequence=recovery.next_sequence,
            predecessor=recovery.last_segment,
            predecessor_end=recovery.last_end,
        )

    def _recovered_state(self, recovered: list[RecoveredGeneration]) -> ReadState:
        """The replayed generations: the newest becomes the open one again, the others wait for their flush."""
        shards = self._manifest.shards
        self._recovered_segments: tuple[SegmentSlice, ...] = ()
        self._due: DueHeap = []  # of the open generation
        self._generation_start = self._wal.position
        self._generation_bytes = 0  # of the open generation, but for what its active parts hold
        self._seal_check = self._wal.position + SEAL_CHECK_BYTES
        active = empty_parts(shards)
        if recovered:
            newest = recovered.pop()
            active = split_part(newest.part, shards)
            self._recovered_segments = tuple(newest.segments)
            self._generation_bytes = newest.bytes
            self._due = due_of(newest.part)
        sealed = [recovered_generation(generation, shards) for generation in reversed(recovered)]
        version = self._manifest.version
        return ReadState(active, ((),) * shards, tuple(sealed), self.tables.runs_of(version), version, 0)

    # Reading.

    def read(self, key: bytes) -> Live | None:
        """The newest entry of a stored key, never a tombstone; whether it has expired is for the caller to judge."""
        state = self.state
        shard = state.shard_of(key)
        entry = state.active[shard].entries.get(key)
        if entry is None:
            return self.read_older(state, shard, key)
        return None if entry is DELETED else entry

    def read_older(self, state: ReadState, shard: int, key: bytes) -> Live | None:
        """What a state holds for a key that the active dict of its shard does not know: the rest of `read`."""
        deleted = state.active[shard].deleted
        if deleted and bisect_right(deleted, key) & 1:  # boundaries.covers
            return None
        for part in state.older[shard]:
            entry = part.get(key)
            if entry is not None:
                return None if entry is DELETED else entry
        cache = self.value_cache
        entry = cache.young.get(key)  # ValueCache.get, without the call
        if entry is not None:
            cache.hits += 1
            return entry
        if cache.old and (entry := cache.get(key)) is not None:
            return entry
        joined, number = state.joined[shard], 0
        if joined is not None:
            separators, pages, _ = joined.view  # JoinedRuns.find, without the call and, where there is a page, the hash
            number = bisect_right(separators, key) - 1
            page = pages[number]
            if page is not None:
                page.hits += 1
                entry = page.get(key)
                return None if entry is DELETED else entry
        hashed = hash_key(key)
        entry = state.find_in_tables(shard, key, hashed) if joined is None else joined.find_cold(number, key, hashed)
        if entry is not None:
            cache.fill(key, entry, hashed, state.flushes)
        return None if entry is DELETED else entry

    def read_nowait(self, key: bytes) -> Live | None:
        """The same as `read`; ColdRead where a block would have to be waited for."""
        state = self.state
        shard = state.shard_of(key)
        entry = state.find_in_memory(shard, key)
        if entry is None:
            entry = state.find_nowait(shard, key)
        return None if entry is DELETED else entry

    def newest_entries(self) -> Mapping[bytes, Entry] | None:
        """The points of the active memtable, if there is but one; of what it does not hold it says nothing."""
        active = self.state.active
        return active[0].entries if len(active) == 1 else None

    def count(self, namespace: int = 0, budget: int | None = None, state: ReadState | None = None) -> int | None:
        """How many keys the namespace has, exactly, expired ones included until their sweep.

        What the memtables add is settled against what is older, once per part. With a budget of look-ups that may stop
        half way: None, and the next call goes on."""
        return self._live_count.of(state or self.freeze(), namespace, budget)

    # Writing.

    @property
    def position(self) -> int:
        """Of the WAL: everything committed so far is below it."""
        return self._wal.position

    @property
    def synced_position(self) -> int:
        """Everything below it is durable."""
        return self._wal.synced

    def put(self, key: bytes, value: bytes) -> int:
        """One plain put of a stored key; the WAL position behind it. The errors are those of `commit`."""
        with self._commit_lock:
            if self._blocked:
                self._wait_until_writable()
            if self._heeds_puts:
                self._dead.put(key)
            state = self.state
            active = state.active[0] if len(state.active) == 1 else state.active[state.shard_of(key)]
            position = self._wal.put(key, value)
            active.entries[key] = value  # with no call since the frame was in: nothing can interrupt between the two
        if position > self._seal_check:
            self._maybe_seal()
        return position

    def delete(self, key: bytes) -> int:
        """One tombstone for a stored key, likewise."""
        with self._commit_lock:
            if self._blocked:
                self._wait_until_writable()
            state = self.state
            active = state.active[state.shard_of(key)]
            position = self._wal.delete(key)
            active.entries[key] = DELETED
        if position > self._seal_check:
            self._maybe_seal()
        return position

    def commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = (), *, plain: bool | None = None) -> int:
        """Range deletes, then points, as one atomic commit; the WAL position behind it. Not synced yet.

        ReadOnlyError, StorageError (nothing happened), LimitError (over 4 GiB), StallTimeout, ClosedError."""
        with self._commit_lock:
            if self._blocked:
                self._wait_until_writable()
            position = self._commit(points, ranges, plain)
        if position > self._seal_check:
            self._maybe_seal()
        return position

    def update(self, key: bytes, decide: Callable[[Live | None], Entry | None]) -> int | None:
        """Read a key, decide on its new entry and commit that, with no write in between. `decide` returns None to
        change nothing; what it raises is passed on. The WAL position, or None if nothing changed."""
        with self._commit_lock:
            if self._blocked:
                self._wait_until_writable()
            entry = decide(self.read(key))
            if entry is None:
                return None
            position = self._commit({key: entry})
        if position > self._seal_check:
            self._maybe_seal()
        return position

    def sync(self, position: int | None = None) -> None:
        """Make everything before the position (all that is committed) durable. StorageError, and then the engine is
        read-only for good: what a failed fsync left unwritten can not be known."""
        try:
            self._wal.sync(self._wal.position if position is None else position)
        except StorageError as error:
            self.fail(f"a sync failed: {error}")
            raise

    def stall(self) -> Stall:
        return self._stall

    def fail(self, reason: str) -> None:
        """Refuse writes from now on; the first reason stays."""
        with self._commit_lock:
            if self.read_only_reason is None:
                self.read_only_reason = reason
            self._blocked = True
            self._writable.notify_all()

    def _lose_directory(self) -> None:
        """As `fail`, but without the lock: whoever found out may hold it. Those who wait look by themselves."""
        self.read_only_reason = self.read_only_reason or DIRECTORY_LOST
        self._blocked = True

    def note_obstacle(self, error: BaseException | None) -> None:
        """What the background's last job failed with (None: it gets on). Writers that it has stopped are told."""
        with self._commit_lock:
            self.obstacle = error
            self._writable.notify_all()

    def _commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = (), plain: bool | None = None) -> int:
        if not points and not ranges:
            return self._wal.position
        plain = are_plain(points) if plain is None else plain
        if self._heeds_puts:
            self._dead.commit(points)
        position = self._wal.commit(points, ranges, plain)
        try:
            self._apply(points, ranges, plain)
        except BaseException:  # an interrupt: what is in the WAL must be in memory, and whole
            self._apply(points, ranges, plain)
            raise
        return position

    def _apply(self, points: Mapping[bytes, Entry], ranges: Sequence[Range], plain: bool) -> None:
        """Into memory. To do it twice changes nothing more."""
        if ranges:
            self._apply_ranges(points, ranges)
        else:
            apply_points(self.state.active, points)
        if plain:
            return
        for key, entry in points.items():
            if type(entry) is tuple and entry[1]:
                heapq.heappush(self._due, (entry[1], key))

    def _apply_ranges(self, points: Mapping[bytes, Entry], ranges: Sequence[Range]) -> None:
        """One assignment shows all of it: no reader finds the range deletes without the points beside them."""
        if sum(part.size for part in self.state.active) > COPIED_ENTRIES:
            self._freeze()
        state = self.state
        first = state.active[0]
        if not points and len(state.active) == 1 and not first.holds_any(ranges):
            first.deleted = added(first.deleted, ranges)
        else:
            self.state = state.with_active(with_commit(state.active, points, ranges))

    def _wait_until_writable(self) -> None:
        """Under the commit lock, which is released while waiting."""
        began = monotonic()  # the wall clock may jump
        deadline = began + self.options.stall_timeout_ms / 1000
        while True:
            self.check_open()
            if self.read_only_reason is not None:
                raise ReadOnlyError(self.read_only_reason)
            stall = self._stall
            if not stall or not self.options.stall_writers:
                return
            self.stall_waits += 1
            if not stall.stopped:
                self._writable.wait(stall.delay_seconds)
                self.stall_seconds += stall.delay_seconds
                return
            if self.obstacle is not None:
                raise StorageError("write more into", self.directory, self.obstacle) from self.obstacle
            if monotonic() >= deadline:
                raise StallTimeout(f"waited {self.options.stall_timeout_ms} ms: {stall.reason}")
            self._help_background()
            if self._stall.stopped:
                self._writable.wait(LOOK_SECONDS)
            began, before = monotonic(), began
            self.stall_seconds += began - before

    def _help_background(self) -> None:
        """Without threads the stopped writer itself must do what is due; what fails there is its answer."""
        self._commit_lock.release()
        try:
            self.on_stopped()
        finally:
            self._commit_lock.acquire()

    # Freezing and sealing, under the commit lock.

    def _freeze(self) -> ReadState:
        """Freeze what the active parts hold; a state that stays as it is. Free if nothing was written since."""
        state = self.state
        if any(state.active):
            frozen = tuple(
                join_neighbours((part, *older)) if part else older
                for part, older in zip(state.active, state.frozen, strict=True)
            )
            self._generation_bytes += sum(part.size for part in state.active) * ENTRY_OVERHEAD_BYTES
            state = replace(state, active=empty_parts(len(frozen)), frozen=frozen)
            self.state = state
        # The installed state's active parts will be written to: the caller's own stay empty.
        return state.with_active(empty_parts(len(state.active)), self._dead.known)

    def _maybe_seal(self) -> None:
        """Seal the open generation if it is full, else say when to look again."""
        with self._commit_lock:
            if self._wal.position <= self._seal_check or self._closed:
                return
            room = self.budget.generation - self.open_bytes()
            tell = self.on_sealed
            if room <= 0:
                self._seal()
            else:
                # An entry's overhead is not in the position: half of the room is never too late.
                self._seal_check = self._wal.position + max(room // 4, SEAL_CHECK_BYTES // 16)
                if self.on_filling is None or 4 * room > 3 * self.budget.generation:
                    return
                tell, self.on_filling = self.on_filling, None
        tell()

    def seal(self) -> bool:
        """Seal the open generation now, whatever its size; False if it is empty."""
        with self._commit_lock:
            return self._seal()

    def _seal(self) -> bool:
        state, wal = self.state, self._wal
        wal.end_segment()
        segments = (*self._recovered_segments, *wal.ended)
        if not segments:
            return False
        parts = tuple(
            tuple(part for part in (active, *frozen) if part)
            for active, frozen in zip(state.active, state.frozen, strict=True)
        )
        generation = SealedGeneration(parts, segments, wal.position, wal.sequence, wal.next_number, self._due)
        sealed, none = (generation, *state.sealed), ((),) * len(parts)
        state = replace(state, active=empty_parts(len(parts)), frozen=none, sealed=sealed)
        # No call in between: an interrupt finds all of this done, or none. Segments are flushed once and by one job.
        self.state, wal.ended, self._recovered_segments = state, (), ()
        self._generation_start, self._generation_bytes = wal.position, 0
        self._seal_check = wal.position + SEAL_CHECK_BYTES
        self._due = []
        self.sealed_count += 1
        self._install(state)
        return True

    def open_bytes(self) -> int:
        """About what the open generation costs in memory."""
        entries = sum(part.size for part in self.state.active)
        return self._generation_bytes + self._wal.position - self._generation_start + entries * ENTRY_OVERHEAD_BYTES

    def _install(self, state: ReadState) -> None:
        self.state = state
        self._stall = stall_of(len(state.sealed), max(map(len, state.runs)))
        stalled = bool(self._stall) and self.options.stall_writers
        self._blocked = self._closed or stalled
        if self.read_only_reason is not None:  # asked afterwards: `_lose_directory` takes no lock
            self._blocked = True
        if not self._blocked:
            self._writable.notify_all()

    # Edits: what the background commits.

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def next_job(self) -> int:
        """A number that no other job of this epoch has."""
        with self._edit_lock:
            self._next_job += 1
            return self._next_job - 1

    def now_ms(self) -> int:
        """What expiries are compared with. It may jump, either way."""
        return self.options.clock_ms()

    def install_flush(
        self, generation: SealedGeneration, tables: dict[int, Run], counts: dict[int, int], now_ms: int
    ) -> None:
        """Commit the flush of the oldest sealed generation, then remove its segments."""
        self.sync(generation.end_position)  # the prefix holds across files: no table is ahead of the durable WAL
        with self._edit_lock:
            assert self.state.sealed[-1] is generation, "flushes commit oldest first"
            manifest = replace(
                self._manifest,
                version=with_flush(self._manifest.version, tables, counts),
                wal_floor=generation.next_segment,
                wal_position=generation.end_position,
                next_sequence=generation.next_sequence,
            )
            self._edit(manifest, now_ms, generation)
        remove_segments(self.options.fs, self.directory, generation.next_segment)

    def install_compaction(self, shard: int, change: Callable[[ShardRuns], ShardRuns], now_ms: int) -> None:
        """Commit a compaction: `change` maps the shard's present runs to those that it leaves."""
        with self._edit_lock:
            version = self._manifest.version
            version = with_shard(version, shard, change(version.shards[shard]))
            self._edit(replace(self._manifest, version=version), now_ms, None)

    def _edit(self, manifest: Manifest, now_ms: int, flushed: SealedGeneration | None) -> None:
        if self.read_only_reason is not None:
            raise ReadOnlyError(self.read_only_reason)
        manifest = replace(manifest, next_job=self._next_job, clock_ms=max(self._manifest.clock_ms, now_ms))
        runs = self.tables.runs_of(manifest.version)
        try:
            self._manifest_writer.write(manifest)
            self._install_edit(manifest, runs, flushed)
            self._manifest_writer.settled()
        except BaseException as error:  # an interrupt as well: what the new manifest names must stay
            if self._manifest_writer.uncertain:
                self.tables.keep_files()
                self.fail(f"nobody knows which manifest is on the disk: {error!r}")
            else:
                self.tables.runs_of(self._manifest.version)
            if isinstance(error, OSError):
                raise StorageError("write the manifest of", self.directory, error) from error
            raise

    def _install_edit(self, manifest: Manifest, runs: OpenRuns, flushed: SealedGeneration | None) -> None:
        self._manifest = manifest
        flushes = self.state.flushes
        if flushed is not None:
            flushes += 1
            self.value_cache.begin_flush(flushes, [part for parts in flushed.parts for part in parts])
        with self._commit_lock:
            if flushed is None:
                self._dead.forget()
                self._heeds_puts = self._dead.heed_puts
            state = self.state
            sealed = state.sealed if flushed is None else state.sealed[:-1]
            self._install(replace(state, runs=runs, version=manifest.version, sealed=sealed, flushes=flushes))

    def take_due(self, now_ms: int, limit: int) -> list[bytes]:
        """Keys of the memtables whose expiry has passed, each once; they may have been written since."""
        taken: list[bytes] = []
        with self._commit_lock:
            for heap in (self._due, *(generation.due for generation in self.state.sealed)):
                taken += pop_due(heap, now_ms, limit - len(taken))
        return taken

    def due_heaps(self) -> list[DueHeap]:
        """Copies of what will expire in each memtable, for `expiring`."""
        return [self._due[:], *(generation.due[:] for generation in self.state.sealed)]

    def delete_expired(self, keys: Sequence[bytes], now_ms: int) -> int:
        """Commit tombstones for those of the keys that have expired; how many had."""
        with self._commit_lock:
            if self._blocked:
                self._wait_until_writable()
            entries = {key: self.read(key) for key in keys}
            expired: dict[bytes, Entry] = {
                key: DELETED for key, entry in entries.items() if type(entry) is tuple and 0 != entry[1] <= now_ms
            }
            position = self._commit(expired)
        if position > self._seal_check:
            self._maybe_seal()
        return len(expired)

    def begin_close(self) -> bool:
        """Refuse writes; False if somebody has closed the store already."""
        with self._commit_lock:
            if self._closed:
                return False
            self._closed = self._blocked = True
            self._writable.notify_all()
            return True

    def end_close(self) -> None:
        """End the WAL, let go of everything. Readers keep their state. ReadOnlyError if not all can be durable."""
        try:
            self.lock.check()
            if self.read_only_reason is None:
                self._wal.close_cleanly()
            elif self._wal.synced < self._wal.position:  # the sync that failed may have been nobody's call
                raise ReadOnlyError(f"{self.read_only_reason}; what was written since the last sync may be lost")
        finally:
            self._wal.close()
            self.state = CLOSED_STATE
            self.tables.close()
            self.tables.remove_obsolete()
            self.lock.release()

    def forked(self) -> None:
        """In a forked child: this store belongs to the parent. Its locks may be held by threads that are not here."""
        self._commit_lock = Lock()
        self._writable = Condition(self._commit_lock)
        self._closed = self._blocked = True
        self.state = CLOSED_STATE
        self.lock.release()

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        if self._closed:
            raise ClosedError(CLOSED_TEXT)
