"""Copies of collections: the pieces of a spread one are written again, under a version of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

from flin.engine.entry import Live, make_entry
from flin.engine.key import prefix_stop
from flin.engine.slot import slot_of
from flin.errors import LimitError
from flin.objects.host import Host
from flin.objects.layout import PREFIX_BYTES, SPREAD, anchor_key, form_of
from flin.objects.meta import Meta, decode_meta

_PAGE: Final = 1024

_PIECE_BYTES: Final = 150
"""Bytes that a piece costs in addition to its key and value, while it is read and in the batch."""

Pieces: TypeAlias = list[tuple[bytes, bytes]]
"""Suffixes and values."""


def maybe_spread(entry: Live) -> Meta | None:
    """The meta of a spread collection's own entry; None for anything else, a placeholder among it."""
    if type(entry) is not tuple:
        return None
    value, _, tag = entry
    return decode_meta(tag, value) if tag and value and form_of(value, "collection") == SPREAD else None


def read_pieces(host: Host, meta: Meta, limit_bytes: int) -> Pieces:
    """All pieces of a collection. LimitError if that takes more memory than the limit."""
    prefix = meta.elements_prefix(host.namespace)
    stop = prefix_stop(prefix)
    assert stop is not None
    pieces: Pieces = []
    size, start = 0, prefix
    while True:
        keys, entries = host.page(start, stop, _PAGE)
        for key, entry in zip(keys, entries, strict=True):
            assert type(entry) is bytes
            pieces.append((key[PREFIX_BYTES:], entry))
            size += len(key) + len(entry) + _PIECE_BYTES
        if size > limit_bytes:
            raise LimitError("the size of a copy in bytes", size, limit_bytes)
        if len(keys) < _PAGE:
            return pieces
        start = keys[-1] + b"\0"


def write_copy(host: Host, key: bytes, entry: Live, meta: Meta, pieces: Pieces) -> Live:
    """Write the pieces into a database, for the key; the key's own entry, for the caller to write."""
    assert type(entry) is tuple
    made = replace(meta, slot=slot_of(key), version=host.take_version())
    prefix = made.elements_prefix(host.namespace)
    host.put_piece(anchor_key(host.namespace, made.slot, made.version), key)
    for suffix, value in pieces:
        host.put_piece(prefix + suffix, value)
    return make_entry(made.encode(), entry[1], entry[2])
