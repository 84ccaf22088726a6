"""What a key maps to inside the engine: an entry.

An entry has one of four shapes, told apart by `type(entry) is bytes` and `entry is TOMBSTONE`:

- `bytes`: a plain value, tag 0, no expiry. The ordinary case, so it pays for no wrapper.
- `(value, expires_at_ms, tag)`: a value with an expiry (0: none) or a tag (0: plain bytes), or both.
- `TOMBSTONE`: a tombstone; it hides whatever older runs hold for the key.
- `Pointer`: a plain value that lies in a value file; with an expiry or a tag, the tuple holds it. Only tables, and what
  is read from them, have pointers: nothing above the store ever sees one (table/value_files.py).

A range delete hides the keys from start (inclusive) to stop (exclusive) in everything *older* than the
memtable, generation or table that holds it, never a point in the same one.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, Literal, TypeAlias


class _Tombstone(Enum):
    TOMBSTONE = 0


TOMBSTONE: Final = _Tombstone.TOMBSTONE


class Pointer(bytes):
    """The place of a value, POINTER_BYTES long: the file's number (u64), the offset of its first byte in the file
    (u64), its length (u32), and its checksum (u32). The checksum is CRC-32, begun with that of number and offset: a
    value from another place is found out.

    A segment has its own number there; a file that a merge wrote, that of file_name.collected_number."""

    __slots__ = ()


_POINTER: Final = struct.Struct("<QQII")
POINTER_BYTES: Final = _POINTER.size
read_pointer: Final = _POINTER.unpack
"""A pointer as (number, offset, length, checksum)."""
read_pointers: Final = _POINTER.iter_unpack
"""All of these, one after the other, of pointers that are joined."""
pack_pointer: Final = _POINTER.pack
pack_place: Final = struct.Struct("<QQ").pack
"""Number and offset, with which the checksum of a value begins."""

Expiring: TypeAlias = tuple[bytes, int, int]
"""(value, expires_at_ms or 0, tag). The expiry is below 0 where the clock stands before 1970."""

Live: TypeAlias = bytes | Expiring
Entry: TypeAlias = bytes | Expiring | Literal[_Tombstone.TOMBSTONE]
Range: TypeAlias = tuple[bytes, bytes]
"""(start, stop): start inclusive, stop exclusive, start < stop."""

EXPIRED_MS: Final = -(2**63)
"""An expiry that has passed whatever the clock says: for an entry whose value is gone, so that a clock that is set back
cannot show it."""

Page: TypeAlias = tuple[list[bytes], list[Entry]]
"""Keys in strictly ascending (or, in a reverse scan, strictly descending) order and their entries, of equal length."""

# Kinds as files hold them. Zero is invalid everywhere, so that zeroed bytes never pass for an entry.
KIND_PUT: Final = 1
KIND_DELETE: Final = 2
KIND_RANGE_DELETE: Final = 3
KIND_MERGE: Final = 4  # reserved: a merge operand
KIND_POINTER: Final = 5  # only in tables: a put whose value is a Pointer


def maybe_pointer(entry: Entry) -> Pointer | None:
    """The entry's pointer, if it has one."""
    value = entry[0] if type(entry) is tuple else entry
    return value if type(value) is Pointer else None


def value_length(pointer: Pointer) -> int:
    """Bytes of the value at a pointer's place. What it says is not checked before the value is read."""
    length: int = read_pointer(pointer)[2]
    return length


def value_size(entry: Entry) -> int:
    """Bytes of what stands in the entry: of its value or pointer; 0 for a tombstone."""
    return 0 if entry is TOMBSTONE else len(entry[0] if type(entry) is tuple else entry)


def is_alive(entry: Entry | None, now_ms: int) -> bool:
    """Whether there is a value of any type at now_ms."""
    if type(entry) is tuple:
        return not 0 != entry[1] <= now_ms
    return entry is not None and entry is not TOMBSTONE


def value_at(entry: Entry | None, now_ms: int) -> bytes | None:
    """The value of an untagged entry that is alive at now_ms, else None."""
    if type(entry) is bytes:
        return entry
    if entry is None or entry is TOMBSTONE:
        return None
    assert type(entry) is tuple
    value, expires_at_ms, tag = entry
    if tag or (expires_at_ms and expires_at_ms <= now_ms):
        return None
    return value


def make_entry(value: bytes, expires_at_ms: int = 0, tag: int = 0) -> Live:
    """The smallest entry with this value, expiry and tag."""
    return (value, expires_at_ms, tag) if expires_at_ms or tag else value
