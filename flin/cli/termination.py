"""SIGTERM and SIGHUP as exceptions, so that what is cleaned up after Ctrl-C is cleaned up after them too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """The process was asked to end. Like KeyboardInterrupt no Exception, so that nothing takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def terminable() -> Iterator[None]:
    """Within, the first of the signals raises Terminated in the main thread; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Terminated(number)

    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # who ignores it (nohup) or has a handler of its own keeps that
            signal.signal(number, terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
