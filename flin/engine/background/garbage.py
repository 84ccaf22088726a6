"""Garbage: entries of a page that need not be written again."""

from __future__ import annotations

from flin.engine.entry import EXPIRED_MS, TOMBSTONE, Page


def drop_garbage(page: Page, bottom: bool, now_ms: int) -> Page:
    """The page without tombstones if nothing is beneath, and with expired values emptied.

    An expired put keeps its key, since it counts, and hides older entries, until its sweep deletes it; it stays expired
    forever, however the clock is set."""
    keys, entries = page
    types = set(map(type, entries))
    if types == {bytes}:
        return page
    if bottom and type(TOMBSTONE) in types:
        alive = [entry is not TOMBSTONE for entry in entries]
        keys = [key for key, kept in zip(keys, alive, strict=True) if kept]
        entries = [entry for entry in entries if entry is not TOMBSTONE]
    if tuple in types:
        entries = [
            (b"", EXPIRED_MS, entry[2]) if type(entry) is tuple and 0 != entry[1] <= now_ms else entry
            for entry in entries
        ]
    return keys, entries
