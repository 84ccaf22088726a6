"""A real Redis that checks payloads: what it restores, and what its commands then say of the key."""

from __future__ import annotations

from typing import Any

from flin.rdb.value import Group, Hash, List, Pending, Set, SortedSet, Stream, StreamEntry, StreamId, String, Value
from tests.net.raw_client import Raw, RawClient


def plain(raw: Raw) -> Any:
    """A reply of RESP2 as lists, bytes and numbers."""
    if raw.is_error:
        raise ValueError(raw.payload.decode())
    if raw.is_null:
        return None
    if raw.kind == b"*":
        return [plain(item) for item in raw.items]
    return int(raw.payload) if raw.kind == b":" else raw.payload


class JudgingClient(RawClient):
    def __enter__(self) -> JudgingClient:
        return self

    def ask(self, *request: bytes) -> Any:
        return plain(self.call(*request))

    def dump(self, key: bytes) -> bytes:
        payload: bytes = self.ask(b"DUMP", key)
        return payload

    def maybe_error(self, key: bytes, payload: bytes) -> str | None:
        """Restore the key. Returns the error's text if that fails."""
        reply = self.call(b"RESTORE", key, b"0", payload, b"REPLACE")
        return reply.payload.decode() if reply.is_error else None

    def value(self, key: bytes) -> Value:
        """The key's value, according to its commands."""
        found: Value = _READERS[self.ask(b"TYPE", key)](self, key)
        return found


def _pairs(flat: list[Any]) -> dict[bytes, Any]:
    found = dict(zip(flat[::2], flat[1::2], strict=True))
    assert 2 * len(found) == len(flat)
    return found


def _members(client: JudgingClient, key: bytes) -> Set:
    members = client.ask(b"SMEMBERS", key)
    assert len(set(members)) == len(members)
    return Set(set(members))


def _scores(client: JudgingClient, key: bytes) -> SortedSet:
    scores = _pairs(client.ask(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"))
    return SortedSet({member: float(score) for member, score in scores.items()})


def _stream(client: JudgingClient, key: bytes) -> Stream:
    said = _pairs(client.ask(b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"))
    assert client.ask(b"XLEN", key) == said[b"length"] == len(said[b"entries"])
    return Stream(
        [StreamEntry(_id(id_), fields) for id_, fields in said[b"entries"]],
        _id(said[b"last-generated-id"]),
        _id(said[b"max-deleted-entry-id"]),
        said[b"entries-added"],
        sorted((_group(_pairs(group)) for group in said[b"groups"]), key=lambda group: group.name),
    )


def _group(said: dict[bytes, Any]) -> Group:
    consumers = [_pairs(consumer) for consumer in said[b"consumers"]]
    assert said[b"pel-count"] == len(said[b"pending"]) == sum(consumer[b"pel-count"] for consumer in consumers)
    pending = [Pending(_id(id_), consumer, at, count) for id_, consumer, at, count in said[b"pending"]]
    seen = {consumer[b"name"]: consumer[b"seen-time"] for consumer in consumers}
    return Group(said[b"name"], _id(said[b"last-delivered-id"]), said[b"entries-read"], seen, pending)


def _id(text: bytes) -> StreamId:
    milliseconds, sequence = text.split(b"-")
    return int(milliseconds), int(sequence)


_READERS: Any = {
    b"string": lambda client, key: String(client.ask(b"GET", key)),
    b"list": lambda client, key: List(client.ask(b"LRANGE", key, b"0", b"-1")),
    b"set": _members,
    b"zset": _scores,
    b"hash": lambda client, key: Hash(_pairs(client.ask(b"HGETALL", key))),
    b"stream": _stream,
}


def in_order(value: Value) -> Value:
    """Groups by name, as XINFO has them: a payload has them in the order of its radix tree, which is the same, but
    one that is written may have any."""
    if not isinstance(value, Stream):
        return value
    groups = sorted(value.groups, key=lambda group: group.name)
    return Stream(value.entries, value.last_id, value.max_deleted_id, value.entries_added, groups)
