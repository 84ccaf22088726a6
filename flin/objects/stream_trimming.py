"""How many entries MAXLEN and MINID take from the beginning of a stream.

Redis keeps entries in nodes, of 100 if they are short, and with `~` it deletes whole nodes only. Flin has no nodes: it
counts hundreds from the first entry on. The last node of a stream may have fewer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class Entries(Protocol):
    """A stream."""

    def __len__(self) -> int: ...

    def id_pages(self) -> Iterator[list[bytes]]: ...


@dataclass(slots=True)
class Trimming:
    """One of `most` and `least_id` says what may stay."""

    most: int | None = None
    """Entries."""
    least_id: bytes | None = None
    node: int = 0
    """Entries that are deleted together; 0: each alone."""
    limit: int = 0
    """The most entries to delete, if it is not 0."""

    def number_of(self, stream: Entries, added: bytes | None = None) -> int:
        """How many of the first entries to delete. added: the id of one that is about to be added. Reads."""
        count = len(stream) + (added is not None)
        if self.most is not None:
            return self._whole_nodes(max(0, count - self.most), count)
        assert self.least_id is not None
        below = int(added is not None and added < self.least_id)
        for page in stream.id_pages():
            below += bisect_left(page, self.least_id)
            if page[-1] >= self.least_id or (self.limit and below > self.limit):
                break
        return self._whole_nodes(below, count)

    def _whole_nodes(self, number: int, count: int) -> int:
        """As many of `number` of `count` entries as nodes allow."""
        if not self.node or not number:
            return number
        if number == count and (count <= self.limit or not self.limit):
            return count
        if self.limit:
            number = min(number, self.limit)
        return number // self.node * self.node
