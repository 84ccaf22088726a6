"""A database that a resize fills: its pending writes, the versions of its collections, and proof of what it holds.

Proof is the number and a sum of hashes of all entries, taken as they are written; `check` takes both again from the
files. The sum needs no order and no memory. It holds within one process: in each Python seeds its hashes anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from flin.engine.engine import Engine, store_of
from flin.engine.entry import Entry
from flin.engine.key import count_by_namespace, without_pieces
from flin.engine.tree.store import Store
from flin.errors import CorruptionError
from flin.objects.layout import NEXT_VERSION, encode_next_version

_MASK: Final = (1 << 64) - 1


class TargetGroup:
    """Put stored keys and entries into `points` and call `commit` now and then, at last `end`."""

    def __init__(self, store: Store) -> None:
        self.points: Final[dict[bytes, Entry]] = {}
        self._store = store
        self._versions = 0  # given to collections
        self._entries = 0
        self._sum = 0

    def take_version(self) -> int:
        """The version of a collection: unique in this database."""
        self._versions += 1
        return self._versions - 1

    def commit(self) -> None:
        """Write the points. StorageError, StallTimeout."""
        if self.points:
            self._entries += len(self.points)
            self._sum += _sum_of(self.points.items())
            self._store.commit(self.points)
            self.points.clear()

    def end(self) -> None:
        """The last commit: a server must give no version again."""
        if self._versions:
            self.points[NEXT_VERSION] = encode_next_version(self._versions)
        self.commit()

    def check(self, written: Engine) -> dict[int, int]:
        """The number of keys by namespace in this database, opened again. CorruptionError unless it holds what was
        committed, and counts it rightly."""
        store, counts = store_of(written), Counter[int]()
        entries = total = 0
        for keys, of_keys in store.pages(store.freeze()):
            entries += len(keys)
            total += _sum_of(zip(keys, of_keys, strict=True))
            counts.update(count_by_namespace(without_pieces(keys)))
        if (entries, total & _MASK) != (self._entries, self._sum & _MASK):
            found = f"{entries:,} entries of {self._entries:,}" if entries != self._entries else "other bytes"
            raise CorruptionError(written.path, 0, f"{found} are found in it than were written")
        if any(store.count(namespace) != count for namespace, count in counts.items()):
            raise CorruptionError(written.path, 0, "its count of keys is wrong")
        return counts


def _sum_of(pairs: Iterable[tuple[bytes, Entry]]) -> int:
    return sum(map(hash, pairs))
