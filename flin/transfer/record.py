"""A record of an export: one key of one database with its value and its expiry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

STRING: Final = "string"
KINDS: Final = (STRING, "hash", "list", "set", "sorted set", "stream")
"""Their order is that of the numbers in compact files: new ones go to the end."""


@dataclass(frozen=True, slots=True)
class Record:
    key: bytes
    payload: bytes
    """A string's bytes; of a collection what DUMP gives, which RESTORE takes here and in Redis."""
    kind: str = STRING
    expires_at_ms: int = 0  # milliseconds since 1970; 0: never
    database: int = 0
    place: str = field(default="", compare=False)
    """Where it stands in its file, for errors."""
