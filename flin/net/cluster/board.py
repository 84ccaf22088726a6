"""The board: what the workers of one server know of each other without asking.

A page of memory that their supervisor makes and all of them map. Each column has a place for each worker, and, on a
node of a cluster, one more for the supervisor, which stands for the other nodes (flin/cluster/node/hub.py):

    beats     8 bytes   milliseconds of the monotonic clock, when its loop ran last: written by the worker
    missed    8 bytes   how many messages it could not pass on, since they were not read: written by the worker
    listens   1 byte    1: somebody is subscribed to a channel or a pattern there: written by the worker
    ready     1 byte    1: it answers clients: written by the supervisor

Each place has one writer, so nothing is locked, and a look is no system call. A worker that gets its first subscriber
writes that down before it answers SUBSCRIBE: whoever publishes after that sees it.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import time
from typing import Final

AWAY_MS: Final = 15_000
"""A worker whose loop has not run for so long is away, as a node is in Redis (cluster-node-timeout)."""

_NUMBER_BYTES: Final = 8
_SET: Final = b"\1"


class Board:
    """The page of `count` places, mapped by this process."""

    def __init__(self, descriptor: int, count: int) -> None:
        """descriptor: from `new_board`; it may be closed after this."""
        self._page = mmap.mmap(descriptor, _size_of(count))
        self._listens = 2 * _NUMBER_BYTES * count
        numbers = memoryview(self._page).cast("B")[: self._listens].cast("Q")
        self._beats, self._missed = numbers[:count], numbers[count:]
        self._ready = self._listens + count

    # Of the supervisor.

    def set_ready(self, number: int) -> None:
        """The worker answers clients."""
        self._page[self._ready + number] = 1

    def clear(self, number: int) -> None:
        """The worker has ended."""
        self._page[self._ready + number] = self._page[self._listens + number] = 0

    # Of each worker.

    def beat(self, own: int) -> None:
        """The loop runs."""
        self._beats[own] = _now_ms()

    def set_listening(self, own: int, is_listening: bool) -> None:
        """Whether a message could reach anybody there."""
        self._page[self._listens + own] = is_listening

    def add_missed(self, own: int, number: int) -> None:
        """So many messages more could not be passed on."""
        self._missed[own] += number

    @property
    def missed(self) -> int:
        """Messages that somebody could not pass on, since the page was made."""
        return sum(self._missed)

    def is_heard(self, own: int) -> bool:
        """Whether any other worker listens."""
        page, first = self._page, self._listens
        return page.find(_SET, first, first + own) >= 0 or page.find(_SET, first + own + 1, self._ready) >= 0

    def listeners(self, own: int) -> list[int]:
        """The other workers that listen."""
        flags = self._page[self._listens : self._ready]
        return [number for number, flag in enumerate(flags) if flag and number != own]

    def is_away(self, number: int) -> bool:
        """Whether the worker has ended, or is starting, or hangs."""
        return not self._page[self._ready + number] or _now_ms() - self._beats[number] > AWAY_MS


def new_board(count: int) -> int:
    """A descriptor of an empty page for so many workers. OSError."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("flin-board", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, bytes(_size_of(count)))
    return descriptor


def _size_of(count: int) -> int:
    return 2 * (_NUMBER_BYTES + 1) * count


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
