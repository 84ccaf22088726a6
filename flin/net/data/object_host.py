"""What a database of the server shows of itself to its objects (objects/host.py): the pending batch over the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from flin.engine.boundaries import covers
from flin.engine.entry import TOMBSTONE, Entry, Live, Page
from flin.errors import CorruptionError
from flin.net.batch.pending import SHORT_BYTES
from flin.net.data.observers import Observers

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.batch.store import StoreLike
    from flin.net.batch.version_lease import VersionLease


class Database(Protocol):
    """The keyspace, as far as its host knows it."""

    namespace: int
    is_blocking: bool
    observers: Observers

    @property
    def read(self) -> Callable[[bytes], Entry | None]: ...

    def entry(self, key: bytes) -> Live | None: ...

    def stored(self, key: bytes) -> bytes: ...

    def frozen_pages(self, begin: bytes, end: bytes, *, reverse: bool = False) -> Iterator[Page]: ...

    def write_own(self, key: bytes, entry: Entry, size_bytes: int) -> None: ...


class ObjectHost:
    """One database as its objects see it."""

    __slots__ = ("_keyspace", "_lease", "_pending", "_points", "_points_get", "_ranges", "_store")

    def __init__(self, keyspace: Database, store: StoreLike, pending: Pending, lease: VersionLease) -> None:
        self._keyspace = keyspace
        self._store = store
        self._pending = pending
        self._points = pending.points  # of every batch: it is emptied, never replaced
        self._points_get = pending.points.get
        self._ranges = pending.ranges
        self._lease = lease

    @property
    def namespace(self) -> int:
        return self._keyspace.namespace

    # Reads.

    def entry(self, key: bytes) -> Live | None:
        return self._keyspace.entry(key)

    def own_entry(self, key: bytes) -> Live | None:
        return self._live(self._keyspace.stored(key))

    def piece(self, stored: bytes) -> bytes | None:
        found: Entry | None = self.piece_in_memory(stored) or self._points_get(stored)
        if found is None and not (self._ranges and covers(self._ranges, stored)):
            found = self._keyspace.read(stored)
        return found if type(found) is bytes else _checked(found)

    def _live(self, stored: bytes) -> Live | None:
        found: Entry | None = self._pending.points.get(stored)
        if found is None and not (self._pending.ranges and covers(self._pending.ranges, stored)):
            found = self._keyspace.read(stored)
        return None if found is TOMBSTONE else found

    def pieces(self, stored: Sequence[bytes]) -> list[bytes | None]:
        newest = self._store.newest_entries()
        if newest is None or self._ranges:
            return [*map(self.piece, stored)]
        found = [*map(cast("Any", self._points_get), stored, map(newest.get, stored))]
        if set(map(type, found)) == {bytes}:
            return found
        read = self._keyspace.read
        found = [read(key) if one is None else one for key, one in zip(stored, found, strict=True)]
        return found if set(map(type, found)) == {bytes} else [*map(_checked, found)]

    def neighbours(self, stored: Sequence[bytes]) -> Sequence[bytes | None]:
        found = self.pieces_in_memory(stored)
        if found is not None:
            return found
        if self._ranges:
            return [*map(self.piece, stored)]
        entries: dict[bytes, Entry | None] = dict(zip(stored, map(self._points_get, stored), strict=True))
        missing = [key for key, entry in entries.items() if entry is None]
        if missing:
            nowait = not self._keyspace.is_blocking
            entries.update(zip(missing, self._store.read_near(missing, nowait=nowait), strict=True))
        return [*map(_checked, entries.values())]

    def piece_in_memory(self, stored: bytes) -> bytes | None:
        found: Entry | None = self._points_get(stored)
        if found is None and not self._ranges:
            newest = self._store.newest_entries()
            if newest is not None:
                found = newest.get(stored)
        return found if type(found) is bytes else None

    def pieces_in_memory(self, stored: Sequence[bytes]) -> Sequence[bytes] | None:
        newest = self._store.newest_entries()
        if newest is None or self._ranges:
            return None
        found: list[Any] = [*map(newest.get, stored)]
        if self._points:
            found = [*map(cast("Any", self._points_get), stored, found)]
        return found if set(map(type, found)) == _ONLY_BYTES else None

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Page:
        """The store is asked for more where the batch deletes; what it has gives a page that is whole up to a bound,
        within which the batch is laid over it."""
        ranges, mine = self._pending.ranges, self._pending.pieces.between(start, stop)
        wanted = count + list(mine.values()).count(TOMBSTONE)
        nowait = not self._keyspace.is_blocking
        while True:
            keys, entries = self._store.page(start, stop, wanted, reverse=reverse, nowait=nowait)
            if not mine and not ranges:
                return keys, entries
            found: dict[bytes, Entry] = dict(zip(keys, entries, strict=True))
            if ranges:
                found = {key: entry for key, entry in found.items() if not covers(ranges, key)}
            is_whole = len(keys) < wanted
            if is_whole:
                found.update(mine)
            else:
                bound = keys[-1]
                found.update((key, entry) for key, entry in mine.items() if (key >= bound if reverse else key <= bound))
            ordered = sorted((key for key, entry in found.items() if entry is not TOMBSTONE), reverse=reverse)[:count]
            if is_whole or len(ordered) == count:
                return ordered, [found[key] for key in ordered]
            wanted *= 2  # a range delete of the batch hides much of it

    def frozen_pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        return self._keyspace.frozen_pages(start, stop, reverse=reverse)

    # Changes.

    def put_piece(self, stored: bytes, value: bytes) -> None:
        self._points[stored] = value
        if len(value) > SHORT_BYTES:
            self._pending.large_bytes += len(value)

    def put_pieces(self, stored: Iterable[bytes], values: Collection[bytes]) -> None:
        self._points.update(zip(stored, values, strict=True))
        if max(map(len, values)) > SHORT_BYTES:
            self._pending.large_bytes += sum(size for size in map(len, values) if size > SHORT_BYTES)

    def delete_piece(self, stored: bytes) -> None:
        self._points[stored] = TOMBSTONE

    def delete_each(self, stored: Iterable[bytes]) -> None:
        self._points.update(dict.fromkeys(stored, TOMBSTONE))

    def take_back_piece(self, stored: bytes) -> None:
        del self._pending.points[stored]
        self._pending.pieces.gone(stored)

    def delete_pieces(self, start: bytes, stop: bytes) -> None:
        self._pending.delete_range(start, stop)

    @property
    def batch(self) -> int:
        return self._pending.batches

    def is_pending(self, key: bytes) -> bool:
        return self._keyspace.stored(key) in self._pending.points

    def put_own(self, key: bytes, entry: Live, size_bytes: int) -> None:
        self._keyspace.write_own(key, entry, size_bytes)

    def tell_changed(self, key: bytes) -> None:
        for observer in self._keyspace.observers:
            observer.key_written(key)

    def delete_own(self, key: bytes) -> None:
        self._keyspace.write_own(key, TOMBSTONE, 0)

    def settle_own(self, key: bytes, entry: Live) -> None:
        self._pending.points[self._keyspace.stored(key)] = entry

    def settle_later(self, settle: Callable[[], None]) -> None:
        self._pending.unsettled.append(settle)

    def take_version(self) -> int:
        return self._lease.take()


def _checked(found: Entry | None) -> bytes | None:
    """The value of a piece."""
    if type(found) is bytes or found is None:
        return found
    if found is TOMBSTONE:
        return None
    raise CorruptionError("a piece of a collection", 0, "it has a tag or an expiry")


_ONLY_BYTES: Final = {bytes}
