"""A digest over all stored keys of a replica: at the same entry of the log those of all replicas are equal.

What each replica notes of itself is left out, and so is what has expired by a given time: a merge may have dropped it
here, and not there.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from flin.cluster.log.leader import INDEX_KEY
from flin.engine.entry import Live
from flin.engine.key import KEYS_END
from flin.engine.read.read_state import ReadState, live_pages

DIGEST_BYTES: Final = 16
"""No adversary chooses what is compared: 128 bits."""

_SIZES: Final = struct.Struct("<IIqB")


def digest(state: ReadState, now_ms: int) -> str:
    """The digest of a frozen state, as hexadecimal digits, without what has expired by `now_ms`. It reads everything:
    for a thread of its own."""
    found = blake2b(digest_size=DIGEST_BYTES)
    for keys, entries in live_pages(state.pages(b"", KEYS_END)):
        pieces: list[bytes] = []
        for key, entry in zip(keys, entries, strict=True):
            value, expires_at_ms, tag = _fields(entry)  # type: ignore[arg-type]  # tombstones are left out
            if key != INDEX_KEY and not 0 != expires_at_ms <= now_ms:
                pieces += _SIZES.pack(len(key), len(value), expires_at_ms, tag), key, value
        found.update(b"".join(pieces))
    return found.hexdigest()


def _fields(entry: Live) -> tuple[bytes, int, int]:
    return (entry, 0, 0) if type(entry) is bytes else entry  # type: ignore[return-value]
