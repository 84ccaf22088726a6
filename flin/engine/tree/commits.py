"""Commits: the work under the commit lock (turns.py). WAL first, then memory, then the answer.

A commit becomes a frame, goes into the active memtables, and only then can it be read. A failed WAL write leaves no
trace in memory. Under the lock only the WAL's write waits for the disk, and nothing waits for another lock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from flin.engine.boundaries import added
from flin.engine.catalog.generation import (
    OpenGeneration,
    RetiredGeneration,
    SealedGeneration,
    apply_points,
    empty_memtables,
    join_neighbours,
    kept,
    with_commit,
)
from flin.engine.catalog.version import Version, value_totals
from flin.engine.entry import TOMBSTONE, Entry, Live, Range
from flin.engine.memtable import ENTRY_OVERHEAD_BYTES
from flin.engine.options import MAX_SEALED_GENERATIONS, Options
from flin.engine.read.read_path import below_memtables, from_memtables
from flin.engine.read.read_state import OpenRuns, ReadState
from flin.engine.read.value_cache import ValueCache
from flin.engine.reentry import holds_lock, is_held
from flin.engine.replication import Durability
from flin.engine.tree.dead_stretches import DeadStretches
from flin.engine.tree.dropped_memtables import DroppedMemtables
from flin.engine.tree.recent_writes import Begun, Change, RecentWrites
from flin.engine.tree.stall import LARGE_BYTES, SLOW_RUNS, stall_of
from flin.engine.tree.turns import Turns
from flin.engine.tree.watchers import Waker, wake
from flin.engine.wal.frames import are_plain
from flin.engine.wal.writer import Place
from flin.errors import (
    ReentrantCallError,
    StorageError,
)

COPIED_ENTRIES: Final = 128
"""The most entries and range deletes that a commit with range deletes copies (5 µs); more are frozen first."""

RECENT_WRITES_SHARE: Final = 32
"""Notes for open transactions take at most this part of `memory_limit`, besides the parts of MemoryBudget: of 256 MB
about 45,000 writes."""

SEAL_CHECK_BYTES: Final = 1 << 16
"""The least number of WAL bytes between two looks at the generation's size: 400 puts of 100 B, so the look is free."""


class Commits(Turns):
    """The writing half of a store, and the open generation."""

    state: ReadState
    value_cache: ValueCache
    _generation: OpenGeneration
    _seal_check: int
    _durability: Durability

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._dead = DeadStretches()
        self.dropped = DroppedMemtables()
        self._recent = RecentWrites(options.memory_limit_bytes // RECENT_WRITES_SHARE)
        self._notes_writes = False  # a transaction is open
        self.keeps_expired = False  # set by whoever may still prolong what has expired: no flush or merge drops it
        self._measured: Version | None = None
        self._unseen = 0.0  # of that version

    @property
    def sealed_count(self) -> int:
        """The number of generations sealed since the open."""
        return self._generation.number

    # Writing.

    @property
    def position(self) -> int:
        """The position in the WAL: everything committed so far is below it."""
        return self._wal.position

    @property
    def synced_position(self) -> int:
        """The position below which everything is durable."""
        return self._durability.synced

    def sync(self, position: int | None = None) -> None:
        """Make everything before the position (None: all commits) durable. After a StorageError the engine is read-only
        for good: it cannot be known what a failed fsync left unwritten, or what the log of a replica has."""
        self._sync_or_refuse(lambda: self._durability.sync(self._wal.position if position is None else position))
        if self.watchers.for_syncs:
            wake(self.watchers.for_syncs)

    def _sync_or_refuse(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except StorageError as error:
            self.make_read_only(f"a sync failed: {error}")
            raise

    def check_sync(self) -> None:
        """Called before a write that waits for the disk: ReentrantCallError if it cannot wait."""
        if self._control.times_held() or self._wal.is_syncing_here():
            raise ReentrantCallError("a write that waits for the disk")

    @holds_lock
    def put(self, key: bytes, value: bytes) -> int:
        """Put one plain value at a stored key. Returns the WAL position after it. Raises what `commit` raises.

        Written out: tree.commits.Commits.commit"""
        if self._blocked:
            self._give_way()
        try:
            with self._commit_lock:
                if self._blocked and not self._may_write():
                    return self._do_later({key: value}, (), True)
                self._blocked = True  # until all is done: a call that re-enters must not write meanwhile
                if self._dead.heeds_puts:
                    self._dead.put(key)
                if self._notes_writes:
                    self._notes_writes = self._recent.note(key)
                state = self.state
                active = state.active[0] if len(state.active) == 1 else state.active[state.shard_of(key)]
                position = self._wal.put(key, value)
                active.entries[key] = value  # no call since the frame: nothing can interrupt between the two
                self._blocked = self._must_wait
        except BaseException as error:
            self._commit_put_off(error)
            raise
        if position > self._seal_check:
            self._maybe_seal()
        return position

    @holds_lock
    def delete(self, key: bytes) -> int:
        """Commit one tombstone for a stored key, like `put`. (A call for the common part would cost each 0.1 µs.)

        Written out: tree.commits.Commits.commit"""
        if self._blocked:
            self._give_way()
        try:
            with self._commit_lock:
                if self._blocked and not self._may_write():
                    return self._do_later({key: TOMBSTONE}, (), False)
                self._blocked = True
                if self._notes_writes:
                    self._notes_writes = self._recent.note(key)
                state = self.state
                active = state.active[0] if len(state.active) == 1 else state.active[state.shard_of(key)]
                position = self._wal.delete(key)
                active.entries[key] = TOMBSTONE
                self._blocked = self._must_wait
        except BaseException as error:
            self._commit_put_off(error)
            raise
        if position > self._seal_check:
            self._maybe_seal()
        return position

    @holds_lock
    def commit(
        self,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range] = (),
        *,
        plain: bool | None = None,
        check: Callable[[RecentWrites], None] | None = None,
    ) -> int:
        """Make range deletes, then points, one atomic commit, not synced yet. Returns the WAL position after it.
        `check` is called first, with no write in between; its exceptions are passed on.

        ReadOnlyError, StorageError (nothing happened), LimitError (over 4 GiB), StallTimeout, ClosedError. In a call
        that re-enters it is put off until the outer one has ended; with a check that cannot be: ReentrantCallError.
        (Written out in `put` and `delete`.)"""
        if self._blocked:
            self._give_way()
        try:
            with self._commit_lock:
                if self._blocked and not self._may_write():
                    if check is not None:
                        raise ReentrantCallError("the commit of a transaction")
                    return self._do_later(points, ranges, plain)
                self._blocked = True
                if check is not None:
                    check(self._recent)
                    self._notes_writes = self._recent.is_needed
                position = self._commit(points, ranges, plain)
                self._blocked = self._must_wait
        except BaseException as error:
            self._commit_put_off(error)
            raise
        if position > self._seal_check:
            self._maybe_seal()
        return position

    @holds_lock
    def update(self, key: bytes, decide: Callable[[Live | None], Entry | None]) -> int | None:
        """Read a key, decide on its new entry and commit that, with no write in between. `decide` returns None to
        change nothing; its exceptions are passed on. Returns the WAL position, or None if nothing changed.

        Tables are read before the commit lock is taken, so that nothing waits under it; the result is right as long as
        the same runs are installed. `update_many` of one key would cost `incr` a tenth more."""
        runs: OpenRuns | None = None
        found: Entry | None = None
        position: int | None = None
        while True:
            if self._blocked:
                self._give_way()
            try:
                with self._commit_lock:
                    if self._blocked and not self._may_write():
                        raise ReentrantCallError("a write that needs the value before it")
                    self._blocked = True
                    state = self.state
                    entry = from_memtables(state, state.shard_of(key), key)
                    is_known = entry is not None or runs is state.runs or not any(state.runs)
                    if is_known:
                        if entry is None and runs is state.runs:
                            entry = found
                        decided = decide(None if entry is TOMBSTONE else entry)
                        if decided is not None:
                            position = self._commit({key: decided})
                    self._blocked = self._must_wait
            except BaseException as error:
                self._commit_put_off(error)
                raise
            if is_known:
                break
            runs, found = state.runs, below_memtables(state, state.shard_of(key), key, self.value_cache)
        if self._wal.position > self._seal_check:
            self._maybe_seal()
        return position

    @holds_lock
    def update_many(
        self,
        keys: Sequence[bytes],
        decide: Callable[[dict[bytes, Entry | None]], dict[bytes, Entry]],
        now_ms: int | None = None,
        *,
        values: bool = True,
    ) -> int | None:
        """Do what `update` does for several keys in one commit: `decide` gets all entries and returns those to
        commit. `now_ms`: it needs no values of strings that have expired by then, and deletes only such keys. Without
        `values` it may get pointers in their places."""
        runs: OpenRuns | None = None
        found: dict[bytes, Entry | None] = {}
        position: int | None = None
        while True:
            if self._blocked:
                self._give_way()
            try:
                with self._commit_lock:
                    if self._blocked and not self._may_write():
                        raise ReentrantCallError("a write that needs the value before it")
                    self._blocked = True
                    state = self.state
                    entries = {key: from_memtables(state, state.shard_of(key), key) for key in keys}
                    unknown = [key for key, entry in entries.items() if entry is None]
                    if runs is state.runs:
                        entries.update({key: found[key] for key in unknown if key in found})
                        unknown = [key for key in unknown if key not in found]
                    if not unknown or not any(state.runs):
                        points = decide(entries)
                        if points:
                            seen = None
                            if self._notes_writes and now_ms is not None:
                                seen = self._recent.seen_by_open((key, entries[key]) for key in points)
                            position = self._commit(points, seen=seen)
                        unknown = []
                    self._blocked = self._must_wait
            except BaseException as error:
                self._commit_put_off(error)
                raise
            if not unknown:
                break
            runs, cache = state.runs, self.value_cache
            found = {
                key: below_memtables(state, state.shard_of(key), key, cache, now_ms, resolves=values) for key in unknown
            }
        if self._wal.position > self._seal_check:
            self._maybe_seal()
        return position

    # Transactions.

    def begin_transaction(self) -> Begun:
        """Note all writes from now on. In the middle of a commit it cannot begin: ReentrantCallError."""
        return self._exclusively(self._begin_transaction)

    def _begin_transaction(self) -> Begun:
        self.check_open()
        if self._control.times_held() > 1:  # what is being written was not noted
            raise ReentrantCallError("a transaction")
        begun = self._recent.begin(self.options.clock_ms())
        self._notes_writes = True
        return begun

    def end_transaction(self, begun: Begun) -> None:
        """Note no more writes for it."""
        self._exclusively(lambda: self._end_transaction(begun))

    def _end_transaction(self, begun: Begun) -> None:
        self._recent.end(begun)
        self._notes_writes = self._recent.is_needed

    def expired_ms(self) -> int:
        """What has expired by then has expired for everybody, so its value may go: now, or when the clock of the oldest
        open transaction stopped. 0 where it is kept (`keeps_expired`)."""
        return 0 if self.keeps_expired else self._exclusively(lambda: self._recent.oldest_ms(self.options.clock_ms()))

    def count_since(self, sequence: int) -> int:
        """About how many writes were noted after the sequence."""
        return self._recent.sequence - sequence

    def written_since(self, key: bytes, sequence: int) -> bool:
        """Whether the key may have been written after the sequence, at which a transaction began that is open."""
        return self._recent.written_since(key, sequence)

    def changes_since(self, sequence: int) -> tuple[Sequence[Change], int] | None:
        """What was written after the sequence, and the sequence of now; None: that is forgotten."""
        return self._exclusively(lambda: self._changes_since(sequence))

    def _changes_since(self, sequence: int) -> tuple[Sequence[Change], int] | None:
        changes = self._recent.since(sequence)
        return None if changes is None else (changes, self._recent.sequence)

    # Watching.

    def place(self) -> Place:
        """Where the WAL goes on: what is before it can be read."""
        return self._exclusively(self._wal.place)

    def wake_after(self, position: int, waker: Waker, *, durable: bool) -> bool:
        """Call `waker` once, after a commit that ends beyond the position, or the sync of one. False if there is such a
        commit already. It may be called too early, and when the store is closed."""
        watchers = self.watchers
        (watchers.for_syncs if durable else watchers.for_commits).add(waker)  # first: a sync waits for no lock
        reached = self._durability.synced if durable else self._exclusively(self._expect_commit)
        is_early = reached <= position and not self._control.is_closed
        if not is_early:
            watchers.forget(waker)
        return is_early

    def _expect_commit(self) -> int:
        """Have the next write look whether somebody waits for it, as if it had to seal the generation. Returns the
        position."""
        self._seal_check = -1
        return self._wal.position

    # Under the commit lock.

    def _commit(
        self,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range] = (),
        plain: bool | None = None,
        *,
        seen: Collection[bytes] | None = None,
    ) -> int:
        """`seen`: those of the points that change something for open transactions, if not all do."""
        if not points and not ranges:
            return self._wal.position
        plain = are_plain(points) if plain is None else plain
        if self._dead.heeds_puts:
            self._dead.commit(points)
        if self._notes_writes:
            self._notes_writes = self._recent.note_commit(points if seen is None else seen, ranges)
        position = self._wal.commit(points, ranges, plain)
        try:
            self._apply(points, ranges, plain)
        except BaseException:  # an interrupt: a commit in the WAL must be in memory, and whole
            self._apply(points, ranges, plain)
            raise
        return position

    def _apply(self, points: Mapping[bytes, Entry], ranges: Sequence[Range], plain: bool) -> None:
        """Apply a commit to memory. Idempotent."""
        if ranges:
            self._apply_ranges(points, ranges)
        else:
            apply_points(self.state.active, points)
        if plain:
            return
        for key, entry in points.items():
            if type(entry) is tuple and entry[1]:
                heapq.heappush(self._generation.due, (entry[1], key))

    def _apply_ranges(self, points: Mapping[bytes, Entry], ranges: Sequence[Range]) -> None:
        """Apply a commit with range deletes by one assignment: no reader finds the range deletes without the points."""
        if sum(memtable.size for memtable in self.state.active) > COPIED_ENTRIES:
            self._freeze()
        state = self.state
        first = state.active[0]
        if not points and len(state.active) == 1 and not first.holds_any(ranges):
            first.deleted = added(first.deleted, ranges)
        else:
            self.state = state.with_active(with_commit(state.active, points, ranges))

    # Freezing and sealing, under the commit lock.

    def _freeze_open(self) -> ReadState:
        """A state that never changes. In a call that re-enters it is a copy: the outer call may be using the installed
        state, which must not be replaced then."""
        self.check_open()
        return self._freeze() if self._control.times_held() == 1 else self.state.with_copies(self._dead.known)

    def _freeze(self) -> ReadState:
        """Freeze the active memtables. Returns a state that never changes. Free if nothing was written since."""
        assert is_held(self._commit_lock)
        state = self.state
        if any(state.active):
            frozen = tuple(
                join_neighbours((memtable, *older)) if memtable else older
                for memtable, older in zip(state.active, state.frozen, strict=True)
            )
            self._generation.size_bytes += sum(memtable.size for memtable in state.active) * ENTRY_OVERHEAD_BYTES
            state = replace(state, active=empty_memtables(len(frozen)), frozen=frozen)
            self.state = state
        return state.frozen_state(self._dead.known)

    def _maybe_seal(self) -> None:
        """Commit what was put off; seal the open generation if it is full, else note when to look again."""
        if self._control.put_off:
            self._commit_put_off()
        if self.watchers.for_commits:
            wake(self.watchers.for_commits)
        tell = self._exclusively(self._look_at_size)
        if tell is not None:
            tell()
        if self.listeners.on_growth is not None:
            self.listeners.on_growth(self._wal.position)

    def _look_at_size(self) -> Callable[[], None] | None:
        if self._wal.position <= self._seal_check or self._control.is_closed:
            return None
        room = self.options.budget.generation - self.open_bytes()
        if room <= 0 and self._could_seal():
            return self.listeners.on_sealed
        # The position does not include an entry's overhead: to look again after half of the room is never too late.
        self._seal_check = self._wal.position + max(room // 4, SEAL_CHECK_BYTES // 16)
        if self.listeners.on_growth is not None:
            self._seal_check = min(self._seal_check, self._wal.position + self.listeners.growth_bytes)
        if self.watchers.for_commits:  # since this write has woken those who waited
            self._seal_check = -1
        if self.listeners.on_filling is None or 4 * room > 3 * self.options.budget.generation:
            return None
        tell, self.listeners.on_filling = self.listeners.on_filling, None
        return tell

    def _could_seal(self) -> bool:
        """Seal the open generation; False if a replica's last words could not be written. The write that looks at the
        size is done, so a later one tries again, and may be refused itself."""
        try:
            self._seal()
        except StorageError:
            return False
        return True

    def seal(self) -> bool:
        """Seal the open generation now, whatever its size; False if it is empty."""
        return self._exclusively(self._seal)

    def _seal(self) -> bool:
        assert is_held(self._commit_lock)
        wal, replication = self._wal, self.options.replication
        if replication is not None and self.read_only_reason is None and (wal.place().name or wal.ended):
            self._commit(replication.last_words())
        state = self.state
        wal.end_segment()
        segments = (*self._generation.recovered_segments, *wal.ended)
        if not segments:
            return False
        memtables = tuple(
            tuple(memtable for memtable in (active, *frozen) if memtable)
            for active, frozen in zip(state.active, state.frozen, strict=True)
        )
        due = self._generation.due
        operations = wal.sequence - self._generation.first_sequence
        generation = SealedGeneration(
            memtables, segments, wal.position, wal.sequence, wal.next_number, due, self.open_bytes(), operations
        )
        sealed, none = (generation, *state.sealed), ((),) * len(memtables)
        cached = self._kept(state.retired, sealed)
        state = replace(state, active=empty_memtables(len(memtables)), frozen=none, sealed=sealed, retired=cached)
        following = OpenGeneration(wal.position, wal.sequence, self._generation.number + 1)
        check = -1 if self.watchers.for_commits else wal.position + SEAL_CHECK_BYTES
        # No call in between: an interrupt finds all of this done, or nothing. One job flushes a segment, and once.
        self.state, wal.ended, self._generation = state, (), following
        self._seal_check = check
        self._install(state)
        return True

    def open_bytes(self) -> int:
        """About how many bytes of memory the open generation costs."""
        generation = self._generation
        entries = sum(memtable.size for memtable in self.state.active)
        return generation.size_bytes + self._wal.position - generation.start + entries * ENTRY_OVERHEAD_BYTES

    def _kept(
        self, retired: tuple[RetiredGeneration, ...], sealed: Sequence[SealedGeneration]
    ) -> tuple[RetiredGeneration, ...]:
        """The retired generations that have room beside these sealed ones. The others are freed in slices, unless
        writers fill generations faster than these are flushed: then their memory is needed now."""
        cached = kept(retired, self._retired_room(sealed))
        if len(sealed) < MAX_SEALED_GENERATIONS:
            for generation in retired[len(cached) :]:
                for memtables in generation.memtables:
                    self.dropped.add(memtables)
        return cached

    def _retired_room(self, sealed: Sequence[SealedGeneration]) -> int:
        """Bytes for retired generations beside these sealed ones: what the budget gives these, and they leave."""
        room = MAX_SEALED_GENERATIONS * self.options.budget.generation
        # A generation is sealed once it is full, so it is a little larger: room for the second one.
        return room + room // 32 - sum(generation.size_bytes for generation in sealed)

    def full_wal_bytes(self) -> int:
        """About how many bytes of WAL the open generation will have once it is full, if it goes on as it began."""
        return (
            self.options.budget.generation * (self._wal.position - self._generation.start) // max(self.open_bytes(), 1)
        )

    def _install(self, state: ReadState) -> None:
        assert is_held(self._commit_lock)
        if state.version is not self._measured:  # states change more often
            self._measured, self._unseen = state.version, value_totals(state.version).likely_unseen
        self.state = state
        most = max(state.runs, key=len)
        is_large = len(most) >= SLOW_RUNS and sum(run.raw_bytes for run in most) >= LARGE_BYTES
        self._control.stall = stall_of(len(state.sealed), len(most), is_large=is_large, unseen=self._unseen)
        self._look_again()
        if not self._must_wait:
            self._control.writable.notify_all()
