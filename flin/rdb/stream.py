"""A stream: its entries in nodes, its past, and its groups.

    count                  of nodes; for each its key (a string of 16 bytes, the master ID) and its listpack
    length, last ID        of the stream; then, in type 19 only: the first ID, the greatest deleted one, entries added
    count                  of groups; for each
      name, last ID        then, in type 19 only: entries read (all 64 bits set: not known)
      count                of pending entries; for each raw ID, delivered at, deliveries
      count                of consumers; for each name, seen at, count and raw IDs of its pending entries; in type 21
                           (Redis 7.2) also active at, before the count: it is passed over

The listpack of a node: count, deleted, n, n master fields, 0; then for each entry, deleted ones too,

    flags                  1: deleted; 2: it has the master fields
    milliseconds, sequence what to add to the master ID, modulo 2^64
    n, then n fields each followed by its value; or with flag 2 the values alone
    back count             elements of this entry before this one
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from flin.errors import PayloadError
from flin.rdb import listpack
from flin.rdb.primitives import ID_BYTES, Reader, length, milliseconds, raw_id, stream_id, string, unpack_id
from flin.rdb.value import Group, Pending, Stream, StreamEntry, StreamId

NODE_ENTRIES: Final = 100
NODE_BYTES: Final = 4096
"""The most that a node holds, as in Redis (`stream-node-max-entries`, `stream-node-max-bytes`)."""

_DELETED: Final = 1
_SAME_FIELDS: Final = 2
_FLAGS: Final = {0, _DELETED, _SAME_FIELDS, _DELETED | _SAME_FIELDS}
_ENTRY_BYTES: Final = 12
"""About how many bytes an entry takes in addition to its fields and values."""

_GROUP_BYTES: Final = 1000
_CONSUMER_BYTES: Final = 400
_PENDING_BYTES: Final = 500
_ENTRY_MEMORY_BYTES: Final = 250
_STRING_BYTES: Final = 50
"""What these take in memory beside their bytes, about."""

_MASK: Final = (1 << 64) - 1
_UNKNOWN: Final = _MASK
_ZERO: Final = (0, 0)


# Reading.


def decode(reader: Reader, has_past: bool, *, has_active: bool = False) -> Stream:
    """The stream that follows; `has_past`: type 19 or 21, not 15; `has_active`: 21. Raises PayloadError, LimitError."""
    entries = _entries(reader)
    count = reader.length()
    if count != len(entries):
        raise reader.bad(f"{count} entries claimed, {len(entries)} found")
    last_id = reader.id()
    max_deleted_id, entries_added = _ZERO, count
    if has_past:
        reader.id()  # the first ID: the entries say it better
        max_deleted_id, entries_added = reader.id(), reader.length()
    if (entries and last_id < entries[-1].id) or last_id < max_deleted_id or entries_added < count:
        raise reader.bad("its last ID or the number of entries added is below what there is")
    groups: dict[bytes, Group] = {}
    for _ in range(reader.count()):
        reader.take_room(1, _GROUP_BYTES)
        group = _group(reader, entries, last_id, has_past, has_active)
        if group.name in groups:
            raise reader.bad("a group is there twice")
        groups[group.name] = group
    return Stream(entries, last_id, max_deleted_id, entries_added, list(groups.values()))


def _entries(reader: Reader) -> list[StreamEntry]:
    nodes: dict[StreamId, bytes] = {}
    for _ in range(reader.count()):
        reader.take_room(1)
        key, node = reader.string(), reader.string()
        if len(key) != ID_BYTES or unpack_id(key) in nodes:
            raise reader.bad("the key of a node is no ID, or there twice")
        nodes[unpack_id(key)] = node
    entries: list[StreamEntry] = []
    last = _ZERO
    for master_id, node in sorted(nodes.items()):
        last = _decode_node(reader, master_id, node, last, entries)
    return entries


def _decode_node(
    reader: Reader, master_id: StreamId, data: bytes, last: StreamId, entries: list[StreamEntry]
) -> StreamId:
    """Append the entries that are not deleted. Returns the last ID, even of a deleted one. All are above `last`."""
    # Elements have any type: arithmetic checks them anyway, and separate checks would take as long again.
    elements: list[Any] = listpack.decode(data, reader.left_elements)
    found = [0, 0]
    at = 0
    try:
        count, deleted, width = elements[:3]
        at = 4 + width
        if width < 1 or elements[at - 1] != 0:
            raise _bad(at, "the master entry has no fields, or does not end with 0")
        template = listpack.texts(chain.from_iterable((field, b"") for field in elements[3 : at - 1]))
        while at < len(elements):
            flags, ms, sequence = elements[at : at + 3]
            id_ = ((master_id[0] + ms) & _MASK, (master_id[1] + sequence) & _MASK)
            if flags not in _FLAGS or id_ <= last:
                raise _bad(at, "an entry has other flags, or an ID that is not above the one before")
            last = id_
            if flags & _SAME_FIELDS:
                stop = at + 3 + width
                fields = template.copy()
                fields[1::2] = listpack.texts(elements[at + 3 : stop])
            else:
                stop = at + 4 + 2 * elements[at + 3]
                fields = listpack.texts(elements[at + 4 : stop])
            if not fields or elements[stop] != stop - at:
                raise _bad(at, "an entry has no field, or ends with another count")
            at = stop + 1
            is_deleted = flags & _DELETED
            found[is_deleted] += 1
            if not is_deleted:
                reader.take_room(1, _ENTRY_MEMORY_BYTES + _STRING_BYTES * len(fields))
                entries.append(StreamEntry(id_, fields))
    except (IndexError, TypeError, ValueError):
        raise _bad(at, "it ends in an entry, or has text for a number") from None
    if found != [count, deleted]:
        raise _bad(0, f"{count!r} entries and {deleted!r} deleted ones claimed, {found} found")
    return last


def _bad(at: int, reason: str) -> PayloadError:
    """The error at an element; `at` counts elements."""
    return PayloadError("stream node", at, reason)


def _group(
    reader: Reader, entries: Sequence[StreamEntry], stream_last_id: StreamId, has_past: bool, has_active: bool
) -> Group:
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
    reader.take_room(count, _PENDING_BYTES)
    for _ in range(count):
        id_ = reader.raw_id()
        delivered[id_] = reader.milliseconds(), reader.length()
    if len(delivered) != count:
        raise reader.bad("an entry is pending twice in a group")
    consumers, owners = _consumers(reader, has_active)
    if owners.keys() != delivered.keys():
        raise reader.bad("a pending entry has no consumer, or a consumer has one that the group has not")
    pending = [Pending(id_, owners[id_], *delivered[id_]) for id_ in sorted(delivered)]
    return Group(name, last_id, entries_read, consumers, pending)


def _consumers(reader: Reader, has_active: bool) -> tuple[dict[bytes, int], dict[StreamId, bytes]]:
    """When each consumer was seen, and the owner of each pending entry."""
    seen: dict[bytes, int] = {}
    owners: dict[StreamId, bytes] = {}
    for _ in range(reader.count()):
        reader.take_room(1, _CONSUMER_BYTES)
        name = reader.string()
        if name in seen:
            raise reader.bad("a consumer is there twice")
        seen[name] = reader.milliseconds()
        if has_active:
            reader.milliseconds()
        for _ in range(reader.count()):
            id_ = reader.raw_id()
            if id_ in owners:
                raise reader.bad("an entry is pending twice for the consumers of a group")
            owners[id_] = name
    return seen, owners


def _maybe_read(entries: Sequence[StreamEntry], last_id: StreamId, group_id: StreamId) -> int | None:
    """How many entries a group has read, if its ID tells: type 15 does not say it, and knows no deleted ones."""
    if not entries:
        return 0
    if group_id == last_id:
        return len(entries)
    if group_id <= entries[0].id:
        return int(group_id == entries[0].id)
    return None


# Writing.


def encode(stream: Stream) -> bytes:
    """The bytes after the type byte 19. Raises LimitError if an entry is longer than 4 GiB."""
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
    """The signed 64-bit number that leads from one to the other."""
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
