"""What a key takes in memory while all of it lies in memtables: its own entry, an anchor, and its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flin.engine.entry import TOMBSTONE, Live, Page, Pointer, value_length
from flin.engine.key import prefix_stop
from flin.objects.copying import maybe_spread
from flin.objects.host import Host
from flin.objects.layout import ENTRY, PREFIX_BYTES, SORTED_SET, STREAM
from flin.objects.meta import Meta

ENTRY_BYTES: Final = 175
"""Bytes of a memtable entry in addition to its key and value, as engine/memtable.py counts them."""


def own_bytes(key: bytes, entry: Live) -> int:
    """The key's settled own entry, which may have a pointer to a string, and the anchor of a spread one."""
    value = entry[0] if type(entry) is tuple else entry
    assert isinstance(value, bytes)
    size = len(key) + (value_length(value) if type(value) is Pointer else len(value)) + ENTRY_BYTES
    return size if maybe_spread(entry) is None else size + PREFIX_BYTES + len(key) + ENTRY_BYTES


def sampled_bytes(host: Host, entry: Live, samples: int) -> int:
    """The pieces, by the first ones, at least one."""
    meta = maybe_spread(entry)
    if meta is None or not meta.count:
        return 0
    assert type(entry) is tuple
    # A member of a sorted set is two pieces. A stream's consumers and pending entries are not in its meta.
    total = meta.count * 2 if entry[2] == SORTED_SET else meta.count
    start, stop = _bounds(host, meta)
    page = host.page(start + ENTRY if entry[2] == STREAM else start, stop, min(samples, total))
    return _page_bytes(page) * total // max(1, len(page[0]))


def all_pieces(host: Host, entry: Live) -> Iterator[int]:
    """The sizes of all pieces, some at a time, as of this call; other commands may run in between."""
    meta = maybe_spread(entry)
    return iter(()) if meta is None else map(_page_bytes, host.frozen_pages(*_bounds(host, meta)))


def _bounds(host: Host, meta: Meta) -> tuple[bytes, bytes]:
    prefix = meta.elements_prefix(host.namespace)
    stop = prefix_stop(prefix)
    assert stop is not None
    return prefix, stop


def _page_bytes(page: Page) -> int:
    pieces = [(key, value) for key, value in zip(*page, strict=True) if value is not TOMBSTONE]
    return sum(len(key) + len(value) + ENTRY_BYTES for key, value in pieces)
