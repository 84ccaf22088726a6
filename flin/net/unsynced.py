"""Which keys' newest commits may not be on the disk yet: whose readers wait, in `always`, and who need not.

A reply may leave once everything that it shows is durable, or a crash could take back what a client has seen. Reads
of other keys show nothing of what a sync is waited for, so they do not wait (measured, GETs beside SETs with syncs of
20 ms: p50 34 ms before, 0.26 since).

Two sets are enough, since one sync runs at a time: the keys of commits that the running sync covers, and those of later
commits, which the next one covers. Only plain reads of named keys are judged by their keys. Whatever else was run (a
write, a walk over keys, a count, anything about a transaction) waits for everything committed so far, and after a range
delete every read does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from flin.engine.entry import Entry
from flin.net.command import Flag
from flin.net.databases import STORED_KEY
from flin.net.registry import find

if TYPE_CHECKING:
    from flin.net.context import Context

NOTHING: Final = 0
"""A position that is durable from the beginning: what shows nothing unsynced waits for this."""

EVERYTHING: Final = 1 << 62
"""A position beyond all: wait for all that is committed when the tick ends."""


class Unsynced:
    """Fed by the tick with its pending batch (`points`, `ranges`: one dict and one list forever) as it commits."""

    __slots__ = ("_cleared", "_late", "_late_position", "_pending", "_ranges", "_syncing", "_syncing_position")

    def __init__(self, pending: Mapping[bytes, Entry], ranges: Sequence[bytes]) -> None:
        self._pending = pending
        self._ranges = ranges
        self._syncing: set[bytes] = set()  # stored keys whose commits the running sync covers
        self._syncing_position = NOTHING
        self._late: set[bytes] = set()  # and those of later commits
        self._late_position = NOTHING
        self._cleared = (
            NOTHING  # after the newest range delete or SWAPDB: before it is durable, any reply may be its doing
        )

    # The tick's calls.

    def note_commit(self, position: int) -> None:
        """The pending batch is committed, up to the position, and about to be emptied."""
        self._late.update(self._pending)
        self._late_position = position
        if self._ranges or STORED_KEY in self._pending:
            self._cleared = position

    def begin_sync(self) -> None:
        """A sync of everything committed so far is about to begin."""
        if self._syncing:  # the last one failed
            self._late |= self._syncing
        self._syncing, self._late = self._late, set()
        self._syncing_position = self._late_position

    def end_sync(self, synced_position: int) -> None:
        """It has succeeded; it may have covered later commits too."""
        self._syncing = set()
        if self._late_position <= synced_position:
            self._late = set()
        if self._cleared <= synced_position:
            self._cleared = NOTHING

    # What replies show.

    def shown_by(self, context: Context, requests: Iterable[list[bytes]]) -> int:
        """The position up to which the WAL must be synced before the replies of these requests, which have just run,
        may leave."""
        if self._ranges or context.session.queue is not None or STORED_KEY in self._pending:
            return EVERYTHING
        stored: set[bytes] = set()
        for request in requests:
            command = find(request[0])
            # What a command that only reads and names keys shows of the store is these keys' entries.
            if command is None or not command.flags & Flag.READONLY or not command.keys.first:
                return EVERYTHING
            positions = command.keys.positions(request)
            stored.update(context.keyspace.stored(request[position]) for position in positions)
        return self._shown_by_keys(stored)

    def _shown_by_keys(self, stored: set[bytes]) -> int:
        if not self._pending.keys().isdisjoint(stored):
            return EVERYTHING
        if not self._late.isdisjoint(stored):
            return max(self._late_position, self._cleared)
        if not self._syncing.isdisjoint(stored):
            return max(self._syncing_position, self._cleared)
        return self._cleared
