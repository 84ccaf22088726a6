"""Streams: nodes, deleted entries, groups; and none whose counts, order or owners do not add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flin.errors import PayloadError
from flin.rdb import listpack, stream
from flin.rdb.primitives import Reader, length, milliseconds, raw_id, stream_id, string
from flin.rdb.value import Stream, StreamEntry, StreamId
from tests.rdb.samples import EMPTY_STREAM, LONG, MOST_BYTES, OLD_STREAM, STREAM, old_stream

LAST = (9, 9)


def decode(data: bytes, has_past: bool = True) -> Stream:
    reader = Reader(data, MOST_BYTES)
    found = stream.decode(reader, has_past)
    reader.end()
    return found


@pytest.mark.parametrize("value", [STREAM, EMPTY_STREAM], ids=["full", "empty"])
def test_both_ways(value: Stream) -> None:
    assert decode(stream.encode(value)) == value


def test_the_older_type() -> None:
    assert decode(old_stream(), has_past=False) == OLD_STREAM


@pytest.mark.parametrize(
    ("entries", "nodes"),
    [
        ([[b"a", b"1"]] * 100, [100]),
        ([[b"a", b"1"]] * 201, [100, 100, 1]),
        ([[b"a", b"x" * 2000]] * 5, [2, 2, 1]),
        ([[b"a", b"x" * 9000]] * 2, [1, 1]),
    ],
)
def test_nodes_are_as_large_as_those_of_redis(entries: list[list[bytes]], nodes: list[int]) -> None:
    value = Stream([StreamEntry((7, n), fields) for n, fields in enumerate(entries, 1)], LAST, (0, 0), 999, [])
    data = stream.encode(value)
    assert decode(data) == value
    reader = Reader(data, MOST_BYTES)
    found = [reader.strings(2)[1] for _ in range(reader.length())]
    assert [listpack.decode(node, MOST_BYTES)[0] for node in found] == nodes


def test_fields_that_repeat_are_written_once() -> None:
    same = Stream([StreamEntry((1, n), [LONG, b"1"]) for n in range(1, 30)], LAST, (0, 0), 99, [])
    assert stream.encode(same).count(LONG) == 1


def body(node: list[Any], count: int, key: bytes | None = None, last: tuple[int, int] = LAST, added: int = 9) -> bytes:
    """A stream of one node whose master ID is 5-5, without groups."""
    key = raw_id((5, 5)) if key is None else key
    past = stream_id((0, 0)) * 2 + length(added)
    return length(1) + string(key) + string(listpack.encode(node)) + length(count) + stream_id(last) + past + length(0)


GOOD_NODE: list[bytes | int] = [2, 1, 1, b"f", 0, 2, 0, 0, b"a", 4, 3, 0, 1, b"b", 4, 0, 1, -5, 1, b"g", 7, 6]
GOOD = Stream([StreamEntry((5, 5), [b"f", b"a"]), StreamEntry((6, 0), [b"g", b"7"])], LAST, (0, 0), 9, [])


def test_a_node() -> None:
    assert decode(body(GOOD_NODE, 2)) == GOOD


def test_a_node_of_deleted_entries() -> None:
    assert decode(body([0, 1, 1, b"f", 0, 3, 0, 0, b"a", 4], 0)) == replace(GOOD, entries=[])


def two_nodes(*ids: tuple[int, int]) -> bytes:
    """Nodes of one entry each: the sequence of the master ID, and what the entry adds."""
    nodes = [(raw_id((1, n)), listpack.encode([1, 0, 1, b"f", 0, 2, 0, added, n, 4])) for n, added in ids]
    data = length(2) + b"".join(string(part) for node in nodes for part in node)
    return data + length(2) + stream_id(LAST) + stream_id((0, 0)) * 2 + length(2) + length(0)


def test_nodes_in_any_order() -> None:
    assert [id_ for id_, _ in decode(two_nodes((2, 0), (1, 0))).entries] == [(1, 1), (1, 2)]


def test_nodes_that_overlap() -> None:
    with pytest.raises(PayloadError, match="not above the one before"):
        decode(two_nodes((1, 5), (2, 0)))


def changed(place: int, element: Any) -> bytes:
    return body([*GOOD_NODE[:place], element, *GOOD_NODE[place + 1 :]], 2)


BAD_NODES = {
    "count too large": changed(0, 3),
    "count too small": changed(0, 1),
    "deleted too large": changed(1, 2),
    "count negative": changed(2, -1),
    "count is text": changed(0, b"2"),
    "more fields than there is": changed(2, 50),
    "master entry goes on": changed(4, 1),
    "no such flag": changed(5, 4),
    "flag is text": changed(5, b"2"),
    "deleted, but not counted": changed(5, 3),
    "back count": changed(9, 5),
    "ID as before": changed(12, 0),
    "ID below": changed(16, -1),
    "ID beyond 64 bits": body([1, 0, 1, b"f", 0, 2, (1 << 63) - 1, 0, b"a", 4] * 1, 1, raw_id((1 << 63, 0))[:15]),
    "no fields": body([1, 0, 0, 0, 2, 0, 0, 3], 1),
    "no fields of its own": body([1, 0, 1, b"f", 0, 0, 0, 0, 0, 4], 1),
    "fields negative": body([1, 0, 1, b"f", 0, 0, 0, 0, -1, b"g", 7, 4], 1),
    "ends early": body(GOOD_NODE[:-1], 2),
    "goes on": body([*GOOD_NODE, 2], 2),
    "empty": body([], 0),
    "length": body(GOOD_NODE, 3),
    "key": body(GOOD_NODE, 2, b"short"),
    "last ID": body(GOOD_NODE, 2, last=(5, 9)),
    "entries added": body(GOOD_NODE, 2, added=1),
    "0-0": body([1, 0, 1, b"f", 0, 2, 0, 0, b"a", 4], 1, bytes(16)),
}


@pytest.mark.parametrize("name", BAD_NODES)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError):
        decode(BAD_NODES[name])


def test_a_node_twice() -> None:
    node = string(raw_id((5, 5))) + string(listpack.encode(GOOD_NODE))
    rest = length(4) + stream_id(LAST) + stream_id((0, 0)) * 2 + length(9) + length(0)
    with pytest.raises(PayloadError, match="there twice"):
        decode(length(2) + node * 2 + rest)


def test_deleted_beyond_the_last_id() -> None:
    with pytest.raises(PayloadError, match="below what there is"):
        decode(stream.encode(replace(EMPTY_STREAM, max_deleted_id=(7, 8))))


# Groups.

PENDING = raw_id((5, 5)) + milliseconds(1) + length(1)
ONE = string(b"one") + milliseconds(2)


def groups(*found: bytes) -> bytes:
    return length(0) * 2 + stream_id(LAST) + stream_id((0, 0)) * 2 + length(9) + length(len(found)) + b"".join(found)


def group(pending: list[bytes], consumers: list[bytes], read: int = 3) -> bytes:
    head = string(b"g") + stream_id((1, 1)) + length(read)
    return head + b"".join(length(len(parts)) + b"".join(parts) for parts in (pending, consumers))


def test_a_group() -> None:
    (found,) = decode(groups(group([PENDING], [ONE + length(1) + raw_id((5, 5))]))).groups
    assert (found.name, found.last_id, found.entries_read, found.consumers) == (b"g", (1, 1), 3, {b"one": 2})
    assert found.pending == [((5, 5), b"one", 1, 1)]


def test_entries_read_are_not_known() -> None:
    assert decode(groups(group([], [], (1 << 64) - 1))).groups[0].entries_read is None


BAD_GROUPS = {
    "a group twice": groups(group([], []), group([], [])),
    "pending twice": groups(group([PENDING, PENDING], [ONE + length(1) + raw_id((5, 5))])),
    "pending without consumer": groups(group([PENDING], [ONE + length(0)])),
    "pending of a consumer alone": groups(group([], [ONE + length(1) + raw_id((5, 5))])),
    "pending of two": groups(
        group([PENDING], [name + length(1) + raw_id((5, 5)) for name in (ONE, b"\x01" + ONE[2:])])
    ),
    "pending of one twice": groups(group([PENDING], [ONE + length(2) + raw_id((5, 5)) * 2])),
    "a consumer twice": groups(group([], [ONE + length(0)] * 2)),
    "entries read": groups(group([], [], 1 << 63)),
    "more groups than bytes": groups()[:-1] + b"\x05",
    "ends in the middle": groups(group([PENDING], [ONE + length(1) + raw_id((5, 5))[:-1]])),
}


@pytest.mark.parametrize("name", BAD_GROUPS)
def test_refused_groups(name: str) -> None:
    with pytest.raises(PayloadError):
        decode(BAD_GROUPS[name])


OLD_GROUPS: list[tuple[list[StreamId], StreamId, StreamId, int | None]] = [
    ([], (5, 5), (5, 5), 0),
    ([(2, 0), (3, 0), (4, 0)], (4, 0), (4, 0), 3),
    ([(2, 0), (3, 0), (4, 0)], (5, 0), (5, 0), 3),
    ([(2, 0), (3, 0), (4, 0)], (5, 0), (1, 0), 0),
    ([(2, 0), (3, 0), (4, 0)], (5, 0), (2, 0), 1),
    ([(2, 0), (3, 0), (4, 0)], (5, 0), (3, 0), None),
    ([(2, 0), (3, 0), (4, 0)], (5, 0), (6, 0), None),
]


def old_type(ids: list[StreamId], last: StreamId, group_id: StreamId) -> bytes:
    """Type 15 with a node for each entry and one group."""
    node = string(listpack.encode([1, 0, 1, b"f", 0, 2, 0, 0, b"a", 4]))
    nodes = b"".join(string(raw_id(id_)) + node for id_ in ids)
    head = length(len(ids)) + nodes + length(len(ids)) + stream_id(last)
    return head + length(1) + string(b"g") + stream_id(group_id) + length(0) + length(0)


@pytest.mark.parametrize(("entries", "last", "group_id", "read"), OLD_GROUPS)
def test_entries_read_in_the_older_type(
    entries: list[StreamId], last: StreamId, group_id: StreamId, read: int | None
) -> None:
    """What Redis makes of the same payload: test_redis.py asks it."""
    found = decode(old_type(entries, last, group_id), has_past=False)
    assert (found.entries_added, found.groups[0].entries_read) == (len(entries), read)
