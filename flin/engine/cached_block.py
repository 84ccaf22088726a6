"""A data block as the block cache holds it."""

from __future__ import annotations

from sys import getsizeof
from typing import Final

from flin.engine import block
from flin.engine.entry import Entry

_BYTES_COST: Final = 48
"""What a small bytes object costs over its data: 33 bytes of header, rounded up to the allocator's 16."""
_BLOCK_COST: Final = 550
"""A CachedBlock (112), its payload's header (48) and its place in an LruCache: two tuples, two ints, a
node and an entry of an OrderedDict (360)."""


class CachedBlock:
    """Its payload and, once it was touched again, its keys: a dict from key to index.

    A dict, not a sorted list: a look-up touches two places in memory instead of eight, 20 to 30 % less of its time
    where they are not in the processor's cache, and the key's hash is often there from a memtable. Values stay in the
    payload until they are asked for: as objects of their own they would cost 48 bytes more each and 30 ns to make,
    and most are never asked for. Threads share it: `keys` is set last and only once.
    """

    __slots__ = ("_count", "_flags", "_value_size", "keys", "keys_stop", "payload", "plain_size", "touched")

    def __init__(self, payload: bytes) -> None:
        self.payload: Final = payload
        self._flags, self._count, _, _, self._value_size = block.read_header(payload, 0)
        plain = self._flags & (block.ANNOTATED | block.FIXED_VALUES) == block.FIXED_VALUES
        self.plain_size = self._value_size if plain else -1  # of every value, if each is a plain put of one size
        self.keys_stop = 0
        self.keys: dict[bytes, int] | None = None
        self.touched = False

    def expand(self) -> None:
        """Decode the keys: later look-ups ask a dict."""
        keys, self.keys_stop = block.decode_keys(self.payload, 0)
        self.keys = dict(zip(keys, range(self._count), strict=True))

    def find(self, key: bytes) -> Entry | None:
        keys = self.keys
        if keys is None:
            return block.find(self.payload, 0, key)
        index = keys.get(key)
        return None if index is None else self.entry(index)

    def entry(self, index: int) -> Entry:
        """The entry of an index, once `keys` is there."""
        size = self.plain_size
        if size >= 0:
            at = self.keys_stop + index * size
            return self.payload[at : at + size]
        return block.entry_at(self.payload, self.keys_stop, self._flags, self._count, self._value_size, index)

    def charge_bytes(self) -> int:
        """What it really costs, its place in the cache included."""
        keys = self.keys
        cost = _BLOCK_COST + len(self.payload)
        return cost if keys is None else cost + getsizeof(keys) + _BYTES_COST * len(keys) + sum(map(len, keys))
