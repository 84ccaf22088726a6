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
