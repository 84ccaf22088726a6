"""A database that a resize copies from: what it holds, and what cannot be copied. It is read as of one moment.

Expired keys are left out. So are cursors of SCAN, which no client of another server asks for, and what is left of
deleted collections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from flin.cluster.workers.groups import Group
from flin.engine.engine import Engine, store_of
from flin.engine.entry import Entry, Page, is_alive
from flin.engine.key import USER_END, namespace_prefix, prefix_stop
from flin.errors import StorageError
from flin.net.batch import namespaces
from flin.net.cluster.slots import SLOTS
from flin.net.scripting.functions import PREFIX as LIBRARIES


class SourceGroup:
    """`group`: None for a database by itself, which has keys of every slot and up to 16 databases."""

    def __init__(self, engine: Engine, group: Group | None, now_ms: int) -> None:
        self.path: Final = engine.path
        self._store = store_of(engine)
        self._state = self._store.freeze()
        self._now_ms = now_ms
        self._slots: Final = range(group.first, group.last + 1) if group else range(SLOTS)

    @property
    def shards(self) -> int:
        return self._store.manifest.shards

    def check(self, keys: Sequence[bytes], slots: Sequence[int]) -> None:
        """StorageError for a key that belongs to another group: written by a server that did not know of groups. Nobody
        can tell whether it is meant, or a key of that group with the same name."""
        if min(slots) < self._slots.start or max(slots) >= self._slots.stop:
            key, slot = next(each for each in zip(keys, slots, strict=True) if each[1] not in self._slots)
            reason = f"the key {key!r} in it is of slot {slot}, which is another group's"
            raise StorageError("resize", self.path, reason)

    def count(self) -> int:
        """Its keys; those that have expired may be among them."""
        counts = (self._store.count(namespace, None, self._state) for namespace in range(namespaces.MAX_DATABASES))
        return sum(count for count in counts if count)

    def databases(self) -> list[int]:
        """The databases that hold keys, by the numbers that clients select."""
        entry = self._store.read(namespaces.STORED_KEY)
        order = range(namespaces.MAX_DATABASES) if entry is None else namespaces.decode(entry)
        return [database for database, namespace in enumerate(order) if self._has_keys(namespace)]

    def _has_keys(self, namespace: int) -> bool:
        return any(is_alive(entry, self._now_ms) for _, page in self.keys(namespace) for entry in page)

    def keys(self, namespace: int) -> Iterator[Page]:
        """The entries of the keys of a namespace, some expired ones among them."""
        start, stop = (namespace_prefix(namespace), namespace_prefix(namespace + 1)) if namespace else (b"", USER_END)
        return self._store.pages(self._state, start, stop)

    def pieces(self, prefix: bytes) -> Iterator[Page]:
        """Those of a collection."""
        stop = prefix_stop(prefix)
        assert stop is not None
        return self._store.pages(self._state, prefix, stop)

    def libraries(self) -> dict[bytes, Entry]:
        """Those of functions, by stored key."""
        return {key: entry for page in self.pieces(LIBRARIES) for key, entry in zip(*page, strict=True)}

    def order_of_databases(self) -> dict[bytes, Entry]:
        """What SWAPDB has written, by stored key."""
        entry = self._store.read(namespaces.STORED_KEY)
        return {} if entry is None else {namespaces.STORED_KEY: entry}
