"""How long a client has taken none of its replies: the housekeeping's look at a connection."""

from __future__ import annotations

from typing import Final

NOT_SEEN: Final = 1 << 62
"""Whatever the housekeeping sees next is less, so the client's time begins anew."""


class Unread:
    __slots__ = ("_left_bytes", "_since_ms")

    def __init__(self) -> None:
        self._left_bytes = NOT_SEEN  # at the housekeeping's last look
        self._since_ms = 0

    def begin(self) -> None:
        """The client has read."""
        self._left_bytes = NOT_SEEN

    def note(self, left_bytes: int, steady_ms: int) -> int:
        """Note how many bytes the client has not read. Returns the milliseconds since it last read some, as far as the
        looks tell."""
        if left_bytes < self._left_bytes or not left_bytes:
            self._since_ms = steady_ms
        self._left_bytes = left_bytes
        return steady_ms - self._since_ms
