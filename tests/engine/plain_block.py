"""The data block read in the plainest way, one field after the other: the oracle of the fast readers."""

from __future__ import annotations

from flin.engine.entry import TOMBSTONE, Entry


def plain_decode(payload: bytes) -> list[tuple[bytes, Entry]]:
    at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(payload[at - size : at], "little")

    def piece(size: int) -> bytes:
        nonlocal at
        at += size
        return payload[at - size : at]

    def column(fixed: int, wide: int, count: int, size: int) -> list[int]:
        if fixed:
            return [size] * count
        bounds = [number(4 if wide else 2) for _ in range(count + 1)]
        assert bounds[0] == 0
        assert bounds[-1] == size
        return [bounds[i + 1] - bounds[i] for i in range(count)]

    flags, _, count, prefix_size, key_size, value_size = (
        number(1),
        number(1),
        number(2),
        number(4),
        number(4),
        number(4),
    )
    prefix = piece(prefix_size)
    keys = [prefix + piece(size) for size in column(flags & 1, flags & 4, count, key_size)]
    value_sizes = column(flags & 2, flags & 8, count, value_size)
    kinds = [number(1) if flags & 0x10 else 1 for _ in range(count)]
    tags = [number(1) if flags & 0x20 else 0 for _ in range(count)]
    expiries = [(number(8) + 2**63) % 2**64 - 2**63 if flags & 0x40 else 0 for _ in range(count)]  # signed
    pairs: list[tuple[bytes, Entry]] = []
    for key, size, kind, tag, expires_at_ms in zip(keys, value_sizes, kinds, tags, expiries, strict=True):
        value = piece(size)
        entry: Entry = (value, expires_at_ms, tag) if tag or expires_at_ms else value
        pairs.append((key, TOMBSTONE if kind == 2 else entry))
    assert at == len(payload)
    return pairs
