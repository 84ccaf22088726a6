"""Those who follow the log, and the wakers of those among them who wait for the next commit, or the next sync.

Each waker is called once, by the thread that has written, outside all locks; it must not wait for anything. A writer
pays nothing while nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias
from weakref import WeakValueDictionary

Waker: TypeAlias = Callable[[], None]


class Follower(Protocol):
    @property
    def position(self) -> int:
        """Up to where it has read."""


class Watchers:
    """The watchers of a store. Any thread may add one: each change is one operation of a set or a dict."""

    __slots__ = ("_followers", "for_commits", "for_syncs")

    def __init__(self) -> None:
        self._followers: WeakValueDictionary[int, Follower] = WeakValueDictionary()
        self.for_commits: set[Waker] = set()
        self.for_syncs: set[Waker] = set()

    def follow(self, follower: Follower) -> None:
        self._followers[id(follower)] = follower

    def leave(self, follower: Follower) -> None:
        self._followers.pop(id(follower), None)

    def behind(self, position: int) -> int:
        """How many bytes before the position the slowest follower has not read."""
        followers = [reference() for reference in self._followers.valuerefs()]
        return max((position - each.position for each in followers if each is not None), default=0)

    def forget(self, waker: Waker) -> None:
        self.for_commits.discard(waker)
        self.for_syncs.discard(waker)

    def wake_all(self) -> None:
        wake(self.for_commits)
        wake(self.for_syncs)


def wake(wakers: set[Waker]) -> None:
    """Call all of them, and forget them."""
    while wakers:
        try:
            waker = wakers.pop()
        except KeyError:  # another thread was faster
            return
        waker()
