"""The pace of the maintenance thread: when it syncs, and how long it may sweep. Pure arithmetic over moments.

It works in rounds of a quarter of a second, or of the sync interval if that is shorter. A sweep has a share of a
processor, counted over the round; it ends before a sync is due, however much has expired.
"""

from __future__ import annotations

from typing import Final

ROUND_SECONDS: Final = 0.25
"""An expired key counts until its sweep: DBSIZE is right again a quarter of a second later."""

SWEEP_SHARE: Final = 0.1
"""The share of a processor for sweeps: some 30,000 keys a second."""

MAX_SWEEP_SHARE: Final = 0.4
"""The largest share, reached while more keys expire than that: else the database would grow without end. Putting a key
with a ttl takes half as long as sweeping it."""


class Pace:
    """The pace of one thread. All moments are those of one monotonic clock, in seconds."""

    def __init__(self, sync_interval: float | None, now: float) -> None:
        """`sync_interval`: None if others sync."""
        self._sync_interval = sync_interval
        self.round = ROUND_SECONDS if sync_interval is None else min(sync_interval, ROUND_SECONDS)
        self._share = SWEEP_SHARE
        self._next_round = now + self.round
        self._next_sync = None if sync_interval is None else now + sync_interval

    def wait_seconds(self, now: float) -> float:
        """The time until there is something to do."""
        moments = [self._next_round, *([] if self._next_sync is None else [self._next_sync])]
        return max(min(moments) - now, 0.0)

    def begin_round(self, now: float) -> None:
        self._next_round = now + self.round

    def is_sync_due(self, now: float) -> bool:
        return self._next_sync is not None and now >= self._next_sync

    def begin_sync(self, now: float) -> None:
        """A sync begins: the next one is due an interval from now."""
        if self._sync_interval is not None:
            self._next_sync = now + self._sync_interval

    @property
    def sweep_seconds(self) -> float:
        """Processor time for the sweep of this round."""
        return self._share * self.round

    @property
    def sweep_until(self) -> float:
        """The moment at which the sweep ends in any case."""
        return self._next_round if self._next_sync is None else min(self._next_round, self._next_sync)

    def end_sweep(self, *, all_done: bool) -> None:
        """A sweep that was too short gets twice the share next time."""
        self._share = SWEEP_SHARE if all_done else min(2 * self._share, MAX_SWEEP_SHARE)
