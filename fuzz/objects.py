"""The bytes of collections: packed values, metas, keys of elements, HyperLogLogs, under arbitrary bytes.

Invariant: any bytes decode to a value, or raise CorruptionError or FormatVersionError. A decoded value encodes to bytes
that decode to the same again; a meta, a key and a part of a stream encode to the very bytes that they came from.

The first byte chooses the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from flin.errors import CorruptionError, FormatVersionError
from flin.objects import layout, packed
from flin.objects.hyperloglog import HyperLogLog
from flin.objects.list_position import parse_position, position
from flin.objects.meta import decode_meta
from flin.objects.score import decode_score, encode_score

ALLOWED: Final = (CorruptionError, FormatVersionError)

PACKED: Final[list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]] = [
    (packed.decode_hash, packed.encode_hash),
    (packed.decode_list, packed.encode_list),
    (packed.decode_set, packed.encode_set),
    (packed.decode_sorted_set, packed.encode_sorted_set),
    (packed.decode_stream, packed.encode_stream),
]

_SPARSE: Final = b"HYLL\x01\0\0\0" + bytes(8)

EXACT: Final[list[tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]] = [
    *((lambda data, tag=tag: decode_meta(tag, data), lambda meta: meta.encode()) for tag in layout.TYPE_NAMES),
    (decode_score, encode_score),
    (parse_position, lambda found: position(*found)),
    (layout.parse_element, lambda found: layout.elements_prefix(*found[0]) + found[1]),
    (layout.parse_anchor, lambda found: layout.anchor_key(*found)),
    (layout.parse_in_order_suffix, lambda found: layout.in_order_suffix(*found)),
    (layout.parse_entry_suffix, lambda found: layout.ENTRY + found),
    (layout.parse_consumer_suffix, lambda found: layout.consumers_of(found[0]) + found[1]),
    (layout.parse_pending_suffix, lambda found: layout.pending_of(found[0]) + found[1]),
    (layout.parse_chunk_suffix, layout.chunk_suffix),
    (layout.parse_stream_id, lambda found: layout.stream_id(*found)),
    (layout.decode_group, lambda found: layout.encode_group(*found)),
    (layout.decode_consumer, layout.encode_consumer),
    (layout.decode_pending, layout.encode_pending),
    (layout.decode_next_version, layout.encode_next_version),
    (lambda data: HyperLogLog.decode(_SPARSE + data), lambda found: found.encode().removeprefix(_SPARSE)),
]


def one_input(data: bytes) -> None:
    chosen, rest = int.from_bytes(data[:1], "big") % (len(PACKED) + len(EXACT)), data[1:]
    if chosen < len(PACKED):
        _packed(*PACKED[chosen], rest)
    else:
        _exact(*EXACT[chosen - len(PACKED)], rest)
    with suppress(*ALLOWED):
        layout.check_suffix(1 + chosen % len(layout.TYPE_NAMES), rest)


def _packed(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], data: bytes) -> None:
    try:
        found = decode(data)
    except ALLOWED:
        return
    again = encode(found)
    assert decode(again) == found
    assert len(again) <= len(data), "a packed value is as small as its elements allow"


def _exact(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], data: bytes) -> None:
    try:
        found = decode(data)
    except ALLOWED:
        return
    assert encode(found) == data
