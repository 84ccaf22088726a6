"""A log file: whole lines are appended, and it can be opened anew once logrotate has renamed it.

Several processes may write to one: each line is one write at the end of the file.
"""

from __future__ import annotations

import logging
import os
import sys

from flin.net.settings.options import ConfigError


class LogFile(logging.Handler):
    """What cannot be written goes to standard error, and the file is tried again with the next line."""

    def __init__(self, path: str) -> None:
        """Raises ConfigError."""
        super().__init__()
        self._path = path
        self._is_stale = False
        try:
            self._descriptor = self._opened()
        except OSError as error:
            raise ConfigError(f"logfile {path}: {error.strerror}") from error

    def reopen(self) -> None:
        """The next line goes to the file that has the name then. For any thread: it only takes a note of it, as
        opening may wait for the disk."""
        self._is_stale = True

    def emit(self, record: logging.LogRecord) -> None:
        line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        try:
            if self._is_stale:
                descriptor = self._opened()
                os.close(self._descriptor)
                self._descriptor, self._is_stale = descriptor, False
            os.write(self._descriptor, line)
        except OSError as error:
            self._is_stale = True
            print(f"flin: logfile {self._path}: {error.strerror}: {line.decode()}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        os.close(self._descriptor)
        super().close()

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
