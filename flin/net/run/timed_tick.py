"""A tick whose length is measured: from its first reply to the release of its last one.

Only servers that are asked for it have one (`--http`), so that the others read no clock. Two looks at the clock a tick,
whatever the number of its requests. In the sync mode `always` a tick ends when the disk has what it wrote.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from typing import Any

from flin.net.run.histogram import Histogram
from flin.net.run.tick import ReplySink, Tick


class TimedTick(Tick):
    __slots__ = ("_began_ns", "_waiting", "histogram")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """What Tick takes."""
        super().__init__(*arguments, **named)
        self.histogram = Histogram()
        self._began_ns = 0  # 0: nobody replies in this tick yet
        self._waiting: deque[tuple[int, int]] = (
            deque()
        )  # ticks that wait for a sync: of which position, and their begin

    def enter(self, sink: ReplySink) -> None:
        if not self._began_ns:
            self._began_ns = time.perf_counter_ns()
        super().enter(sink)

    def put_aside(self) -> None:
        if not self._began_ns:
            self._began_ns = time.perf_counter_ns()
        super().put_aside()

    def end(self) -> None:
        super().end()
        began_ns = self._began_ns
        if not began_ns:  # something was written, and nobody replied
            return
        if self._holding:
            self._waiting.append((self._store.position, began_ns))
            self._began_ns = 0
            return
        now_ns = time.perf_counter_ns()
        self.histogram.add(now_ns - began_ns)
        self._began_ns = now_ns if self._sinks else 0  # too many for one round: the others begin the next one

    def ends_at_once(self) -> bool:
        return False

    def _end_sync(self, future: Future[None]) -> None:
        super()._end_sync(future)
        now_ns = time.perf_counter_ns()
        waiting, synced = self._waiting, self._store.synced_position
        while waiting and (waiting[0][0] <= synced or not self._holding):
            self.histogram.add(now_ns - waiting.popleft()[1])
