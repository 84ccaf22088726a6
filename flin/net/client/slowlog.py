"""What SLOWLOG shows: the newest commands that took longer than the threshold, shortened as Redis does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

SHOWN_ARGUMENTS: Final = 32
SHOWN_BYTES: Final = 128
"""As in Redis: the most arguments of a slow command that are kept, and the most bytes of each."""


@dataclass(frozen=True, slots=True)
class SlowCommand:
    id: int
    at_seconds: int
    microseconds: int
    args: list[bytes]
    address: bytes
    name: bytes


class Slowlog:
    def __init__(self) -> None:
        self.entries: deque[SlowCommand] = deque()  # newest first
        self._next_id = 0

    def add(
        self, args: list[bytes], microseconds: int, now_ms: int, address: str, name: bytes, max_length: int
    ) -> None:
        """Note a slow command; at most `max_length` are kept."""
        entry = SlowCommand(
            self._next_id, now_ms // 1000, microseconds, shorten(args), address.encode("latin-1", "replace"), name
        )
        self._next_id += 1
        self.entries.appendleft(entry)
        while len(self.entries) > max_length:
            self.entries.pop()


def shorten(args: list[bytes]) -> list[bytes]:
    """The arguments as SLOWLOG GET shows them."""
    shown = args if len(args) <= SHOWN_ARGUMENTS else args[: SHOWN_ARGUMENTS - 1]
    short = [
        argument
        if len(argument) <= SHOWN_BYTES
        else b"%b... (%d more bytes)" % (argument[:SHOWN_BYTES], len(argument) - SHOWN_BYTES)
        for argument in shown
    ]
    if len(args) > SHOWN_ARGUMENTS:
        short.append(b"... (%d more arguments)" % (len(args) - SHOWN_ARGUMENTS + 1))
    return short
