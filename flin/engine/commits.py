"""Commits: what is under the commit lock. WAL first, then memory, then the answer.

A commit becomes a frame, goes into the active parts, and only then can anybody read it. A failed WAL write leaves no
trace in memory. Nothing waits for the disk under the lock but the WAL's write, and nothing waits for another lock.

The lock lets its owner in again: a signal handler or finalizer that writes in the middle of a commit must not wait
for it. What is under way is marked by `_blocked`, at which every write looks anyway; a write that finds itself there
is put off, and the outer call commits it as it ends (reentry.py). A mark that an interrupt has left behind costs the
next write a second look, nothing else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Condition, RLock
from time import monotonic
from typing import Final, TypeAlias, TypeVar

from flin.engine.boundaries import added
from flin.engine.dead_stretches import DeadStretches
from flin.engine.directory_lock import DIRECTORY_LOST
from flin.engine.entry import DELETED, Entry, Live, Range
from flin.engine.generation import (
    OpenGeneration,
    SealedGeneration,
    apply_points,
    empty_parts,
    join_neighbours,
    with_commit,
)
from flin.engine.memtable import ENTRY_OVERHEAD_BYTES
from flin.engine.options import MemoryBudget, Options
from flin.engine.read_path import below_memtables, from_memtables
from flin.engine.reentry import holds_lock, is_held, is_reentered, times_held
from flin.engine.stall import LOOK_SECONDS, NO_STALL, Stall, stall_of
from flin.engine.state import OpenRuns, ReadState
from flin.engine.value_cache import ValueCache
from flin.engine.wal import are_plain
from flin.engine.wal_writer import WalWriter
from flin.errors import (
    CLOSED_TEXT,
    ClosedError,
    FlinError,
    ReadOnlyError,
    ReentrantCallError,
    StallTimeout,
    StorageError,
)

COPIED_ENTRIES: Final = 128
"""Entries and range deletes that a commit with range deletes copies (5 µs at most); more are frozen first."""

SEAL_CHECK_BYTES: Final = 1 << 16
"""The least number of WAL bytes between two looks at the generation's size: 400 puts of 100 B, so the look is free."""

Result = TypeVar("Result")
_Commit: TypeAlias = tuple[Mapping[bytes, Entry], Sequence[Range], bool | None]
"""What `commit` is given."""


class Commits:
    """The writing half of a store, and the open generation."""

    state: ReadState
    value_cache: ValueCache
    _wal: WalWriter
    _generation: OpenGeneration
    _seal_check: int

    def __init__(self, directory: str, options: Options) -> None:
        # Of the whole life.
        self.directory = directory
        self.options = options
        self.budget = MemoryBudget.of(options.memory_limit_bytes)
        self.on_sealed: Callable[[], None] = lambda: None  # told, outside all locks, that there is something to flush
        self.on_filling: Callable[[], None] | None = None  # told once, likewise, that there will be before long
        self.on_stopped: Callable[[], None] = lambda: None  # called by a writer that is stopped, outside all locks
        # Set at any time by one assignment; whoever waits for the commit lock looks at them.
        self.read_only_reason: str | None = None
        self.obstacle: BaseException | None = None  # why the background does not get on: a full disk, most often
        # Guarded by the commit lock, as are the state, the WAL and the open generation.
        self.sealed_count = 0
        self.stall_seconds = 0.0
        self.stall_waits = 0
        self._closed = False
        self._stall = NO_STALL
        self._must_wait = False  # writers are to look: closed, read-only or stalled
        self._blocked = False  # the same, or this is the middle of something under the commit lock
        self._put_off: deque[_Commit] = deque()  # by calls that re-entered
        self._dead = DeadStretches()
        self._heeds_puts = False  # puts must tell them
        self._make_commit_lock()

    # Writing.

    @property
    def position(self) -> int:
        """Of the WAL: everything committed so far is below it."""
        return self._wal.position

    @property
    def synced_position(self) -> int:
        """Everything below it is durable."""
        return self._wal.synced

    def sync(self, position: int | None = None) -> None:
        """Make everything before the position (all that is committed) durable. StorageError, and then the engine is
        read-only for good: what a failed fsync left unwritten cannot be known."""
        try:
            self._wal.sync(self._wal.position if position is None else position)
        except StorageError as error:
            self.fail(f"a sync failed: {error}")
            raise

    def check_sync(self) -> None:
        """Before a write that is to wait for the disk: ReentrantCallError where it could not."""
        if self._times_held() or self._wal.is_syncing_here():
            raise ReentrantCallError("a write that waits for the disk")

    @holds_lock
    def put(self, key: bytes, value: bytes) -> int:
        """One plain put of a stored key; the WAL position behind it. The errors are those of `commit`.

        Written out: commits.Commits.commit"""
        try:
            with self._commit_lock:
                if self._blocked and not self._may_write():
                    return self._do_later({key: value}, (), True)
                self._blocked = True  # until all is done: a call that re-enters must not write in between
                if self._heeds_puts:
                    self._dead.put(key)
                state = self.state
                active = state.active[0] if len(state.active) == 1 else state.active[state.shard_of(key)]
                position = self._wal.put(key, value)
                active.entries[key] = value  # no call since the frame was in: nothing can interrupt between the two
                self._blocked = self._must_wait
        except BaseException as error:
            self._commit_put_off(error)
            raise
        if position > self._seal_check:
            self._maybe_seal()
        return position

    @holds_lock
    def delete(self, key: bytes) -> int:
        """One tombstone for a stored key, likewise. (A call for what both have in common would cost each 0.1 µs.)

        Written out: commits.Commits.commit"""
        try:
            with self._commit_lock:
                if self._blocked and not self._may_write():
                    return self._do_later({key: DELETED}, (), False)
                self._blocked = True
                state = self.state
                active = state.active[state.shard_of(key)]
                position = self._wal.delete(key)
                active.entries[key] = DELETED
                self._blocked = self._must_wait
        except BaseException as error:
            self._commit_put_off(error)
            raise
        if position > self._seal_check:
            self._maybe_seal()
        return position

    @holds_lock
    def commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = (), *, plain: bool | None = None) -> int:
        """Range deletes, then points, as one atomic commit; the WAL position behind it. Not synced yet.

        ReadOnlyError, StorageError (nothing happened), LimitError (over 4 GiB), StallTimeout, ClosedError. In a call
        that re-entered it is put off until the outer one has ended. (Written out in `put` and `delete`.)"""
        try:
            with self._commit_lock:
                if self._blocked and not self._may_write():
                    return self._do_later(points, ranges, plain)
                self._blocked = True
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
        change nothing; what it raises is passed on. The WAL position, or None if nothing changed.

        Tables are read before the commit lock is taken, so that nobody waits for anything under it; what they say is
        right for as long as the same runs are installed. `update_many` of one key would cost `incr` a tenth more."""
        runs: OpenRuns | None = None
        found: Entry | None = None
        position: int | None = None
        while True:
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
                        decided = decide(None if entry is DELETED else entry)
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
        self, keys: Sequence[bytes], decide: Callable[[dict[bytes, Entry | None]], dict[bytes, Entry]]
    ) -> int | None:
        """`update` for several keys in one commit: `decide` is given all entries and returns those to commit."""
        runs: OpenRuns | None = None
        found: dict[bytes, Entry | None] = {}
        position: int | None = None
        while True:
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
                            position = self._commit(points)
                        unknown = []
                    self._blocked = self._must_wait
            except BaseException as error:
                self._commit_put_off(error)
                raise
            if not unknown:
                break
            runs, values = state.runs, self.value_cache
            found = {key: below_memtables(state, state.shard_of(key), key, values) for key in unknown}
        if self._wal.position > self._seal_check:
            self._maybe_seal()
        return position

    # Under the commit lock, and taking it.

    def _make_commit_lock(self) -> None:
        self._commit_lock = RLock()  # it knows its owner: a call that re-enters finds out that it does
        self._writable = Condition(self._commit_lock)
        self._times_held = times_held(self._commit_lock)

    @holds_lock
    def _exclusively(self, act: Callable[[], Result]) -> Result:
        """Act under the commit lock, out of reach of writes that re-enter. (Written out in `_active_heads`.)"""
        try:
            with self._commit_lock:
                before, self._blocked = self._blocked, True
                try:
                    return act()
                finally:
                    self._blocked = before or self._must_wait
        finally:
            if self._put_off:
                self._commit_put_off()

    def _may_write(self) -> bool:
        """Where writers must look: they wait while they must. False for one that came in while its own thread is in
        the middle of something."""
        if self._times_held() > 1:
            self._check_writable()
            return False
        self._blocked = True
        self._drain()
        self._look_again()
        if self._must_wait:
            self._wait_until_writable()
        return True

    def _look_again(self) -> None:
        """Whether writers must wait."""
        self._must_wait = self._closed or (bool(self._stall) and self.options.stall_writers)
        if self.read_only_reason is not None:  # asked afterwards: `_lose_directory` takes no lock
            self._must_wait = True

    def _do_later(self, points: Mapping[bytes, Entry], ranges: Sequence[Range], plain: bool | None) -> int:
        """Once the outer call has ended. That finds out as every write looks whether to seal; and should another write
        come before, it finds out as every write looks whether to wait."""
        self._put_off.append((points, ranges, plain))
        self._must_wait = True
        self._seal_check = -1
        return self._wal.position

    @holds_lock
    def _commit_put_off(self, raised: BaseException | None = None) -> None:
        """As a call ends: commit what those that re-entered it have left. What is refused is raised, or noted on what
        the call itself raises."""
        with self._commit_lock:
            if self._times_held() > 1:
                return  # a call further out will
            self._blocked = True
            try:
                self._drain()
            except FlinError as refused:
                if raised is None:
                    raise
                raised.add_note(f"and a write that was put off until now failed: {refused}")
            finally:
                self._look_again()
                self._blocked = self._must_wait

    def _drain(self) -> None:
        refused: FlinError | None = None
        while self._put_off:
            position = self._wal.position
            try:
                if self.read_only_reason is not None:
                    raise ReadOnlyError(self.read_only_reason)
                self._commit(*self._put_off[0])
            except FlinError as error:
                refused = refused or error
            except BaseException:  # an interrupt: what is not in yet stays
                if self._wal.position != position:
                    del self._put_off[0]
                raise
            del self._put_off[0]
        if refused is not None:
            refused.add_note("a signal handler or finalizer wrote this; it was put off until the outer call had ended")
            raise refused

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
                heapq.heappush(self._generation.due, (entry[1], key))

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

    # Waiting.

    def stall(self) -> Stall:
        return self._stall

    def fail(self, reason: str) -> None:
        """Refuse writes from now on; the first reason stays."""
        self._exclusively(lambda: self._fail(reason))

    def _fail(self, reason: str) -> None:
        if self.read_only_reason is None:
            self.read_only_reason = reason
        self._must_wait = True
        self._writable.notify_all()

    def _lose_directory(self) -> None:
        """As `fail`, but without the lock: whoever found out may hold another. Those who wait look by themselves."""
        self.read_only_reason = self.read_only_reason or DIRECTORY_LOST
        self._must_wait = self._blocked = True

    def note_obstacle(self, error: BaseException | None) -> None:
        """What the background's last job failed with (None: it gets on). Writers that it has stopped are told."""
        self.obstacle = error
        self._exclusively(self._writable.notify_all)

    def _check_writable(self) -> None:
        self.check_open()
        if self.read_only_reason is not None:
            raise ReadOnlyError(self.read_only_reason)

    def _wait_until_writable(self) -> None:
        """Under the commit lock, which is released while waiting. After a wait everything is asked anew."""
        began = monotonic()  # the wall clock may jump
        deadline = began + self.options.stall_timeout_ms / 1000
        # The outer call of one that re-enters may be what all wait for.
        waits = self.options.stall_writers and not is_reentered(levels=3)
        was_delayed = False
        while True:
            self._check_writable()
            stall = self._stall
            if not waits or not stall or (was_delayed and not stall.stopped):
                return
            self.stall_waits += 1
            if not stall.stopped:
                was_delayed = True
                self._writable.wait(stall.delay_seconds)
                self.stall_seconds += stall.delay_seconds
                continue
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

    def _freeze_open(self) -> ReadState:
        """A state that stays as it is: in a call that re-entered, a copy, since the outer call may have the installed
        state in hand, which is not to be replaced then."""
        self.check_open()
        return self._freeze() if self._times_held() == 1 else self.state.with_copies(self._dead.known)

    def _freeze(self) -> ReadState:
        """Freeze what the active parts hold; a state that stays as it is. Free if nothing was written since."""
        assert is_held(self._commit_lock)
        state = self.state
        if any(state.active):
            frozen = tuple(
                join_neighbours((part, *older)) if part else older
                for part, older in zip(state.active, state.frozen, strict=True)
            )
            self._generation.size_bytes += sum(part.size for part in state.active) * ENTRY_OVERHEAD_BYTES
            state = replace(state, active=empty_parts(len(frozen)), frozen=frozen)
            self.state = state
        # The installed state's active parts will be written to: the caller's own stay empty.
        return state.with_active(empty_parts(len(state.active)), self._dead.known)

    def _maybe_seal(self) -> None:
        """Commit what was put off; seal the open generation if it is full, else say when to look again."""
        if self._put_off:
            self._commit_put_off()
        tell = self._exclusively(self._look_at_size)
        if tell is not None:
            tell()

    def _look_at_size(self) -> Callable[[], None] | None:
        if self._wal.position <= self._seal_check or self._closed:
            return None
        room = self.budget.generation - self.open_bytes()
        if room <= 0:
            self._seal()
            return self.on_sealed
        # An entry's overhead is not in the position: half of the room is never too late.
        self._seal_check = self._wal.position + max(room // 4, SEAL_CHECK_BYTES // 16)
        if self.on_filling is None or 4 * room > 3 * self.budget.generation:
            return None
        tell, self.on_filling = self.on_filling, None
        return tell

    def seal(self) -> bool:
        """Seal the open generation now, whatever its size; False if it is empty."""
        return self._exclusively(self._seal)

    def _seal(self) -> bool:
        assert is_held(self._commit_lock)
        state, wal = self.state, self._wal
        wal.end_segment()
        segments = (*self._generation.recovered_segments, *wal.ended)
        if not segments:
            return False
        parts = tuple(
            tuple(part for part in (active, *frozen) if part)
            for active, frozen in zip(state.active, state.frozen, strict=True)
        )
        due = self._generation.due
        generation = SealedGeneration(parts, segments, wal.position, wal.sequence, wal.next_number, due)
        sealed, none = (generation, *state.sealed), ((),) * len(parts)
        state = replace(state, active=empty_parts(len(parts)), frozen=none, sealed=sealed)
        following = OpenGeneration(wal.position)
        # No call in between: an interrupt finds all of this done, or none. Segments are flushed once and by one job.
        self.state, wal.ended, self._generation = state, (), following
        self._seal_check = wal.position + SEAL_CHECK_BYTES
        self.sealed_count += 1
        self._install(state)
        return True

    def open_bytes(self) -> int:
        """About what the open generation costs in memory."""
        generation = self._generation
        entries = sum(part.size for part in self.state.active)
        return generation.size_bytes + self._wal.position - generation.start + entries * ENTRY_OVERHEAD_BYTES

    def full_wal_bytes(self) -> int:
        """About what the open generation will have in the WAL once it is full, if it goes on as it began."""
        return self.budget.generation * (self._wal.position - self._generation.start) // max(self.open_bytes(), 1)

    def _install(self, state: ReadState) -> None:
        assert is_held(self._commit_lock)
        self.state = state
        self._stall = stall_of(len(state.sealed), max(map(len, state.runs)))
        self._look_again()
        if not self._must_wait:
            self._writable.notify_all()

    # Closing.

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        if self._closed:
            raise ClosedError(CLOSED_TEXT)
