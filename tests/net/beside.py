"""What happens to keys of any type, among the random requests of one type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.net.generator import Generator, Request


def beside(source: Generator, key: bytes, other: bytes, *alien: bytes) -> Request:
    """A request about the key that is not of its type. other: a key to rename or copy it to. alien: the name of a
    command of another type, and its words behind the key."""
    name, *words = alien
    return source.pick(
        [
            source.request("del", key),
            source.request("expire", key, b"100000"),
            source.request("persist", key),
            source.request("ttl", key, compare="near"),
            source.request("type", key),
            source.request("rename", key, other),
            source.request("copy", key, other, b"REPLACE"),
            source.request("set", key, b"12"),
            source.request("get", key),
            source.request(name.decode(), key, *words),
            source.request("object|encoding", key, compare="shape"),
        ]
    )
