"""Ids of a stream's entries: 16 bytes, milliseconds u64 and number u64, big-endian, so that they compare as bytes.

Commands show them as text, `1526919030474-55`.
"""

from __future__ import annotations

from typing import Final

from flin.objects.layout import ID_BYTES, parse_stream_id, stream_id

MAX_ID: Final = b"\xff" * ID_BYTES


def next_id(id_: bytes) -> bytes:
    """The least one above; OverflowError above MAX_ID."""
    return (int.from_bytes(id_, "big") + 1).to_bytes(ID_BYTES, "big")


def previous_id(id_: bytes) -> bytes:
    """The greatest one below; OverflowError below 0-0."""
    return (int.from_bytes(id_, "big") - 1).to_bytes(ID_BYTES, "big")


def show_id(id_: bytes) -> bytes:
    """Its text."""
    return b"%d-%d" % parse_stream_id(id_)


def new_id(last_id: bytes, now_ms: int) -> bytes:
    """The id of an entry that is added now: that moment's, or just above the last one's. OverflowError."""
    made = stream_id(now_ms, 0)
    return made if made > last_id else next_id(last_id)
