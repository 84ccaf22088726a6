"""Keys that hold collections, as an embedded program reads them: views that read when they are asked.

The engine knows tags, not types. What a view is made of stands above it, in flin/objects, and is loaded by
the first call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from flin.engine.buffers import BytesLike
from flin.engine.entry import Entry, Live, Page, is_alive, value_at

if TYPE_CHECKING:
    from flin.objects.views import HashView, ListView, Reading, SetView, SortedSetView, StreamView


class TypedKeys(ABC):
    """The calls for keys of any type. A mapping's own calls see strings alone: a key that holds a collection is absent
    for `get`, `in`, `pop` and scans; `put` and `delete` replace it, and calls that would replace it by what was there
    (`incr`, `put_if_absent`, `compare_and_set`, `setdefault`) raise ConflictError. `ttl`, `expire` and `persist` work
    for every type. A long string that commands have changed in parts lies in pieces; to every call it is a string.

    A view may be kept: it reads anew at each call, from an engine what is there then, from a snapshot what was there. A
    key that is absent is an empty collection. A key that holds another type raises ConflictError, in the call that
    makes the view, and in each later one.
    """

    @abstractmethod
    def _read(self, stored: bytes, *, values: bool = True) -> Live | None:
        """The newest entry of a stored key, or None; it may have expired. Without `values` it may have a pointer."""

    @abstractmethod
    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        """Entries of [start, stop) in order, tombstones included, consistent as of the call. Without `values` those
        that are not at hand stay pointers."""

    @abstractmethod
    def _now_ms(self) -> int:
        """The time that expiries are compared with."""

    def type(self, key: BytesLike) -> str | None:
        """What the key holds: "string", or the name of the call that reads it ("hash", "list", "set", "sorted_set",
        "stream"); None if it is absent. Example: `getattr(db, db.type(key))(key)`."""
        return self._reading(values=False).type_of(self._whole_key(key))

    def hash(self, key: BytesLike) -> HashView:
        """The hash at the key: a mapping of fields to values. Example: `dict(db.hash(b"user:1").items())`."""
        from flin.objects.views import HashView

        return HashView(self._reading(), self._whole_key(key))

    def list(self, key: BytesLike) -> ListView:
        """The list at the key: a sequence of its elements. Example: `db.list(b"jobs")[-10:]`."""
        from flin.objects.views import ListView

        return ListView(self._reading(), self._whole_key(key))

    def set(self, key: BytesLike) -> SetView:
        """The set at the key: a set of its members. Example: `db.set(b"online") & friends`."""
        from flin.objects.views import SetView

        return SetView(self._reading(), self._whole_key(key))

    def sorted_set(self, key: BytesLike) -> SortedSetView:
        """The sorted set at the key: a mapping of members to scores, in the order of scores. Example: the ten best are
        `db.sorted_set(b"board").by_rank(slice(10), reverse=True)`."""
        from flin.objects.views import SortedSetView

        return SortedSetView(self._reading(), self._whole_key(key))

    def stream(self, key: BytesLike) -> StreamView:
        """The stream at the key: a mapping of ids to entries, in the order of ids; and its groups. Example:
        `list(db.stream(b"log").between((since_ms, 0)))`."""
        from flin.objects.views import StreamView

        return StreamView(self._reading(), self._whole_key(key))

    def _whole_key(self, key: BytesLike) -> BytesLike:
        """The key by which `_reading` finds what is at a key of this view."""
        return key

    def _value_at(self, entry: Entry | None, now_ms: int) -> bytes | None:
        """The string of an entry that is alive at now_ms, else None. One that lies in pieces is put together."""
        if type(entry) is not tuple or not entry[2] or 0 != entry[1] <= now_ms:
            return value_at(entry, now_ms)
        from flin.objects.views import READERS

        reader = READERS.get(entry[2])
        return None if reader is None else reader(self._reading(), entry)

    def _has_value(self, entry: Entry | None, now_ms: int) -> bool:
        """Whether `_value_at` gives a value. The entry may have a pointer."""
        if type(entry) is not tuple or not entry[2] or 0 != entry[1] <= now_ms:
            return is_alive(entry, now_ms)
        from flin.objects.views import READERS

        return entry[2] in READERS

    def _reading(self, *, values: bool = True) -> Reading:
        from flin.objects.views import Reading

        read = self._read if values else partial(self._read, values=False)
        return Reading(read, self._pages, self._now_ms)
