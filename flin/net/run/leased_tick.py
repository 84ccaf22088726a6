"""The tick of a leader: at its end, once the last command has run, and before any reply leaves, its lease is looked at.

Theory. A replica that was stopped for longer than its lease may have been replaced meanwhile, and then what it reads is
old. A look at the beginning of a tick is not enough, since a stop in its midst lets later requests in; a stop after the
look harms nothing, since all reads of the tick took place before it. What waits for an append to the log needs no look
for what it wrote: the append succeeds only while nobody else leads.

Past the lease's end the pending batch is refused, so that `-CLUSTERDOWN`, after which clients send again, is true of
it; so are all reads. A part of a tick's writes may have been committed in its midst (a batch was full), and is on its
way to the log: that is told as `-UNCERTAIN` (batch/refusal.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flin.net.batch.refusal import LapsedError
from flin.net.run.timed_tick import TimedTick

if TYPE_CHECKING:
    from flin.net.cluster.role import ReplicaRole

_SOME_ARE_LEFT = -1
"""In the place of a number of batches: there are replies to writes of an earlier tick."""


class LeasedTick(TimedTick):
    __slots__ = ("_batches", "_has_lease")

    def __init__(self, role: ReplicaRole, *arguments: Any, **named: Any) -> None:
        """role: a leader's; then what Tick takes."""
        super().__init__(*arguments, **named)
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
