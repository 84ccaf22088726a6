"""The command `flin`, which `python -m flin` is, too: loads what it is made of, and runs it.

Ctrl-C meanwhile, which takes a good part of a second on a slow machine, ends the process as later, with a line: nothing
was begun. An exception would show where Python was just then, or be lost in a module of C.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

INTERRUPTED: Final = 130  # as flin/cli/exit_code.py has it, which is not loaded yet


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    try:
        os.write(2, b"flin: interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def main() -> int:
    """The exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a process that ignores it (nohup, `&` of a script) keeps that
        signal.signal(signal.SIGINT, _leave)
    from flin.cli.main import main as command

    return command(None, lambda: signal.signal(signal.SIGINT, before))


if __name__ == "__main__":
    sys.exit(main())
