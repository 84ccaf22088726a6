"""The categories of commands in the rules of users (`+@read`), as Redis derives them from flags and group.

The order is Redis's: that of ACL CAT, and of the categories in COMMAND INFO.
"""

from __future__ import annotations

from typing import Final

from flin.net.command.command import Command, Flag

CATEGORIES: Final = (
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
)

_OF_GROUP: Final = {
    "string": "string",
    "bitmap": "bitmap",
    "geo": "geo",
    "hash": "hash",
    "hyperloglog": "hyperloglog",
    "list": "list",
    "set": "set",
    "sorted-set": "sortedset",
    "stream": "stream",
    "generic": "keyspace",
    "connection": "connection",
    "transactions": "transaction",
    "scripting": "scripting",
}

_APART: Final = ("sort", "sort_ro", "wait")
"""They are generic, but not of @keyspace."""


def categories(found: Command) -> list[str]:
    """The categories of a command, in their order."""
    flags = found.flags
    names = {*found.categories, "fast" if flags & Flag.FAST else "slow"}
    if flags & Flag.WRITE:
        names.add("write")
    if flags & Flag.READONLY and found.group != "scripting":
        names.add("read")
    if flags & Flag.ADMIN:
        names |= {"admin", "dangerous"}
    if flags & Flag.PUBSUB:
        names.add("pubsub")
    if flags & Flag.BLOCKING:
        names.add("blocking")
    if found.group in _OF_GROUP and found.subcommands is None and found.name not in _APART:
        names.add(_OF_GROUP[found.group])
    return [name for name in CATEGORIES if name in names]
