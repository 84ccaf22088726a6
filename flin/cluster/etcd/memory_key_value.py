"""The twin of etcd in memory, for tests and simulations: one store, several clients, and faults on demand.

    values = MemoryKeyValues()
    one, other = values.client(), values.client()
    one.plan(Fate.ANSWER_LOST)         # its next request is executed, and it does not learn of it
    other.cut()                        # nothing passes till other.mend()

Faults are those that a network and an election make of a request: it is lost, its answer is, or it is executed *late*,
after its sender has given up and perhaps asked again. `judge` decides for each request what becomes of it.

By default it lives in real time, with a thread for each watch. With a `Timing` (of a simulation) it has no threads:
watches are told by calls that it hands to the timing, and whoever waits lets virtual time pass.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Final, Protocol, TypeVar

from sortedcontainers import SortedDict

from flin.cluster.etcd.key_value import (
    LATEST,
    Compacted,
    Delete,
    Event,
    Found,
    Get,
    KeyValueError,
    ModRevision,
    NoSpace,
    Operation,
    Outcome,
    Pair,
    Put,
    Receive,
    Refused,
    Unavailable,
    WatchBatch,
)

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)

MAX_OPERATIONS: Final = 128
"""etcd's --max-txn-ops."""

MAX_REQUEST_BYTES: Final = 1536 << 10
"""etcd's --max-request-bytes; keys and values alone are counted here."""


MENDED_SECONDS: Final = 1.0
"""A watch whose line is cut looks again after this, though it is woken when the line is mended."""


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = auto()
    REQUEST_LOST = auto()
    ANSWER_LOST = auto()
    LATE = auto()
    """Its sender gives up, and it is executed by `deliver_late`."""


class Timing(Protocol):
    """The time of a simulation."""

    def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, call: Callable[[], None]) -> None: ...


class MemoryKeyValues:
    """The store itself: what a majority of etcd's members agrees on."""

    def __init__(self, timing: Timing | None = None) -> None:
        self.timing = timing
        self.revision = 1  # as etcd begins
        self.compacted = 0
        self.is_full = False
        """As with etcd's alarm NOSPACE: puts are refused."""
        self._changed = threading.Condition()
        self._pairs: SortedDict[bytes, Pair] = SortedDict()
        self._base: dict[bytes, Pair] = {}  # as of `compacted`
        self._history: list[Event] = []  # after it
        self._clients: list[MemoryKeyValueStore] = []

    def client(self) -> MemoryKeyValueStore:
        client = MemoryKeyValueStore(self)
        self._clients.append(client)
        return client

    def pairs_at(self, key: bytes, end: bytes, limit: int, revision: int) -> Found:
        with self._changed:
            if revision == LATEST:
                return self._find(self._pairs, key, end, limit)
            if revision > self.revision:
                raise Unavailable(f"revision {revision} is yet to come")
            if revision < self.compacted:
                raise Compacted(self.compacted)
            pairs = SortedDict(self._base)
            for event in self._history:
                if event.pair.mod_revision <= revision:
                    _apply(pairs, event)
            return self._find(pairs, key, end, limit)

    def _find(self, pairs: SortedDict[bytes, Pair], key: bytes, end: bytes, limit: int) -> Found:
        found = [pairs[each] for each in _keys_in(pairs, key, end)]
        cut = found[:limit] if limit else found
        return Found(tuple(cut), self.revision, len(cut) < len(found))

    def run(
        self, compares: Sequence[ModRevision], success: Sequence[Operation], failure: Sequence[Operation]
    ) -> Outcome:
        _check(success)
        _check(failure)
        with self._changed:
            if self.is_full and any(isinstance(each, Put) for each in (*success, *failure)):
                raise NoSpace("the store is full")
            succeeded = all(self._mod_revision(each.key) == each.equals for each in compares)
            events: list[Event] = []
            found: list[Found] = []
            for operation in success if succeeded else failure:
                if isinstance(operation, Get):
                    there = self._find(self._pairs, operation.key, operation.end, operation.limit)
                    found.append(_without_values(there) if operation.keys_only else there)
                else:
                    events.extend(self._change(operation))
            if events:
                self.revision += 1
                self._history.extend(events)
                self._changed.notify_all()
                for client in self._clients:
                    client.note_change()
            return Outcome(succeeded, self.revision, tuple(each._replace(revision=self.revision) for each in found))

    def _mod_revision(self, key: bytes) -> int:
        pair = self._pairs.get(key)
        return 0 if pair is None else pair.mod_revision

    def _change(self, operation: Put | Delete) -> list[Event]:
        """Apply one operation; its events have the next revision, which counts only if there are any."""
        revision = self.revision + 1
        if isinstance(operation, Put):
            old = self._pairs.get(operation.key)
            created, version = (revision, 1) if old is None else (old.create_revision, old.version + 1)
            events = [Event(Pair(operation.key, operation.value, created, revision, version))]
        else:
            keys = _keys_in(self._pairs, operation.key, operation.end)
            events = [Event(Pair(key, b"", 0, revision, 0), is_delete=True) for key in keys]
        for event in events:
            _apply(self._pairs, event)
        return events

    def compact(self, revision: int) -> None:
        with self._changed:
            if revision > self.revision:
                raise Unavailable(f"revision {revision} is yet to come")
            if revision <= self.compacted:
                return
            cut = self._first_from(revision + 1)
            for event in self._history[:cut]:
                _apply(self._base, event)
            del self._history[:cut]
            self.compacted = revision
            self._changed.notify_all()

    def _first_from(self, revision: int) -> int:
        return bisect_left(self._history, revision, key=lambda event: event.pair.mod_revision)

    def changes_from(self, revision: int, key: bytes, end: bytes) -> WatchBatch:
        """Those of a range. Raises Compacted."""
        with self._changed:
            # At `compacted` itself a change might be missing too: etcd may have dropped a deletion of that revision.
            if revision <= self.compacted:
                raise Compacted(self.compacted + 1)
            later = self._history[self._first_from(revision) :]
            return WatchBatch(tuple(each for each in later if _is_in(each.pair.key, key, end)), self.revision)

    def wait_for_change(self, revision: int, is_over: Callable[[], bool]) -> None:
        """Till there is a revision after this one, or it is over (of which `wake` tells)."""
        with self._changed:
            self._changed.wait_for(lambda: self.revision > revision or self.compacted > revision or is_over())

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds) if self.timing is None else self.timing.sleep(seconds)

    def sleep_till(self, is_over: Callable[[], bool], seconds: float) -> bool:
        """Wait, but no longer than this; whether it is over."""
        if self.timing is not None:
            if not is_over():
                self.timing.sleep(seconds)
            return is_over()
        with self._changed:
            return self._changed.wait_for(is_over, seconds)


def _without_values(found: Found) -> Found:
    return found._replace(pairs=tuple(pair._replace(value=b"") for pair in found.pairs))


def _apply(pairs: dict[bytes, Pair], event: Event) -> None:
    if event.is_delete:
        pairs.pop(event.pair.key, None)
    else:
        pairs[event.pair.key] = event.pair


def _keys_in(pairs: SortedDict[bytes, Pair], key: bytes, end: bytes) -> Sequence[bytes]:
    if end:
        return list(pairs.irange(key, end, inclusive=(True, False)))
    return (key,) if key in pairs else ()


def _is_in(key: bytes, start: bytes, end: bytes) -> bool:
    return start <= key < end if end else key == start


def _check(branch: Sequence[Operation]) -> None:
    """What etcd refuses, whichever branch would run."""
    puts = [each for each in branch if isinstance(each, Put)]
    if len(branch) > MAX_OPERATIONS:
        raise Refused(f"{len(branch)} operations, at most {MAX_OPERATIONS} are taken")
    if len({put.key for put in puts}) < len(puts):
        raise Refused("a key is put twice")
    if any(_is_in(put.key, each.key, each.end) for put in puts for each in branch if isinstance(each, Delete)):
        raise Refused("a key is put and deleted")
    size = sum(len(put.key) + len(put.value) for put in puts)
    if size > MAX_REQUEST_BYTES:
        raise Refused(f"{size} bytes, at most {MAX_REQUEST_BYTES} are taken")


class MemoryKeyValueStore:
    """A client of it, and the line between the two."""

    def __init__(self, values: MemoryKeyValues) -> None:
        self.values = values
        self.judge: Callable[[], Fate] = lambda: Fate.ANSWERED
        """Asked for each request that passes."""
        self.delay = 0.0
        """Seconds that each request takes, and each batch of a watch."""
        self._planned: deque[Fate] = deque()
        self._late: deque[Callable[[], object]] = deque()
        self._is_cut = False
        self._is_closed = False
        self._watches: list[MemoryWatch] = []

    # Faults.

    def plan(self, *fates: Fate) -> None:
        """What becomes of the next requests; `judge` decides of those after them."""
        self._planned.extend(fates)

    def cut(self) -> None:
        """From now on nothing passes: requests wait in vain, watches are told nothing."""
        self._is_cut = True

    def mend(self) -> None:
        self._is_cut = False
        self.values.wake()
        self.note_change()

    def deliver_late(self) -> None:
        """Execute the requests whose fate was LATE, in their order."""
        while self._late:
            with suppress(KeyValueError):  # nobody waits for the answer
                self._late.popleft()()

    @property
    def passes(self) -> bool:
        return not self._is_cut

    # A store.

    def get(
        self, key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = LATEST, serializable: bool = False,
        timeout: float,
    ) -> Found:  # fmt: skip
        return self._ask(lambda: self.values.pairs_at(key, end, limit, revision), timeout)

    def txn(
        self, compares: Sequence[ModRevision], success: Sequence[Operation], failure: Sequence[Operation] = (), *,
        timeout: float,
    ) -> Outcome:  # fmt: skip
        return self._ask(lambda: self.values.run(compares, success, failure), timeout)

    def compact(self, revision: int, *, timeout: float) -> None:
        self._ask(lambda: self.values.compact(revision), timeout)

    def _ask(self, execute: Callable[[], Answer], timeout: float) -> Answer:
        is_over = lambda: self.passes or self._is_closed  # noqa: E731
        if not self.values.sleep_till(is_over, timeout) or self._is_closed:
            raise Unavailable("there is no answer")
        fate = self._planned.popleft() if self._planned else self.judge()
        if self.delay:
            self.values.sleep(min(self.delay, timeout))
            fate = Fate.LATE if self.delay >= timeout else fate
        if fate is Fate.LATE:
            self._late.append(execute)
        elif fate is not Fate.REQUEST_LOST:
            answer = execute()
            if fate is Fate.ANSWERED and self.passes:
                return answer
        raise Unavailable(f"there is no answer ({fate.name})")

    def watch(self, key: bytes, end: bytes, revision: int, receive: Receive) -> MemoryWatch:
        watch = MemoryWatch(self, key, end, revision, receive)
        self._watches.append(watch)
        watch.begin()
        return watch

    def close(self) -> None:
        self._is_closed = True
        for watch in self._watches:
            watch.cancel()
        self.values.wake()

    def note_change(self) -> None:
        if self.values.timing is not None:
            for watch in self._watches:
                watch.schedule()


class MemoryWatch:
    """Tells a receiver of changes, from a thread of its own or by calls of the simulation's timing."""

    def __init__(self, client: MemoryKeyValueStore, key: bytes, end: bytes, revision: int, receive: Receive) -> None:
        if revision < 1:
            raise ValueError("a watch begins at a revision: that of a list, and one more")
        self._client = client
        self._key, self._end = key, end
        self._next = revision
        self._receive = receive
        self._is_over = False
        self._is_scheduled = False
        self._telling = threading.RLock()

    def begin(self) -> None:
        if self._client.values.timing is not None:
            self.schedule()
        else:
            threading.Thread(target=self._run, name="memory watch", daemon=True).start()

    def cancel(self) -> None:
        self._is_over = True
        self._client.values.wake()
        with self._telling:
            pass

    def schedule(self) -> None:
        """In a simulation: look for changes, when what is on its way has arrived."""
        timing = self._client.values.timing
        assert timing is not None
        if not self._is_scheduled and not self._is_over and self._client.passes:
            self._is_scheduled = True
            timing.call_later(self._client.delay, self._step)

    def _step(self) -> None:
        self._is_scheduled = False
        if self._client.passes:
            self._tell()

    def _run(self) -> None:
        values = self._client.values
        while not self._is_over:
            values.wait_for_change(self._next - 1, lambda: self._is_over)
            while not (
                self._is_over or values.sleep_till(lambda: self._client.passes or self._is_over, MENDED_SECONDS)
            ):
                pass
            values.sleep(self._client.delay)
            if self._client.passes:
                self._tell()

    def _tell(self) -> None:
        with self._telling:
            if self._is_over:
                return
            told: WatchBatch | KeyValueError
            try:
                told = self._client.values.changes_from(self._next, self._key, self._end)
            except KeyValueError as error:
                told, self._is_over = error, True
            else:
                self._next = max(self._next, told.revision + 1)
                if not told.events:
                    return
            try:
                self._receive(told)
            except Exception:  # the outermost frame of the watch
                logger.exception("a watch ends: its receiver failed")
                self._is_over = True
