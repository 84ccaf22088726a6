"""The start of a thread that needs memory which may not be there.

`Thread.start` waits until the new thread says that it has started. Without memory for its first frame, say, the thread
ends before that, and `Thread.start` waits for ever (CPython 3.11 to 3.14). Here that is a MemoryError.
"""

from __future__ import annotations

import threading
from functools import partial
from mmap import mmap
from threading import Thread
from typing import Any, Final
from weakref import ref

_ROOM_BYTES: Final = 4 << 20
"""The memory that must be free before a thread is started: four times what Python asks of the system at once. With less
it might start and end before it can say why."""

_LOOK_SECONDS: Final = 0.1
"""Between two looks whether a thread that has not started yet still lives. Nearly all start within a millisecond."""


def start_thread(thread: Thread) -> None:
    """Start it. What a signal handler raises meanwhile comes out as it is. MemoryError if there is hardly any left:
    then it does not run, or ends at once.

    Thread.start answers any exception by taking the thread out of a table. If the new thread has left that table
    already, this is a KeyError, and the caller would never see the handler's own (CPython 3.11 to 3.13)."""
    try:
        mmap(-1, _ROOM_BYTES).close()
    except OSError as error:
        raise MemoryError("no room for a thread") from error
    _notice_an_early_end(thread)
    try:
        thread.start()
    except KeyError as error:
        raise (error.__context__ or error) from None
    finally:
        thread.__dict__.pop("_bootstrap", None)
        vars(thread)["_started"].__dict__.pop("wait", None)  # no circle: nobody may collect them


def _notice_an_early_end(thread: Any) -> None:
    """Let its start raise MemoryError if the thread ends before it has said that it started.

    The interpreter holds what a thread calls for as long as the thread runs, however it ends. So a reference that it
    alone holds tells whether the thread lives, and to look takes no memory. (`Any`: these are Thread's own parts.)"""
    started = thread._started
    wait = started.wait
    thread._bootstrap = partial(thread._bootstrap)
    lives = ref(thread._bootstrap)

    def wait_or_notice(timeout: float | None = None) -> bool:
        thread.__dict__.pop("_bootstrap", None)  # from here on only the interpreter holds it
        while not wait(_LOOK_SECONDS if timeout is None else timeout) and timeout is None:
            if lives() is None and not started.is_set():
                threading._limbo.pop(thread, None)  # type: ignore[attr-defined]
                raise MemoryError("a new thread had no memory to start")
        return bool(started.is_set())

    started.wait = wait_or_notice
