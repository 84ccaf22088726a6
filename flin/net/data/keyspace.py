"""One database: its reads see the pending batch first, its writes go into it.

Keys here are users' keys; the pending batch and the store hold stored keys (engine/key.py). Database 0 is namespace 0,
the keys that an embedded user sees; database n is internal namespace n. Reads judge expiry by the pending batch's
clock, so an expired key is absent on every path. A write discards the key's cached reply and tells the observers
(observers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from flin.engine.boundaries import boundaries_of, covers, ranges_of
from flin.engine.entry import TOMBSTONE, Entry, Live, Page, Pointer, is_alive
from flin.engine.eviction.worth import noting
from flin.engine.key import stored_key, user_key
from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError, FormatVersionError, LimitError
from flin.net.batch.journal import Journal
from flin.net.batch.pending import SHORT_BYTES
from flin.net.data.database_keys import bounds_of
from flin.net.data.live_pages import laid_over, live_pages
from flin.net.data.long_bulk import SLICED_BYTES, bulk_in_slices
from flin.net.data.object_host import ObjectHost
from flin.net.data.observers import Observed, Observers, Watches
from flin.net.wire.replies import OUT_OF_MEMORY, WRONG_TYPE, Reply, Slices, too_large_reply
from flin.objects.copying import maybe_spread, read_pieces, write_copy
from flin.objects.layout import LONG_STRING, anchor_key, anchors_namespace, elements_namespace
from flin.objects.live_objects import LiveObjects
from flin.objects.long_string import LongString

if TYPE_CHECKING:
    from flin.engine.eviction.worth import Worth
    from flin.net.batch.pending import Pending
    from flin.net.batch.store import StoreLike
    from flin.net.batch.version_lease import VersionLease
    from flin.net.data.reply_cache import ReplyCache
    from flin.objects.thresholds import Thresholds

COUNT_BUDGET: Final = 1000
"""Lookups of one slice of a count: at 2 microseconds each, other clients wait 2 ms at most."""

COUNTED_AT_ONCE: Final = 4096
"""Entries that a count inside a transaction or a script may look at on the loop: some 10 ms. More are counted ahead."""


class Keyspace:
    """One database of the server."""

    __slots__ = (
        "_end",
        "_largest_reply_bytes",
        "_pending",
        "_points",
        "_points_get",
        "_prefix",
        "_ranges",
        "_store",
        "database",
        "hits",
        "hot",
        "in_tables",
        "is_blocking",
        "last_count",
        "live",
        "misses",
        "namespace",
        "objects",
        "observers",
        "read",
        "uses",
        "watches",
    )

    def __init__(
        self,
        database: int,
        store: StoreLike,
        pending: Pending,
        hot: ReplyCache,
        lease: VersionLease,
        objects_bytes: int,
        thresholds: Thresholds,
        largest_reply_bytes: int,
        observed: Observed,
    ) -> None:
        """objects_bytes: room for live objects."""
        self.database = database
        self.namespace = database  # of its stored keys; SWAPDB exchanges two
        self.hot = hot
        self.observers = Observers(observed)
        self.watches = Watches(self.observers)
        self.read: Callable[..., Entry | None] = store.read_nowait  # or store.read: see block_reads
        self.uses: Worth | None = None  # is told of each key that is read (serve/eviction.py)
        self.in_tables = store.in_tables
        self.is_blocking = False
        self.objects = LiveObjects(
            ObjectHost(self, store, pending, lease), objects_bytes, thresholds, lambda used: self.hot.lend(used)
        )
        self.live = self.objects.live
        self.last_count = 0  # the newest result of `count`
        self.hits = 0  # except those that `hot` counts
        self.misses = 0
        self._largest_reply_bytes = largest_reply_bytes
        self._prefix, self._end = bounds_of(database)
        self._store = store
        self._pending = pending
        self._points = pending.points  # the same dict and list for the server's life, emptied by each commit
        self._ranges = pending.ranges
        self._points_get: Callable[[bytes], Entry | None] = pending.points.get

    def stored(self, key: bytes) -> bytes:
        """The stored form of a user's key in this database."""
        return self._prefix + key if self._prefix else stored_key(key)

    def key_of(self, stored: bytes) -> bytes:
        """The user's key of a stored one of this database."""
        return stored[len(self._prefix) :] if self._prefix else user_key(stored)

    # Reads. Each may raise ColdRead: a handler reads everything before its first write.

    def entry(self, key: bytes) -> Live | None:
        """The live entry: bytes, or (value, expires_at_ms or 0, tag); None if absent or expired."""
        stored = key if key < b"\xff" and not self._prefix else self.stored(key)
        found = self._points_get(stored)
        if found is None and not (self._ranges and covers(self._ranges, stored)):
            found = self.read(stored)
        if type(found) is bytes:
            return found
        if type(found) is tuple and not (found[1] and found[1] <= self._pending.now_ms):
            return found
        return None

    def outline(self, key: bytes) -> Live | None:
        """`entry` for who needs no string: a Pointer may be in its place, which is not followed to a value file."""
        stored = self.stored(key)
        found = self._points_get(stored)
        if found is None and not (self._ranges and covers(self._ranges, stored)):
            found = self.read(stored, values=False)
            if type(found) is tuple and found[2] and type(found[0]) is Pointer:
                found = self.read(stored)  # a collection's own entry, which is small
        return found if is_alive(found, self._pending.now_ms) else None  # type: ignore[return-value]  # no tombstone

    def look_up(self, key: bytes, *, values: bool = True) -> Live | None:
        """`entry`, or `outline`, for a command that shows the key: INFO counts whether it was there. Writes that only
        need to know what they replace count nothing, as in Redis."""
        found = self.entry(key) if values else self.outline(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def count_look_ups(self, hits: int, total: int) -> None:
        self.hits += hits
        self.misses += total - hits

    def settled(self, key: bytes, *, values: bool = True) -> Live | None:
        """`entry`, or `outline`, with its true value: that of a collection that has changed may be empty until the
        commit."""
        if self.live:  # what is dirty is among them
            self.objects.settle_key(key)
        return self.entry(key) if values else self.outline(key)

    def value(self, key: bytes) -> bytes | None:
        """The string at the key, None if absent; counted as `look_up` does. Raises CommandError WRONGTYPE for another
        type."""
        found = self.look_up(key)
        if found is None or type(found) is bytes:
            return found
        assert type(found) is tuple
        return self.put_together(key, found[2]) if found[2] else found[0]  # its tag, which is 0 for a string; its value

    def put_together(self, key: bytes, tag: int) -> bytes:
        """All of the string of a key whose entry has a tag. CommandError WRONGTYPE for another type; LimitError if it
        is longer than a reply may be."""
        return self._long_string(key, tag).whole()

    def _long_string(self, key: bytes, tag: int) -> LongString:
        if tag != LONG_STRING:
            raise CommandError(WRONG_TYPE)
        found = self.objects.find(key, LongString)
        assert found is not None
        if len(found) > self._largest_reply_bytes:
            raise too_large_reply(len(found), self._largest_reply_bytes)
        return found

    def bulk(self, key: bytes) -> Reply | bytes | Slices | None:
        """GET's answer: the cached reply of a hot key, else its value. WRONGTYPE as `value`."""
        hot = self.hot
        reply = hot.young.get(key)
        if reply is not None:
            hot.hits += 1
            return Reply(reply)
        return self.bulk_after_young_miss(key)

    def in_memory(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What the pending batch, or else a memtable, holds at each key: perhaps expired, perhaps TOMBSTONE; `entry`
        knows. None where they hold nothing. Some lookups per key, without a step of bytecode."""
        newest = self._store.newest_entries()
        if self.uses is not None:
            self.uses.all_read(keys if not self._prefix and max(keys) < b"\xff" else map(self.stored, keys))
        if newest is None or self._prefix or self._ranges or max(keys) >= b"\xff":
            return [None] * len(keys)
        in_newest = map(newest.get, keys)
        found: list[Entry | None]
        found = [*map(cast("Any", self._points_get), keys, in_newest)] if self._points else [*in_newest]
        if not all(found) and None in found:  # the former takes a third of the time, and is nearly always enough
            places = [place for place, entry in enumerate(found) if entry is None]
            older = self._store.older_entries([keys[place] for place in places])
            for place, entry in zip(places, older, strict=True):
                found[place] = entry
        return found

    def has_pending(self, keys: Iterable[bytes]) -> bool:
        """Whether the pending batch holds one of these keys."""
        return bool(self._points) and not self._points.keys().isdisjoint(keys)

    def expired(self, key: bytes) -> tuple[bytes, int, int] | None:
        """The entry of a key that has expired and is not deleted yet: for `entry` it is absent."""
        stored = self.stored(key)
        found = self._points_get(stored)
        if found is None and not (self._ranges and covers(self._ranges, stored)):
            found = self.read(stored)
        return found if type(found) is tuple and found[1] and found[1] <= self._pending.now_ms else None

    def exists(self, key: bytes) -> bool:
        return self.outline(key) is not None

    def expires_at_ms(self, key: bytes) -> int | None:
        """None: no such key; 0: it has no expiry."""
        found = self.outline(key)
        if found is None:
            return None
        return found[1] if type(found) is tuple else 0

    def count(self) -> Slices:
        """The exact number of keys, in slices; it includes expired ones that are not swept yet."""
        if self._pending.in_transaction:
            return self._count_with_pending()
        self._pending.commit()
        store = self._store
        state = None
        if store.unsettled_entries():
            state = store.freeze()  # so that flushes that come meanwhile leave nothing more to count
            yield partial(store.settle, state)
        while (number := store.count(self.namespace, COUNT_BUDGET, state)) is None:
            yield
        self.last_count = number
        return number

    def count_ahead(self) -> None:
        """For a count that must be one step: if that would take long, ColdRead, so that a thread counts first. What is
        written meanwhile remains; each time that is less."""
        if not self.is_blocking and self._store.uncounted_entries() > COUNTED_AT_ONCE:
            raise ColdRead(self._store.count_ahead)

    def watch_count(self) -> Slices:
        """Set `last_count` for those who watch: exactly if that needs no files, else to the keys of what is settled."""
        store = self._store
        if store.unsettled_entries() or (self._pending.in_transaction and store.uncounted_entries() > COUNTED_AT_ONCE):
            self.last_count = self._store.settled_count(self.namespace)
        else:
            yield from self.count()

    def pages(
        self, after: bytes | None = None, *, stop: bytes | None = None, values: bool = False
    ) -> Iterator[tuple[list[bytes], list[Live]]]:
        """Live keys above `after` and below `stop` with their entries, in order, a page at a time, as of this call.

        Keys that expire before their page is reached are left out, so a page may be empty. The pending batch is
        committed first, so that one frozen state is walked; in a transaction, whose writes stay together, it is laid
        over that state. An entry tells its expiry and tag; without `values` its value may be a pointer.
        """
        # The smallest key above k is k with a zero byte after it.
        begin = self._prefix if after is None else self.stored(after) + b"\x00"
        end = self._end if stop is None else self.stored(stop)
        return live_pages(self._pending, len(self._prefix), self.frozen_pages(begin, end, values=values))

    def range_pages(
        self, start: bytes, stop: bytes, *, reverse: bool = False, values: bool = True
    ) -> Iterator[tuple[list[bytes], list[Live]]]:
        """`pages` from a key (inclusive) to another, in either direction. An empty stop is no bound."""
        begin, end = self._range(start, stop)
        pages = self.frozen_pages(begin, end, reverse=reverse, values=values) if begin < end else iter(())
        return live_pages(self._pending, len(self._prefix), pages)

    def _range(self, start: bytes, stop: bytes) -> tuple[bytes, bytes]:
        """The stored keys of a range."""
        return self.stored(start), self.stored(stop) if stop else self._end

    def frozen_pages(self, begin: bytes, end: bytes, *, reverse: bool = False, values: bool = True) -> Iterator[Page]:
        """The entries of these stored keys, expired ones and tombstones of the pending batch among them: as `pages`."""
        if self._pending.in_transaction:
            self._pending.settle()
        else:
            self._pending.commit()
        pages = self._store.pages(self._store.freeze(), begin, end, reverse, values=values)
        if self._points or self._ranges:
            pages = laid_over(pages, self._points, list(self._ranges), begin, end, reverse=reverse)
        return pages

    # Reads in slices: see many_keys.py.

    @property
    def is_in_transaction(self) -> bool:
        return self._pending.in_transaction

    @property
    def now_ms(self) -> int:
        return self._pending.now_ms  # what expires then or before is absent

    @contextmanager
    def journal(self, *, commits: bool = False) -> Iterator[Journal]:
        """A journal that notes what is committed while the block runs. commits: first the pending batch, so that
        nothing of it is noted."""
        if commits:
            self._pending.commit()
        journal = Journal()
        self._pending.journals.append(journal)
        try:
            yield journal
        finally:
            self._pending.journals.remove(journal)

    def changed(self, journal: Journal, keys: Sequence[bytes]) -> list[int]:
        """The positions of those keys that were written since the journal was last asked, up to this moment."""
        journal.note(self._points, self._ranges)
        return journal.take(keys, self.stored)

    def entry_waiting(self, key: bytes) -> Live | None:
        """`entry`, waiting for the disk."""
        with self.waiting():
            return self.entry(key)

    def outline_waiting(self, key: bytes) -> Live | None:
        """`outline`, waiting for the disk."""
        with self.waiting():
            return self.outline(key)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Reads in the block wait for the disk."""
        was_blocking = self.is_blocking
        self.block_reads(blocking=True)
        try:
            yield
        finally:
            self.block_reads(blocking=was_blocking)

    def load(self, keys: Sequence[bytes], *, values: bool = True) -> None:
        """In a reader thread: read the keys, so that they lie in the cache."""
        for stored in map(self.stored, keys):
            self._store.read(stored, values=values)

    # Writes.

    def put(self, key: bytes, entry: Live) -> None:
        """Set the key to an entry (bytes, or make_entry(value, expires_at_ms, tag)); what was there is replaced."""
        if type(entry) is tuple:
            self._write(key, entry, len(entry[0]))
        else:
            assert type(entry) is bytes
            self.put_value(key, entry)

    def put_value(self, key: bytes, value: bytes) -> None:
        """Set the key to a string without expiry: the whole work of an ordinary SET."""
        if self._prefix or key >= b"\xff" or len(value) > SHORT_BYTES or self.observers:
            self._write(key, value, len(value))
            return
        self._points[key] = value
        if self.live:
            self._forget_object(key)
        hot = self.hot
        if key in hot.young or key in hot.old:
            hot.discard(key)

    def put_values(self, keys: Sequence[bytes], values: Sequence[bytes], *, are_short: bool = False) -> None:
        """Do what `put_value` does for each pair in turn: a pipeline of SETs, an MSET. are_short: values, as known."""
        are_short = are_short or max(map(len, values)) <= SHORT_BYTES
        if self._prefix or max(keys) >= b"\xff" or not are_short or self.observers:
            self._write_all(keys, values, sum(size for size in map(len, values) if size > SHORT_BYTES))
            return
        if self.live:
            self._forget_objects(keys)
        self._points.update(zip(keys, values, strict=True))
        self._pending.large_bytes += SHORT_BYTES * len(keys)  # one command: dispatch looks at nothing else after it
        self.hot.discard_many(keys)

    def delete(self, key: bytes) -> None:
        """Delete the key. The caller knows that it is there."""
        self._write(key, TOMBSTONE, 0)

    def delete_all(self, keys: Sequence[bytes]) -> None:
        """Delete the keys. The caller knows that they are there."""
        self._write_all(keys, [TOMBSTONE] * len(keys), 0)

    def copy_to(self, entry: Live, target: Keyspace, key: bytes, limit_bytes: int) -> None:
        """Set a key of a database, perhaps another one, to a copy of a settled entry of this one. CommandError OOM for
        a collection beyond the limit."""
        meta = maybe_spread(entry)
        if meta is not None:
            try:
                pieces = read_pieces(self.objects.host, meta, limit_bytes)
            except LimitError:
                raise CommandError(OUT_OF_MEMORY) from None
            entry = write_copy(target.objects.host, key, entry, meta, pieces)
        target.put(key, entry)

    def rename(self, key: bytes, destination: bytes, entry: Live) -> None:
        """Give the key's settled entry another key. The pieces of a collection stay where they are."""
        meta = maybe_spread(entry)
        if meta is not None:
            anchor = anchor_key(self.namespace, meta.slot, meta.version)
            self.objects.host.put_piece(anchor, destination)
        self.put(destination, entry)
        self.delete(key)

    def note_gone(self, entry: Live) -> None:
        """The key of this entry is deleted: the reaper looks for its pieces. What nobody can read can be deleted all
        the same."""
        with suppress(CorruptionError, FormatVersionError):
            meta = maybe_spread(entry)
            if meta is not None:
                self.objects.gone.append(anchor_key(self.namespace, meta.slot, meta.version))

    def clear(self) -> None:
        """Delete every key of this database, and the pieces of its collections: three range deletes."""
        self.note_clear()
        self._pending.delete_range(self._prefix, self._end)
        for namespace in (elements_namespace(self.namespace), anchors_namespace(self.namespace)):
            self._pending.delete_range(*bounds_of(namespace))
        self.hot.clear()

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Delete the keys from start to stop, as `range_pages` has them. Their keys are read only if somebody observes
        writes. The reaper finds the pieces of their collections by itself."""
        begin, end = self._range(start, stop)
        if begin >= end:
            return
        written = [names for names, _ in self.range_pages(start, stop, values=False)] if self.observers else []
        self._pending.settle()
        self.objects.forget_all()
        self._pending.delete_range(begin, end)
        self.hot.clear()
        for names in written:
            for observer in self.observers:
                observer.keys_written(names)

    def note_clear(self) -> None:
        """Prepare for the deletion of all keys: FLUSHDB, FLUSHALL."""
        for observer in self.observers:
            observer.all_written(self.is_there)
        self.objects.forget_all()

    # SWAPDB.

    def exchange(self, other: Keyspace) -> None:
        """Exchange the keys of both. A key that either has counts as changed in both, as in Redis."""

        self._pending.settle()
        self.objects.forget_all()  # the stored keys of their pieces name the namespace
        other.objects.forget_all()
        everything = boundaries_of((keyspace._prefix, keyspace._end) for keyspace in (self, other))
        for journal in self._pending.journals:
            journal.note({}, everything)
        self.hot, other.hot = other.hot, self.hot
        self.last_count, other.last_count = other.last_count, self.last_count
        mine = self.namespace
        self.hold(other.namespace)
        other.hold(mine)

        def either_has(key: bytes) -> bool:
            return self.is_there(key) or other.is_there(key)

        for observer in [*self.observers, *other.observers]:
            observer.all_written(either_has)

    def hold(self, namespace: int) -> None:
        """Use another namespace's keys from now on."""
        self.objects.forget_all()
        self.namespace = namespace
        self._prefix, self._end = bounds_of(namespace)

    # Steps that are taken back: see savepoint.py.

    def take_back(self, stored: AbstractSet[bytes] | None) -> None:
        """The batch holds again what it held before at these stored keys of all databases; None: nobody knows where.
        Objects that were read from it are forgotten: by their own keys, or (groups of a stream change alone) by the
        prefixes of their pieces, which are keys too."""
        objects = self.objects
        if stored is None:
            objects.forget_all()
        elif len(objects):
            for found in objects.each():
                if self.stored(found.key) in stored or (found.prefix and found.prefix in stored):
                    objects.forget(found.key)

    # Modes.

    def block_reads(self, *, blocking: bool) -> None:
        """Read without ColdRead: for a transaction that has begun to write and can no longer run again."""
        self.is_blocking = blocking
        read = self._store.read if blocking else self._store.read_nowait
        self.read = read if self.uses is None else noting(self.uses, read)

    def note_uses(self, uses: Worth | None) -> None:
        """Tell this of each key that is read from now on. (What has a cached reply is not looked up.)"""
        self.uses = uses
        self.block_reads(blocking=self.is_blocking)

    def bulk_after_young_miss(self, key: bytes) -> Reply | bytes | Slices | None:
        """Finish `bulk` for a key without a reply in the young generation of `hot`: take it from the old one, else from
        the store."""
        if (reply := self.hot.find_old(key)) is not None:
            self.hot.hits += 1
            return Reply(reply)
        found = self.entry(key)
        self.hot.misses += 1
        if type(found) is bytes:
            self.hits += 1
            if self.stored(key) not in self._points:
                self.hot.fill(key, found)
            return found
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        assert type(found) is tuple
        if not found[2]:  # its tag, which is 0 for a string
            return found[0]
        text = self._long_string(key, found[2])
        return bulk_in_slices(text, 0, len(text)) if len(text) > SLICED_BYTES else text.whole()

    def _write(self, key: bytes, entry: Entry, size_bytes: int) -> None:
        if self.live or self.objects.old:
            self._forget_object(key)
        self.write_own(key, entry, size_bytes)

    def _forget_object(self, key: bytes) -> None:
        """The key is written in another way. (An object of the old generation that a SET leaves there is forgotten by
        whatever makes the key a collection again.)"""
        self.objects.forget(key)

    def _forget_objects(self, keys: Sequence[bytes]) -> None:
        if self.objects.has_any(keys):
            for key in keys:
                self.objects.forget(key)

    def write_own(self, key: bytes, entry: Entry, size_bytes: int) -> None:
        """What an object of this database says of its key."""
        self._points[key if key < b"\xff" and not self._prefix else self.stored(key)] = entry
        hot = self.hot
        if key in hot.young or key in hot.old:
            hot.discard(key)
        for observer in self.observers:
            observer.key_written(key)
        if size_bytes > SHORT_BYTES:
            self._pending.large_bytes += size_bytes

    def is_there(self, key: bytes) -> bool:
        """Whether the key is stored, expired or not."""
        stored = self.stored(key)
        found = self._points_get(stored)
        if found is None and not covers(self._ranges, stored):
            found = self._store.read(stored, values=False)
        return found is not None and found is not TOMBSTONE

    def _write_all(self, keys: Sequence[bytes], entries: Sequence[Entry], large_bytes: int) -> None:
        """Do what `_write` does, for many keys in loops of C."""
        if len(self.objects):
            self._forget_objects(keys)
        stored = map(self.stored, keys) if self._prefix or max(keys) >= b"\xff" else keys
        self._points.update(zip(stored, entries, strict=True))
        self._pending.large_bytes += large_bytes + SHORT_BYTES * len(keys)
        self.hot.discard_many(keys)
        for observer in self.observers:
            observer.keys_written(keys)

    def _count_with_pending(self) -> int:
        """Count inside a transaction: the keys that the pending batch changes are looked up one by one."""
        self.count_ahead()
        first, end = self._prefix, self._end
        cleared = any(start <= first and end <= stop for start, stop in ranges_of(self._ranges))
        number = 0 if cleared else self._store.count(self.namespace) or 0
        for stored, entry in self._points.items():
            if first <= stored < end:
                was_there = not cleared and self._store.read(stored, values=False) is not None
                number += (entry is not TOMBSTONE) - was_there
        return number
