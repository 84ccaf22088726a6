"""What a server says of itself: lines on standard error, through a queue and a thread.

So a full pipe there never blocks the loop."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from typing import Final

import flin

_LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_line(places: str, what: str, recovered: int, seconds: float) -> str:
    return f"flin {flin.__version__} is ready on {places}: {what}, {recovered} records recovered, {seconds:.2f} s"


class Diagnostics:
    """While the block runs, records of Flin's loggers are written. name: of this process, at the start of each line,
    where several write to one place."""

    def __init__(self, name: str = "") -> None:
        self._formatter = _Formatter(name)

    def __enter__(self) -> None:
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(self._formatter)
        self._handler = logging.handlers.QueueHandler(records)
        self._listener = logging.handlers.QueueListener(records, handler)
        root = logging.getLogger("flin")
        root.addHandler(self._handler)
        root.setLevel(logging.INFO)
        self._listener.start()

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("flin").removeHandler(self._handler)
        self._listener.stop()


class _Formatter(logging.Formatter):
    def __init__(self, name: str) -> None:
        super().__init__(_LINE)
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._name:
            return text
        return "\n".join(f"{self._name}: {line}" for line in text.split("\n"))
