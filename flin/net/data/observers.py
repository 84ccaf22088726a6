"""Write observers: they are told that keys of a database have changed. WATCH is the first of them.

A keyspace holds those that watch something now; with none, a write costs one truth test. Keys here are users' keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class WriteObserver(Protocol):
    """Told when a write enters the pending batch, from within it: it changes nothing and raises nothing."""

    def key_written(self, key: bytes) -> None:
        """The key was put or deleted."""

    def keys_written(self, keys: Sequence[bytes]) -> None:
        """Each of the keys was put or deleted."""

    def all_written(self, has_changed: Callable[[bytes], bool]) -> None:
        """The whole database is about to be deleted, or was exchanged. `has_changed` tells whether that changes a key
        (it was there, expired or not, or is there now); it raises what a read of the disk raises."""


class Observed:
    """How many observers all databases have together."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Observers(list[WriteObserver]):
    """Those of one database. Who reads sees a list whose truth is one test.

    While a step (savepoint.py) may still be taken back, `HeldWrites` stands in their place: they are told once the step
    is kept, or never. Who comes or goes meanwhile joins or leaves those behind it."""

    __slots__ = ("_behind", "_observed")

    def __init__(self, observed: Observed) -> None:
        super().__init__()
        self._observed = observed
        self._behind: list[WriteObserver] | None = None  # those who wait to be told

    def append(self, observer: WriteObserver) -> None:
        self._observed.number += 1
        super().append(observer) if self._behind is None else self._behind.append(observer)

    def remove(self, observer: WriteObserver) -> None:
        super().remove(observer) if self._behind is None else self._behind.remove(observer)
        self._observed.number -= 1

    def hold(self) -> HeldWrites:
        """From now on nobody is told. A step within a step holds what the outer one would be told."""
        outer = self[0] if self._behind is not None else None
        assert outer is None or isinstance(outer, HeldWrites)
        if outer is None:
            self._behind = [*self]
        held = HeldWrites(outer)
        self[:] = [held]
        return held

    def let_go(self, held: HeldWrites) -> None:
        """They are there again, as if the step had not begun; nobody has been told."""
        if held.outer is not None:
            self[:] = [held.outer]
        else:
            assert self._behind is not None
            self[:] = self._behind
            self._behind = None


class HeldWrites:
    """What the observers of a database are to be told of a step. Each key once: a script may write one a million
    times."""

    __slots__ = ("everything", "keys", "outer")

    def __init__(self, outer: HeldWrites | None) -> None:
        self.outer = outer
        self.keys: dict[bytes, None] = {}  # in the order in which they were first written
        self.everything = False

    def key_written(self, key: bytes) -> None:
        self.keys[key] = None

    def keys_written(self, keys: Sequence[bytes]) -> None:
        self.keys.update(dict.fromkeys(keys))

    def all_written(self, has_changed: Callable[[bytes], bool]) -> None:
        """Which keys that changes is asked again once the step is kept: here nobody knows yet who wants to know."""
        self.everything = True


class Watcher(Protocol):
    """A session, as far as WATCH knows it."""

    def touch(self) -> None:
        """A key that it watches has changed."""


class Watches:
    """Which sessions watch which keys of one database. It is among the observers only while a key is watched."""

    __slots__ = ("_observers", "_watchers")

    def __init__(self, observers: list[WriteObserver]) -> None:
        """observers: the keyspace's, to which it adds itself."""
        self._observers = observers
        self._watchers: dict[bytes, set[Watcher]] = {}

    def add(self, key: bytes, watcher: Watcher) -> bool:
        """Watch the key. Returns whether the watcher did not watch it before."""
        if not self._watchers:
            self._observers.append(self)
        watchers = self._watchers.setdefault(key, set())
        if watcher in watchers:
            return False
        watchers.add(watcher)
        return True

    def discard(self, key: bytes, watcher: Watcher) -> None:
        watchers = self._watchers.get(key)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[key]
                if not self._watchers:
                    self._observers.remove(self)

    def key_written(self, key: bytes) -> None:
        for watcher in self._watchers.get(key, ()):
            watcher.touch()

    def keys_written(self, keys: Sequence[bytes]) -> None:
        for key in self._watchers.keys() & set(keys):
            self.key_written(key)

    def all_written(self, has_changed: Callable[[bytes], bool]) -> None:
        for key in self._watchers:
            if has_changed(key):
                self.key_written(key)
