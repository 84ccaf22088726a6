"""A stream: its entries in nodes, what it remembers of its past, and its groups.

    count                  of nodes; for each its key (a string of 16 bytes, the master ID) and its listpack
    length, last ID        of the stream; then, in type 19 only: the first ID, the greatest deleted one, entries added
    count                  of groups; for each
      name, last ID        then, in type 19 only: entries read (all 64 bits set: not known)
      count                of pending entries; for each raw ID, delivered at, deliveries
      count                of consumers; for each name, seen at, count and raw IDs of the pending ones that are his

The listpack of a node: count, deleted, n, n master fields, 0; then for each entry, deleted ones too,

    flags                  1: deleted; 2: it has the master fields
    milliseconds, sequence what to add to the master ID, modulo 2^64
    n, then n fields each followed by its value; or with flag 2 the values alone
    back count             elements of this entry before this one
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from flin.errors import PayloadError
from flin.rdb import listpack
from flin.rdb.primitives import ID_BYTES, Reader, length, milliseconds, raw_id, stream_id, string, unpack_id
from flin.rdb.value import Group, Pending, Stream, StreamEntry, StreamId

NODE_ENTRIES: Final = 100
NODE_BYTES: Final = 4096
"""What a node holds at most, as Redis makes them (`stream-node-max-entries`, `stream-node-max-bytes`)."""

_DELETED: Final = 1
_SAME_FIELDS: Final = 2
_FLAGS: Final = {0, _DELETED, _SAME_FIELDS, _DELETED | _SAME_FIELDS}
_ENTRY_BYTES: Final = 12
"""About what an entry takes beside its fields and values."""

_MASK: Final = (1 << 64) - 1
_UNKNOWN: Final = _MASK
_ZERO: Final = (0, 0)


# Reading.


def decode(reader: Reader, has_past: bool) -> Stream:
    """The stream that follows; `has_past`: type 19, not 15. Raises PayloadError."""
    entries = _entries(reader)
    count = reader.length()
    if count != len(entries):
        raise reader.bad(f"{count} entries claimed, {len(entries)} found")
    last_id = reader.id()
    max_deleted_id, entries_added = _ZERO, count
    if has_past:
        reader.id()  # the first: what there is says it better
        max_deleted_id, entries_added = reader.id(), reader.length()
    if (entries and last_id < entries[-1].id) or last_id < max_deleted_id or entries_added < count:
        raise reader.bad("its last ID or the number of entries added is below what there is")
    groups: dict[bytes, Group] = {}
    for _ in range(reader.count()):
        group = _group(reader, entries, last_id, has_past)
        if group.name in groups:
            raise reader.bad("a group is there twice")
        groups[group.name] = group
    return Stream(entries, last_id, max_deleted_id, entries_added, list(groups.values()))


def _entries(reader: Reader) -> list[StreamEntry]:
    nodes: dict[StreamId, bytes] = {}
    for _ in range(reader.count()):
        key, node = reader.string(), reader.string()
        if len(key) != ID_BYTES or unpack_id(key) in nodes:
            raise reader.bad("the key of a node is no ID, or there twice")
        nodes[unpack_id(key)] = node
    entries: list[StreamEntry] = []
    last = _ZERO
    for master_id, node in sorted(nodes.items()):
        last = _decode_node(master_id, node, last, entries)
    return entries


class _Elements:
    """The elements of a node's listpack, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self._elements = listpack.decode(data)
        self.at = 0

    def bad(self, reason: str) -> PayloadError:
        return PayloadError("stream node", self.at, reason)

    def integer(self) -> int:
        (element,) = self._take(1)
        if type(element) is not int:
            raise self.bad("an integer is none")
        return element

    def count(self) -> int:
        count = self.integer()
        if count < 0:
            raise self.bad("a count is negative")
        return count

    def texts(self, count: int) -> list[bytes]:
        return listpack.texts(self._take(count))

    def _take(self, count: int) -> list[bytes | int]:
        taken = self._elements[self.at : self.at + count]
        if len(taken) < count:
            raise self.bad(f"{count} elements claimed, {len(taken)} left")
        self.at += count
        return taken

    def is_at_end(self) -> bool:
        return self.at == len(self._elements)


def _decode_node(master_id: StreamId, data: bytes, last: StreamId, entries: list[StreamEntry]) -> StreamId:
    """Appends the entries that are not deleted; the last ID, of a deleted one too. All are above `last`."""
    elements = _Elements(data)
    counts = [elements.count(), elements.count()]
    master_fields = elements.texts(elements.count())
    if elements.integer() != 0:
        raise elements.bad("the master entry does not end with 0")
    found = [0, 0]
    while not elements.is_at_end():
        start = elements.at
        flags = elements.integer()
        if flags not in _FLAGS:
            raise elements.bad(f"{flags} are no flags")
        id_ = ((master_id[0] + elements.integer()) & _MASK, (master_id[1] + elements.integer()) & _MASK)
        if id_ <= last:
            raise elements.bad("an entry's ID is not above the one before")
        last = id_
        if flags & _SAME_FIELDS:
            fields = list(chain.from_iterable(zip(master_fields, elements.texts(len(master_fields)), strict=True)))
        else:
            fields = elements.texts(2 * elements.count())
        if not fields or elements.at - start != elements.integer():
            raise elements.bad("an entry has no field, or ends with another count")
        is_deleted = flags & _DELETED
        found[is_deleted] += 1
        if not is_deleted:
            entries.append(StreamEntry(id_, fields))
    if found != counts:
        raise elements.bad(f"{counts} entries and deleted ones claimed, {found} found")
    return last


def _group(reader: Reader, entries: Sequence[StreamEntry], stream_last_id: StreamId, has_past: bool) -> Group:
    name, last_id = reader.string(), reader.id()
    if has_past:
        number = reader.length()
        entries_read = None if number == _UNKNOWN else number
        if number != _UNKNOWN and number > _MASK >> 1:
            raise reader.bad("entries read do not fit into 63 bits")
    else:
        entries_read = _maybe_read(entries, stream_last_id, last_id)
    delivered: dict[StreamId, tuple[int, int]] = {}
    count = reader.count()
    for _ in range(count):
        id_ = reader.raw_id()
        delivered[id_] = reader.milliseconds(), reader.length()
    if len(delivered) != count:
        raise reader.bad("an entry is pending twice in a group")
    consumers, owners = _consumers(reader)
    if owners.keys() != delivered.keys():
        raise reader.bad("a pending entry has no consumer, or a consumer has one that the group has not")
    pending = [Pending(id_, owners[id_], *delivered[id_]) for id_ in sorted(delivered)]
    return Group(name, last_id, entries_read, consumers, pending)


def _consumers(reader: Reader) -> tuple[dict[bytes, int], dict[StreamId, bytes]]:
    """When each was seen, and whose each pending entry is."""
    seen: dict[bytes, int] = {}
    owners: dict[StreamId, bytes] = {}
    for _ in range(reader.count()):
        name = reader.string()
        if name in seen:
            raise reader.bad("a consumer is there twice")
        seen[name] = reader.milliseconds()
        for _ in range(reader.count()):
            id_ = reader.raw_id()
            if id_ in owners:
                raise reader.bad("an entry is pending twice for the consumers of a group")
            owners[id_] = name
    return seen, owners


def _maybe_read(entries: Sequence[StreamEntry], last_id: StreamId, group_id: StreamId) -> int | None:
    """How many entries a group has read, as far as its ID says it: type 15 does not tell, and knows of no deleted
    ones."""
    if not entries:
        return 0
    if group_id == last_id:
        return len(entries)
    if group_id <= entries[0].id:
        return int(group_id == entries[0].id)
    return None


# Writing.


def encode(stream: Stream) -> bytes:
    """What follows the type byte 19. Raises LimitError if an entry is longer than 4 GiB."""
    nodes = [string(raw_id(node[0].id)) + string(_encode_node(node)) for node in _nodes(stream.entries)]
    first_id = stream.entries[0].id if stream.entries else _ZERO
    return b"".join(
        [
            length(len(nodes)),
            *nodes,
            length(len(stream.entries)),
            *map(stream_id, (stream.last_id, first_id, stream.max_deleted_id)),
            length(stream.entries_added),
            length(len(stream.groups)),
            *map(_encode_group, stream.groups),
        ]
    )


def _nodes(entries: Sequence[StreamEntry]) -> Iterator[list[StreamEntry]]:
    node: list[StreamEntry] = []
    size = 0
    for entry in entries:
        entry_size = sum(map(len, entry.fields)) + 3 * len(entry.fields) + _ENTRY_BYTES
        if node and (size + entry_size > NODE_BYTES or len(node) == NODE_ENTRIES):
            yield node
            node, size = [], 0
        node.append(entry)
        size += entry_size
    if node:
        yield node


def _encode_node(node: list[StreamEntry]) -> bytes:
    master_id, first_fields = node[0]
    master_fields = list(first_fields[::2])
    elements: list[bytes | int] = [len(node), 0, len(master_fields), *master_fields, 0]
    for (ms, sequence), fields in node:
        start = len(elements)
        is_same = list(fields[::2]) == master_fields
        elements += (_SAME_FIELDS if is_same else 0, _difference(ms, master_id[0]), _difference(sequence, master_id[1]))
        if is_same:
            elements += fields[1::2]
        else:
            elements += (len(fields) // 2, *fields)
        elements.append(len(elements) - start)
    return listpack.encode(elements)


def _difference(number: int, from_number: int) -> int:
    """The number with sign and 64 bits that leads from one to the other."""
    return (number - from_number + (1 << 63) & _MASK) - (1 << 63)


def _encode_group(group: Group) -> bytes:
    entries_read = _UNKNOWN if group.entries_read is None else group.entries_read
    owned: dict[bytes, list[bytes]] = {name: [] for name in group.consumers}
    parts = [string(group.name), stream_id(group.last_id), length(entries_read), length(len(group.pending))]
    for id_, consumer, delivered_ms, deliveries in group.pending:
        raw = raw_id(id_)
        owned[consumer].append(raw)
        parts += raw, milliseconds(delivered_ms), length(deliveries)
    parts.append(length(len(owned)))
    for name, seen_ms in group.consumers.items():
        parts += string(name), milliseconds(seen_ms), length(len(owned[name])), *owned[name]
    return b"".join(parts)
