"""A stream as an embedded program reads it: a mapping of ids to entries, in the order of ids."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Final, NamedTuple, TypeAlias

from flin.engine.buffers import BytesLike, as_bytes
from flin.objects.layout import UNKNOWN_ENTRIES_READ, parse_stream_id, stream_id
from flin.objects.meta import NO_ID
from flin.objects.reading import Reading
from flin.objects.stream import Stream

StreamId: TypeAlias = tuple[int, int]
"""Milliseconds since 1970, and a number among the entries of that millisecond."""

Fields: TypeAlias = list[tuple[bytes, bytes]]
"""An entry: fields and values in their order; a field may come again."""

_MOST: Final = (1 << 64) - 1


class PendingEntry(NamedTuple):
    """An entry that was delivered, and not acknowledged yet."""

    consumer: bytes
    delivered_at_ms: int
    deliveries: int


class StreamGroup(NamedTuple):
    """A group of consumers."""

    last_id: StreamId
    """Up to which entry it has read."""
    entries_read: int | None
    """None: it is not known."""
    consumers: dict[bytes, int]
    """When each was last seen, in ms since 1970."""
    pending: dict[StreamId, PendingEntry]
    """In the order of ids."""


class StreamView(Mapping[StreamId, Fields]):
    """Entries by their ids, in the order of ids. An iteration sees one state. See TypedKeys for absent keys; a stream
    that is there may be empty.

    Example: `for (ms, number), fields in db.stream(b"log").between((since_ms, 0)): …`
    """

    def __init__(self, reading: Reading, key: BytesLike) -> None:
        self._reading = reading
        self._key = as_bytes("a key", key)
        self._found()

    def _found(self) -> Stream | None:
        return self._reading.find(self._key, Stream)

    def __getitem__(self, id_: StreamId) -> Fields:
        found = self._found()
        strings = None if found is None or not _is_id(id_) else found.get(stream_id(*id_))
        if strings is None:
            raise KeyError(id_)
        return _pairs(strings)

    def __len__(self) -> int:
        found = self._found()
        return 0 if found is None else len(found)

    def __iter__(self) -> Iterator[StreamId]:
        return (id_ for id_, _ in self.between())

    def __reversed__(self) -> Iterator[StreamId]:
        return (id_ for id_, _ in self.between(reverse=True))

    def items(self) -> ItemsView[StreamId, Fields]:
        return _Items(self)

    def values(self) -> ValuesView[Fields]:
        return _Values(self)

    def between(
        self, first: StreamId = (0, 0), last: StreamId = (_MOST, _MOST), *, reverse: bool = False
    ) -> Iterator[tuple[StreamId, Fields]]:
        """The entries from an id to another, both among them; with `reverse` from the last one downwards. ValueError
        for what is no id."""
        if not (_is_id(first) and _is_id(last)):
            raise ValueError(f"an id is two numbers from 0 to 2**64 - 1, not {first!r} or {last!r}")
        start, stop = stream_id(*first), stream_id(*last)
        found = self._found()
        if found is None or start > stop:
            return iter(())
        pages = found.pages(start, stop, len(found), reverse=True) if reverse else found.frozen_pages(start, stop)
        return ((parse_stream_id(id_), _pairs(strings)) for page in pages for id_, strings in page)

    @property
    def last_id(self) -> StreamId:
        """That of the newest entry that was ever added; (0, 0) if none was."""
        found = self._found()
        return parse_stream_id(NO_ID if found is None else found.last_id)

    def groups(self) -> dict[bytes, StreamGroup]:
        """Groups of consumers by name."""
        found = self._found()
        if found is None:
            return {}
        made = {}
        for name, group in found.groups().items():
            made[name] = StreamGroup(
                parse_stream_id(group.last_id),
                None if group.entries_read == UNKNOWN_ENTRIES_READ else group.entries_read,
                {consumer.name: consumer.seen_at_ms for consumer in group.consumers().values()},
                {
                    parse_stream_id(id_): PendingEntry(it.consumer, it.delivered_at_ms, it.deliveries)
                    for id_, it in group.between()
                },
            )
        return made

    def __repr__(self) -> str:
        return f"<StreamView {self._key!r}>"


class _Items(ItemsView[StreamId, Fields]):
    _mapping: StreamView

    def __iter__(self) -> Iterator[tuple[StreamId, Fields]]:
        return self._mapping.between()


class _Values(ValuesView[Fields]):
    _mapping: StreamView

    def __iter__(self) -> Iterator[Fields]:
        return (fields for _, fields in self._mapping.between())


def _is_id(id_: object) -> bool:
    return isinstance(id_, tuple) and len(id_) == 2 and all(isinstance(n, int) and 0 <= n <= _MOST for n in id_)


def _pairs(strings: list[bytes]) -> Fields:
    return list(zip(strings[::2], strings[1::2], strict=True))
