"""A group's log in etcd: entries under numbers without a hole, appended by whoever leads, read by whoever follows.

The fence: each append compares the revision of the group's leader key, which nothing changes but a change of leader. So
of two that believe to lead only one can append, and what a new leader finds at the log's end stays the end.

    append      if map/leader/G has my revision and log/G/N does not exist: put log/G/N …; else get both

The outcome of an append whose answer is missing is found by the very same transaction: either it is executed now, or
log/G/N exists, and is what was to be put. Truncation keeps the newest entry: a log is empty only where nothing was ever
written, and nobody takes the end of a log that was cut off for the end of what he has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from flin.cluster.etcd.key_value import (
    Compacted,
    Delete,
    Get,
    KeyValueError,
    KeyValueStore,
    ModRevision,
    Pair,
    Put,
    Unavailable,
    Watch,
    WatchBatch,
)
from flin.cluster.keys import Keys, entry_number_of
from flin.cluster.log.log_entry import MAX_ENTRY_BYTES, LogEntry, decode
from flin.errors import CorruptionError, FencedError, FlinError, StorageError

FIRST: Final = 1
"""The number of a log's first entry."""

MAX_APPENDED: Final = 16
"""Entries of one append, at most: 1 MiB. etcd takes 1.5 MiB, and copies that to its members before it answers."""

PAGE_ENTRIES: Final = 64
"""Entries that are read at once, at most: 4 MiB."""

READ_SECONDS: Final = 5.0
"""How long one page of a log may take. It is asked for again."""

RETRY_SECONDS: Final = 0.2
"""Until what was not answered is asked for again: an election takes etcd 1 to 2 s."""


class Fence(NamedTuple):
    """Who leads: the revision of the leader's key at which it became so."""

    epoch: int
    revision: int


class Truncated(FlinError):
    """Entries that are asked for are no longer kept: the replica needs a copy of another's tables."""

    def __init__(self, log: str, first: int, kept: int) -> None:
        super().__init__(
            f"{log} is kept from entry {kept} on, and entry {first} is needed: this replica must be made anew, from a "
            "copy of another one"
        )
        self.first = first
        self.kept = kept


class Numbered(NamedTuple):
    number: int
    entry: LogEntry


class Page(NamedTuple):
    """Entries of a log that follow each other."""

    entries: list[Numbered]
    revision: int
    """The store's, when it was read."""
    is_end: bool
    """There were no more then."""


Receive: TypeAlias = Callable[[list[Numbered] | FlinError], None]
"""Told entries that follow each other without a hole; an error is the last that it is told."""

Later: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Makes a call after so many seconds."""


class ReplicatedLog:
    """The log of one group, for one replica."""

    def __init__(self, store: KeyValueStore, keys: Keys, group: int) -> None:
        self.name: Final = f"the log of group {group}"
        self.group: Final = group
        self.store: Final = store
        self._keys: Final = keys

    def path_of(self, number: int) -> str:
        """The name of an entry, in errors."""
        return f"{self.name}, entry {number}"

    def append(self, fence: Fence, number: int, entries: Sequence[bytes], timeout: float) -> None:
        """Put these entries, of which the first has this number, as one step. At most MAX_APPENDED.

        FencedError is final: none of them is in the log. So is StorageError, and nothing tells whether they were. After
        Unavailable or NoSpace append the very same again: nothing else tells whether they are."""
        key, leader = self._key(number), self._keys.leader(self.group)
        outcome = self.store.txn(
            (ModRevision(leader, fence.revision), ModRevision(key, 0)),
            [Put(self._key(number + place), data) for place, data in enumerate(entries)],
            (Get(leader), Get(key), Get(self._key(FIRST), self._end, 1)),
            timeout=timeout,
        )
        if outcome.succeeded:
            return
        leaders, entry, oldest = outcome.found
        if entry.pairs and entry.pairs[0].value == entries[0]:
            return  # the answer to an earlier try was lost
        if leaders.pairs and leaders.pairs[0].mod_revision == fence.revision:
            raise CorruptionError(self.path_of(number), 0, "it is there, and its leader has not put it")
        if oldest.pairs and entry_number_of(oldest.pairs[0].key) > number:
            raise StorageError("append to", self.name, "another node leads the group now, and has truncated the log")
        raise FencedError(f"group {self.group}", "another node leads the group now")

    def is_led(self, fence: Fence, timeout: float) -> bool:
        """Whether whoever has this fence leads, at some moment after this call. Unavailable."""
        pairs = self.store.get(self._keys.leader(self.group), timeout=timeout).pairs
        return bool(pairs) and pairs[0].mod_revision == fence.revision

    def read(self, first: int, timeout: float = READ_SECONDS) -> Page:
        """The entries from this number on, as far as they fit into a page. What was appended before is among them.

        Truncated: the log begins later by now. CorruptionError: it ends before, or has a hole."""
        start = max(first - 1, FIRST)  # with the one before: it shows that the log reaches so far
        found = self.store.get(self._key(start), self._end, limit=PAGE_ENTRIES + 1, timeout=timeout)
        numbers = [entry_number_of(pair.key) for pair in found.pairs]
        if numbers and numbers[0] > first:
            raise Truncated(self.name, first, numbers[0])
        if not numbers and first > FIRST:
            raise CorruptionError(
                self.path_of(first - 1), 0, "it is missing, though it was applied here: is this another cluster's etcd?"
            )
        pairs = [pair for number, pair in zip(numbers, found.pairs, strict=True) if number >= first]
        return Page(self._numbered(pairs, first), found.revision, not found.more)

    def has(self, first: int, timeout: float = READ_SECONDS) -> bool:
        """Whether all entries from this number on are kept, those to come among them."""
        oldest = Get(self._key(FIRST), self._end, 1, keys_only=True)
        pairs = self.store.txn((), (oldest,), timeout=timeout).found[0].pairs
        return not pairs or entry_number_of(pairs[0].key) <= first

    def follow(self, first: int, receive: Receive, later: Later | None = None) -> Following:
        """Tell of all entries from this number on, those that are there and those to come, in order. The calls are made
        one after the other, by threads of its own (or by `later`, in simulations); while one lasts, no more is
        read. It ends with an error only if the log cannot be followed."""
        return Following(self, first, receive, later or _in_thread)

    def watch(self, first: int, revision: int, receive: Callable[[WatchBatch | KeyValueError], None]) -> Watch:
        """Tell of entries from this number on that are put, and deleted, from the revision on."""
        return self.store.watch(self._key(first), self._end, revision, receive)

    def truncate(self, below: int, timeout: float = READ_SECONDS) -> bool:
        """Delete all entries below this number, if there is one with it: so the newest always stays. Whether there
        is."""
        key = self._key(below)
        outcome = self.store.txn(
            (ModRevision(key, 0),), (), (Delete(self._key(FIRST), key),) if below > FIRST else (), timeout=timeout
        )
        return not outcome.succeeded

    def entries_of(self, batch: WatchBatch, following: int) -> list[Numbered]:
        """The entries that a batch of `watch` has put, from this number on."""
        pairs = [event.pair for event in batch.events if not event.is_delete]
        return self._numbered([pair for pair in pairs if entry_number_of(pair.key) >= following], following)

    def _numbered(self, pairs: Sequence[Pair], first: int) -> list[Numbered]:
        entries: list[Numbered] = []
        for number, pair in enumerate(pairs, first):
            path = self.path_of(number)
            if entry_number_of(pair.key) != number:
                raise CorruptionError(path, 0, f"entry {entry_number_of(pair.key)} stands where it should")
            entries.append(Numbered(number, decode(pair.value, path)))
        return entries

    def _key(self, number: int) -> bytes:
        return self._keys.entry(self.group, number)

    @property
    def _end(self) -> bytes:
        return self._keys.log(self.group)[1]


class Following:
    """A reader that goes on: it lists the log, then watches it. If the watch ends, since what it should tell of is
    compacted by now, it lists from where it is."""

    def __init__(self, log: ReplicatedLog, first: int, receive: Receive, later: Later) -> None:
        self.next_number = first
        """The number of the first entry that was not told yet."""
        self._log = log
        self._receive = receive
        self._later = later
        self._watch: Watch | None = None
        self._is_over = False
        self._telling = threading.RLock()
        later(0, self._list)

    def stop(self) -> None:
        """The receiver is told nothing more once this has returned: it waits for a call under way, unless it is made
        from within that."""
        self._is_over = True
        with self._telling:
            watch = self._watch
        if watch is not None:
            watch.cancel()

    def _list(self) -> None:
        is_end = False
        while not is_end and not self._is_over:
            try:
                page = self._log.read(self.next_number)
            except Unavailable:
                self._later(RETRY_SECONDS, self._list)
                return
            except FlinError as error:
                self._end(error)
                return
            self._tell(page.entries)
            is_end = page.is_end
        with self._telling:
            if not self._is_over:
                self._watch = self._log.watch(self.next_number, page.revision + 1, self._take)

    def _take(self, told: WatchBatch | KeyValueError) -> None:
        if isinstance(told, Compacted):
            self._later(0, self._list)
            return
        if isinstance(told, KeyValueError):
            self._end(told)
            return
        try:
            entries = self._log.entries_of(told, self.next_number)
        except FlinError as error:
            self._end(error)
            return
        self._tell(entries)

    def _tell(self, entries: list[Numbered]) -> None:
        with self._telling:
            if entries and not self._is_over:
                self.next_number = entries[-1].number + 1
                self._receive(entries)

    def _end(self, error: FlinError) -> None:
        with self._telling:
            if not self._is_over:
                self._is_over = True
                self._receive(error)


def _in_thread(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.name, timer.daemon = "log reader", True
    timer.start()


assert MAX_APPENDED * MAX_ENTRY_BYTES <= 1 << 20
