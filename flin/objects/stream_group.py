"""A group of consumers of a stream: up to which entry they have read, and what was delivered and not acknowledged yet.

The group, each consumer and each pending entry is a piece of its own, and each change is put at once. Consumers are in
memory from the first command on that needs them. Pending entries never are, since there may be millions of them: they
are read one by one or page by page. What memory knows of them are bounds, so that no read begins at entries that were
acknowledged long ago, and how many each consumer has, counted when somebody first asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from flin.engine.key import prefix_stop
from flin.errors import CorruptionError, LimitError
from flin.objects.host import Host
from flin.objects.layout import (
    GROUP,
    Pending,
    consumers_of,
    decode_consumer,
    decode_pending,
    encode_consumer,
    encode_group,
    encode_pending,
    is_pending_for,
    pending_of,
)
from flin.objects.meta import NO_ID
from flin.objects.pieces import Pieces
from flin.objects.stream_id import MAX_ID

_BASE_BYTES: Final = 1000
"""A group in memory without consumers."""

_CONSUMER_BYTES: Final = 250
"""A consumer, beside its name."""

COUNTED_AT_ONCE: Final = 1024
"""Pending entries: a millisecond or two."""

MAX_TOMBSTONES: Final = 1024
"""A group of more pieces is deleted by a range delete."""

_ABOVE_ALL: Final = MAX_ID + b"\0"


@dataclass(slots=True)
class Consumer:
    """All its pending entries lie from `first` to `last`; nothing says that these two are pending."""

    name: bytes
    seen_at_ms: int
    pending: int = 0
    """How many it has, as far as they are counted."""
    first: bytes = NO_ID
    last: bytes = MAX_ID

    def has_none(self) -> None:
        self.first, self.last = _ABOVE_ALL, NO_ID

    def has(self, id_: bytes) -> None:
        self.first, self.last = min(self.first, id_), max(self.last, id_)


class Group:
    """One group of one stream, whose pieces lie under `prefix`. Nothing may change between two steps of what iterates;
    all that reads may raise ColdRead."""

    __slots__ = (
        "_ceiling",
        "_consumers",
        "_counted",
        "_floor",
        "_host",
        "_pieces",
        "_prefix",
        "entries_read",
        "last_id",
        "name",
        "pending",
    )

    def __init__(
        self, host: Host, prefix: bytes, name: bytes, last_id: bytes, entries_read: int, *, is_new: bool = False
    ) -> None:
        """is_new: it has no consumers yet."""
        self._host: Final = host
        self._prefix: Final = prefix
        self._pieces: Final = Pieces(host, prefix + pending_of(name))
        self.name: Final = name
        self.last_id = last_id
        self.entries_read = entries_read  # or UNKNOWN_ENTRIES_READ
        self.pending = 0  # entries, as far as they are counted
        self._consumers: dict[bytes, Consumer] | None = {} if is_new else None  # None: not read yet
        self._counted = _ABOVE_ALL if is_new else NO_ID  # pending entries below this id are counted
        self._floor = _ABOVE_ALL if is_new else NO_ID  # none is below
        self._ceiling: bytes | None = NO_ID if is_new else None  # none is above; None: not known

    def memory_bytes(self) -> int:
        """About, with names of consumers as short as usual."""
        return _BASE_BYTES + _CONSUMER_BYTES * len(self._consumers or ())

    # Consumers.

    def consumers(self) -> dict[bytes, Consumer]:
        """By name; not to be changed."""
        if self._consumers is None:
            found: dict[bytes, Consumer] = {}
            for names, values in Pieces(self._host, self._prefix + consumers_of(self.name)).parts():
                for name, value in zip(names, values, strict=True):
                    found[name] = Consumer(name, decode_consumer(value))
            self._consumers = found
        return self._consumers

    # Pending entries.

    def find(self, ids: Iterable[bytes]) -> dict[bytes, Pending]:
        """Those of these entries that are pending."""
        ceiling = self._highest()
        asked = [id_ for id_ in ids if self._floor <= id_ <= ceiling]
        if not asked:
            return {}
        prefix = self._pieces.prefix
        values = self._host.pieces([prefix + id_ for id_ in asked])
        return {id_: decode_pending(value) for id_, value in zip(asked, values, strict=True) if value is not None}

    def between(
        self, start: bytes = NO_ID, stop: bytes = MAX_ID, consumer: Consumer | None = None
    ) -> Iterator[tuple[bytes, Pending]]:
        """The pending entries from an id to another in order, of all consumers or of one: for that one, all of them
        between its bounds are read."""
        begin, end = max(start, self._floor), stop
        if consumer is not None:
            begin, end = max(begin, consumer.first), min(end, consumer.last)
        if begin > end:
            return
        is_first, is_its_first = begin == self._floor, consumer is not None and start <= consumer.first
        for ids, values in self._pieces.parts(begin, end + b"\0"):
            if is_first:
                self._floor, is_first = ids[0], False
            for id_, value in zip(ids, values, strict=True):
                if consumer is None:
                    yield id_, decode_pending(value)
                elif is_pending_for(consumer.name, value):
                    if is_its_first:
                        consumer.first, is_its_first = id_, False
                    yield id_, decode_pending(value)
        if is_first and stop == MAX_ID and consumer is None:
            self._floor = _ABOVE_ALL
        if is_its_first and consumer is not None and stop >= consumer.last:
            consumer.has_none()

    def bounds(self) -> tuple[bytes, bytes] | None:
        """The first and the last id of pending entries; None: there are none."""
        first = next(self.between(), None)
        if first is None:
            return None
        self._ceiling = self._pieces.part(first[0], self._highest() + b"\0", 1, reverse=True)[0][0]
        return first[0], self._ceiling

    def _highest(self) -> bytes:
        """No pending entry is above this id."""
        if self._ceiling is None:
            ids = self._pieces.part(b"", None, 1, reverse=True)[0]
            self._ceiling = ids[0] if ids else NO_ID
        return self._ceiling

    def count_some(self) -> bool:
        """Count a page more of the pending entries; whether all are counted now, so that `pending` is true of the group
        and of its consumers. Others may run between two pages."""
        if self._counted > MAX_ID:
            return True
        consumers = self.consumers()
        ids, values = self._pieces.part(self._counted, None, COUNTED_AT_ONCE)
        found = [consumers.get(decode_pending(value).consumer) for value in values]
        if None in found:
            raise CorruptionError("a stream's group", 0, "an entry is pending for a consumer that is not there")
        for id_, consumer in zip(ids, found, strict=True):
            assert consumer is not None
            if not consumer.pending:
                consumer.first = id_
            consumer.pending += 1
        self.pending += len(ids)
        self._counted = ids[-1] + b"\0" if len(ids) == COUNTED_AT_ONCE else _ABOVE_ALL
        return self._counted > MAX_ID

    # Changes.

    def save(self) -> None:
        """The last id or the number of entries read has changed."""
        self._host.put_piece(self._prefix + GROUP + self.name, encode_group(self.last_id, self.entries_read))

    def see(self, name: bytes, now_ms: int) -> tuple[Consumer, bool]:
        """A consumer asks for something; whether it is new."""
        consumers = self.consumers()
        found = consumers.get(name)
        is_new = found is None
        if found is None:
            found = consumers[name] = Consumer(name, now_ms)
            found.has_none()
        found.seen_at_ms = now_ms
        self._host.put_piece(self._prefix + consumers_of(self.name) + name, encode_consumer(now_ms))
        return found, is_new

    def set_pending(self, id_: bytes, delivered: Pending, before: Pending | None) -> None:
        """An entry was delivered to a consumer, or claimed by it. `before`: what `find` or `between` said of it. The
        caller has read the consumers."""
        if before is not None:
            self._uncount(id_, before)
        consumer = self.consumers()[delivered.consumer]
        consumer.has(id_)
        if id_ < self._counted:
            consumer.pending += 1
            self.pending += 1
        self._floor = min(self._floor, id_)
        if self._ceiling is not None and id_ > self._ceiling:
            self._ceiling = id_
        self._host.put_piece(self._pieces.prefix + id_, encode_pending(delivered))

    def acknowledge(self, found: dict[bytes, Pending]) -> int:
        """These, which are pending, are so no more; how many they are. The caller has read the consumers."""
        delete, prefix = self._host.delete_piece, self._pieces.prefix
        for id_, delivered in found.items():
            self._uncount(id_, delivered)
            delete(prefix + id_)
        return len(found)

    def _uncount(self, id_: bytes, before: Pending) -> None:
        if id_ < self._counted:
            self.consumers()[before.consumer].pending -= 1
            self.pending -= 1

    def delete_consumer(self, name: bytes, most_entries: int) -> int:
        """And what is pending for it; how many entries that were. LimitError if they are more."""
        consumers = self.consumers()
        found: dict[bytes, Pending] = {}
        for id_, delivered in self.between(consumer=consumers[name]):
            found[id_] = delivered
            if len(found) > most_entries:
                raise LimitError("the number of a consumer's pending entries", len(found), most_entries)
        gone = self.acknowledge(found)
        del consumers[name]
        self._host.delete_piece(self._prefix + consumers_of(self.name) + name)
        return gone

    def delete(self) -> None:
        """All of its pieces, by a range delete where they are many."""
        kinds = self._pieces, Pieces(self._host, self._prefix + consumers_of(self.name))
        parts = [
            pieces.part(b"", None, MAX_TOMBSTONES + 1)[0] for pieces in kinds
        ]  # all is read before the first change
        for pieces, suffixes in zip(kinds, parts, strict=True):
            if len(suffixes) <= MAX_TOMBSTONES:
                for suffix in suffixes:
                    self._host.delete_piece(pieces.prefix + suffix)
            else:
                stop = prefix_stop(pieces.prefix)
                assert stop is not None  # it begins with FF 01
                self._host.delete_pieces(pieces.prefix, stop)
        self._host.delete_piece(self._prefix + GROUP + self.name)

    def _check(self) -> None:
        """AssertionError if what memory knows is not so."""
        found = dict(Group(self._host, self._prefix, self.name, NO_ID, 0).between())
        ids = sorted(found)
        assert all(self._floor <= id_ for id_ in ids)
        assert self._ceiling is None or all(id_ <= self._ceiling for id_ in ids)
        counted = [id_ for id_ in ids if id_ < self._counted]
        assert self.pending == len(counted)
        for name, consumer in self.consumers().items():
            assert consumer.pending == sum(found[id_].consumer == name for id_ in counted)
            assert all(consumer.first <= id_ <= consumer.last for id_ in ids if found[id_].consumer == name)
        assert {delivered.consumer for delivered in found.values()} <= self.consumers().keys()
