"""What a server says of itself: lines on standard error or in a log file, through a queue and a thread.

So a full pipe there never blocks the loop."""

from __future__ import annotations

import copy
import json
import logging
import logging.handlers
import queue
import sys
from datetime import UTC, datetime
from typing import Final

import flin
from flin.engine.disk.memory_fs import MEMORY
from flin.net.log_file import LogFile
from flin.net.settings.options import ServerOptions

_LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

logger = logging.getLogger(__name__)


def start_line(places: str, what: str, recovered: int, seconds: float) -> str:
    return f"flin {flin.__version__} is ready on {places}: {what}, {recovered} records recovered, {seconds:.2f} s"


def database_line(options: ServerOptions) -> str:
    """The part of it about the database and where its options come from."""
    workers = f", {options.workers} workers" if options.workers > 1 else ""
    file = f", configuration {options.config_file}" if options.config_file else ""
    if options.dir == MEMORY:
        return f"WARNING: in memory only, all of it is gone when this process ends{file}"
    return f"directory {options.dir}{workers}, sync {options.sync}{file}"


class Diagnostics:
    """While the block runs, records of Flin's loggers are written. name: of this process, in each line, where several
    write to one place."""

    def __init__(self, options: ServerOptions, name: str = "") -> None:
        """Raises ConfigError if the log file cannot be opened."""
        self._file = LogFile(options.logfile) if options.logfile else None
        self._target: logging.Handler = self._file or logging.StreamHandler(sys.stderr)
        self._target.setFormatter(_JsonFormatter(name) if options.log_format == "json" else _Formatter(name))
        self._level = options.log_level

    def __enter__(self) -> Diagnostics:
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = _Queue(records)
        self._listener = logging.handlers.QueueListener(records, self._target)
        logging.getLogger("flin").addHandler(self._handler)
        self.set_level(self._level)
        self._listener.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._file is not None and error is not None:  # the terminal is told by the command
            logger.critical("%s", error)
        logging.getLogger("flin").removeHandler(self._handler)
        self._listener.stop()
        if self._file is not None:
            self._file.close()

    def set_level(self, level: str) -> None:
        logging.getLogger("flin").setLevel(level.upper())

    def announce(self, line: str) -> None:
        """It is ready: on standard output, and in the log file, if there is one."""
        print(line, flush=True)
        if self._file is not None:
            logger.info("%s", line)

    def reopen(self) -> None:
        """SIGUSR1."""
        if self._file is None:
            logger.info("there is no log file to be opened anew")
            return
        self._file.reopen()
        logger.info("the log file is opened anew")


class _Queue(logging.handlers.QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy with its arguments filled in; the thread formats the traceback, as the form of the lines needs it."""
        filled = copy.copy(record)
        filled.msg, filled.args = record.getMessage(), None
        return filled


class _Formatter(logging.Formatter):
    def __init__(self, name: str) -> None:
        super().__init__(_LINE)
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._name:
            return text
        return "\n".join(f"{self._name}: {line}" for line in text.split("\n"))


class _JsonFormatter(logging.Formatter):
    """One object a line."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        found = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._name:
            found["process"] = self._name
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found)
