"""Importing this module declares every command."""

from flin.net.commands import connection, counters, expiry, introspection, keys, scan, server, strings, transactions

__all__ = [
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
