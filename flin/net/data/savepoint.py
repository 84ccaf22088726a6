"""A step: a transaction or a script, whose writes are in one frame of the WAL, or nowhere.

A step that is taken back leaves nothing: the pending batch is what it was before (points, ranges, sizes, the order of
its pieces), and everything that memory derives from the batch is read again (live objects of every type with their rank
indexes and stream tails, the namespaces of SWAPDB, the lease of versions). What others see of a step waits until it is
kept: watchers are touched, waiters' keys become ready and caches of clients are invalidated through the observers of
writes, which are held; publications, notifications and log lines through `Pending.after_step`. Cached replies need
nothing: a write discards the reply of its key, and none is made of what the batch holds.

The batch is copied at the step's first write, after its objects have settled, so that it holds true values. A copy of
500 entries takes 1.3 µs, less than a journal of three writes would.

A step may run within another one, as a script does in EXEC. This module knows neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flin.engine.boundaries import covers
from flin.engine.entry import TOMBSTONE

if TYPE_CHECKING:
    from flin.net.batch.pending import Savepoint
    from flin.net.data.databases import Databases
    from flin.net.data.keyspace import Keyspace
    from flin.net.data.observers import HeldWrites


class Step:
    """From its making until `keep` or `take_back`; one of them is called, once."""

    __slots__ = ("_databases", "_effects", "_held", "_outer_effects", "_savepoint", "_was_in_transaction", "writes")

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self.writes = False  # whether `will_write` was called
        self._savepoint: Savepoint | None = None
        self._held: list[tuple[Keyspace, bytes, HeldWrites]] = []  # with the prefix of its stored keys
        pending = databases.pending
        self._outer_effects = pending.effects
        if self._outer_effects is None:
            pending.effect_bytes = pending.script_ns = 0
        self._effects: list[Callable[[], None]] = []
        pending.effects = self._effects
        self._was_in_transaction = pending.in_transaction
        pending.in_transaction = True

    def will_write(self, *, alone: bool = False) -> None:
        """Call this before the first write. alone: in a thread of its own, so that observers may come and go
        meanwhile."""
        if not self.writes:
            self.writes = True
            databases = self._databases
            self._savepoint = databases.pending.savepoint()
            if databases.observed.number or alone:
                for keyspace in databases.keyspaces:
                    self._held.append((keyspace, keyspace.stored(b""), keyspace.observers.hold()))

    def keep(self) -> None:
        """It has ended: its writes stay, and others see it."""
        self._end()
        for keyspace, prefix, held in self._held:
            if held.everything:
                has_changed = self._has_changed(keyspace, prefix)
                for observer in keyspace.observers:
                    observer.all_written(has_changed)
            if held.keys:
                keys = [*held.keys]
                for observer in keyspace.observers:
                    observer.keys_written(keys)
        for effect in self._effects:
            self._databases.pending.after_step(effect)

    def take_back(self) -> None:
        """It has never been."""
        self._end()
        if self._savepoint is not None:
            self._databases.take_back(self._savepoint)

    def _end(self) -> None:
        pending = self._databases.pending
        pending.effects = self._outer_effects
        pending.in_transaction = self._was_in_transaction
        for keyspace, _, held in self._held:
            keyspace.observers.let_go(held)

    def _has_changed(self, keyspace: Keyspace, prefix: bytes) -> Callable[[bytes], bool]:
        """Whether the deletion or the exchange of a whole database has changed a key: it was there before the step, or
        is there now. (A key that came and went within it was written too.)"""
        assert self._savepoint is not None
        points, ranges, _ = self._savepoint

        def has_changed(key: bytes) -> bool:
            stored = prefix + key if prefix else keyspace.stored(key)
            found = points.get(stored)
            if found is None and not covers(ranges, stored):
                found = self._databases.store.read(stored)
            return (found is not None and found is not TOMBSTONE) or keyspace.is_there(key)

        return has_changed
