"""The command `flin` of a test (flin/testing/server.py): it ends when its standard input does.

The kernel closes the pipe however the test's process ended, kill -9 included. If a forked child of it holds a copy of
the pipe, the change of parent is noticed within a second.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from threading import Event, Thread
from typing import Final, NoReturn

from flin.cli.main import main as flin

WATCH_SECONDS: Final = 1.0
"""How often it checks that the parent lives; ordinarily the end of the input tells, and at once."""

END_SECONDS: Final = 20.0
"""A server that was told to end takes milliseconds, and seconds on a busy disk. After this time it is killed."""

STANDARD_INPUT: Final = 0


def _watch(parent: int, is_abandoned: Event) -> None:
    while not select.select([STANDARD_INPUT], [], [], WATCH_SECONDS)[0] and os.getppid() == parent:
        pass
    is_abandoned.set()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, parent: int, words: list[str]) -> NoReturn:
    """Run a command. folder: it is removed if the parent has ended before, since nobody else does it then."""
    is_abandoned = Event()
    Thread(target=_watch, args=(parent, is_abandoned), name="flin lifeline", daemon=True).start()
    try:
        code = flin(words)
    finally:
        if is_abandoned.is_set():
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
