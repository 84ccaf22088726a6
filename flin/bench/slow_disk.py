"""A Flin server where each sync takes some milliseconds longer: `python -m flin.bench.slow_disk MS DIRECTORY PORT`.

The delay stands in for a disk. It is put around the operating system's calls in this process, so that the server runs
unchanged, through the same code as a user's; what it does during the wait is measured. The helper process has its own,
undelayed calls: nothing waits for its syncs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from flin.net.server import serve
from flin.net.settings.options import ServerOptions


def delayed(sync: Callable[[Any], None], seconds: float) -> Callable[[Any], None]:
    """A sync with a delay. As with a real disk, the interpreter's lock is free during the wait."""

    def slow(descriptor: Any) -> None:
        time.sleep(seconds)
        sync(descriptor)

    return slow


def main() -> int:
    milliseconds, directory, port = sys.argv[1:]
    seconds = float(milliseconds) / 1000
    for name in ("fsync", "fdatasync"):
        setattr(os, name, delayed(getattr(os, name), seconds))
    return serve(ServerOptions(port=int(port), dir=directory, sync="always"))


if __name__ == "__main__":
    sys.exit(main())
