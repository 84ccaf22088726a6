"""How a user's key is stored, and the order that follows.

A user's key that begins with byte FF is stored with a 00 after that FF; everything internal begins with FF 01.
So every user key sorts before every internal key, the order of user keys is kept, and each key that does not
begin with FF is stored as it is.

Internal keys are `FF 01 namespace(u16, big-endian) rest`. A namespace is a group that is counted on its own, such as
another database of the server. Namespace 0 is the user's keys themselves.

The namespaces 8000 to FFFE hold pieces of larger values. Nobody asks how many there are, so they are not counted, and
a flush need not find out which of them existed before. Their keys go on with a slot (u16, big-endian): that of the key
that owns them, so all of a value lies in one shard.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

USER_END: Final = b"\xff\x01"
"""Every stored user key is below this; every embedded range ends here."""

KEYS_END: Final = b"\xff\x02"
"""Above every stored key, internal ones included."""

PIECES_START: Final = USER_END + b"\x80\x00"
PIECES_STOP: Final = USER_END + b"\xff\xff"
"""The stored keys of pieces are from PIECES_START (inclusive) to PIECES_STOP (exclusive)."""

MAX_KEY_BYTES: Final = 0xFFFF_FFFF // 4
"""1 GiB less one: twice what a Redis client may send (512 MB), and lengths fit 32 bits with room for flags."""


def stored_key(key: bytes) -> bytes:
    """The stored form of a user's key. Hot paths test `key >= b"\\xff"` first and call this only then."""
    return b"\xff\x00" + key[1:] if key[:1] == b"\xff" else key


def user_key(stored: bytes) -> bytes:
    """The user's key from its stored form (below USER_END)."""
    return b"\xff" + stored[2:] if stored[:1] == b"\xff" else stored


def namespace_prefix(namespace: int) -> bytes:
    """The prefix of every stored key of an internal namespace (1 to 65535)."""
    return USER_END + namespace.to_bytes(2, "big")


def namespace_of(stored: bytes) -> int:
    """The namespace in which a stored key is counted: 0 for the user's own."""
    return int.from_bytes(stored[2:4], "big") if stored >= USER_END else 0


def is_counted(stored: bytes) -> bool:
    """Whether the key counts, in its namespace: pieces of larger values do not."""
    return stored < PIECES_START or stored >= PIECES_STOP


def without_pieces(keys: Sequence[bytes]) -> Sequence[bytes]:
    """Those of the ascending stored keys that count: all but the pieces of larger values."""
    begin, end = bisect_left(keys, PIECES_START), bisect_left(keys, PIECES_STOP)
    return keys if begin == end else [*keys[:begin], *keys[end:]]


def count_by_namespace(keys: Sequence[bytes]) -> dict[int, int]:
    """How many of the ascending stored keys each namespace has."""
    users = bisect_left(keys, USER_END)
    counts = dict(Counter(map(namespace_of, keys[users:]))) if users < len(keys) else {}
    if users:
        counts[0] = users
    return counts


def prefix_stop(prefix: bytes) -> bytes | None:
    """The smallest key above every key that begins with the prefix; None if there is none (all FF, or empty)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None
