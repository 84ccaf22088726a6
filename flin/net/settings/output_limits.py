"""client-output-buffer-limit: how much a client may leave unread, by its class, before it is closed.

Its text names classes, each with a hard limit, a soft one, and the seconds for which the soft one may be exceeded:

    normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60

0 is no limit. The class pubsub is of clients with a subscription; slave (or replica) is kept for CONFIG alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flin.net.settings.parameter import any_integer, memory_size

NORMAL: Final = b"normal"
PUBSUB: Final = b"pubsub"
_CLASSES: Final = (NORMAL, b"slave", PUBSUB)

CLOSE_BYTES: Final = 64 << 20
"""Unread output at which a client of a class without a hard limit is closed."""

UNTRUSTED_OUTPUT_BYTES: Final = 64 << 10
"""CLOSE_BYTES before authentication."""

_WRONG_LIMIT: Final = "Error in hard, soft or soft_seconds setting in buffer limit configuration."


class OutputLimit(NamedTuple):
    """The limits of one class."""

    hard_bytes: int
    soft_bytes: int
    soft_seconds: int


def parse_limits(raw: bytes) -> dict[bytes, OutputLimit]:
    """The limits of those classes that are named. Raises ValueError as Redis words it."""
    words = raw.lower().split()
    if len(words) % 4:
        raise ValueError("Wrong number of arguments in buffer limit configuration.")
    limits = {}
    for start in range(0, len(words), 4):
        name, hard, soft, seconds = words[start : start + 4]
        if name == b"replica":
            name = b"slave"
        if name not in _CLASSES:
            raise ValueError("Invalid client class specified in buffer limit configuration.")
        try:
            limit = OutputLimit(memory_size(hard), memory_size(soft), any_integer(seconds))
        except ValueError:
            raise ValueError(_WRONG_LIMIT) from None
        if limit.soft_seconds < 0:
            raise ValueError(_WRONG_LIMIT)
        limits[name] = limit
    return limits


def show_limits(limits: dict[bytes, OutputLimit]) -> bytes:
    """All classes, in Redis's order."""
    return b" ".join(b"%b %d %d %d" % (name, *limits[name]) for name in _CLASSES)


DEFAULT_LIMITS: Final = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
"""Redis's."""
