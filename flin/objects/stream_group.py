"""A group of consumers of a stream: up to which entry they have read, and what was delivered and not acknowledged yet.

The group, each consumer and each pending entry is a piece of its own, and each change is put at once. Consumers and
pending entries are in memory from the first command on that needs them: some 300 bytes for each pending entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sortedcontainers import SortedList

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
    pending_of,
)
from flin.objects.pieces import Pieces
from flin.objects.stream_id import MAX_ID

_BASE_BYTES: Final = 2000
"""A group in memory without consumers: its sorted lists most of all."""

_CONSUMER_BYTES: Final = 1200
_PENDING_BYTES: Final = 300
"""A consumer and a pending entry in memory, about."""


@dataclass(slots=True)
class Consumer:
    name: bytes
    seen_at_ms: int
    ids: SortedList[bytes] = field(default_factory=SortedList)
    """The ids of its pending entries."""


class Group:
    """One group of one stream, whose pieces lie under `prefix`."""

    __slots__ = ("_consumers", "_host", "_ids", "_pending", "_prefix", "entries_read", "last_id", "name")

    def __init__(
        self, host: Host, prefix: bytes, name: bytes, last_id: bytes, entries_read: int, *, is_new: bool = False
    ) -> None:
        """is_new: it has no consumers yet."""
        self._host: Final = host
        self._prefix: Final = prefix
        self.name: Final = name
        self.last_id = last_id
        self.entries_read = entries_read  # or UNKNOWN_ENTRIES_READ
        self._consumers: dict[bytes, Consumer] | None = {} if is_new else None  # None: not read yet
        self._pending: dict[bytes, Pending] = {}
        self._ids: SortedList[bytes] = SortedList()

    def memory_bytes(self) -> int:
        """About."""
        if self._consumers is None:
            return _BASE_BYTES
        return _BASE_BYTES + _CONSUMER_BYTES * len(self._consumers) + _PENDING_BYTES * len(self._pending)

    # Reads.

    def consumers(self) -> dict[bytes, Consumer]:
        """By name; not to be changed."""
        if self._consumers is None:
            self._load()
        assert self._consumers is not None
        return self._consumers

    def pending(self) -> dict[bytes, Pending]:
        """By id, in no order; not to be changed."""
        self.consumers()
        return self._pending

    def pending_ids(self, start: bytes, stop: bytes = MAX_ID, consumer: Consumer | None = None) -> Iterator[bytes]:
        """The ids of pending entries from an id to another in order, of all consumers or of one."""
        self.consumers()
        found: Iterator[bytes] = (self._ids if consumer is None else consumer.ids).irange(start, stop)
        return found

    def pending_bounds(self) -> tuple[bytes, bytes]:
        """The first and the last id of pending entries, of which there are some."""
        self.consumers()
        return self._ids[0], self._ids[-1]

    def _load(self) -> None:
        consumers: dict[bytes, Consumer] = {}
        pending: dict[bytes, Pending] = {}
        for names, values in Pieces(self._host, self._prefix + consumers_of(self.name)).parts():
            for name, value in zip(names, values, strict=True):
                consumers[name] = Consumer(name, decode_consumer(value))
        for ids, values in Pieces(self._host, self._prefix + pending_of(self.name)).parts():
            pending.update(zip(ids, map(decode_pending, values), strict=True))
        by_consumer: dict[bytes, list[bytes]] = {name: [] for name in consumers}
        for id_, delivered in pending.items():
            by_consumer[delivered.consumer].append(id_)
        for name, ids in by_consumer.items():
            consumers[name].ids.update(ids)
        self._ids.update(pending)
        self._consumers, self._pending = consumers, pending

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
        found.seen_at_ms = now_ms
        self._host.put_piece(self._prefix + consumers_of(self.name) + name, encode_consumer(now_ms))
        return found, is_new

    def set_pending(self, id_: bytes, delivered: Pending) -> None:
        """An entry was delivered to a consumer, or claimed by it."""
        consumers = self.consumers()
        before = self._pending.get(id_)
        if before is None:
            self._ids.add(id_)
        elif before.consumer != delivered.consumer:
            consumers[before.consumer].ids.remove(id_)
        if before is None or before.consumer != delivered.consumer:
            consumers[delivered.consumer].ids.add(id_)
        self._pending[id_] = delivered
        self._host.put_piece(self._prefix + pending_of(self.name) + id_, encode_pending(delivered))

    def acknowledge(self, ids: Iterable[bytes]) -> int:
        """These are pending no more; how many of them were."""
        consumers = self.consumers()
        delete, prefix = self._host.delete_piece, self._prefix + pending_of(self.name)
        gone = 0
        for id_ in ids:
            delivered = self._pending.pop(id_, None)
            if delivered is not None:
                self._ids.remove(id_)
                consumers[delivered.consumer].ids.remove(id_)
                delete(prefix + id_)
                gone += 1
        return gone

    def delete_consumer(self, name: bytes) -> int:
        """And what is pending for it; how many entries that were."""
        consumers = self.consumers()
        gone = self.acknowledge(list(consumers[name].ids))
        del consumers[name]
        self._host.delete_piece(self._prefix + consumers_of(self.name) + name)
        return gone

    def delete(self) -> None:
        """All of its pieces."""
        for name in list(self.consumers()):
            self.delete_consumer(name)
        self._host.delete_piece(self._prefix + GROUP + self.name)

    def _check(self) -> None:
        """AssertionError if the parts disagree."""
        consumers = self.consumers()
        assert sorted(self._pending) == list(self._ids)
        of_consumers = {id_: name for name, consumer in consumers.items() for id_ in consumer.ids}
        assert of_consumers == {id_: delivered.consumer for id_, delivered in self._pending.items()}
