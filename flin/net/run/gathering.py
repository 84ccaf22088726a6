"""When a leader appends: at once, or when those that it has just answered have written again. Pure.

Theory. Nearly all of what an append costs, it costs whatever it holds. Clients that wait for their replies fall into
two halves without this: one is in the append under way, the other waits for the next one; the first half writes again
just after that has begun, and is late for it. So each append has half of them, and each client waits for two appends.
If the next one begins once those that were just answered have written again, it has all of them, and they wait for one.

Who does not write again would hold up the others. So a wait ends before the other half's append could have been made;
and `_share` learns how many of those that are answered come in time. While these are few nobody is waited for, but for
a try now and then.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 0.75
"""The longest wait, as a share of the time that the last append took. In virtual time (64 clients, appends of 3 ms,
both with noise) entries are 1.5 times as large, and the rate is 1.2 times that of never waiting if clients write again
at once. It is 0.9 times that, without noise 0.8, if they take half an append's time to; their larger entries leave the
machine time instead."""

MAX_SECONDS: Final = 0.01
"""The longest wait at all: while etcd elects, an append takes a second or two."""

LEAST_SHARE: Final = 0.5
"""If fewer come in time, the wait costs them more than it saves."""

NEARLY_ALL: Final = 0.9
"""So many of those that usually come are enough: the last ones of a hundred come far later than the others."""

LEARNED: Final = 1 / 8
"""How much one wait changes what is known: clients are now and then held up by something else."""

APPENDS_UNTIL_A_TRY: Final = 16
"""While nobody is waited for: a wait in vain costs one append in sixteen its time then."""


class Gathering:
    """The wait between an append and the next. Times are in seconds, by any clock that goes steadily."""

    __slots__ = ("_answered", "_appends", "_share", "_until", "_waited", "_wanted")

    def __init__(self) -> None:
        self._share = 1.0  # of those that are answered, how many write again in time
        self._appends = 0  # without a wait, since the last one
        self._answered = 0  # by the last append; 0: nobody is waited for
        self._waited = 0  # already then
        self._wanted = 0
        self._until = 0.0

    def begin(self, answered: int, waiting: int, now: float, took: float) -> None:
        """An append has been answered: so many clients by it, after so long, and so many wait for the next one."""
        self._appends += 1
        if self._share < LEAST_SHARE and self._appends < APPENDS_UNTIL_A_TRY:
            self._answered = self._wanted = 0
            return
        self._appends = 0
        self._answered, self._waited = answered, waiting
        self._wanted = waiting + round(answered * max(self._share, LEAST_SHARE) * NEARLY_ALL)
        self._until = now + min(took * LONGEST, MAX_SECONDS)

    def seconds_left(self, waiting: int, now: float) -> float:
        """How long to wait for more, now that so many wait; 0: append."""
        if waiting >= self._wanted:
            return 0.0
        return max(self._until - now, 0.0)

    def end(self, waiting: int) -> None:
        """An append begins for so many."""
        if self._answered:
            came = 1.0 if waiting >= self._wanted else (waiting - self._waited) / self._answered
            self._share += LEARNED * (came - self._share)
        self._answered = self._wanted = 0
