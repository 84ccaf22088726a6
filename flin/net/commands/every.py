"""Importing this module declares every command."""

from flin.net.commands import (
    bitmaps,
    connection,
    counters,
    expiry,
    hashes,
    hyperloglogs,
    introspection,
    keys,
    lists,
    scan,
    scripts,
    server,
    sets,
    strings,
    transactions,
)

__all__ = [
    "bitmaps",
    "connection",
    "counters",
    "expiry",
    "hashes",
    "hyperloglogs",
    "introspection",
    "keys",
    "lists",
    "scan",
    "scripts",
    "server",
    "sets",
    "strings",
    "transactions",
]
