"""The tick of a leader: at its end, once the last command has run, and before any reply leaves, its lease is looked at.

Theory. A replica that was stopped for longer than its lease may have been replaced meanwhile, and then what it reads is
old. A look at the beginning of a tick is not enough, since a stop in its midst lets later requests in; a stop after the
look harms nothing, since all reads of the tick took place before it. What waits for an append to the log needs no look
for what it wrote: the append succeeds only while nobody else leads.

Past the lease's end the pending batch is refused, so that `-CLUSTERDOWN`, after which clients send again, is true of
it; so are all reads. A part of a tick's writes may have been committed in its midst (a batch was full), and is on its
way to the log: that is told as `-UNCERTAIN` (batch/refusal.py).

A sync is an append to the log here, and may wait until more have written (gathering.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

from flin.net.batch.refusal import LapsedError
from flin.net.run.gathering import Gathering
from flin.net.run.timed_tick import TimedTick

if TYPE_CHECKING:
    from flin.net.cluster.role import ReplicaRole

_SOME_ARE_LEFT = -1
"""In the place of a number of batches: there are replies to writes of an earlier tick."""

Later: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Makes a call after so many seconds."""


def _on_loop(seconds: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, call)


class LeasedTick(TimedTick):
    __slots__ = ("_batches", "_began", "_clock", "_gathering", "_has_lease", "_is_answering", "_is_waiting", "_later")

    def __init__(
        self,
        role: ReplicaRole,
        *arguments: Any,
        later: Later = _on_loop,
        clock: Callable[[], float] = time.monotonic,
        **named: Any,
    ) -> None:
        """role: a leader's; then what Tick takes. clock: in seconds."""
        super().__init__(*arguments, **named)
        self._later = later
        self._clock = clock
        self._gathering = Gathering()
        self._began = 0.0  # the sync under way
        self._is_answering = False  # those that waited for one
        self._is_waiting = False  # for more, before the next one
        self._has_lease = role.has_lease
        self._batches = self._pending.batches  # committed when this tick began

    def end(self) -> None:
        if self.has_aside:
            self.speaker = None
            self.round.run()
        if not self._has_lease():
            self._deny()
        super().end()
        self._batches = _SOME_ARE_LEFT if self._sinks else self._pending.batches

    def _deny(self) -> None:
        self.speaker = None
        if self.has_aside:
            self.round.owe_all()
        has_committed = self._pending.batches != self._batches
        if not self._pending.in_transaction:  # the batch of a long script: its own tick ends later
            self._pending.drop(LapsedError())
        for sink in self._sinks:
            sink.deny(has_committed=has_committed)

    # A sync begins when enough wait for it.

    def _begin_sync(self) -> None:
        if self._is_syncing or self._is_answering:
            return
        now, waiting = self._clock(), len(self._holding)
        seconds = self._gathering.seconds_left(waiting, now)
        if not seconds:
            self._gathering.end(waiting)
            self._began = now
            super()._begin_sync()
        elif not self._is_waiting:
            self._is_waiting = True
            self._later(seconds, self._end_waiting)

    def _end_waiting(self) -> None:
        self._is_waiting = False
        if self._holding:
            self._begin_sync()

    def _end_sync(self, future: Future[None]) -> None:
        held = len(self._holding)
        self._is_waiting = False  # what was waited for is over, so the next wait has a timer of its own
        self._is_answering = True
        try:
            super()._end_sync(future)
        finally:
            self._is_answering = False
        now, waiting = self._clock(), len(self._holding)
        self._gathering.begin(held - waiting, waiting, now, now - self._began)
        if waiting:
            self._begin_sync()
