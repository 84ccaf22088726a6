"""The store: the LSM tree of one directory. It knows stored keys and entries; engine.py and the server are above.

Here are its opening, its lookups, the expiry of memtables' entries, and its end. Readers take no lock: they load one
ReadState. The modules that change it are below: commits.py (writes), ordered_reads.py (scans), edits.py (tables).

Three locks, taken in this order: the edit lock, the commit lock, and the WAL's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from threading import RLock
from typing import Any, Final

from flin.engine.catalog.generation import (
    DueHeap,
    OpenGeneration,
    due_of,
    empty_memtables,
    pop_due,
    recovered_generation,
    split_memtable,
)
from flin.engine.catalog.recovery import RecoveredGeneration, Recovery
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import join
from flin.engine.disk.lock import HeldLock
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.entry import TOMBSTONE, Entry, Live
from flin.engine.options import Options
from flin.engine.read.count import SLICE
from flin.engine.read.live_count import LiveCount
from flin.engine.read.read_path import await_filters, from_memtables, from_retired, from_tables, read_older
from flin.engine.read.read_state import ReadState
from flin.engine.read.table_batch import add_from_tables
from flin.engine.read.value_cache import ValueCache
from flin.engine.reentry import holds_lock
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.bloom import hash_key
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree import closed_state, opening
from flin.engine.tree.capture import Captures
from flin.engine.tree.closed_state import CLOSED_STATE
from flin.engine.tree.commits import SEAL_CHECK_BYTES
from flin.engine.tree.table_cache import TableCache
from flin.engine.tree.version_set import VersionSet
from flin.engine.wal.sealed_writer import SealedWalWriter
from flin.engine.wal.teed_writer import TeedWalWriter
from flin.engine.wal.writer import WalWriter
from flin.errors import CorruptionError, FlinError, ReadOnlyError

_STRINGS: Final = {bytes}

LAG_SHARE: Final = 4
"""Whoever watches may fall behind the flushes by a quarter of the memory limit: two generations."""


class Store(Captures):
    """The database of one directory, open for reading and writing. Threads may share it."""

    def __init__(self, directory: str, options: Options) -> None:
        options = opening.sealed_if_asked(options)
        super().__init__(options)
        self.awaits_filters = False  # set by whoever sees that filters are read from the disk again and again
        # Set by whoever wants expired keys to stay for a while. Those of a replica are its leader's to delete.
        self.holds_sweep = options.replication is not None
        self._opened = self._open_directory(directory, options)
        try:
            self._begin()
        except BaseException:
            self.lock.release()
            raise
        closed_state.close_in_forked_child(self)

    # Opening.

    def _open_directory(self, directory: str, options: Options) -> opening.Opened:
        return opening.open_directory(directory, options)

    def _table_cache(self) -> TableCache:
        return TableCache(self.options.fs, self.directory, BlockCache(self.options.budget.quiet_block_cache))

    def _begin(self) -> None:
        options, opened = self.options, self._opened
        self._live_count = LiveCount()
        self._versions = VersionSet(opened.manifest, opened.manifest_writer)
        self.value_cache = ValueCache(options.budget.value_cache if options.value_cache else 0)
        self.tables = self._table_cache()
        self.tables.retained = self._retained
        self._teed = None
        self._wal = self._begin_wal()
        self._durability = options.replication or self._wal
        self.state = self._recovered_state(opened.recovery.generations)
        opened.lock.tell_if_lost(self._lose_directory)

    def _begin_wal(self) -> WalWriter:
        recovery, options, manifest = self.recovery, self.options, self._versions.manifest
        place: dict[str, Any] = {
            "next_number": recovery.next_number,
            "position": recovery.position,
            "sequence": recovery.next_sequence,
            "predecessor": recovery.last_segment,
            "predecessor_end": recovery.last_end,
        }
        of = self.directory, manifest.database_id, manifest.epoch
        if isinstance(options.fs, SealedFileSystem):
            return SealedWalWriter(options.fs, *of, options.value_threshold, **place)
        if options.replication is not None:
            self._teed = TeedWalWriter(options.fs, *of, options.random_bytes, **place)
            options.replication.attach(self._teed.frames)
            return self._teed
        return WalWriter(options.fs, *of, options.random_bytes, **place)

    def _recovered_state(self, recovered: list[RecoveredGeneration]) -> ReadState:
        """The state of the replayed generations: the newest becomes the open one again, the others wait for their
        flush."""
        shards = self._versions.manifest.shards
        self._generation = OpenGeneration(self._wal.position, self._wal.sequence)
        self._seal_check = self._wal.position + SEAL_CHECK_BYTES
        active = empty_memtables(shards)
        if recovered:
            newest = recovered.pop()
            active = split_memtable(newest.memtable, shards)
            self._generation.recovered_segments = tuple(newest.segments)
            self._generation.size_bytes = newest.bytes
            self._generation.first_sequence -= newest.operations
            self._generation.due = due_of(newest.memtable)
        sealed = [recovered_generation(generation, shards) for generation in reversed(recovered)]
        version = self._versions.manifest.version
        self.tables.wal_floor = self._versions.manifest.wal_floor
        runs = self.tables.runs_of(version)
        return ReadState(active, ((),) * shards, tuple(sealed), runs, version, 0, value_files=self.tables.value_files)

    # What it was opened with.

    @property
    def directory(self) -> str:
        return self._opened.directory

    @property
    def lock(self) -> HeldLock:
        """The lock of the directory."""
        return self._opened.lock

    @property
    def recovery(self) -> Recovery:
        """The result of the recovery at the open."""
        return self._opened.recovery

    def _retained(self) -> set[str]:
        """The segments below the floor that are kept: by the option, and for those who have not read them yet."""
        manifest, options = self._versions.manifest, self.options
        behind = min(self.watchers.behind(manifest.wal_position), options.memory_limit_bytes // LAG_SHARE)
        size = max(options.wal_retention_bytes, behind)
        return {each.name for each in opening.kept(options.fs, self.directory, manifest, size)}

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to close."""
        return self._control.has_ended

    # Reading.

    def read(self, key: bytes, *, values: bool = True) -> Live | None:
        """The newest entry of a stored key, never a tombstone; the caller must check whether it has expired. Without
        `values` it may have a pointer in the place of its value."""
        state = self.state
        shard = state.shard_of(key)
        entry = state.active[shard].entries.get(key)
        if entry is None:
            return read_older(state, shard, key, self.value_cache, resolves=values)
        return None if entry is TOMBSTONE else entry

    def read_many(self, keys: Sequence[bytes]) -> list[Live | None]:
        """What `read` gives for each key: what the newest entries hold, in loops of C."""
        state, values = self.state, self.value_cache
        if state.get_active is None:
            return [*map(self.read, keys)]
        found: list[Any] = [*map(state.get_active, keys)]
        if set(map(type, found)) != _STRINGS:
            for place, entry in enumerate(found):
                if entry is None:
                    found[place] = read_older(state, 0, keys[place], values)
                elif entry is TOMBSTONE:
                    found[place] = None
        return found

    def read_nowait(self, key: bytes, *, values: bool = True) -> Live | None:
        """What `read` gives; ColdRead instead of a wait for the disk."""
        state = self.state
        get = state.get_active
        shard = state.shard_of(key) if get is None else 0
        entry = None if get is None else get(key)
        if entry is None and (get is None or state.older[0] or state.active[0].deleted):
            entry = from_memtables(state, shard, key)
        if entry is None and state.runs[shard]:  # what is retired says what they say
            entry = from_retired(state, shard, key)
            if entry is None:
                hashed = hash_key(key)
                if self.awaits_filters:
                    await_filters(state, shard, key, hashed)
                entry = from_tables(state, shard, key, hashed, wait=False, values=values)
        return None if entry is TOMBSTONE else entry

    def cache_budget(self, *, is_quiet: bool) -> int:
        """Bytes for the indexes of tables and the block cache: more while nothing is written and no generation waits
        for its flush, except what retired ones take."""
        budget, state = self.options.budget, self.state
        if not is_quiet or state.sealed:
            return budget.block_cache
        return budget.quiet_block_cache - state.retired_bytes

    @property
    def block_misses(self) -> int:
        """How many blocks were read that were not in the block cache."""
        return self.tables.block_cache.misses

    def lend_blocks(self, size_bytes: int) -> None:
        """The block cache does with so much less: whoever asks has it."""
        self.tables.memory.lend(size_bytes)

    def newest_entries(self) -> Mapping[bytes, Entry] | None:
        """The points of the active memtable, if there is only one; it says nothing about keys that it does not hold."""
        active = self.state.active
        return active[0].entries if len(active) == 1 else None

    def older_entries(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What other memtables hold at keys that the newest entries lack, in loops of C: bytes are the newest value; of
        anything else `read` knows whether it is still so."""
        state = self.state
        found: Iterator[Entry | None] = repeat(None, len(keys))
        if not state.active[0].deleted:
            for get in reversed(state.older_gets):
                found = map(get, keys, found)
        return list(found)

    def in_tables(self, keys: Sequence[bytes], *, values: bool = True) -> list[Live | None]:
        """What `read_nowait` gives for keys of which neither the newest nor the older entries say anything, up to the
        first whose lookup would wait for the disk, or fails."""
        state = self.state
        found: list[Live | None] = []
        with suppress(ColdRead, FlinError):
            if state.hides_nothing and not state.active[0].deleted and not self.awaits_filters:
                add_from_tables(found, state, keys, values=values)
            else:
                for key in keys:
                    found.append(self.read_nowait(key, values=values))  # noqa: PERF401  those before an exception stay
        return found

    def count(self, namespace: int = 0, budget: int | None = None, state: ReadState | None = None) -> int | None:
        """The exact number of keys in the namespace, expired ones included until their sweep.

        Each memtable and each unsettled run is resolved against older entries once. With a budget of lookups that may
        stop halfway: None, and the next call goes on. Without one, much that is unsettled is counted by a helper.
        CorruptionError if what the manifest counts cannot be."""
        number = self._live_count.of(state or self.freeze(), namespace, budget)
        if number is not None and number < 0:
            raise CorruptionError(join(self.directory, MANIFEST), 0, f"by its counts there are {number} keys")
        return number

    @property
    def live_count(self) -> LiveCount:
        return self._live_count

    def settle(self, state: ReadState) -> None:
        """Have the state's unsettled runs counted by a helper, and wait: for those who must not wait for it in `count`,
        in another thread than theirs."""
        self._live_count.settle(state, few=0)

    def uncounted_entries(self) -> int:
        """How many entries `count` would look at now: those that nobody has counted, of tables and of memtables."""
        state = self.state
        waiting = (
            memtable.size for of_shard in state.older for memtable in of_shard if memtable.key_count_delta is None
        )
        return self.unsettled_entries() + sum(memtable.size for memtable in state.active) + sum(waiting)

    def count_ahead(self) -> None:
        """Count what is uncounted, so that `count` need not: for another thread than the one that must not wait."""
        state = self.freeze()
        self.settle(state)
        while self.count(0, SLICE, state) is None:  # each slice lets go of the lock
            pass

    def unsettled_entries(self) -> int:
        """How many entries of tables nobody has counted yet."""
        return self._live_count.unsettled_entries(self.state.version)

    def settled_count(self, namespace: int = 0) -> int:
        """The keys of settled runs: the last exact number, at no cost, for those who watch."""
        return self._live_count.settled(self.state.version).counts.get(namespace, 0)

    def refresh(self) -> bool:
        """Show what was committed since. Returns whether that is anything: here it is shown at once."""
        self.check_open()
        return False

    # Expiry and eviction.

    def now_ms(self) -> int:
        """The time that expiries are compared with. It may jump, either way."""
        return self.options.clock_ms()

    def hold_sweep(self) -> None:
        """Set `holds_sweep`. No sweep deletes anything once this has returned, not even one that is under way."""
        self._exclusively(lambda: setattr(self, "holds_sweep", True))

    def take_due(self, now_ms: int, limit: int) -> DueHeap:
        """Take keys of the memtables that have expired, each once, and when; they may have been written since."""
        return self._exclusively(lambda: self._take_due(now_ms, limit))

    def _take_due(self, now_ms: int, limit: int) -> DueHeap:
        taken: DueHeap = []
        for heap in (self._generation.due, *(generation.due for generation in self.state.sealed)):
            taken += pop_due(heap, now_ms, limit - len(taken))
        return taken

    def due_heaps(self) -> list[DueHeap]:
        """Copies of the heaps of what will expire in each memtable, for `expiring`."""
        return [self._generation.due[:], *(generation.due[:] for generation in self.state.sealed)]

    def delete_expired(self, keys: Sequence[bytes], now_ms: int) -> int | None:
        """Commit tombstones for those of the keys that have expired. Returns how many had. None: nothing was done,
        since the clock has been set back behind now_ms, and keys may have been put by the new clock; or the sweep is
        held."""
        expired: dict[bytes, Live] | None = None

        def choose(entries: dict[bytes, Entry | None]) -> dict[bytes, Entry]:
            nonlocal expired
            if self.holds_sweep or self.now_ms() < now_ms:
                return {}
            expired = {key: entry for key, entry in entries.items() if type(entry) is tuple and 0 != entry[1] <= now_ms}
            return dict.fromkeys(expired, TOMBSTONE)

        self.update_many(keys, choose, now_ms)
        if expired is None:
            return None
        if expired and self.listeners.on_expired is not None:
            self.listeners.on_expired(expired)
        return len(expired)

    def evict(self, keys: Sequence[bytes], may_go: Callable[[bytes, Live], bool]) -> dict[bytes, Live]:
        """Commit tombstones for those of the keys that are there and may go, which is asked under the commit lock.
        Returns what they held; a pointer may be in the place of a value."""
        evicted: dict[bytes, Live] = {}

        def choose(entries: dict[bytes, Entry | None]) -> dict[bytes, Entry]:
            live = {key: entry for key, entry in entries.items() if entry is not None and entry is not TOMBSTONE}
            evicted.update((key, entry) for key, entry in live.items() if may_go(key, entry))
            return dict.fromkeys(evicted, TOMBSTONE)

        self.update_many(keys, choose, values=False)
        if evicted and self.listeners.on_evicted is not None:
            self.listeners.on_evicted(evicted)
        return evicted

    def begin_close(self) -> None:
        """Refuse writes."""
        self._exclusively(self._begin_close)
        self.watchers.wake_all()

    def _begin_close(self) -> None:
        self._control.is_closed = self._must_wait = True
        self._control.writable.notify_all()
        self.dropped.is_urgent = True

    @holds_lock
    def end_close(self) -> None:
        """End the WAL and release everything. Readers keep their state. ReadOnlyError, or StorageError of a replica's
        log, if not all can be durable."""
        try:
            self.lock.check()
            if self.read_only_reason is None:
                if self._teed is not None:
                    self.sync()
                self._wal.close_cleanly()
            elif self._wal.synced < self._wal.position:  # the failed sync may have been the interval's
                raise ReadOnlyError(f"{self.read_only_reason}; what was written since the last sync may be lost")
        finally:
            self._wal.close()
            with self._versions.lock:  # an edit that comes later finds it closed
                self.state = CLOSED_STATE
            self.tables.close()
            self.tables.remove_obsolete()
            self.lock.release()
            self._control.has_ended = True

    def forked(self) -> None:
        """In a forked child: close, since the store belongs to the parent. Threads that are not here may hold its
        locks."""
        self._commit_lock = RLock()
        self._control.use(self._commit_lock)
        self._control.is_closed = self._must_wait = self._blocked = True
        self.state = CLOSED_STATE
        self.tables.close()
        self.lock.release()
        self._control.has_ended = True
