"""The reaper: deletes the pieces of collections whose key is gone, a little at a time.

Deleting a key deletes one entry, however large its collection was. Its pieces can never be reached again, since their
version is unique. Their anchor names their owner, so they are found: at once if the deletion was noticed
(`LiveObjects.gone`, the sweep of expired keys), else by a walk over all anchors, at the start and once an hour.

A collection is dead if the key that its anchor names has no entry with its version. That is read right before the
deletes are written, anchor first and then the owner, with nothing in between; a key that has expired and was not swept
yet still owns its pieces, since the clock may be set back.

Up to MAX_TOMBSTONES pieces go one by one, a batch at a time, the anchor with the last; more by one range delete with
the anchor, at most one a second, since many of them apart from each other make reads slow.

Example: DEL of a hash of a million fields costs what DEL of a string costs. A second later a frame of 200 bytes holds
the range delete, and compactions drop the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flin.engine.key import PIECES_STOP, namespace_prefix, prefix_stop
from flin.engine.table.cold_read import ColdRead
from flin.objects.layout import ANCHORS, elements_prefix, parse_anchor
from flin.objects.live_objects import LiveObjects

PAGE: Final = 512
"""Pieces that are deleted in one batch: half a millisecond."""

MAX_TOMBSTONES: Final = 4096
"""Pieces of a collection that are deleted one by one: 51 bytes of the WAL each; a range delete slows reads."""

RANGE_DELETE_MS: Final = 1000
WALK_MS: Final = 3_600_000

_ANCHORS_PAGE: Final = 64


class Reaper:
    """One for all databases. Not thread-safe: it runs where commands run, between two of them."""

    def __init__(
        self, databases: Sequence[LiveObjects], delete_range: Callable[[bytes, bytes], None], commit: Callable[[], None]
    ) -> None:
        """delete_range and commit: the pending batch's."""
        self._databases = databases
        self._delete_range = delete_range
        self._commit = commit
        self._anchor: bytes | None = None  # of the collection that is looked at
        self._tombstones = 0  # written for it
        self._walk: bytes | None = namespace_prefix(ANCHORS)  # the next anchor to look at; None: no walk is under way
        self._found: list[bytes] = []  # by the walk, not looked at yet, in descending order
        self._walked_at_ms = 0
        self._range_at_ms = -RANGE_DELETE_MS
        self.reaped = 0
        """Collections since the start."""

    def step(self, now_ms: int, is_over: Callable[[], bool]) -> Callable[[], None] | None:
        """Work until `is_over`, or until nothing is left; what must be loaded, by a thread, before the next step.

        now_ms: by a clock that is never set. Not the ColdRead itself: its frames and their callers' would hold it, and
        the state that they read, until the garbage collector runs; meanwhile no file of that state is removed."""
        try:
            while not is_over():
                if self._anchor is None:
                    self._anchor = self._next_anchor(now_ms)
                    self._tombstones = 0
                    if self._anchor is None:
                        return None
                if not self._look_at(self._anchor, now_ms):
                    return None
        except ColdRead as cold:
            return cold.load
        return None

    def skip(self) -> None:
        """The present collection cannot be read: leave it to the next walk. If the walk cannot be read, it ends."""
        if self._anchor is None:
            self._walk = None
        self._anchor = None

    # Which one is next.

    def _next_anchor(self, now_ms: int) -> bytes | None:
        for objects in self._databases:
            if objects.gone:
                return objects.gone.popleft()
        if self._walk is None and now_ms - self._walked_at_ms >= WALK_MS:
            self._walk = namespace_prefix(ANCHORS)
        if not self._found and self._walk is not None:
            keys, _ = self._databases[0].host.page(self._walk, PIECES_STOP, _ANCHORS_PAGE)
            self._found = keys[::-1]
            self._walk = keys[-1] + b"\0" if len(keys) == _ANCHORS_PAGE else None
            if self._walk is None:
                self._walked_at_ms = now_ms
        return self._found.pop() if self._found else None

    # What becomes of it.

    def _look_at(self, anchor: bytes, now_ms: int) -> bool:
        """One look at a collection, and a batch of deletes if it is dead. False: not before some time has passed."""
        owner = parse_anchor(anchor)
        objects = self._database_of(owner.database)
        if objects is None or self._is_alive(objects, anchor, owner.version):
            self._anchor = None
            return True
        prefix = elements_prefix(owner.database, owner.slot, owner.version)
        stop = prefix_stop(prefix)
        assert stop is not None
        keys, _ = objects.host.page(prefix, stop, PAGE)
        if len(keys) == PAGE and self._tombstones >= MAX_TOMBSTONES:
            if now_ms - self._range_at_ms < RANGE_DELETE_MS:
                return False
            self._range_at_ms = now_ms
            self._delete_range(prefix, stop)
            keys = []
        for key in keys:
            objects.host.delete_piece(key)
        self._tombstones += len(keys)
        if len(keys) < PAGE:
            objects.host.delete_piece(anchor)
            self._anchor = None
            self.reaped += 1
        self._commit()
        return True

    def _is_alive(self, objects: LiveObjects, anchor: bytes, version: int) -> bool:
        key = objects.host.piece(anchor)
        return key is None or objects.names(key, version)

    def _database_of(self, namespace: int) -> LiveObjects | None:
        """None: a database that this server was not told to have."""
        return next((objects for objects in self._databases if objects.host.namespace == namespace), None)
