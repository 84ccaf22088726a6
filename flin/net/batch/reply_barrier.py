"""Which keys' newest commits may not be on the disk yet: in `always` their readers wait, and others need not.

A reply may leave once everything that it shows is durable; otherwise a crash could take back what a client has seen.
Reads of other keys show nothing that a sync must save first, so they do not wait (measured, GETs alongside SETs with
syncs of 20 ms: p50 34 ms before, 0.26 since).

Two sets are enough, since one sync runs at a time: the keys of commits that the running sync covers, and those of later
commits, which the next one covers. After a range delete every read waits for everything committed so far.

This module knows stored keys. Dispatch knows which of them a request has read (`dispatch.position_for`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from flin.engine.entry import Entry
from flin.net.batch.namespaces import STORED_KEY

NOTHING: Final = 0
"""A position that is always durable: a reply that shows nothing unsynced waits for this one."""

EVERYTHING: Final = 1 << 62
"""A position beyond all others: wait for everything that is committed when the tick ends."""


class ReplyBarrier:
    """The unsynced keys. It has the pending batch's dict and list, and is told of each commit before they are
    emptied."""

    __slots__ = ("_cleared", "_late", "_late_position", "_points", "_ranges", "_syncing", "_syncing_position")

    def __init__(self, points: Mapping[bytes, Entry], ranges: Sequence[bytes]) -> None:
        self._points = points
        self._ranges = ranges
        self._syncing: set[bytes] = set()  # stored keys whose commits the running sync covers
        self._syncing_position = NOTHING
        self._late: set[bytes] = set()  # and those of later commits
        self._late_position = NOTHING
        self._cleared = (
            NOTHING  # the end of the newest range delete or SWAPDB: until it is durable, any reply may show its effect
        )

    # Called by the pending batch and by the tick.

    def note_commit(self, position: int) -> None:
        """The pending batch is committed, up to the position, and about to be emptied."""
        self._late.update(self._points)
        self._late_position = position
        if self._ranges or STORED_KEY in self._points:
            self._cleared = position

    def begin_sync(self) -> None:
        """A sync of everything committed so far is about to begin."""
        if self._syncing:  # the last one failed
            self._late |= self._syncing
        self._syncing, self._late = self._late, set()
        self._syncing_position = self._late_position

    def end_sync(self, synced_position: int) -> None:
        """The sync has succeeded; it may have covered later commits too."""
        self._syncing = set()
        if self._late_position <= synced_position:
            self._late = set()
        if self._cleared <= synced_position:
            self._cleared = NOTHING

    # What replies show.

    @property
    def is_clear(self) -> bool:
        """Whether everything that can be read is durable."""
        return not (self._points or self._ranges or self._late or self._syncing or self._cleared)

    def position_for(self, stored: AbstractSet[bytes]) -> int:
        """The position up to which the WAL must be synced before anybody is told what is at these keys."""
        if self._ranges or STORED_KEY in self._points or not self._points.keys().isdisjoint(stored):
            return EVERYTHING
        if not self._late.isdisjoint(stored):
            return max(self._late_position, self._cleared)
        if not self._syncing.isdisjoint(stored):
            return max(self._syncing_position, self._cleared)
        return self._cleared
