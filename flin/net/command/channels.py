"""Which arguments of a command are channels, and what it does with them: for the rules of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Channels:
    """From `first` to the end, or to `last`. are_patterns: they are globs themselves. is_checked: a user needs leave
    for it; to give a subscription up nobody does."""

    first: int = 1
    last: int = -1
    are_patterns: bool = False
    is_checked: bool = True

    def of(self, request: list[bytes]) -> list[bytes]:
        return request[self.first :] if self.last < 0 else request[self.first : self.last + 1]


CHANNELS: Final = {
    "publish": Channels(last=1),
    "spublish": Channels(last=1),
    "subscribe": Channels(),
    "ssubscribe": Channels(),
    "psubscribe": Channels(are_patterns=True),
    "unsubscribe": Channels(is_checked=False),
    "sunsubscribe": Channels(is_checked=False),
    "punsubscribe": Channels(are_patterns=True, is_checked=False),
}
