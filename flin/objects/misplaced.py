"""Pieces that lie where no read finds them, or that contradict each other: faults that a check of a database names.

A meta says where its pieces may lie: a list's from head to tail, an order's between floor and ceiling, a stream's
entries up to its last id, a string's chunks within its length. And some pieces say the same thing twice: a member its
score, and the order the member behind its score; a pending entry its consumer.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from flin.objects.layout import (
    CHUNK_BYTES,
    CONSUMER,
    GROUP,
    IN_ORDER,
    PENDING,
    decode_pending,
    parse_chunk_suffix,
    parse_consumer_suffix,
    parse_in_order_suffix,
    parse_pending_suffix,
)
from flin.objects.layout import MEMBER as SCORED_MEMBER
from flin.objects.list_position import parse_position
from flin.objects.meta import ListMeta, LongStringMeta, Meta, SortedSetMeta, StreamMeta

_MASK: Final = (1 << 64) - 1


class Misplaced:
    """The check of one collection's pieces, which come in order. It remembers the consumers of groups, no others."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._found: Counter[str] = Counter()
        self._members = self._places = 0  # sums of hashes of members with their scores, of both kinds of pieces
        self._consumers: set[tuple[bytes, bytes]] = set()
        self._groups: set[bytes] = set()

    def take(self, suffix: bytes, value: bytes) -> None:
        """A piece. CorruptionError if no piece of this type is like it."""
        meta = self._meta
        if isinstance(meta, ListMeta):
            if not meta.head <= parse_position(suffix)[0] < meta.tail:
                self._found["outside of its head and tail"] += 1
        elif isinstance(meta, LongStringMeta):
            if parse_chunk_suffix(suffix) * CHUNK_BYTES + len(value) > meta.length:
                self._found["beyond its length"] += 1
        elif isinstance(meta, StreamMeta):
            self._take_of_stream(meta, suffix, value)
        elif isinstance(meta, SortedSetMeta):
            self._take_scored(meta, suffix, value)

    def _take_scored(self, meta: SortedSetMeta, suffix: bytes, value: bytes) -> None:
        if suffix[:1] == SCORED_MEMBER:
            self._members += hash((value, suffix[1:]))
        elif suffix[:1] == IN_ORDER:
            self._places += hash(parse_in_order_suffix(suffix))
            place = suffix[1:]
            if place < meta.floor or (meta.ceiling and place > meta.ceiling):
                self._found["outside of its floor and ceiling"] += 1

    def _take_of_stream(self, meta: StreamMeta, suffix: bytes, value: bytes) -> None:
        letter = suffix[:1]
        if letter == CONSUMER:
            self._consumers.add(parse_consumer_suffix(suffix))
        elif letter == GROUP:
            self._groups.add(suffix[1:])
        elif letter == PENDING:  # they come last
            if (parse_pending_suffix(suffix)[0], decode_pending(value).consumer) not in self._consumers:
                self._found["pending for a consumer that is not there"] += 1
        elif not meta.floor <= suffix[1:] <= meta.last_id:
            self._found["outside of its floor and last id"] += 1

    def problems(self) -> list[str]:
        """What is wrong, all pieces taken; each behind `it has`."""
        found = [f"{count} pieces {where}" for where, count in self._found.items()]
        strangers = sum(group not in self._groups for group, _ in self._consumers)
        if strangers:
            found.append(f"{strangers} consumers of groups that are not there")
        if (self._members - self._places) & _MASK:
            found.append("members whose scores are not those of their places in order")
        return found
