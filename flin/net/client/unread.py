"""How long a client has taken none of its replies, or not enough: the housekeeping's look at a connection."""

from __future__ import annotations

from typing import Final

NOT_SEEN: Final = 1 << 62
"""Whatever the housekeeping sees next is less, so the client's time begins anew."""


class Unread:
    __slots__ = ("_beyond_since_ms", "_left_bytes", "_since_ms")

    def __init__(self) -> None:
        self._left_bytes = NOT_SEEN  # at the housekeeping's last look
        self._since_ms = 0
        self._beyond_since_ms: int | None = None  # None: it is within its soft limit

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

    def note_soft_limit(self, steady_ms: int, *, is_beyond: bool) -> int:
        """Note whether it has more unread than its soft limit allows. Returns for how many milliseconds it has, however
        much it reads meanwhile, as far as the looks tell."""
        if not is_beyond:
            self._beyond_since_ms = None
            return 0
        if self._beyond_since_ms is None:
            self._beyond_since_ms = steady_ms
        return steady_ms - self._beyond_since_ms
