"""The process's number in a file, while it holds the database: `kill -USR1 $(cat flin.pid)`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flin.net.settings.options import ConfigError
from flin.net.settings.whole_file import write_whole


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """An empty path: there is none. Raises ConfigError. At the end it is removed, if it is this process's still."""
    if not path:
        yield
        return
    own = b"%d\n" % os.getpid()
    try:
        write_whole(path, own, mode=0o644)
    except OSError as error:
        raise ConfigError(f"pidfile {path}: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # somebody has removed it, or its directory
            with open(path, "rb") as file:
                is_own = file.read() == own
            if is_own:
                os.unlink(path)
