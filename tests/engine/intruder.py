"""An intruder: makes calls of a database in the middle of another call of the same thread, as a signal handler does.

A handler runs between two bytecodes. Here it runs before every line of the engine that the outer call comes to: these
are more places than those at which the interpreter runs handlers, and always the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENGINE = "/flin/engine/"


@contextmanager
def intruding(intrude: Callable[[int, str], None]) -> Iterator[list[int]]:
    """Call `intrude(number, place)` before each line of the engine's code in this thread. Gives how many there were."""
    count = [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if ENGINE not in frame.f_code.co_filename:
            return None
        if event == "line":
            count[0] += 1
            file = frame.f_code.co_filename.rpartition(ENGINE)[2]
            intrude(count[0], f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)
