"""The data block: up to 256 neighbouring entries of a table, laid out in columns.

An interpreter pays per call, not per byte. So a block is not a chain of varints: each column (key bounds, keys,
value bounds, values) is read with one C call, and a column that would be the same for every entry is left out.

Layout of the payload (little-endian; stored_block.py has what surrounds it on disk):

    flags        u8     which columns follow, see the constants
    reserved     u8     0
    count        u16    entries, 1 to 256
    prefix size  u32    bytes that all keys share and the key column leaves out
    key size     u32    FIXED_KEYS: bytes of each key after the prefix; else bytes of the whole key column
    value size   u32    FIXED_VALUES: bytes of each value; else bytes of the whole value column
    prefix
    key bounds   (count + 1) x u16, or u32 if WIDE_KEYS; absent if FIXED_KEYS. Key i is [bounds[i], bounds[i + 1])
    keys
    value bounds the same for the values (WIDE_VALUES); absent if FIXED_VALUES
    kinds        count x u8, entry.py's KIND_*; absent if all are puts (no HAS_KINDS)
    tags         count x u8; absent if all are 0 (no HAS_TAGS)
    expiries     count x i64, milliseconds or 0; absent if all are 0 (no HAS_EXPIRIES)
    values

Keys ascend strictly. A tombstone has an empty value; of kind 5 it is the place of the value in a value file (entry.py:
Pointer). The readers take a source (bytes, or a mapped file, whose slices
are bytes) and an offset into it, so that a block is read where it lies. They trust a payload that `check` has accepted:
its checksum was right and its header adds up to its size. If a payload adds up but is wrong elsewhere, that gives wrong
values, never a read outside of the source.

This module knows neither files nor checksums.
"""

from __future__ import annotations

import struct
import sys
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, Final, TypeAlias

from flin.engine.entry import KIND_DELETE, KIND_POINTER, KIND_PUT, TOMBSTONE, Entry, Page, Pointer
from flin.errors import CorruptionError, FormatVersionError

FIXED_KEYS: Final = 0x01
FIXED_VALUES: Final = 0x02
WIDE_KEYS: Final = 0x04
WIDE_VALUES: Final = 0x08
HAS_KINDS: Final = 0x10
HAS_TAGS: Final = 0x20
HAS_EXPIRIES: Final = 0x40
COMPRESSED: Final = 0x80
"""Never in a payload: the first byte of a stored block that is not the payload itself (stored_block.py)."""

ANNOTATED: Final = HAS_KINDS | HAS_TAGS | HAS_EXPIRIES
_PLAIN_FIXED: Final = FIXED_KEYS | FIXED_VALUES

MAX_ENTRIES: Final = 256
"""Bounds the cost of a lookup among tiny entries and the size of the precompiled structs."""

PREFIX_PAYS: Final = 4
"""A prefix is left out of the keys if that saves a quarter of the block: to put it back costs each read of a key 40 ns,
and a codec handles repetitions (values of 100 B: raw tables 12 % larger, compressed ones 2 % smaller)."""

_HEADER: Final = struct.Struct("<BxHIII")
HEADER_SIZE: Final = _HEADER.size
read_header: Final = _HEADER.unpack_from
_read_pair: Final = struct.Struct("<HH").unpack_from
_read_wide_pair: Final = struct.Struct("<II").unpack_from

Sizes: TypeAlias = "int | Sequence[int]"
"""One size for all, or the size of each."""

Annotations: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""Kinds, tags and expiries, of equal length."""


@lru_cache(maxsize=1024)  # a table of one shape needs two; the bound holds whatever shapes a database mixes
def _strings(count: int, size: int) -> struct.Struct:
    return struct.Struct(f"{size}s" * count)


@lru_cache(maxsize=1024)
def _numbers(count: int, code: str) -> struct.Struct:
    return struct.Struct(f"<{count}{code}")


@lru_cache(maxsize=1024)
def _tails(count: int, cut: int, size: int) -> struct.Struct:
    """The struct that reads `count` strings of `size` bytes, each without its first `cut` bytes."""
    return struct.Struct(f"{cut}x{size}s" * count)


# Writing.


def encode(
    keys: Sequence[bytes],
    values: Sequence[bytes],
    key_sizes: Sizes,
    value_sizes: Sizes,
    annotations: Annotations | None = None,
    *,
    cut_prefix: bool = True,
) -> bytes:
    """The payload of a block. Keys ascend strictly; `annotations` is None if all are plain puts. `cut_prefix`: leave
    out the prefix that the keys share, if that pays."""
    count = len(keys)
    key_size, fixed_keys = _uniform(key_sizes)
    value_size, fixed_values = _uniform(value_sizes)
    prefix = b""
    if cut_prefix:
        prefix = _common_prefix(keys, key_size if fixed_keys else key_size // count, value_sizes)
    if prefix:
        cut = len(prefix)
        if fixed_keys:
            key_size -= cut
            keys = _tails(count, cut, key_size).unpack(b"".join(keys))  # a third of slicing each
        else:
            assert not isinstance(key_sizes, int)
            keys = [key[cut:] for key in keys]
            key_sizes = [size - cut for size in key_sizes]
            key_size -= cut * count
    fixed_keys = fixed_keys and key_size > 0  # the one empty key (or what its prefix left of it) has bounds
    flags = (FIXED_KEYS if fixed_keys else 0) | (FIXED_VALUES if fixed_values else 0)
    parts = [prefix]
    if not fixed_keys:
        flags |= _append_bounds(parts, count, key_sizes, WIDE_KEYS)
    parts += keys
    if not fixed_values:
        flags |= _append_bounds(parts, count, value_sizes, WIDE_VALUES)
    if annotations is not None:
        flags |= _append_annotations(parts, count, annotations)
    parts += values
    return _HEADER.pack(flags, count, len(prefix), key_size, value_size) + b"".join(parts)


def _uniform(sizes: Sizes) -> tuple[int, bool]:
    """(the size of each, True), or (the size of all, False)."""
    if isinstance(sizes, int):
        return sizes, True
    first = sizes[0]
    if first == sizes[-1] and min(sizes) == max(sizes):
        return first, True
    return sum(sizes), False


def _common_prefix(keys: Sequence[bytes], key_size: int, value_sizes: Sizes) -> bytes:
    """The prefix of all keys, if leaving it out pays."""
    count = len(keys)
    if count == 1:
        return b""
    first = keys[0]
    total = value_sizes * count if isinstance(value_sizes, int) else sum(value_sizes)
    least = total + key_size * count
    if len(first) * count * PREFIX_PAYS < least:  # large values: not even the whole key would pay
        return b""
    size = common_size(first, keys[-1])  # keys are sorted: all share what the first and the last share
    return first[:size] if size * count * PREFIX_PAYS >= least else b""


def common_size(one: bytes, other: bytes) -> int:
    """How many bytes two keys share from their beginning; in C, whatever their length."""
    size = min(len(one), len(other))
    differing = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return size - (differing.bit_length() + 7) // 8


def _append_bounds(parts: list[bytes], count: int, sizes: Sizes, wide: int) -> int:
    each = [sizes] * count if isinstance(sizes, int) else sizes
    bounds = list(accumulate(each, initial=0))
    is_wide = bounds[-1] > 0xFFFF
    parts.append(_numbers(count + 1, "I" if is_wide else "H").pack(*bounds))
    return wide if is_wide else 0


def _append_annotations(parts: list[bytes], count: int, annotations: Annotations) -> int:
    kinds, tags, expiries = annotations
    flags = 0
    if max(kinds) != KIND_PUT:
        flags |= HAS_KINDS
        parts.append(bytes(kinds))
    if any(tags):
        flags |= HAS_TAGS
        parts.append(bytes(tags))
    if any(expiries):
        flags |= HAS_EXPIRIES
        parts.append(_numbers(count, "q").pack(*expiries))
    return flags


# Reading.


def check(source: bytes, start: int, stop: int, path: str, offset: int) -> None:
    """CorruptionError unless the bytes from start to stop can be a payload: the sizes in its header add up to its
    size."""
    size = stop - start
    if size < HEADER_SIZE:
        raise CorruptionError(path, offset, "a data block is shorter than its header")
    flags, count, prefix_size, key_size, value_size = read_header(source, start)
    if flags == _PLAIN_FIXED and 0 < count <= MAX_ENTRIES and key_size and source[start + 1] == 0:  # the ordinary block
        if HEADER_SIZE + prefix_size + (key_size + value_size) * count != size:
            raise CorruptionError(path, offset, "the sizes in a data block's header do not add up")
        return
    if flags & COMPRESSED or source[start + 1] != 0:
        raise FormatVersionError(path, f"the data block at {offset} has flags that this version does not know")
    fixed_keys = flags & FIXED_KEYS
    fixed_values = flags & FIXED_VALUES
    expected = _size(flags, count, prefix_size, key_size, value_size)
    if expected != size or not 0 < count <= MAX_ENTRIES or (fixed_keys and not key_size):
        raise CorruptionError(path, offset, "the sizes in a data block's header do not add up")
    if flags & HAS_KINDS:
        at = stop - value_size * (count if fixed_values else 1) - _annotation_size(flags, count)
        _check_kinds(source[at : at + count], path, offset)


def _size(flags: int, count: int, prefix_size: int, key_size: int, value_size: int) -> int:
    """The size of a payload with this header."""
    fixed_keys, fixed_values = flags & FIXED_KEYS, flags & FIXED_VALUES
    size = HEADER_SIZE + prefix_size + value_size * (count if fixed_values else 1)
    size += key_size * (count if fixed_keys else 1)
    size += 0 if fixed_keys else (count + 1) * (4 if flags & WIDE_KEYS else 2)
    size += 0 if fixed_values else (count + 1) * (4 if flags & WIDE_VALUES else 2)
    return size + _annotation_size(flags, count)


def maybe_size(source: bytes, start: int) -> int | None:
    """The size of the payload that may begin there; None if none does."""
    if len(source) - start < HEADER_SIZE:
        return None
    flags, count, prefix_size, key_size, value_size = read_header(source, start)
    if flags & COMPRESSED or source[start + 1] or not 0 < count <= MAX_ENTRIES:
        return None
    size = _size(flags, count, prefix_size, key_size, value_size)
    return size if size <= len(source) - start else None


def _check_kinds(kinds: bytes, path: str, offset: int) -> None:
    unknown = kinds.translate(None, bytes((KIND_PUT, KIND_DELETE, KIND_POINTER)))
    if 0 in unknown:
        raise CorruptionError(path, offset, "a data block has an entry of kind 0")
    if unknown:
        raise FormatVersionError(path, f"the data block at {offset} has entries of kind {unknown[0]}")


Plain: TypeAlias = tuple[bytes, int, int, int]
"""An ordinary payload, and what a lookup needs of its header: the size of a key, the end of the keys, that of a
value."""


def plain_of(payload: bytes) -> Plain | None:
    """None of a payload that is not ordinary: that has bounds, annotations or a prefix."""
    flags, count, prefix_size, key_size, value_size = read_header(payload, 0)
    if flags != _PLAIN_FIXED or prefix_size:
        return None
    return payload, key_size, HEADER_SIZE + count * key_size, value_size


def find_plain(plain: Plain, key: bytes) -> Entry | None:
    """What `find` gives of an ordinary payload, in half of the time."""
    payload, key_size, keys_stop, value_size = plain
    found = payload.rfind(key, HEADER_SIZE, keys_stop) - HEADER_SIZE
    if found < 0 or len(key) != key_size:
        return None
    if found % key_size:  # these bytes lie across two neighbours; the key may be elsewhere
        return find(payload, 0, key)
    at = keys_stop + found // key_size * value_size
    return payload[at : at + value_size]


def find(source: bytes, start: int, key: bytes) -> Entry | None:
    """The key's entry, without decoding the block.

    Long for speed: this is the whole of a lookup in a block that is not cached.
    """
    flags, count, prefix_size, key_size, value_size = read_header(source, start)
    at = start + HEADER_SIZE
    if prefix_size:
        if not key.startswith(source[at : at + prefix_size]):
            return None
        key = key[prefix_size:]
        at += prefix_size
    if flags & FIXED_KEYS:
        if len(key) != key_size:
            return None
        keys_stop = at + count * key_size
        column = source[at:keys_stop]
        found = column.rfind(key)  # like `find`, without its preparation: 70 to 250 ns less of 1,200
        if found < 0:
            return None
        if found % key_size:  # these bytes lie across two neighbours; the key may be elsewhere
            index = _search_fixed(column, count, key_size, key)
            if index < 0:
                return None
        else:
            index = found // key_size
    else:
        keys_start, bounds = _bounds(source, at, count, flags & WIDE_KEYS)
        keys_stop = keys_start + key_size
        index = _search_bounded(source[keys_start:keys_stop], bounds, count, key)
        if index < 0:
            return None
    if flags & (ANNOTATED | FIXED_VALUES) == FIXED_VALUES:
        at = keys_stop + index * value_size
        return source[at : at + value_size]
    return entry_at(source, keys_stop, flags, count, value_size, index)


def _search_fixed(column: bytes, count: int, size: int, key: bytes) -> int:
    index = _lower_fixed(column, 0, count, size, key)
    return index if column[index * size : index * size + size] == key else -1


def _search_bounded(column: bytes, bounds: Sequence[int], count: int, key: bytes) -> int:
    """The index of the key, -1 without it: bytes that begin where a key begins and end where it ends are that key."""
    found = column.rfind(key)
    if found < 0:
        return -1
    index = bisect_left(bounds, found + len(key), 1, count + 1)
    if index <= count and bounds[index] == found + len(key) and bounds[index - 1] == found:
        return index - 1
    # These bytes lie inside another key or across two; the key may be elsewhere.
    index = _lower_bounded(column, 0, bounds, count, key)
    return index if index < count and column[bounds[index] : bounds[index + 1]] == key else -1


def lower_bound(source: bytes, start: int, key: bytes) -> int:
    """How many keys of the block are less than the key."""
    flags, count, prefix_size, key_size, _ = read_header(source, start)
    at = start + HEADER_SIZE
    if prefix_size:
        prefix = source[at : at + prefix_size]
        if not key.startswith(prefix):
            return 0 if key < prefix else count
        key = key[prefix_size:]
        at += prefix_size
    if flags & FIXED_KEYS:
        return _lower_fixed(source, at, count, key_size, key)
    at, bounds = _bounds(source, at, count, flags & WIDE_KEYS)
    return _lower_bounded(source, at, bounds, count, key)


def _lower_fixed(source: bytes, start: int, count: int, size: int, key: bytes) -> int:
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        at = start + middle * size
        if source[at : at + size] < key:
            low = middle + 1
        else:
            high = middle
    return low


def _lower_bounded(source: bytes, start: int, bounds: Sequence[int], count: int, key: bytes) -> int:
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if source[start + bounds[middle] : start + bounds[middle + 1]] < key:
            low = middle + 1
        else:
            high = middle
    return low


def _bounds(source: bytes, at: int, count: int, wide: int) -> tuple[int, Sequence[int]]:
    """The start of the column after the bounds, and the bounds themselves, not decoded yet if that is possible."""
    stop = at + (count + 1) * (4 if wide else 2)
    code = "I" if wide else "H"
    if _LITTLE_ENDIAN:
        return stop, memoryview(source)[at:stop].cast(code)  # type: ignore[call-overload, unused-ignore]
    return stop, _numbers(count + 1, code).unpack_from(source, at)


_LITTLE_ENDIAN: Final = sys.byteorder == "little"


def _annotation_size(flags: int, count: int) -> int:
    """The size of the columns between value bounds and values."""
    per_entry = (1 if flags & HAS_KINDS else 0) + (1 if flags & HAS_TAGS else 0) + (8 if flags & HAS_EXPIRIES else 0)
    return per_entry * count


def entry_at(source: bytes, at: int, flags: int, count: int, value_size: int, index: int) -> Entry:
    """The entry at an index; `at` is the end of the keys."""
    if flags & FIXED_VALUES:
        start, stop = index * value_size, (index + 1) * value_size
    elif flags & WIDE_VALUES:
        start, stop = _read_wide_pair(source, at + 4 * index)
        at += 4 * count + 4
    else:
        start, stop = _read_pair(source, at + 2 * index)
        at += 2 * count + 2
    if not flags & ANNOTATED:
        return source[at + start : at + stop]
    tag = expires_at_ms = 0
    kind = KIND_PUT
    if flags & HAS_KINDS:
        kind = source[at + index]
        if kind == KIND_DELETE:
            return TOMBSTONE
        at += count
    if flags & HAS_TAGS:
        tag = source[at + index]
        at += count
    if flags & HAS_EXPIRIES:
        expires_at_ms = int.from_bytes(source[at + 8 * index : at + 8 * index + 8], "little", signed=True)
        at += 8 * count
    value = source[at + start : at + stop]
    if kind == KIND_POINTER:
        value = Pointer(value)
    return (value, expires_at_ms, tag) if tag or expires_at_ms else value


def decode_keys(source: bytes, start: int) -> tuple[list[bytes], int]:
    """All keys, and the offset after them."""
    flags, count, prefix_size, key_size, _ = read_header(source, start)
    at = start + HEADER_SIZE
    prefix = source[at : at + prefix_size]
    at += prefix_size
    if flags & FIXED_KEYS:
        keys = _fixed_column(source, at, count, key_size)
        if prefix_size:  # as below, in C
            whole = b"".join((prefix, prefix.join(keys)))
            keys = _fixed_column(whole, 0, count, prefix_size + key_size)
        return keys, at + count * key_size
    keys, stop = _decode_column(source, at, count, key_size, flags & WIDE_KEYS)
    return ([prefix + key for key in keys] if prefix_size else keys), stop


def _fixed_column(source: bytes, at: int, count: int, size: int) -> list[bytes]:
    if count == 1:  # large values lie alone: for each a struct of its size would be kept
        return [source[at : at + size]]
    return list(_strings(count, size).unpack_from(source, at))


def _decode_column(source: bytes, at: int, count: int, size: int, wide: int) -> tuple[list[bytes], int]:
    bounds = _numbers(count + 1, "I" if wide else "H").unpack_from(source, at)
    at += (count + 1) * (4 if wide else 2)
    column = source[at : at + size]
    return [column[start:stop] for start, stop in pairwise(bounds)], at + size


def decode(source: bytes, start: int) -> Page:
    """All keys and entries."""
    flags, count, prefix_size, key_size, value_size = read_header(source, start)
    entries: list[Any]
    if flags == _PLAIN_FIXED and not prefix_size and count > 1:
        at = start + HEADER_SIZE
        keys = list(_strings(count, key_size).unpack_from(source, at))
        entries = list(_strings(count, value_size).unpack_from(source, at + count * key_size))
        return keys, entries
    keys, at = decode_keys(source, start)
    skip = _annotation_size(flags, count)
    if flags & FIXED_VALUES:
        entries = list[Any](_fixed_column(source, at + skip, count, value_size))
    else:
        bounds = _numbers(count + 1, "I" if flags & WIDE_VALUES else "H").unpack_from(source, at)
        at += (count + 1) * (4 if flags & WIDE_VALUES else 2)
        column = source[at + skip : at + skip + value_size]
        entries = [column[first:last] for first, last in pairwise(bounds)]
    if skip:
        _annotate(source, at, flags, count, entries)
    return keys, entries


def head(source: bytes, at: int, start: bytes, stop: bytes | None, count: int) -> Page:
    """The first `count` entries of [start, stop), or all if there are fewer. A stop of None is the end of the block."""
    flags, total, prefix_size, key_size, value_size = read_header(source, at)
    if flags != _PLAIN_FIXED or prefix_size:
        begin = lower_bound(source, at, start) if start else 0
        end = total if stop is None else lower_bound(source, at, stop)
        end = min(begin + count, end)
        return decode_slice(source, at, begin, end) if begin < end else ([], [])
    # The ordinary block, without calls that find out its kind again.
    at += HEADER_SIZE
    begin = _lower_fixed(source, at, total, key_size, start) if start else 0
    end = total if stop is None else _lower_fixed(source, at, total, key_size, stop)
    wanted = min(count, end - begin)
    if wanted <= 0:
        return [], []
    values_at = at + total * key_size + begin * value_size
    entries: list[Any] = _fixed_column(source, values_at, wanted, value_size)
    return _fixed_column(source, at + begin * key_size, wanted, key_size), entries


def entry_count(source: bytes, start: int) -> int:
    """How many entries the block has."""
    count: int = read_header(source, start)[1]
    return count


def decode_slice(source: bytes, start: int, begin: int, end: int) -> Page:
    """The keys and entries from index begin to end, at the cost of these alone if none has a tag or an expiry."""
    flags, count, prefix_size, key_size, value_size = read_header(source, start)
    if flags & (HAS_TAGS | HAS_EXPIRIES):
        keys, entries = decode(source, start)
        return keys[begin:end], entries[begin:end]
    at = start + HEADER_SIZE
    prefix = source[at : at + prefix_size]
    keys, at = _slice_column(
        source, at + prefix_size, count, key_size, flags & FIXED_KEYS, flags & WIDE_KEYS, begin, end
    )
    if prefix_size:
        keys = [prefix + key for key in keys]
    skip = count if flags & HAS_KINDS else 0
    values: list[Any] = _slice_column(
        source, at, count, value_size, flags & FIXED_VALUES, flags & WIDE_VALUES, begin, end, skip
    )[0]
    if not skip:
        return keys, values
    at += 0 if flags & FIXED_VALUES else (count + 1) * (4 if flags & WIDE_VALUES else 2)
    _apply_kinds(source[at + begin : at + end], values)
    return keys, values


def _slice_column(
    source: bytes, at: int, count: int, size: int, fixed: int, wide: int, begin: int, end: int, skip: int = 0
) -> tuple[list[bytes], int]:
    """Some items of a column, and the offset after the column. skip: bytes between its bounds and its items."""
    if fixed:
        at += skip
        return _fixed_column(source, at + begin * size, end - begin, size), at + count * size
    width = 4 if wide else 2
    bounds = _numbers(end - begin + 1, "I" if wide else "H").unpack_from(source, at + begin * width)
    at += (count + 1) * width + skip
    column = source[at : at + bounds[-1]]
    return [column[first:last] for first, last in pairwise(bounds)], at + size


def _annotate(source: bytes, at: int, flags: int, count: int, entries: list[Any]) -> None:
    """Turn values into entries, by the annotations at `at`."""
    kinds, tags, expiries = _annotations(source, at, flags, count)
    _apply_kinds(kinds, entries)
    if flags & (HAS_TAGS | HAS_EXPIRIES):
        for index in range(count):
            if (tags[index] or expiries[index]) and kinds[index] != KIND_DELETE:
                entries[index] = (entries[index], expiries[index], tags[index])


def _apply_kinds(kinds: Sequence[int], entries: list[Any]) -> None:
    """Turn values into pointers and tombstones."""
    if KIND_POINTER in kinds:
        if KIND_PUT not in kinds and KIND_DELETE not in kinds:
            entries[:] = map(Pointer, entries)
            return
        pairs = zip(kinds, entries, strict=True)
        entries[:] = [Pointer(value) if kind == KIND_POINTER else value for kind, value in pairs]
    if KIND_DELETE in kinds:
        pairs = zip(kinds, entries, strict=True)
        entries[:] = [TOMBSTONE if kind == KIND_DELETE else value for kind, value in pairs]


def _annotations(source: bytes, at: int, flags: int, count: int) -> Annotations:
    kinds: bytes = bytes((KIND_PUT,)) * count
    tags: bytes = bytes(count)
    expiries: tuple[int, ...] = (0,) * count
    if flags & HAS_KINDS:
        kinds = source[at : at + count]
        at += count
    if flags & HAS_TAGS:
        tags = source[at : at + count]
        at += count
    if flags & HAS_EXPIRIES:
        expiries = _numbers(count, "q").unpack_from(source, at)
    return kinds, tags, expiries


def decode_kinds(source: bytes, start: int) -> tuple[list[bytes], Sequence[int]]:
    """All keys and their kinds, without touching the values."""
    flags, count, *_ = read_header(source, start)
    keys, at = decode_keys(source, start)
    if not flags & HAS_KINDS:
        return keys, bytes((KIND_PUT,)) * count
    if not flags & FIXED_VALUES:
        at += (count + 1) * (4 if flags & WIDE_VALUES else 2)
    return keys, _annotations(source, at, flags, count)[0]
