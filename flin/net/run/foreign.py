"""What the log of its group does to a follower's store, beneath its server.

A command's write goes through its keyspace, which then forgets what it has cached of the key, and tells who observes
it. An entry of the log goes straight to the store, so the same duties are done here, in one step of the loop: cached
replies are discarded, live objects forgotten, watchers touched, and whoever tracks the key, waits for it, or reads it
in slices, is told. The pending batch of a follower is always empty, and no script runs there, so nothing else can hold
what was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flin.engine.boundaries import boundaries_of, covers
from flin.engine.key import PIECES_START, PIECES_STOP, USER_END, user_key
from flin.net.batch.following_store import FollowingStore
from flin.objects.layout import PREFIX_BYTES

if TYPE_CHECKING:
    from flin.engine.entry import Entry, Range
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.services import Services

MAX_LOOKED_AT: Final = 256
"""Live objects that are looked at one by one, at 100 ns each; of more, all are forgotten: an entry of the log should
cost a follower no more than its commit does."""


def apply_foreign(services: Services, points: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
    """Commit the points and, older than these, the ranges, by stored keys. On the loop, of a server whose role is to
    follow. Returns the position after the frame; raises what the store raises, and then nothing has happened."""
    store = services.store
    assert isinstance(store, FollowingStore), "only a follower takes what others have written"
    position = store.store.commit(points, ranges)
    keyspace = services.databases.keyspaces[0]  # a cluster has no other one
    deleted = boundaries_of(ranges) if ranges else []
    for journal in services.pending.journals:
        journal.note(points, deleted)
    if keyspace.hot.size() or len(keyspace.objects) or keyspace.observers:
        keys = [*map(user_key, filter(USER_END.__gt__, points))]
        _forget(keyspace, points, keys, deleted)
        _tell(services, keyspace, points, keys, deleted)
    return position


def _forget(keyspace: Keyspace, points: dict[bytes, Entry], keys: list[bytes], deleted: list[bytes]) -> None:
    objects = keyspace.objects
    if deleted:
        keyspace.hot.clear()
        objects.forget_all()
        return
    keyspace.hot.discard_many(keys)
    if not len(objects):
        return
    for key in keys:
        objects.drop(key)
    # Groups of a stream change without its key's own entry: it is found by what its pieces begin with.
    prefixes = {stored[:PREFIX_BYTES] for stored in points if PIECES_START <= stored < PIECES_STOP}
    if prefixes and len(objects) > MAX_LOOKED_AT:
        objects.forget_all()
    elif prefixes:
        for found in objects.each():
            if found.prefix in prefixes:
                objects.drop(found.key)


def _tell(
    services: Services, keyspace: Keyspace, points: dict[bytes, Entry], keys: list[bytes], deleted: list[bytes]
) -> None:
    tracking, waiters = services.tracking, services.waiters
    if not keyspace.observers:
        return
    if deleted:
        keyspace.watches.all_written(lambda key: covers(deleted, keyspace.stored(key)))
        if tracking.trackers:
            tracking.note_cleared()
    keyspace.watches.keys_written(keys)
    if tracking.trackers:
        for key in keys:
            tracking.note_deleted(key)
    for key in keys:
        waiters.note_foreign(keyspace, key, points[keyspace.stored(key)])
