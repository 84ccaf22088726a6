"""Items into a database. A key that is there is replaced, or left alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from flin.engine.engine import Engine, store_of
from flin.engine.entry import make_entry
from flin.engine.tree.store import Store
from flin.errors import CommandError, ImportDataError, LimitError, PayloadError
from flin.net.batch.namespaces import MAX_DATABASES
from flin.net.batch.pending import Pending
from flin.net.data.databases import Databases
from flin.net.data.keyspace import Keyspace
from flin.net.data.rdb_values import put, size_of
from flin.objects.limits import MAX_PACKED_BYTES
from flin.rdb import dump
from flin.rdb.value import Value
from flin.transfer.record import KIND_OF, STRING, Item, Library, Record, Request

if TYPE_CHECKING:
    from flin.transfer.replay import Replay

MAX_VALUE_BYTES: Final = 1 << 32
"""What a collection may take while it is decoded."""

LIVE_BYTES: Final = 256 << 20
"""The bound of what collections take that are not committed yet: far more than a batch of them has. With none each new
one looked for others to drop, 50 µs for a hash."""


class _Raising:
    """A store whose refusals are kept: the pending batch, made for a server, only tells its clients of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.refusal: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put(self, key: bytes, value: bytes) -> int:
        return self.commit({key: value})

    def commit(self, batch: Any, ranges: Any = ()) -> int:
        try:
            return self.store.commit(batch, ranges)
        except Exception as error:
            self.refusal = error
            raise


class Import:
    """`add` items, then `end`; `added`, `expired` and `skipped` count keys, `libraries` those of functions, `requests`
    those that were run."""

    def __init__(self, engine: Engine, path: str, *, skips: bool = False, is_new: bool = False) -> None:
        """path: of the file, for errors. skips: keys and libraries that are there stay as they are. is_new: the
        database is empty, so that it is not asked for what a string replaces."""
        self._path: Final = path
        self._store: Final = _Raising(store_of(engine))
        self._pending: Final = Pending(self._store)
        self._databases: Final = Databases(self._store, self._pending, MAX_DATABASES, LIVE_BYTES)
        self._databases.block_reads(blocking=True)
        self.added = 0
        self.expired = 0
        self.skipped = 0
        self.libraries = 0
        self.requests = 0
        self._replay: Replay | None = None
        self._skips: Final = skips
        self._is_new: Final = is_new
        self._perhaps_spread: set[tuple[int, bytes]] = set()  # collections that were added to an empty database

    def add_all(self, items: Iterable[Item | Request]) -> None:
        """Add all of them. What reading them raises; what a write raises; ImportDataError for a collection or library
        that is none, or a request that fails."""
        store = self._store.store
        held_sweep = store.holds_sweep
        try:
            for item in items:
                self.add(item)
            self.end()
        finally:
            store.holds_sweep, store.keeps_expired = held_sweep, False

    def _begin_log(self) -> None:
        """From here on nothing expires: when the requests were made, what they change was there."""
        self._store.store.hold_sweep()
        self._store.store.keeps_expired = True

    def add(self, item: Item | Request) -> None:
        if isinstance(item, Request):
            self._run(item)
            return
        assert self._replay is None, "requests come last"
        if isinstance(item, Library):
            self._add_library(item)
        else:
            self._add(item)

    def _run(self, request: Request) -> None:
        if self._replay is None:
            from flin.transfer.replay import Replay  # all commands: most imports need none

            self._commit()
            self._begin_log()
            self._replay = Replay(self._store, self._path)
        self._replay.run(request)
        self.requests += 1
        if self._replay.pending.is_full:
            self._commit()

    def _add_library(self, library: Library) -> None:
        from flin.net.scripting import functions  # most imports need none of it

        try:
            key, entry = functions.stored(library.source)
        except CommandError as error:
            raise ImportDataError(self._path, library.place, f"a library of functions: {error}") from error
        if self._skips and self._store.read(key) is not None:
            return
        self._pending.points[key] = entry
        self.libraries += 1

    def _add(self, record: Record) -> None:
        if 0 < record.expires_at_ms <= self._pending.now_ms:
            if not record.may_be_prolonged:
                self.expired += 1
                return
            self._begin_log()
        if record.database >= MAX_DATABASES:
            raise self._no_such_database(record)
        keyspace = self._databases.keyspaces[record.database]
        before = None if self._has_nothing_to_replace(record) else keyspace.entry(record.key)
        if before is not None and self._skips:
            self.skipped += 1
            return
        if record.kind == STRING:
            if before is not None:
                keyspace.note_gone(before)
            keyspace.put(record.key, make_entry(record.payload, record.expires_at_ms))
        else:
            value = self._decoded(record)
            if before is not None:
                keyspace.note_gone(before)
                keyspace.delete(record.key)
            put(keyspace, record.key, value, record.expires_at_ms)
            if self._is_new and (record.kind == "stream" or size_of(value) > MAX_PACKED_BYTES):
                self._perhaps_spread.add((record.database, record.key))
        self.added += 1
        if self._pending.is_full:
            self._commit()

    def _has_nothing_to_replace(self, record: Record) -> bool:
        """Whether it is a string, and the key has no entry, or one that is simply overwritten."""
        return self._is_new and record.kind == STRING and (record.database, record.key) not in self._perhaps_spread

    def add_strings(self, database: int, keys: list[bytes], texts: list[bytes]) -> None:
        """Add strings that do not expire: half the work for each."""
        spread = self._perhaps_spread
        if not self._is_new or (spread and any((database, key) in spread for key in keys)):
            for key, text in zip(keys, texts, strict=True):
                self._add(Record(key, text, database=database))
            return
        if database >= MAX_DATABASES:
            raise self._no_such_database(Record(keys[0], b"", database=database))
        self._databases.keyspaces[database].put_values(keys, texts)
        self.added += len(keys)
        self._commit()

    def _no_such_database(self, record: Record) -> ImportDataError:
        reason = f"{record.key!r} is in the database {record.database}: Flin has {MAX_DATABASES}, from 0 on"
        return ImportDataError(self._path, record.place, reason)

    def _decoded(self, record: Record) -> Value:
        if record.value is not None:
            return record.value
        try:
            value = dump.decode(record.payload, MAX_VALUE_BYTES)
        except (PayloadError, LimitError) as error:
            raise ImportDataError(self._path, record.place, f"the value of {record.key!r}: {error}") from error
        if KIND_OF[type(value)] != record.kind:
            raise ImportDataError(self._path, record.place, f"the value of {record.key!r} is no {record.kind}")
        return value

    def keyspace(self, database: int) -> Keyspace:
        """What was added, and was there, as clients see it."""
        return self._databases.keyspaces[database]

    def count(self, database: int) -> int:
        """The exact number of keys."""
        counting = self.keyspace(database).count()
        while True:
            try:
                wait = next(counting)
            except StopIteration as end:
                number: int = end.value
                return number
            if wait is not None:
                wait()

    def end(self) -> None:
        """Make all of it durable."""
        self._commit()
        self._store.sync()

    def _commit(self) -> None:
        self._pending.commit()
        if self._replay is not None:
            self._replay.pending.commit()
        error, self._store.refusal = self._store.refusal, None
        if error is not None:
            raise error
        for keyspace in self._databases.keyspaces:
            if keyspace.live:
                keyspace.objects.forget_all()
