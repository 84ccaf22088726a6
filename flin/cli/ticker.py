"""A sign of life on stderr during long work that cannot tell its progress."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

EVERY_SECONDS: Final = 2.0


class Ticker:
    """From entry to exit, it prints a line every two seconds: nothing at all for quick work."""

    def __init__(self, what: str, detail: Callable[[], str] | None = None, stream: TextIO | None = None) -> None:
        self._what = what
        self._detail = detail
        self._stream = stream if stream is not None else sys.stderr
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="ticker", daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            seconds = time.monotonic() - self._started
            detail = f", {self._detail()}" if self._detail is not None else ""
            print(f"{self._what}: {seconds:.0f} s{detail}", file=self._stream, flush=True)
