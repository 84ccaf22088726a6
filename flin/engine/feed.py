"""The feed: what was committed, in order, as events, from any event on that is still kept.

Nothing is queued: events are read from the write-ahead log's files, as far as it is committed (or, `durable`, synced).
So a feed that is slow costs no memory, and one that begins in the past is the same as one that has fallen behind. A
feed that has read everything leaves a waker with the store (tree/watchers.py), and the next commit calls it.

Each operation of a commit has a sequence of its own, and all sequences rise without a hole. So `since=event.sequence`
goes on directly after the event, also in the middle of a commit.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from operator import index
from time import monotonic
from typing import Final, Literal, NamedTuple, TypeAlias

from flin.engine.buffers import BytesLike, as_bytes
from flin.engine.entry import TOMBSTONE, Entry, Range
from flin.engine.key import USER_END, user_key
from flin.engine.reentry import holds_lock, refuse_reentry
from flin.engine.tree.reader_store import READ_ONLY_TEXT
from flin.engine.tree.store import Store
from flin.engine.tree.watchers import Waker
from flin.engine.view import scan_bounds
from flin.engine.wal.frames import (
    FRAME_BYTES,
    FRAME_END,
    FRAME_PUT,
    HEADER_BYTES,
    Columns,
    SealedColumns,
    ValidFrames,
    decode_payload,
)
from flin.engine.wal.replay import check_end
from flin.engine.wal.retention import ChainedSegment, chain, segments_of
from flin.engine.wal.tail import Chunk, Rewritten, Tail, Taken
from flin.engine.wal.writer import Place
from flin.errors import CorruptionError, FeedGapError, ReadOnlyError, StorageError

LOOK_SECONDS: Final = 0.5
"""How often a feed that waits looks by itself: a commit that was put off (reentry.py) wakes nobody before the next."""

ATTEMPTS: Final = 10
"""How often a feed looks for its first segment while flushes remove segments before it."""

EventKind: TypeAlias = Literal["put", "delete", "delete_range", "collection"]


class Event(NamedTuple):
    """One operation of a commit."""

    key: bytes
    """The key; of a range delete, where the range begins (inclusive)."""
    value: bytes | None
    """The value that was put. None: the key, or the range, was deleted; or it holds a collection now."""
    sequence: int
    """The number of the operation: one more than that of the operation before."""
    kind: EventKind = "put"
    stop: bytes | None = None
    """Where the range of a range delete ends (exclusive); None: it has no end."""
    expires_at_ms: int = 0
    """When the value expires, in milliseconds since 1970; 0: never."""
    commit: int = 0
    """The sequence of the first operation of the commit: the same in all of its events."""


class Feed(Iterator[Event]):
    """An iterator over events that waits for the next one. For one thread at a time, except `close`.

    It raises FeedGapError if events that it has not given yet are no longer kept, ClosedError once the database is
    closed, CorruptionError or StorageError if the log cannot be read."""

    def __init__(
        self,
        store: Store,
        prefix: BytesLike,
        since: int | None,
        *,
        durable: bool,
        timeout: float | None,
        part: bytes = b"",
    ) -> None:
        """`part`: the prefix of the part of the database (prefixed.py) whose keys it gives, without it."""
        if store.options.read_only:
            raise ReadOnlyError(READ_ONLY_TEXT)
        self._store: Final = store
        self._start, self._stop = scan_bounds(part + as_bytes("a prefix", prefix), None, None, True, False)
        self._part: Final = part
        self._durable: Final = durable
        self._timeout: Final = timeout
        self._events: deque[Event] = deque()
        self._is_closed = False
        self._wakers: set[Waker] = set()  # those that wait: one, or none
        since = None if since is None else _checked(since)
        self._given = since or 0  # the sequence of the last event that was given: no earlier one is wanted
        self._tail = self._tail_from(since)
        store.watchers.follow(self)

    # Events.

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Event:
        event = self.get(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event. None if none came within so many seconds, or the feed is closed."""
        deadline = None if timeout is None else monotonic() + timeout
        while (event := self.poll()) is None and not self._is_closed:
            left = LOOK_SECONDS if deadline is None else deadline - monotonic()
            if left <= 0:
                return None
            self._wait(min(left, LOOK_SECONDS))
        return event

    def poll(self) -> Event | None:
        """The next event, if there is one now."""
        while not self._events and not self._is_closed and self.fetch():
            pass
        if self._is_closed or not self._events:
            return None
        event = self._events.popleft()
        self._given = event.sequence
        return event

    def take(self, most: int) -> list[Event]:
        """The next events, up to so many of those that are read already."""
        events = self._events
        taken = [events.popleft() for _ in range(min(most, len(events)))]
        if taken:
            self._given = taken[-1].sequence
        return taken

    @property
    def sequence(self) -> int:
        """Everything up to the operation with this sequence was given, or concerned other keys: watch `since` it to go
        on from here."""
        return max(self._given, (self._events[0].sequence if self._events else self._tail.sequence) - 1)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """End the iteration, in whatever thread or task it waits. Idempotent."""
        self._is_closed = True
        self._store.watchers.leave(self)
        for waker in list(self._wakers):
            waker()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def position(self) -> int:
        """Up to where it has read the log."""
        return self._tail.position

    # Reading. `backlog`, `fetch` and `wake` are for aio_feed.py.

    def backlog(self) -> int:
        """About how many bytes of the log are to be read."""
        return max(0, self._reached() - self._tail.position)

    @holds_lock
    def fetch(self) -> bool:
        """Read a stretch of the log, which may hold no event of this feed; False if there is nothing to read."""
        refuse_reentry("reading of a feed")
        tail, reached = self._tail, self._reached()
        if tail.position >= reached:
            return False
        try:
            if tail.read(self._take, reached, once=True) or tail.position == reached:
                return True
            reason = f"the log has no frame at position {tail.position}"
        except (Rewritten, FileNotFoundError) as error:
            reason = str(error)
        except OSError as error:
            raise StorageError("read the log of", self._store.directory, error) from error
        gap = self._gap(tail.sequence - 1)
        if gap.first_kept > tail.sequence:
            raise gap
        raise CorruptionError(self._store.directory, 0, reason)

    def wake(self, waker: Waker) -> bool:
        """Call the waker once there may be something to read, or to learn. False if that is so now."""
        self._wakers.add(waker)
        return not self._is_closed and self._store.wake_after(self._tail.position, waker, durable=self._durable)

    def sleep_no_more(self, waker: Waker) -> None:
        """Forget the waker."""
        self._wakers.discard(waker)
        self._store.watchers.forget(waker)

    def _wait(self, seconds: float) -> None:
        lock = allocate_lock()  # no Event: a signal handler may write in the middle of its methods
        lock.acquire()

        def waker() -> None:
            with suppress(RuntimeError):  # it was called before
                lock.release()

        try:
            if self.wake(waker):
                lock.acquire(timeout=seconds)
        finally:
            self.sleep_no_more(waker)

    def _reached(self) -> int:
        """Up to where the log may be read. The place is asked for last: then all up to the sync is in memory, too."""
        store = self._store
        store.check_open()
        synced = store.synced_position
        position = store.place().position
        return min(synced, position) if self._durable else position

    def _take(self, chunk: Chunk) -> Taken:
        """Make events of the commits of a chunk. After an interrupt it may get the same one again."""
        known = self._events[-1].sequence if self._events else self._given
        made: list[Event] = []
        valid = ValidFrames(chunk.data, chunk.header, 0, len(chunk.data))
        sequence = chunk.header.first_sequence
        for found in valid:
            if isinstance(found, Columns | SealedColumns):
                keys, values = _columns(chunk, found)
                start, stop = self._start, self._stop
                made += [
                    Event(user_key(key), value, number, "put", None, 0, number)
                    for number, key, value in zip(count(sequence), keys, values)
                    if start <= key < stop
                ]
                sequence += len(keys)
                continue
            ranges, points = _operations(chunk, *found)
            commit = sequence
            for start, stop in ranges:
                if start < self._stop and stop > self._start:
                    made.append(_range_event(sequence, commit, start, stop))
                sequence += 1
            for key, entry in points:
                if self._start <= key < self._stop:
                    made.append(_point_event(sequence, commit, key, entry))
                sequence += 1
        if made and made[0].sequence <= known:
            made = [event for event in made if event.sequence > known]
        if self._part:
            made = [self._within_part(event) for event in made]
        self._events.extend(made)  # one call: it is done, or not
        return Taken(valid.end, sequence)

    def _within_part(self, event: Event) -> Event:
        """The event without the part's prefix. A range that goes beyond the part ends where it does."""
        part, key, stop = self._part, event.key, event.stop
        length = len(part)
        return event._replace(
            key=key[length:] if key.startswith(part) else b"",
            stop=stop[length:] if stop is not None and stop.startswith(part) else None,
        )

    # Where it begins.

    def _tail_from(self, since: int | None) -> Tail:
        for _ in range(ATTEMPTS):
            place = self._store.place()
            try:
                if since is None or since == place.sequence - 1:
                    return self._tail_at(place)
                return self._tail_within(since)
            except FileNotFoundError:  # it was flushed just now
                continue
        raise self._gap(place.sequence - 1 if since is None else since)

    def _tail_at(self, place: Place) -> Tail:
        tail = self._made_tail(place.position, place.sequence, place.next_number - 1)
        if place.name:
            tail.enter(place.name, place.offset)
        return tail

    def _tail_within(self, since: int) -> Tail:
        """A tail at the beginning of the segment in which the event after `since` is."""
        segments = self._kept()
        following = [each for each in segments if each.header.first_sequence <= since + 1]
        if since >= self._store.place().sequence or not following:
            raise self._gap(since)
        name, header = following[0]
        tail = self._made_tail(header.base + HEADER_BYTES, header.first_sequence, header.number)
        tail.enter(name, HEADER_BYTES)
        return tail

    def _made_tail(self, position: int, sequence: int, after: int) -> Tail:
        store = self._store
        database_id = store.manifest.database_id
        return Tail(store.options.fs, store.directory, database_id, position=position, sequence=sequence, after=after)

    def _kept(self) -> list[ChainedSegment]:
        """The segments that are there in an unbroken chain up to now, newest first."""
        store = self._store
        fs, directory = store.options.fs, store.directory
        place = store.place()
        try:
            names = segments_of(fs, directory)
            return list(chain(fs, directory, store.manifest.database_id, names, place.newest, place.position))
        except OSError as error:
            raise StorageError("read the log of", directory, error) from error

    def _gap(self, since: int) -> FeedGapError:
        kept = self._kept()
        last = self._store.place().sequence - 1
        return FeedGapError(since, kept[-1].header.first_sequence if kept else last + 1, last)


def _columns(chunk: Chunk, found: Columns | SealedColumns) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """The keys and values of puts of one shape."""
    if isinstance(found, SealedColumns) and chunk.opener is not None:
        return chunk.opener.columns(chunk.data, found, None)
    if isinstance(found, Columns) and chunk.opener is None:
        return found.keys, found.values
    raise CorruptionError(chunk.path, 0, "frames are sealed in an encrypted database, and in no other")


def _operations(
    chunk: Chunk, offset: int, end: int, kind: int, operations: int
) -> tuple[list[Range], list[tuple[bytes, Entry]]]:
    """The range deletes and points of a good frame."""
    if kind == FRAME_END:
        check_end(operations, end, chunk.path, offset)
        return [], []
    if chunk.opener is not None:
        return chunk.opener.points(chunk.data, offset, end, kind, operations, None)
    payload = chunk.data[offset + FRAME_BYTES : end]
    if kind == FRAME_PUT:
        stop = 4 + int.from_bytes(payload[:4], "little")
        if stop > len(payload) or operations != 1:
            raise CorruptionError(chunk.path, offset, "a put's key is longer than its frame")
        return [], [(payload[4:stop], payload[stop:])]
    return decode_payload(kind, payload, operations, chunk.path, offset)


def _range_event(sequence: int, commit: int, start: bytes, stop: bytes) -> Event:
    end = user_key(stop) if stop < USER_END else None
    return Event(user_key(start), None, sequence, "delete_range", end, 0, commit)


def _point_event(sequence: int, commit: int, stored: bytes, entry: Entry) -> Event:
    key = user_key(stored)
    if type(entry) is bytes:
        return Event(key, entry, sequence, "put", None, 0, commit)
    if entry is TOMBSTONE:
        return Event(key, None, sequence, "delete", None, 0, commit)
    assert type(entry) is tuple
    value, expires_at_ms, tag = entry
    if tag:
        return Event(key, None, sequence, "collection", None, expires_at_ms, commit)
    return Event(key, value, sequence, "put", None, expires_at_ms, commit)


def _checked(since: int) -> int:
    try:
        since = index(since)
    except TypeError:
        raise TypeError(f"since must be the sequence of an event or None, not {since!r}") from None
    if since < 0:
        raise ValueError(f"since must not be negative, but is {since}")
    return since
