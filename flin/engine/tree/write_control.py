"""Write control: whether writers may go on, and what stops them: a close, a failed sync, a stall, a full disk.

RocksDB's write controller and background error in one. turns.py acts on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from threading import Condition, RLock
from typing import TypeAlias

from flin.engine.entry import Entry, Range
from flin.engine.reentry import times_held
from flin.engine.tree.stall import NO_STALL, Stall

PutOff: TypeAlias = tuple[Mapping[bytes, Entry], Sequence[Range], bool | None]
"""The arguments of `commit` in a call that re-entered."""


class WriteControl:
    """The write control of a store. Guarded by the commit lock, except the two errors: they are set at any time, each
    by one assignment, and waiting writers look at them."""

    __slots__ = (
        "background_error",
        "has_ended",
        "is_closed",
        "put_off",
        "read_only_reason",
        "stall",
        "stall_seconds",
        "stall_waits",
        "times_held",
        "writable",
    )

    def __init__(self, lock: RLock) -> None:
        self.read_only_reason: str | None = None
        self.background_error: BaseException | None = None  # why the background is blocked: mostly a full disk
        self.is_closed = False
        self.has_ended = False  # nothing is left to close
        self.stall: Stall = NO_STALL
        self.stall_waits = 0
        self.stall_seconds = 0.0
        self.put_off: deque[PutOff] = deque()
        self.use(lock)

    def use(self, lock: RLock) -> None:
        """Use another commit lock, in a forked child."""
        self.writable = Condition(lock)
        self.times_held = times_held(lock)

    def stops(self, *, stall_writers: bool) -> bool:
        """Whether writers must wait, or are refused."""
        # The reason is read last: the thread that finds the directory lost takes no lock.
        return self.is_closed or (bool(self.stall) and stall_writers) or self.read_only_reason is not None
