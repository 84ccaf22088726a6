"""The peer of a socket: whether it has hung up, as the kernel knows before the event loop does.

The loop hears of an end in its next round, and while a transport is paused not at all.
"""

from __future__ import annotations

import select
from typing import Final

_ENDS: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)
"""POLLRDHUP (Linux): the peer sends nothing more, though there may be bytes to read before its end."""


def has_hung_up(descriptor: int) -> bool:
    """Whether the peer has closed its side or reset the connection; one system call, about 1 µs. -1: no socket."""
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, _ENDS)
    return bool(poll.poll(0))
