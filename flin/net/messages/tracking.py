"""Client-side caching: clients are told of changes of the keys that they may have cached (CLIENT TRACKING).

By default a client is told once of each key that it has read; with BCAST of every key that begins with one of its
prefixes. A write takes the key's readers out of the table at once, so that who reads it afterwards is told of the next
write. They are told when its batch is committed: a batch that the engine refuses puts them back. So a message follows
the replies of its tick, the writer's own among them, and tells of a key once.

    GET a  SET a 1  GET a  SET a 2      in one tick: four replies, then one message

Within a step (EXEC, a script) writes are told of when it is kept. What it reads is entered at once, and once more after
that: whoever read a key before the step wrote it is told, whoever read it afterwards is told of the next write.

Tracking is among the write observers only while somebody tracks: with nobody, nothing costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, Final, Protocol

from flin.net.messages.invalidation import Invalidation, of_everything, of_keys, redirection_is_broken
from flin.net.messages.pattern_index import PrefixIndex
from flin.net.messages.tracking_table import Readers, TrackingTable, numbers_of

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.batch.refusal import Refusal
    from flin.net.data.databases import Databases
    from flin.net.messages.pubsub import Push, Subscriptions
    from flin.net.settings.config import Config

NOBODY: Final = 0
"""The number of no client."""

SEVERAL: Final = -1
"""The writer of a key that several have written."""


PREFIX_BYTES: Final = 560
"""A prefix of one client, beside its bytes (measured with tracemalloc, CPython 3.11, with nobody else's)."""


class Mode(IntFlag):
    """The options of CLIENT TRACKING ON."""

    DEFAULT = 0
    BCAST = 1
    OPTIN = 2
    OPTOUT = 4
    NOLOOP = 8


class Receiver(Protocol):
    """A session, as far as tracking knows it."""

    id: int
    protocol: int
    subscriptions: Subscriptions | None

    @property
    def push(self) -> Push: ...


class Tracker:
    """One client that tracks, from ON to OFF."""

    __slots__ = ("is_broken", "is_caching", "mode", "prefixes", "prefixes_bytes", "receiver", "redirect")

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.mode = Mode.DEFAULT
        self.redirect = NOBODY  # the number of the client that is told in its place
        self.prefixes: set[bytes] = set()
        self.prefixes_bytes = 0  # what they take in memory
        self.is_caching = False  # CLIENT CACHING was sent: for the next command, or transaction
        self.is_broken = False  # the other client was found to be gone

    @property
    def remembers(self) -> bool:
        """Whether the keys of its next command are entered in the table."""
        if self.mode & Mode.BCAST:
            return False
        return self.is_caching if self.mode & Mode.OPTIN else not (self.mode & Mode.OPTOUT and self.is_caching)


class Tracking:
    """The clients of one server that track, and what they are to be told."""

    def __init__(
        self, pending: Pending, databases: Databases, find: Callable[[int], Receiver | None], config: Config
    ) -> None:
        """find: the open session of this number."""
        self.trackers: dict[int, Tracker] = {}
        self.table = TrackingTable()
        self.prefixes: dict[bytes, dict[int, Tracker]] = {}
        self.writer = NOBODY  # the client whose command runs, if it asked for NOLOOP
        self._index: PrefixIndex[tuple[bytes, dict[int, Tracker]]] = PrefixIndex()
        self._readers: dict[bytes, Readers] = {}  # of keys that the pending batch writes, in order
        self._own: dict[bytes, set[int]] = {}  # those of them who wrote it themselves, and asked not to be told
        self._broadcast: dict[bytes, int] = {}  # keys that the pending batch writes, by their writer
        self._flushed: list[dict[bytes, Readers]] = []  # what was in the table when it deletes everything
        self._pending = pending
        self._databases = databases
        self._find = find
        self._config = config

    # Who tracks.

    def start(self, receiver: Receiver, mode: Mode, redirect: int, prefixes: Iterable[bytes]) -> Tracker:
        """ON: begin, or change the mode; prefixes are added to those that it has."""
        tracker = self.trackers.get(receiver.id)
        if tracker is None:
            tracker = Tracker(receiver)
            if not self.trackers:
                self._pending.listen(self)
                for keyspace in self._databases.keyspaces:
                    keyspace.observers.append(self)
            self.trackers[receiver.id] = tracker
        tracker.mode, tracker.redirect, tracker.is_broken = mode, redirect, False
        for prefix in prefixes:
            trackers = self.prefixes.get(prefix)
            if trackers is None:
                trackers = self.prefixes[prefix] = {}
                self._index.put(prefix, (prefix, trackers))
            trackers[receiver.id] = tracker
            if prefix not in tracker.prefixes:
                tracker.prefixes.add(prefix)
                tracker.prefixes_bytes += len(prefix) + PREFIX_BYTES
        return tracker

    def stop(self, receiver: Receiver) -> None:
        """OFF, or its end. Its entries in the table go with the keys' next writes, or with the last who tracks."""
        tracker = self.trackers.pop(receiver.id)
        for prefix in tracker.prefixes:
            trackers = self.prefixes[prefix]
            del trackers[receiver.id]
            if not trackers:
                del self.prefixes[prefix]
                self._index.discard(prefix)
        if not self.trackers:
            self.table.take_all()
            self._forget_batch()
            self._pending.forget(self)
            for keyspace in self._databases.keyspaces:
                keyspace.observers.remove(self)

    # What they read.

    def remember(self, tracker: Tracker, keys: Sequence[bytes]) -> None:
        """Enter keys that it has just read."""
        self._enter(tracker.receiver.id, keys)
        if keys and self._pending.effects is not None:
            self._pending.after_step(lambda: self._enter(tracker.receiver.id, keys))

    def _enter(self, number: int, keys: Sequence[bytes]) -> None:
        if number in self.trackers:
            for key in keys:
                self.table.add(key, number)

    def tell_missed(self, tracker: Tracker, keys: Sequence[bytes]) -> None:
        """Its command has read these keys in slices, from when they were entered until now, and its reply is made. Of
        those that were written meanwhile it was told before that, so it may have cached what is old: it is told
        again."""
        number = tracker.receiver.id
        for key in keys:
            if not self.table.has(key, number):
                self._tell(tracker, of_keys([key], self._settled))
        self.bound()

    def bound(self) -> None:
        """Evict what is beyond the bounds of the table; its readers are told. Call it after the reply to whoever has
        just read: it may be about its own keys."""
        table, most_bytes = self.table, self._config.tracking_table_bytes
        most_keys = self._config.tracking_table_max_keys or len(table)
        if len(table) <= most_keys and table.size_bytes <= most_bytes:
            return
        for key, readers in table.evict(most_keys, most_bytes):
            self._tell_readers(key, readers, self._settled)

    # What is written.

    def begin(self, tracker: Tracker) -> None:
        """A command of this client begins to run: until `end` the writes are its own."""
        self.writer = tracker.receiver.id if tracker.mode & Mode.NOLOOP else NOBODY

    def end(self) -> None:
        self.writer = NOBODY

    # Called by the keyspaces.

    def key_written(self, key: bytes) -> None:
        readers = self.table.take(key)
        if readers is not None:
            self._owe(key, readers)
        if self._index:
            writer = self._broadcast.get(key, self.writer)
            self._broadcast[key] = writer if writer == self.writer else SEVERAL

    def keys_written(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.key_written(key)

    def all_written(self, has_changed: Callable[[bytes], bool]) -> None:
        self._flushed.append(self.table.take_all())

    def note_deleted(self, key: bytes) -> None:
        """The key was written beneath the batch: it had expired, or the log of a follower's group has it."""
        readers = self.table.take(key)
        if readers is not None:
            self._tell_readers(key, readers, self._settled)
        self._tell_broadcast({key: NOBODY}, self._settled)

    def note_cleared(self) -> None:
        """Ranges of keys were deleted beneath the batch."""
        self._flushed.append(self.table.take_all())
        self.batch_committed()

    def _owe(self, key: bytes, readers: Readers) -> None:
        if self.writer:
            numbers = numbers_of(readers)
            if self.writer in numbers:
                self._own[key] = {*self._own.get(key, ()), self.writer}
                readers = numbers - {self.writer}
        owed = self._readers.get(key)
        self._readers[key] = readers if owed is None else {*numbers_of(owed), *numbers_of(readers)}

    # What became of it: called by the pending batch.

    def batch_committed(self) -> None:
        batch = self._settled
        owed, broadcast, flushed = self._readers, self._broadcast, self._flushed
        if not (owed or broadcast or flushed):
            return
        self._forget_batch()
        for key, readers in owed.items():
            self._tell_readers(key, readers, batch)
        if flushed:
            for tracker in [*self.trackers.values()]:
                self._tell(tracker, of_everything(tracker.receiver.protocol, batch))
        self._tell_broadcast(broadcast, batch)

    def batch_refused(self, refusal: Refusal) -> None:
        for written in (self._readers, *self._flushed):
            for key, readers in written.items():
                self.table.put_back(key, readers)
        for key, writers in self._own.items():
            self.table.put_back(key, writers)
        self._forget_batch()

    def _forget_batch(self) -> None:
        self._readers, self._own, self._broadcast = {}, {}, {}
        self._flushed = []

    # Telling them.

    @property
    def _settled(self) -> int:
        """The newest batch that was committed: messages of the present one are dropped if it is refused, these not."""
        return self._pending.batches - 1

    def _tell_readers(self, key: bytes, readers: Readers, batch: int) -> None:
        invalidation = of_keys([key], batch)
        for number in sorted(numbers_of(readers)):
            tracker = self.trackers.get(number)
            # One that has gone over to BCAST is told by its prefixes.
            if tracker is not None and not tracker.mode & Mode.BCAST:
                self._tell(tracker, invalidation)

    def _tell_broadcast(self, written: dict[bytes, int], batch: int) -> None:
        """For each prefix one message with all its keys, in order."""
        if not self._index:
            return
        by_prefix: dict[bytes, tuple[dict[int, Tracker], list[bytes]]] = {}
        for key in sorted(written):
            for prefix, trackers in self._index.under(key):
                by_prefix.setdefault(prefix, (trackers, []))[1].append(key)
        for prefix in sorted(by_prefix):
            trackers, keys = by_prefix[prefix]
            invalidation = of_keys(keys, batch)
            for tracker in [*trackers.values()]:
                if tracker.mode & Mode.NOLOOP:
                    others = [key for key in keys if written[key] != tracker.receiver.id]
                    if others:
                        self._tell(tracker, invalidation if len(others) == len(keys) else of_keys(others, batch))
                else:
                    self._tell(tracker, invalidation)

    def _tell(self, tracker: Tracker, invalidation: Invalidation) -> None:
        receiver = tracker.receiver
        if tracker.redirect:
            other = self._find(tracker.redirect)
            if other is None:
                tracker.is_broken = True
                if receiver.protocol > 2:
                    receiver.push(redirection_is_broken(tracker.redirect, self._settled))
                return
            receiver = other
        if receiver.protocol > 2:
            receiver.push(invalidation.pushed)
        elif tracker.redirect and receiver.subscriptions is not None:
            receiver.push(invalidation.published)
