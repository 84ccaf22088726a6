"""The live objects of a database: found, kept while there is room, written before each commit.

Coherence. One process owns a directory, and all its writes go through its databases. So:

- Whatever writes a key in another way (SET, DEL, RENAME onto it) forgets its object first, also if it is dirty: what
  is forgotten writes nothing any more.
- A batch that was refused or rolled back forgets all objects of all databases: one that was clean may have been read
  from the batch that is gone.
- An object is evicted only while it is clean and the batch is empty of it: never between its change and its commit.
- Expiry is judged whenever a key is asked for, by the batch's clock.

Objects are kept in two generations: those that are used move to the young one, and when it has half of the room, the
old one goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from flin.engine.entry import Live
from flin.errors import CommandError, CorruptionError, FormatVersionError
from flin.objects.copying import maybe_spread
from flin.objects.host import Host
from flin.objects.live_object import LiveObject
from flin.objects.thresholds import Thresholds

WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"

MAX_GONE: Final = 10_000
"""Anchors that wait for the reaper; of more the oldest are found by its next walk."""

TELLS: Final = 16
"""Times that it says that more is used, until half of the room is."""

Kind = TypeVar("Kind", bound=LiveObject)


class LiveObjects:
    """The objects of one database. `room_bytes` bounds what is clean; what is dirty is bounded by the batch."""

    def __init__(
        self, host: Host, room_bytes: int, thresholds: Thresholds, on_used: Callable[[int], None] = lambda _: None
    ) -> None:
        """on_used: told how many bytes of the room are used, now and then; whoever lent them takes as much less."""
        self.host: Final = host
        self.thresholds: Final = thresholds
        self.live: Final[dict[bytes, LiveObject]] = {}  # the young generation, and what is dirty
        self.old: dict[bytes, LiveObject] = {}  # the old generation: another dict after each eviction
        self._dirty: dict[bytes, LiveObject] = {}
        self.gone: Final[deque[bytes]] = deque(maxlen=MAX_GONE)  # anchors whose owner may have gone, for the reaper
        self._half_bytes = room_bytes // 2
        self._young_bytes = 0
        self._old_bytes = 0
        self._on_used = on_used
        self._told_bytes = 0

    @property
    def large_bytes(self) -> int:
        """Three eighths of the room: more would drive out all others whenever it is used."""
        return self._half_bytes * 3 // 4

    # Finding.

    def find(self, key: bytes, kind: type[Kind]) -> Kind | None:
        """The key's object; None if there is no such key. CommandError WRONGTYPE for a key of another type."""
        found = self.live.get(key)
        if found is not None and type(found) is kind and not found.expires_at_ms:
            return found
        entry = self.host.entry(key)  # TOMBSTONE, another type, a placeholder: it knows
        if entry is None:
            return None
        if type(entry) is bytes or entry[2] != kind.TAG:
            raise CommandError(WRONG_TYPE)
        if found is None:
            found = self._take_old(key) or self._load(key, entry, kind)
            self._keep(key, found)
        assert type(found) is kind
        return found

    def find_or_make(self, key: bytes, kind: type[Kind]) -> Kind:
        """The key's object, or an empty one, which enters the database with its first change."""
        found = self.find(key, kind)
        return kind(self, key) if found is None else found

    def _load(self, key: bytes, entry: Live, kind: type[Kind]) -> LiveObject:
        assert type(entry) is tuple
        made = kind(self, key)
        made.load(entry[0], entry[1])
        return made

    def names(self, key: bytes, version: int) -> bool:
        """Whether the key's own entry has this version, and so owns its pieces. What nobody can read owns them."""
        found = self.live.get(key)
        if found is not None and found.is_dirty:
            return found.meta is not None and found.meta.version == version
        entry = self.host.own_entry(key)
        if entry is None:
            return False
        try:
            meta = maybe_spread(entry)
        except (CorruptionError, FormatVersionError):
            return True
        return meta is not None and meta.version == version

    # Changes, told by objects.

    def touch(self, changed: LiveObject, size_bytes: int = 0) -> None:
        """It has changed. size_bytes: what its value adds to the batch, about."""
        key = changed.key
        if changed.is_dirty:  # its placeholder is in the batch
            self.host.tell_changed(key)
            return
        changed.is_dirty = True  # from here on it is not evicted
        if self.live.get(key) is not changed:  # made or evicted just now, perhaps another one has expired
            self.forget(key)
            self._keep(key, changed)
        if not self._dirty:
            self.host.settle_later(self.settle)
        self._dirty[key] = changed
        self.host.put_own(key, (b"", changed.expires_at_ms, changed.TAG), size_bytes)

    def grown(self, key: bytes) -> None:
        """The key's object may hold more in memory, though it has not changed."""
        found = self.live.get(key)
        if found is not None:
            self._recharge(found)
            if self._young_bytes > self._half_bytes:
                self._evict()

    def delete(self, emptied: LiveObject) -> None:
        """It has lost its last element."""
        key = emptied.key
        if emptied.meta is not None:
            self.host.delete_piece(emptied.anchor())
        self.forget(key)
        self.host.delete_own(key)

    def abandon(self, whole: LiveObject) -> None:
        """A spread one has lost all of its elements at once: the reaper deletes its pieces."""
        self.forget(whole.key)
        self.host.delete_own(whole.key)

    # The batch.

    def settle(self) -> None:
        """Write what is dirty: before a commit, a savepoint, and whatever reads entries as they are."""
        for changed in self._dirty.values():
            self._settle(changed)
        self._dirty.clear()
        if self._young_bytes > self._half_bytes:
            self._evict()

    def settle_key(self, key: bytes) -> None:
        """Write one key's object, if it is dirty."""
        changed = self._dirty.pop(key, None)
        if changed is not None:
            self._settle(changed)

    def _settle(self, changed: LiveObject) -> None:
        changed.is_dirty = False
        self.host.settle_own(changed.key, changed.own_entry())
        if changed.outlives_commit:
            self._recharge(changed)
        else:
            del self.live[changed.key]
            self._young_bytes -= changed.charged_bytes

    # Forgetting.

    def has_any(self, keys: Sequence[bytes]) -> bool:
        """Whether one of them has an object here: 50 ns each, a tenth of what `forget` costs."""
        return not (self.live.keys().isdisjoint(keys) and self.old.keys().isdisjoint(keys))

    def forget(self, key: bytes) -> LiveObject | None:
        """The key is written in another way. What was forgotten, if it was live."""
        found = self.live.pop(key, None)
        if found is None:
            found = self._take_old(key)
        else:
            self._dirty.pop(key, None)
            found.is_dirty = False
            self._young_bytes -= found.charged_bytes
        if found is not None and found.meta is not None:
            self.gone.append(found.anchor())
        return found

    def drop(self, key: bytes) -> None:
        """Out of memory, as an eviction: the key stays as it is. Only for what is clean, also in the batch."""
        found = self.live.pop(key, None)
        if found is None:
            self._take_old(key)
        else:
            self._young_bytes -= found.charged_bytes

    def forget_all(self) -> None:
        """All keys are, or nobody knows what the batch held."""
        for changed in self._dirty.values():
            changed.is_dirty = False
        self.live.clear()
        self.old.clear()
        self._dirty.clear()
        self._young_bytes = self._old_bytes = 0
        if self._told_bytes:
            self._tell()

    # Room.

    def _keep(self, key: bytes, found: LiveObject) -> None:
        self.live[key] = found
        found.charged_bytes = 0
        self._recharge(found)
        if self._young_bytes > self._half_bytes:
            self._evict()

    def _take_old(self, key: bytes) -> LiveObject | None:
        """Out of the old generation, also out of what that one costs."""
        found = self.old.pop(key, None)
        if found is not None:
            self._old_bytes -= found.charged_bytes
        return found

    def _recharge(self, found: LiveObject) -> None:
        """It was kept, or has grown."""
        before, found.charged_bytes = found.charged_bytes, found.charge_bytes()
        self._young_bytes += found.charged_bytes - before
        if self._young_bytes + self._old_bytes > self._told_bytes + self._half_bytes // TELLS:
            self._tell()

    def _tell(self) -> None:
        self._told_bytes = self._young_bytes + self._old_bytes
        self._on_used(self._told_bytes)

    def _evict(self) -> None:
        """The old generation goes, the young one becomes old. What is dirty stays where it is."""
        live = self.live
        old = {key: clean for key, clean in live.items() if not clean.is_dirty}
        for key in old:
            del live[key]
        self._old_bytes = sum(clean.charged_bytes for clean in old.values())
        for key in list(old):  # a batch of many large ones may have been more than half of the room
            if self._old_bytes <= self._half_bytes:
                break
            self._old_bytes -= old.pop(key).charged_bytes
        self.old = old
        self._young_bytes = sum(dirty.charged_bytes for dirty in live.values())
        self._tell()

    def __len__(self) -> int:
        return len(self.live) + len(self.old)

    def each(self) -> list[LiveObject]:
        """All of them."""
        return [*self.live.values(), *self.old.values()]

    def memory_bytes(self) -> int:
        """What all of them cost, about."""
        return sum(found.charged_bytes for kept in (self.live, self.old) for found in kept.values())

    def _check(self) -> None:
        """For tests."""
        assert self.live.keys().isdisjoint(self.old)
        assert all(self.live.get(key) is changed for key, changed in self._dirty.items())
        assert all(found.is_dirty == (key in self._dirty) for key, found in self.live.items())
        assert not any(found.is_dirty for found in self.old.values())
        assert self._young_bytes == sum(found.charged_bytes for found in self.live.values())
        assert self._old_bytes == sum(found.charged_bytes for found in self.old.values())
