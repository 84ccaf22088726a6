"""Which namespace of stored keys the number of each database means: SWAPDB exchanges two of them.

No key is moved: the numbers stand in one internal entry, written in the frame of the SWAPDB itself, so that a crash
leaves the old order or the new one. Without the entry every number means itself. Database 0 is never exchanged, since
its keys are those of `flin.engine.open`. FLUSHALL keeps the entry: what is written later must be found again.

Layout of the entry: a format byte, then a big-endian u16 for each database from 0 to 15.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from flin.engine.key import namespace_prefix
from flin.errors import FormatVersionError

if TYPE_CHECKING:
    from flin.engine.entry import Entry
    from flin.net.batch.store import StoreLike

MAX_DATABASES: Final = 16

STORED_KEY: Final = namespace_prefix(0xFFFF) + b"databases"
"""A key in the last namespace, which belongs to no database and is never counted."""

_LAYOUT: Final = struct.Struct(f">B{MAX_DATABASES}H")
_FORMAT: Final = 1


def encode(namespaces: list[int]) -> bytes:
    return _LAYOUT.pack(_FORMAT, *namespaces)


def recall(store: StoreLike) -> list[int]:
    """The namespace of each database, as stored. FormatVersionError for an entry that a newer Flin wrote."""
    kept = store.read(STORED_KEY)
    return list(range(MAX_DATABASES)) if kept is None else decode(kept)


def decode(kept: Entry) -> list[int]:
    """What `encode` was given, or FormatVersionError."""
    if isinstance(kept, bytes) and len(kept) == _LAYOUT.size and kept[0] == _FORMAT:
        _, *namespaces = _LAYOUT.unpack(kept)
        if sorted(namespaces) == list(range(MAX_DATABASES)) and namespaces[0] == 0:
            return namespaces
    raise FormatVersionError("the database", "its entry of SWAPDB has a format that this Flin does not know")
