"""Re-entry: a call of the database inside another one of the same thread.

A signal handler, a `__del__` or a weakref callback runs between any two steps of its thread. If these are in a call of
the database that holds a lock, the handler must neither wait for the lock (its owner cannot go on) nor change what the
outer call has half changed. So:

- Reads answer, from what is complete.
- A write that needs no result is put off: the outer call commits it as it ends (turns.py). One that needs a result
  (a counter, a wait for the disk) raises ReentrantCallError, and nothing is changed.
- A call that waits for other threads (a flush, a compaction) raises ReentrantCallError, too; `close()` is carried out
  by a thread of its own, which waits for the outer call.

Only the call that re-enters pays for that. The functions that hold a lock are marked, which costs them nothing, and a
call that needs to know looks for one of them among its thread's frames.

Two kinds of locks make that safe. Small ones (of a cache, of a memtable's order, the commit lock) are reentrant, and
the data that they guard show by themselves whether a change is under way; their holders wait for no lock, so that
others wait for them for a moment only, even if the call that re-enters waits for another small one. The others
(flushes, edits, the runner) are never waited for by a call that re-enters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

from flin.errors import ReentrantCallError

Function = TypeVar("Function", bound=Callable[..., Any])

_holders: set[CodeType] = set()


def holds_lock(function: Function) -> Function:
    """Mark a function that holds a lock of the engine, or waits for a thread that needs one."""
    _holders.add(function.__code__)
    return function


def is_reentered(levels: int = 1) -> bool:
    """Whether the caller runs inside another call of this thread that may hold a lock.

    `levels`: how many frames, from the caller's on, belong to its own call."""
    frame: FrameType | None = sys._getframe(levels + 1)
    while frame is not None:
        if frame.f_code in _holders:
            return True
        frame = frame.f_back
    return False


def is_inside(function: Callable[..., Any]) -> bool:
    """Whether this thread is in a call of the function, further out than the caller."""
    code: CodeType = function.__code__
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def times_held(lock: Any) -> Callable[[], int]:
    """A function that tells how often the thread that calls it holds the RLock. (typeshed has no such call.)

    CPython has a call for that from 3.11.7 and 3.12.1 on. Before, only the lock's repr tells; it is needed only if a
    write has to look, so its 2 µs do not matter."""
    count: Callable[[], int] | None = getattr(lock, "_recursion_count", None)
    if count is not None:
        return count
    return lambda: int(repr(lock).rpartition("count=")[2].partition(" ")[0]) if lock._is_owned() else 0


def is_held(lock: Any) -> bool:
    """Whether this thread holds an RLock."""
    held: bool = lock._is_owned()
    return held


def refuse_reentry(call: str, levels: int = 2) -> None:
    """ReentrantCallError if the caller, a call of this name, runs inside another call of this thread."""
    if is_reentered(levels):
        raise ReentrantCallError(call)
