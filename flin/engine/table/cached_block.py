"""A data block as the block cache holds it."""

from __future__ import annotations

from sys import getsizeof
from typing import Final

from flin.engine.entry import Entry, Page
from flin.engine.table import block

BYTES_COST: Final = 48
"""Bytes of a small bytes object in addition to its data: 33 of header, rounded up to the allocator's 16."""
TUPLE_COST: Final = 104
"""Bytes of an entry with an expiry or a tag in addition to its value: a tuple and an int."""
LIST_COST: Final = 8 + 8
"""Bytes of an entry in the two lists of `page`: charged from the start, since ordered reads make them without a
charge."""
_BLOCK_COST: Final = 570
"""A CachedBlock (128), a payload's header (48), what `plain` holds (140), its tuple in the cache's clock and the slots
that hold both (90), the lists and the tuple of `page` (160)."""


class CachedBlock:
    """A block's payload or, once it was touched again, its entries: a dict from key to entry.

    A dict, not sorted lists: a lookup touches two places in memory instead of eight, which takes 20 to 30 % less time
    if they are not in the processor's cache, and the key's hash is often there from a memtable. The entries are
    objects, not slices of the payload: so a hit copies nothing (measured: 691 ns a lookup against 1,013), and in memory
    they take as much as the payload, and 48 bytes each. Ordered reads have the same entries in lists.

    Threads share it: a replacement is set before the old object goes, and always to an equal one.
    """

    __slots__ = ("_data_bytes", "_tuples", "charge", "entries", "hits", "ordered", "payload", "plain", "seen_hits")

    def __init__(self, payload: bytes) -> None:
        self.payload: bytes | None = payload
        self.plain = block.plain_of(payload) if payload else None  # of a payload
        self.entries: dict[bytes, Entry] | None = None
        self.ordered: Page | None = None  # made by the first call of `page`
        self._data_bytes = len(payload)
        self._tuples = 0
        self.hits = 0  # counted by the readers of `entries`
        self.seen_hits = 0  # at the cache's last look
        self.charge = 0  # bytes that the cache counts for it; 0: not in the cache

    @classmethod
    def expanded(cls, source: bytes, start: int, size: int) -> CachedBlock:
        """The block of a payload that lies in a source."""
        found = cls(b"")
        found._decode(source, start, size)
        return found

    def expand(self) -> None:
        """Decode the payload: later lookups ask a dict."""
        payload = self.payload
        if payload is not None:
            self._decode(payload, 0, len(payload))

    def _decode(self, source: bytes, start: int, size: int) -> None:
        flags, count, prefix_size, *_ = block.read_header(source, start)
        self._data_bytes = size + prefix_size * count
        self._tuples = count if flags & (block.HAS_TAGS | block.HAS_EXPIRIES) else 0
        self.entries = dict(zip(*block.decode(source, start), strict=True))
        self.payload = self.plain = None

    def find(self, key: bytes) -> Entry | None:
        """The key's entry. (Written out in TableState.find.)"""
        payload, plain, entries = self.payload, self.plain, self.entries  # in this order: one of them is there
        if entries is not None:
            return entries.get(key)
        if plain is not None:
            return block.find_plain(plain, key)
        assert payload is not None
        return block.find(payload, 0, key)

    def page(self) -> Page:
        """All keys and entries in order. The lists are the block's own: do not change them."""
        page = self.ordered
        if page is None:
            self.expand()
            entries = self.entries
            assert entries is not None
            page = self.ordered = list(entries), list(entries.values())
        return page

    def charge_bytes(self) -> int:
        """Bytes that it really costs, its place in the cache included."""
        entries = self.entries
        cost = _BLOCK_COST + self._data_bytes
        if entries is not None:
            cost += getsizeof(entries) + (2 * BYTES_COST + LIST_COST) * len(entries) + TUPLE_COST * self._tuples
        return cost
