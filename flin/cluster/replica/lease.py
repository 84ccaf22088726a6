"""The lease of a group's leader: until when nobody else can have taken its place. Pure.

    leader     sends the put of `lease/G` ───────────────────────► answered: its lease lasts from the *sending* on,
                 │                                                 LEASE_SECONDS less the margin
    follower     └────► sees a new revision of the key ──────────► may claim when it has *seen* this revision for
                                                                   LEASE_SECONDS, and etcd compares it with the claim

A put is sent before it is seen, so the leader's time ends first, whatever the network does, as long as the clocks of
the two run equally fast within the margin. That is all that is asked of clocks: no wall clock takes part. The put
succeeds only while the leader still leads, so after a lapse the next one that succeeds proves that nobody took over.

It is not a lease of etcd's: a member that was deposed may go on renewing and revoking those (etcd-io/etcd 15247).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final, TypeAlias

LEASE_SECONDS: Final = 4.0
"""A claim waits so long. Elections of etcd take 1 to 2 s, and a renewal that one delays must still be in time."""

MARGIN: Final = 0.1
"""By how much a clock may be slower than another's. NTP corrects rates by 0.05 % at most; the rest is for the sum of
what rounding, and a virtual machine's clock that is being corrected, may add."""

RENEW_SECONDS: Final = 1.0
"""Between two puts: three of them may fail before the lease lapses."""

Clock: TypeAlias = Callable[[], float]

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""CLOCK_MONOTONIC stands still while a machine is suspended, and a lease must not."""


def boot_seconds() -> float:
    """Seconds since the machine was started, those of sleep among them."""
    return time.clock_gettime(_BOOT_CLOCK)


@dataclass(slots=True)
class Lease:
    """The leader's side. `is_held` is asked in every tick, so it is one look at a clock and one comparison."""

    clock: Clock = boot_seconds
    until: float = -inf
    _has_ended: bool = False

    def is_held(self) -> bool:
        return self.clock() < self.until

    def renew(self, sent_at: float) -> None:
        """A put that was sent then has succeeded."""
        if not self._has_ended:
            self.until = max(self.until, sent_at + LEASE_SECONDS * (1 - MARGIN))

    def end(self) -> None:
        """Before the place is given away: it is not held any more, and an answer that is still to come changes
        nothing."""
        self._has_ended = True
        self.until = -inf

    def seconds_left(self) -> float:
        """For figures; negative: it has lapsed."""
        return self.until - self.clock()


@dataclass(slots=True)
class Vigil:
    """The side of whoever may claim: how long the same revisions have been seen.

    Moments are those at which an answer had *arrived*. Counted from its sending, a put between the two would count as
    older than it is."""

    revisions: tuple[int, ...] = field(default=())
    since: float = inf

    def note(self, revisions: tuple[int, ...], arrived_at: float) -> None:
        if revisions != self.revisions:
            self.revisions, self.since = revisions, arrived_at

    def seconds(self, now: float) -> float:
        return now - self.since
