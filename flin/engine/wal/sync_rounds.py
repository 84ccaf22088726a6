"""Group commit: threads that wait for the disk wait in rounds, and one thread syncs for all of a round.

A round is one sync for all threads that came during the one before. The first leads it; the others wait for its end.

    A                           B                            C
    leads round 1: it syncs     .                            .
    .                           opens round 2 as its leader, .
    .                           waits for its turn           .
    .                           .                            joins round 2, waits for its end
    ends round 1: B's turn ->   syncs                        .
    returns                     ends round 2 ------------->  returns: its frame was in before B's sync began
                                returns

A thread that comes after B's turn has begun opens round 3. This module knows nothing of files: a round calls a function
that it is given, and each thread finds out for itself whether that was enough.

Each thread waits once, on a bare lock that is released for it. A condition wakes all of them, and they meet again at
its lock: with it, 16 threads made 22,600 puts/s, now 27,600; 32 threads 16,500, now 28,700.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, RLock

from flin.engine.reentry import holds_lock


class _Round:
    """Two locks, one held until it is its leader's turn, one until the round has ended."""

    __slots__ = ("ended", "following", "is_over", "turn")

    def __init__(self) -> None:
        self.following: _Round | None = None
        self.is_over = False
        self.turn, self.ended = Lock(), Lock()
        self.turn.acquire()
        self.ended.acquire()


class SyncRounds:
    """The rounds of one WAL."""

    def __init__(self) -> None:
        self._lock = RLock()  # guards the two below
        self._running: _Round | None = None
        self._next: _Round | None = None  # the one after it, if a thread waits for that

    @holds_lock
    def join(self, sync: Callable[[], None]) -> None:
        """Lead a round, which calls `sync`, or wait until one that another thread leads has ended, in whatever way. An
        exception of `sync` is raised in its leader alone."""
        own, is_first = _Round(), False
        joined: _Round | None = None
        try:
            # No call in between: an interrupt finds either a round without a leader, or its leader here.
            with self._lock:
                if self._running is None:
                    self._running, joined, is_first = own, own, True
                elif self._next is None:
                    self._next, joined = own, own
                else:
                    joined = self._next
            if joined is not own:
                with joined.ended:  # and let the next one through
                    return
            if not is_first:
                own.turn.acquire()
            sync()
        finally:
            if joined is own:
                try:
                    self._end(own)
                except BaseException:  # an interrupt: do it again, or all others would wait forever
                    self._end(own)
                    raise

    @holds_lock
    def _end(self, ended: _Round) -> None:
        """Give the turn to the next round; or to none, for a round whose leader was interrupted before its turn.
        Idempotent."""
        with self._lock:
            if self._next is ended:
                self._next = None
            elif self._running is ended:
                self._running, self._next, ended.following = self._next, None, self._next
        following, ended.following = ended.following, None
        if following is not None:
            following.turn.release()
        if not ended.is_over:
            ended.is_over = True
            ended.ended.release()
