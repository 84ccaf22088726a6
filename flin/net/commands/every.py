"""Importing this module declares every command."""

from flin.net.commands import (
    bitmaps,
    connection,
    counters,
    expiry,
    introspection,
    keys,
    scan,
    server,
    strings,
    transactions,
)

__all__ = [
    "bitmaps",
    "connection",
    "counters",
    "expiry",
    "introspection",
    "keys",
    "scan",
    "server",
    "strings",
    "transactions",
]
