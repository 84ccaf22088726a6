"""How many entries MAXLEN and MINID take from the beginning of a stream.

Redis keeps entries in nodes, of 100 if they are short, and with `~` it deletes whole nodes only. Flin has no nodes: it
counts hundreds from the first entry on. The last node of a stream may have fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flin.objects.stream import Cut, Stream


class Entries(Protocol):
    """A stream."""

    def __len__(self) -> int: ...

    def number_below(self, id_: bytes, enough: int = 0) -> int: ...


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
        below = stream.number_below(self.least_id, self.limit) + (added is not None and added < self.least_id)
        return self._whole_nodes(below, count)

    def cut_of(self, stream: Stream, added: bytes | None = None) -> Cut | None:
        """The first entries that are to be deleted; None: none."""
        number = self.number_of(stream, added)
        return stream.cut(number, added, None if self.node else self.least_id) if number else None

    def _whole_nodes(self, number: int, count: int) -> int:
        """As many of `number` of `count` entries as nodes allow."""
        if not self.node or not number:
            return number
        if number == count and (count <= self.limit or not self.limit):
            return count
        if self.limit:
            number = min(number, self.limit)
        return number // self.node * self.node
