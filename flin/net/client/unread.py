"""How long a client has taken nothing of what is left for it: the housekeeping's look at a connection."""

from __future__ import annotations

from typing import Final

NOT_SEEN: Final = 1 << 62
"""Whatever the housekeeping sees next is less, so the client's time begins then."""


class Unread:
    __slots__ = ("_left_bytes", "_since_ms")

    def __init__(self) -> None:
        self._left_bytes = NOT_SEEN  # when the housekeeping last looked
        self._since_ms = 0

    def begin(self) -> None:
        """The client has read."""
        self._left_bytes = NOT_SEEN

    def note(self, left_bytes: int, steady_ms: int) -> int:
        """So much is left for it now. The milliseconds since it took something, as far as the looks tell."""
        if left_bytes < self._left_bytes or not left_bytes:
            self._since_ms = steady_ms
        self._left_bytes = left_bytes
        return steady_ms - self._since_ms
