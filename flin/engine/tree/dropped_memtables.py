"""Memtables of retired generations that make room for newer ones: their entries are freed in slices.

To free a dict of 480,000 entries is one call of C, which holds the interpreter's lock for 20 ms. So a flush's thread,
which waits for its helper anyway, takes the entries out a few at a time, and lets others run in between.

A reader may still use an older state that names such a memtable, and snapshots have memtables of their own with the
same dict. So entries are only taken out once nobody else refers to it. That is soon: those who keep states keep no
retired memtables. What a snapshot holds is left to it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from itertools import repeat
from time import sleep
from typing import Final

from flin.engine.entry import Entry
from flin.engine.memtable import Memtable

SLICE_ENTRIES: Final = 1024
"""Entries that are freed between two pauses: 0.2 to 0.4 ms, less than a turn of a thread."""

PAUSE_SECONDS: Final = 0.002
"""480,000 entries take a second then. To fill a generation with as many takes several."""

LOOKS: Final = 3
"""How often it looks whether readers have let go of a memtable, which takes them microseconds."""


class DroppedMemtables:
    """Those whose entries are still to be freed. Any thread may add some; one at a time frees."""

    def __init__(self) -> None:
        self._waiting: deque[Memtable] = deque()
        self.is_urgent = False
        """Somebody waits for whoever frees: without pauses, but still in slices."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, memtables: Iterable[Memtable]) -> None:
        """The caller drops the state that names them."""
        self._waiting.extend(memtables)

    def free(self) -> None:
        while self._waiting:
            memtable = self._waiting.popleft()
            for _ in range(LOOKS):
                if is_alone(memtable):
                    self._empty(memtable.entries)
                    break
                sleep(PAUSE_SECONDS)

    def forget(self) -> None:
        """Free all of them at once."""
        self._waiting.clear()

    def _empty(self, entries: dict[bytes, Entry]) -> None:
        while entries:
            for _ in repeat(None, min(SLICE_ENTRIES, len(entries))):
                entries.popitem()
            sleep(0 if self.is_urgent else PAUSE_SECONDS)


def is_alone(memtable: Memtable) -> bool:
    """Whether only the caller's one name refers to the memtable, and only the memtable to its entries."""
    return _references(memtable) == _ALONE


def _references(memtable: Memtable) -> tuple[int, int]:
    return sys.getrefcount(memtable), sys.getrefcount(memtable.entries)


def _count_alone() -> tuple[int, int]:
    """What `_references` says then: interpreters count the names within a call differently."""

    def ask(memtable: Memtable) -> tuple[int, int]:
        return _references(memtable)

    memtable = Memtable({b"": b""})
    return ask(memtable)


_ALONE: Final = _count_alone()
