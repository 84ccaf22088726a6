"""Where the running SCANs stand: cursor ids and the positions they mean.

A key's place on disk changes while a scan runs, its place in the key order does not. So a position is a database and
the last key seen, and since a cursor must be a number, this table gives each position one. It is bounded: the oldest
cursors go first, and one that is gone begins again at the first key, so that a scan may return keys twice but never
misses one that was there all the time. For the same reason no number is ever given twice, not even by a later
process: the numbers begin at the clock. A clean shutdown keeps the table in the store, under an internal key.

A client may ask with the same cursor again (after a lost reply), so a cursor lives on until its successor is used.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flin.engine.entry import TOMBSTONE
from flin.engine.key import namespace_prefix
from flin.errors import FlinError

if TYPE_CHECKING:
    from flin.net.batch.store import StoreLike

logger = logging.getLogger(__name__)

# Each running scan has two cursors at most, so this is 8,000 scans at once.
_MAX_CURSORS: Final = 1 << 14
# Keys are a client's bytes: all positions together hold no more than this.
_MAX_BYTES: Final = 16 << 20
# Cursors that a process may give per millisecond before its numbers could meet those of its successor. With the clock
# in front, numbers stay below 2**53 until 2039: clients in JavaScript keep them exactly.
_IDS_PER_MS: Final = 1 << 12

STORED_KEY: Final = namespace_prefix(0xFFFF) + b"cursors"
"""A key in the last namespace, which belongs to no database and is never counted."""

_FORMAT: Final = b"\x01"  # the first byte of what `to_bytes` gives; then, for each cursor, a head and the key
_HEAD: Final = struct.Struct(">QHI")  # cursor, database, length of the key


@dataclass(frozen=True, slots=True)
class Position:
    """The scan has seen all keys of the database up to this one."""

    database: int
    key: bytes
    predecessor: int
    """The cursor that was used to get here; 0: none."""


class Cursors:
    """One table per server."""

    def __init__(self, now_ms: int, *, max_cursors: int = _MAX_CURSORS, max_bytes: int = _MAX_BYTES) -> None:
        self._next = now_ms * _IDS_PER_MS
        self._max_cursors = max_cursors
        self._max_bytes = max_bytes
        self._positions: dict[int, Position] = {}  # oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._positions)

    def save(self, database: int, key: bytes, predecessor: int) -> int:
        """A new cursor for this position, reached from the predecessor (0: from the beginning)."""
        self._next += 1
        self._add(self._next, Position(database, key, predecessor))
        return self._next

    def find(self, cursor: int, database: int) -> bytes | None:
        """The last key seen; None (begin at the first) if the cursor is unknown or of another database."""
        position = self._positions.get(cursor)
        if position is None or position.database != database:
            return None
        self._discard(position.predecessor)
        return position.key

    def to_bytes(self) -> bytes:
        """The whole table, oldest first."""
        parts = [_FORMAT]
        for cursor, position in self._positions.items():
            parts += [_HEAD.pack(cursor, position.database, len(position.key)), position.key]
        return b"".join(parts)

    def restore(self, data: bytes) -> None:
        """Add what `to_bytes` gave in an earlier process; ValueError for anything else."""
        if data[:1] != _FORMAT:
            raise ValueError("an unknown format of cursors")
        offset = 1
        while offset < len(data):
            if offset + _HEAD.size > len(data):
                raise ValueError("the cursors end within one")
            cursor, database, length = _HEAD.unpack_from(data, offset)
            offset += _HEAD.size + length
            if offset > len(data):
                raise ValueError("the cursors end within a key")
            self._next = max(self._next, cursor)
            self._add(cursor, Position(database, data[offset - length : offset], 0))

    def _add(self, cursor: int, position: Position) -> None:
        self._positions[cursor] = position
        self._bytes += len(position.key)
        while len(self._positions) > self._max_cursors or self._bytes > self._max_bytes:
            self._discard(next(iter(self._positions)))

    def _discard(self, cursor: int) -> None:
        position = self._positions.pop(cursor, None)
        if position is not None:
            self._bytes -= len(position.key)


def keep_cursors(cursors: Cursors, store: StoreLike) -> None:
    """Store the table at a clean shutdown. Without it scans begin again, so a failure is only logged."""
    try:
        if len(cursors):
            store.commit({STORED_KEY: cursors.to_bytes()})
        elif store.read(STORED_KEY) is not None:
            store.commit({STORED_KEY: TOMBSTONE})
    except FlinError as error:
        logger.warning("the cursors of running SCANs were not saved: %s", error)


def recall_cursors(cursors: Cursors, store: StoreLike) -> None:
    """Load, at the start, the table that an earlier process kept."""
    kept = store.read(STORED_KEY)
    if isinstance(kept, bytes):
        try:
            cursors.restore(kept)
        except ValueError as error:
            logger.warning("running SCANs begin again: %s", error)
