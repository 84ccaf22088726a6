"""Waiters: who waits for which keys, in the order in which they came, and which of these keys are ready.

A waiter stands in a line for each key that it waits for. The lines of a database are among its write observers
(observers.py) only while somebody stands in them: with none, a write costs what it cost before. A write that may
satisfy a line makes its key ready, and dispatch looks at the ready keys after the command (serve/waiting.py).

`ready` may hold a key too much, such as one that a transaction pushed to before it was rolled back: whoever serves a
key looks at what is there. It never holds one too few.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from flin.engine.key import namespace_of
from flin.net.data.database_keys import user_part
from flin.net.data.keyspace import Keyspace
from flin.objects.layout import LIST, SORTED_SET, STREAM

if TYPE_CHECKING:
    from flin.engine.entry import Entry
    from flin.net.batch.pending import Pending
    from flin.net.batch.refusal import Refusal

AWAITED_TAGS: Final = frozenset((LIST, SORTED_SET, STREAM))
"""The types for which somebody may wait."""


class Waiter(Protocol):
    """A blocked client, as far as its lines know it."""

    @property
    def wakes_at_end(self) -> bool:
        """Whether it is also told that a key was deleted or has become another type."""


class Lines:
    """The lines of one database. Keys are users' keys."""

    __slots__ = ("_pending", "_ready", "by_key", "keyspace", "wake_at_end")

    def __init__(self, keyspace: Keyspace, pending: Pending, ready: dict[tuple[Lines, bytes], None]) -> None:
        self.keyspace = keyspace
        # Ordered, since a dict whose first item is taken again and again walks over all that were taken before.
        self.by_key: dict[bytes, OrderedDict[Waiter, None]] = {}
        self.wake_at_end = 0  # how many do
        self._pending = pending
        self._ready = ready

    def add(self, keys: Sequence[bytes], waiter: Waiter) -> None:
        if not self.by_key:
            self.keyspace.observers.append(self)
        self.wake_at_end += waiter.wakes_at_end
        for key in keys:
            self.by_key.setdefault(key, OrderedDict())[waiter] = None

    def discard(self, keys: Sequence[bytes], waiter: Waiter) -> None:
        self.wake_at_end -= waiter.wakes_at_end
        for key in dict.fromkeys(keys):
            line = self.by_key[key]
            del line[waiter]
            if not line:
                del self.by_key[key]
        if not self.by_key:
            self.keyspace.observers.remove(self)

    def in_order(self, key: bytes) -> Iterator[Waiter]:
        """Those who wait for the key; whoever leaves meanwhile is left out. Nearly always only the first one is asked
        for: then the others are not looked at."""
        line = self.by_key.get(key)
        if line is None:
            return
        first = next(iter(line))
        yield first
        for waiter in list(line):
            if waiter is not first and waiter in line:
                yield waiter

    # Called by the keyspace.

    def key_written(self, key: bytes) -> None:
        if key in self.by_key:
            self._note_written(key)

    def keys_written(self, keys: Sequence[bytes]) -> None:
        by_key = self.by_key
        for key in keys:
            if key in by_key:
                self._note_written(key)

    def all_written(self, has_changed: Callable[[bytes], bool]) -> None:
        for key in self.by_key:
            self.maybe_note(key, self.keyspace.outline_waiting(key))

    def _note_written(self, key: bytes) -> None:
        self.maybe_note(key, self._pending.points.get(self.keyspace.stored(key)))

    def maybe_note(self, key: bytes, entry: Entry | None) -> None:
        """Note a key that has this entry now, unless it is of no type that anybody waits for."""
        if self.wake_at_end or (type(entry) is tuple and entry[2] in AWAITED_TAGS):
            self.note(key)

    def note(self, key: bytes) -> None:
        """The key is ready: keys are served in the order in which they became so."""
        self._ready.setdefault((self, key))
        self._pending.note_ready()


class Waiters:
    """The lines of all databases, and their ready keys. It hears of refused batches only while somebody waits."""

    __slots__ = ("_lines", "_pending", "number", "ready")

    def __init__(self, pending: Pending) -> None:
        self.ready: dict[tuple[Lines, bytes], None] = {}
        self.number = 0  # of waiters
        self._lines: dict[Keyspace, Lines] = {}
        self._pending = pending

    def add(self, keyspace: Keyspace, keys: Sequence[bytes], waiter: Waiter) -> None:
        """Put the waiter at the end of the lines for these keys."""
        lines = self._lines.get(keyspace)
        if lines is None:
            lines = self._lines[keyspace] = Lines(keyspace, self._pending, self.ready)
        lines.add(keys, waiter)
        if not self.number:
            self._pending.listen(self)
        self.number += 1

    def discard(self, keyspace: Keyspace, keys: Sequence[bytes], waiter: Waiter) -> None:
        """Take the waiter out of the lines; it stands in them."""
        self._lines[keyspace].discard(keys, waiter)
        self.number -= 1
        if not self.number:
            self._pending.forget(self)

    def take_ready(self) -> tuple[Lines, bytes]:
        """The key that has been ready for the longest time; there is one."""
        first = next(iter(self.ready))
        del self.ready[first]
        return first

    def forget_ready(self, number: int) -> None:
        """Forget all but the first `number` of the ready keys: who wrote them has changed nothing that matters."""
        while len(self.ready) > number:
            self.ready.popitem()

    def note_deleted(self, stored: bytes) -> None:
        """The stored key was deleted beneath the batch: it had expired."""
        namespace = namespace_of(stored)
        key = user_part(stored)
        for lines in self._lines.values():
            if lines.wake_at_end and key in lines.by_key and lines.keyspace.namespace == namespace:
                lines.note(key)

    def note_foreign(self, keyspace: Keyspace, key: bytes, entry: Entry) -> None:
        """The key was written beneath the batch, on a follower."""
        lines = self._lines.get(keyspace)
        if lines is not None and key in lines.by_key:
            lines.maybe_note(key, entry)

    # Called by the pending batch.

    def batch_committed(self) -> None:
        pass

    def batch_refused(self, refusal: Refusal) -> None:
        """What the batch took out of a key is there again, and somebody may have begun to wait for it."""
        for lines in self._lines.values():
            for key in lines.by_key:
                if refusal.holds(lines.keyspace.stored(key)):
                    lines.note(key)
