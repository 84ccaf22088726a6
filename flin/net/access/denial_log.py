"""ACL LOG: what was denied, newest first. What is alike within a minute is one entry with a count, as in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from flin.net.access.denial import Kind

MERGED_MS: Final = 60_000
KEPT_BYTES: Final = 4096
"""What is kept of a key, a name, a client's line: each may have hundreds of megabytes, and there are 128 entries."""

SCANNED: Final = 10
"""How many of the newest entries are compared with a new one."""


@dataclass(slots=True)
class Entry:
    reason: Kind
    context: str  # toplevel, multi, lua
    what: bytes
    user: bytes
    at_ms: int  # of the newest
    client: bytes
    """The client's line in CLIENT LIST, of the newest."""
    count: int = 1


class DenialLog:
    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, entry: Entry, most: int) -> None:
        """most: entries that are kept."""
        entry.what, entry.user, entry.client = (text[:KEPT_BYTES] for text in (entry.what, entry.user, entry.client))
        for at, known in enumerate(islice(self.entries, SCANNED)):
            is_alike = (known.reason, known.context, known.what, known.user) == (
                entry.reason,
                entry.context,
                entry.what,
                entry.user,
            )
            if is_alike and entry.at_ms - known.at_ms <= MERGED_MS:
                entry.count += known.count
                del self.entries[at]
                break
        self.entries.insert(0, entry)
        del self.entries[most:]
