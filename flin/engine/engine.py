"""The embedded engine: the public API of the store, for keys and values that are bytes.

`flin.engine.open(path)` returns an Engine, which threads may share. It is a `MutableMapping[bytes, bytes]` in key
order. In addition to a mapping it has time to live, batches, snapshots, ranges and atomic updates.

This module turns user keys into stored keys and seconds into expiries, and waits for the disk if the sync mode says
so. store.py does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from sys import is_finalizing
from types import TracebackType
from typing import Any, Final, TypeVar, cast, overload
from warnings import warn

from flin.engine.background.compactor import Compactor
from flin.engine.background.job import JobCancelled
from flin.engine.background.runner import runner_of
from flin.engine.backup.backup import Backup, make_backup
from flin.engine.backup.checkpoint import Checkpoint, make_checkpoint
from flin.engine.batch import WriteBatch
from flin.engine.buffers import BytesLike, as_bytes, as_stored
from flin.engine.closing import Closing
from flin.engine.disk.data_keys import EncryptionKey
from flin.engine.disk.fs import AnyPath, FileSystem, OsFileSystem, absolute
from flin.engine.disk.memory_fs import MEMORY, MemoryFileSystem
from flin.engine.disk.sealed_files import raw_of
from flin.engine.entry import TOMBSTONE, Entry, Live, Page, Range, make_entry
from flin.engine.eviction.evictor import Evictor
from flin.engine.eviction.limited_store import LimitedStore
from flin.engine.expiry_callback import ExpiryCallback
from flin.engine.feed import Feed
from flin.engine.key import USER_END
from flin.engine.memoize import Memoizing
from flin.engine.options import (
    Compression,
    EvictionPolicy,
    Options,
    RunnerKind,
    SyncMode,
    system_random_bytes,
    wall_clock_ms,
)
from flin.engine.pairs import Pairs, points_of
from flin.engine.prefixed import PrefixedEngine
from flin.engine.range_size import stored_bytes
from flin.engine.read.read_path import ABSENT, MAX_ABSENT, read_older
from flin.engine.reentry import is_reentered, refuse_reentry
from flin.engine.snapshot import Snapshot
from flin.engine.statistics import engine_statistics
from flin.engine.table.bloom import MASKS, hash_key
from flin.engine.transaction import Transaction
from flin.engine.transactional import Decorator
from flin.engine.tree.reader_store import READ_ONLY_TEXT, ReaderStore
from flin.engine.tree.recent_writes import RecentWrites
from flin.engine.tree.rotation import rotate
from flin.engine.tree.store import Store
from flin.engine.typed import TypedEngines
from flin.engine.updates import Updates
from flin.engine.verify import verify_store
from flin.engine.view import View, scan_bounds
from flin.engine.writable_view import Ttl
from flin.errors import CLOSED_TEXT, ClosedError, FlinError, ReadOnlyError, StallTimeout, StorageError

_BYTES: Final = {bytes}


Default = TypeVar("Default")


class Engine(Updates, TypedEngines, Memoizing):
    """One open database. Close it, or use it as a context manager.

    Signal handlers, `__del__` and weakref callbacks may use it in the middle of another call of the same thread. Reads
    answer; put, delete and batches are committed, and close() is carried out, as soon as the outer call has ended.
    Calls that need an answer first (incr, a write that waits for the disk, flush) raise ReentrantCallError if they
    would have to wait for the outer call.

    Writes raise StorageError (the disk refused, nothing was written), ReadOnlyError (a sync has failed; writes fail
    until the database is opened again), StallTimeout, LimitError or ClosedError. Reads raise CorruptionError or
    ClosedError.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sync_always = store.options.sync == "always"
        if store.options.on_expired is not None:
            store.listeners.on_expired = ExpiryCallback(store.options.on_expired)
        if store.options.on_evicted is not None:
            store.listeners.on_evicted = ExpiryCallback(store.options.on_evicted, "on_evicted")
        try:
            runner = runner_of(store.options)
            self._runner = runner
            has_threads = store.options.runner != "inline"
            self._compactor = Compactor(store, runner, threads=has_threads)
            self._evictor = None
            if isinstance(store, LimitedStore):
                self._evictor = Evictor(store, self._compactor.note_failure, threads=has_threads)
                self._compactor.add("eviction", self._evictor.bell, self._evictor.step)
            self._closing = Closing(store, self._compactor, runner)
            if not store.options.read_only:
                self._compactor.start()
        except BaseException:  # an interrupt, or no thread can start: nothing else would release the directory
            if "_closing" in self.__dict__:
                self.close(flush=False)
            else:
                store.end_close()
            raise

    # One key.

    @overload
    def get(self, key: BytesLike) -> bytes | None: ...
    @overload
    def get(self, key: BytesLike, default: Default) -> bytes | Default: ...
    def get(self, key: BytesLike, default: object = None) -> object:
        """The value of the key, or the default."""
        if type(key) is not bytes or key >= b"\xff":
            key = as_stored(key)
        store = self._store
        state = store.state
        get_active = state.get_active
        # The way of nearly every get: one dict lookup, then older places. Written out: view.View.get
        entry: Entry | None
        if get_active is None:
            entry = store.read(key)
        else:
            entry = get_active(key)
            if entry is None:
                values = store.value_cache
                if values.absent >= ABSENT and (table := state.lone_table) is not None:
                    # Written out: read.read_path._is_absent
                    hashed = hash_key(key)
                    opened = table.state or table.loaded()
                    mask = MASKS[hashed & 4095]
                    if opened.words[hashed % opened.word_count] & mask != mask:
                        values.absent = MAX_ABSENT
                        return default
                entry = read_older(state, 0, key, values)
        if type(entry) is bytes:
            return entry
        if entry is None:
            return default
        value = self._value_at(entry, store.now_ms())
        return default if value is None else value

    def get_many(self, keys: Iterable[BytesLike]) -> list[bytes | None]:
        """The values of the keys, in the order of the keys; None for each absent key."""
        self._check_open()
        asked = list(keys)
        if set(map(type, asked)) == _BYTES and max(asked) < b"\xff":  # type: ignore[type-var, operator]
            stored = cast("list[bytes]", asked)
        else:
            stored = [*map(as_stored, asked)]
        found = self._store.read_many(stored)
        if set(map(type, found)) == _BYTES:
            return cast("list[bytes | None]", found)
        now_ms = self._store.now_ms()
        return [entry if type(entry) is bytes else self._value_at(entry, now_ms) for entry in found]

    def put(self, key: BytesLike, value: BytesLike, *, ttl: Ttl | None = None, sync: bool | None = None) -> None:
        """Set the key. `ttl`: seconds until it expires, or a timedelta. `sync`: wait for the disk (None: as the sync
        mode says).

        Example: `db.put(b"session:9", b"token", ttl=3600)` expires in an hour.
        """
        if type(key) is not bytes or key >= b"\xff":
            key = as_stored(key)
        if type(value) is not bytes:
            value = as_bytes("a value", value)
        if ttl is not None or sync is not None:
            entry = value if ttl is None else make_entry(value, self._expires_at_ms(ttl))
            self._commit({key: entry}, (), sync)
        elif self._sync_always:
            self._store.check_sync()
            self._store.sync(self._store.put(key, value))
        else:
            self._store.put(key, value)

    def delete(self, key: BytesLike, *, sync: bool | None = None) -> None:
        """Delete the key, if it is there."""
        if type(key) is not bytes or key >= b"\xff":
            key = as_stored(key)
        if sync is not None:
            self._commit({key: TOMBSTONE}, (), sync)
        elif self._sync_always:
            self._store.check_sync()
            self._store.sync(self._store.delete(key))
        else:
            self._store.delete(key)

    # Many keys.

    def put_many(
        self,
        pairs: Pairs,
        *,
        ttl: Ttl | None = None,
        sync: bool | None = None,
    ) -> None:
        """Set all the keys in one atomic commit. If a key comes twice, its last value counts."""
        values = points_of(pairs)
        points: Mapping[bytes, Entry] = values
        if ttl is not None:
            expires_at_ms = self._expires_at_ms(ttl)
            points = {key: (value, expires_at_ms, 0) for key, value in values.items()}
        self._commit(points, (), sync, plain=ttl is None)

    def delete_many(self, keys: Iterable[BytesLike], *, sync: bool | None = None) -> None:
        """Delete those of the keys that are there, in one atomic commit."""
        self._commit(dict.fromkeys(map(as_stored, keys), TOMBSTONE), (), sync)

    def write_batch(self, *, sync: bool | None = None) -> WriteBatch:
        """`with db.write_batch() as batch`: its writes become one atomic commit. An exception discards them."""
        check_sync(sync)
        self._check_open()
        return WriteBatch(self, lambda memtable: self._commit(memtable.entries, memtable.ranges, sync))

    def transaction(self, *, sync: bool | None = None) -> Transaction:
        """`with db.transaction() as t`: reads and writes through t are as if nobody else did anything meanwhile. If
        somebody did, and it matters, ConflictError. docs/transactions.md."""
        check_sync(sync)
        return Transaction(
            self,
            self._store,
            lambda memtable, check: self._commit(memtable.entries, memtable.ranges, sync, check=check),
        )

    def transactional(self, *, retries: int = 10, sync: bool | None = None) -> Decorator[Transaction]:
        """`@db.transactional(retries=10)`: each call of the function runs in a transaction, which it gets as its first
        argument; after a conflict once more, up to this number of times. Then ConflictError.

        Example: `@db.transactional()` before `def move(t, source, target): t[target] = t.pop(source)`, and then
        `move(b"a", b"b")`.
        """
        check_sync(sync)
        return Decorator(lambda: self.transaction(sync=sync), retries)

    def delete_range(self, start: BytesLike, stop: BytesLike, *, sync: bool | None = None) -> None:
        """Delete the keys from start (inclusive) to stop (exclusive): one small write, however many keys there are."""
        self._delete_bounds(*scan_bounds(None, start, stop, True, False), sync)

    def delete_prefix(self, prefix: BytesLike, *, sync: bool | None = None) -> None:
        """Delete the keys that begin with the prefix: one small write, however many keys there are."""
        self._delete_bounds(*scan_bounds(prefix, None, None, True, False), sync)

    def snapshot(self) -> Snapshot:
        """`with db.snapshot() as view`: all read calls, on the data as it is now."""
        return Snapshot(self._store)

    def prefixed(self, prefix: BytesLike) -> PrefixedEngine:
        """The keys that begin with the prefix, as a database of its own with keys without it: `users =
        db.prefixed(b"user:")`, then `users[b"1"]` is `db[b"user:1"]`."""
        return PrefixedEngine(self, prefix)

    def refresh(self) -> bool:
        """With `read_only=True`: show what the writer has committed since, all at once. Returns whether that is
        anything. False for other engines: they show everything at once.

        Errors leave what was shown. NoDatabaseError: it is gone. StorageError, CorruptionError."""
        return self._store.refresh()

    # The mapping protocol: what it would inherit is slow, or not atomic.

    def __len__(self) -> int:
        """The number of keys, exactly. What neither a merge nor a call before has counted is looked up once: after a
        load by a helper process, at about a microsecond a key.

        Expired keys are deleted first. If the disk refuses writes, they still count, since reads continue then.
        """
        if self._store.options.read_only:  # it deletes none
            with self.snapshot() as view:
                return len(view)
        if not is_reentered():
            with suppress(StorageError, ReadOnlyError, StallTimeout):
                while self._compactor.sweep():
                    pass
        count = self._store.count()
        assert count is not None  # without a budget it counts to the end
        return count

    def clear(self) -> None:
        """Delete every key."""
        self._delete_bounds(b"", USER_END)

    # Others.

    def watch(
        self, prefix: BytesLike = b"", *, since: int | None = None, durable: bool = False, timeout: float | None = None
    ) -> Feed:
        """`for event in db.watch(b"user:")`: every commit from now on, in order, as events (docs/feed.md).

        `since`: from the event after the one with this sequence on; FeedGapError if not all of them are kept, which
        `wal_retention` is for. `durable`: only what no power cut can take away. `timeout`: the iteration ends if for so
        many seconds nothing comes; the next one goes on."""
        return self._feed(prefix, since, durable=durable, timeout=timeout)

    # Maintenance.

    def flush(self) -> None:
        """Write everything that is in memory to tables, now.

        No write needs it to be safe: `sync()` makes writes durable. It frees memory, and the next open is faster.
        Raises StorageError, ReadOnlyError or ClosedError."""
        refuse_reentry("flush()")
        with self._unless_closed():
            self._flush()

    def compact(self, start: BytesLike | None = None, stop: BytesLike | None = None) -> None:
        """Flush, delete what has expired, and merge everything into one run per shard without tombstones; with a start
        (inclusive) or stop (exclusive) only the tables that overlap this range."""
        refuse_reentry("compact()")
        is_whole = start is None and stop is None
        bounds = (b"", None) if is_whole else scan_bounds(None, start, stop, True, False)
        with self._unless_closed():
            while self._compactor.sweep():
                pass
            self._flush()
            self._compactor.compact_fully(*bounds)

    def approximate_size(self, start: BytesLike | None = None, stop: BytesLike | None = None) -> int:
        """About how many bytes the keys from start (inclusive) to stop (exclusive) take on disk, read from indexes: in
        tables and value files, without the write-ahead log, with what merges have not removed yet."""
        self._check_open()
        return stored_bytes(self._store.state, *scan_bounds(None, start, stop, True, False))

    def _flush(self) -> None:
        self._store.seal()
        while self._compactor.flush_once():
            pass
        if self._store.options.runner == "inline":
            self._compactor.run_pending()

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """ClosedError if it is closed, or is closed meanwhile: then the background's jobs are cancelled."""
        self._store.check_open()
        if self._store.options.read_only:
            raise ReadOnlyError(READ_ONLY_TEXT)
        try:
            yield
        except JobCancelled:
            raise ClosedError(CLOSED_TEXT) from None

    def sync(self) -> None:
        """Make everything written so far durable."""
        self._store.check_open()
        self._store.sync()

    def checkpoint(self, path: AnyPath) -> Checkpoint:
        """Make a second database of this one, as it is now, in a directory that is empty or absent. On the same device
        that takes hardly any room or time: files are shared, which neither database ever changes. Writes go on.

        StorageError, ReadOnlyError or ClosedError: nothing is left that can be opened."""
        refuse_reentry("checkpoint()")
        return make_checkpoint(self._store, absolute(path))

    def backup(self, path: AnyPath, *, keep: int | None = None, verify: bool = False) -> Backup:
        """Add a backup of the database as it is now to a directory of backups. Only the files that are not there yet
        are copied. Writes go on. `keep`: remove all but the newest so many. `verify`: read it back.
        `flin.engine.restore` makes a database of it.

        StorageError, ReadOnlyError, ClosedError: there is no new backup. LockedError: another one is being made there.
        CorruptionError: an older one is damaged. Example: `db.backup("backups", keep=7)`"""
        refuse_reentry("backup()")
        return make_backup(self._store, absolute(path), keep, verify=verify)

    def verify(self) -> list[FlinError]:
        """Read and check everything on disk, including counts and collections. Returns all problems; none if all is
        well."""
        from flin.objects.owners import Owners  # upwards: see UPWARDS in tests/test_imports.py

        return verify_store(self._store, Owners().check)

    def stats(self) -> dict[str, Any]:
        """Figures of this open engine. docs/stats.md explains each key."""
        return engine_statistics(self._store, self._compactor, self._runner, self._evictor)

    def close(self, *, flush: bool = True) -> None:
        """Make everything durable, and close. A second call does nothing.

        With `flush=False` the close is faster and the next open slower: what is in memory is not written to tables, and
        the next open replays it from the write-ahead log. Nothing is lost by that.

        StorageError or ReadOnlyError says that not everything is durable; the database is closed all the same. A scan
        or snapshot that is still in use raises ClosedError once it needs a table that is not open yet."""
        self._closing.close(flush)

    def __del__(self) -> None:
        closing: Closing | None = self.__dict__.get("_closing")  # an interrupt may have ended `__init__`
        if closing is None or self._store.has_ended or is_finalizing():
            return  # at the interpreter's end threads stand still; the kernel releases the directory
        if not isinstance(raw_of(self._store.options.fs), OsFileSystem | MemoryFileSystem):
            return  # a test's disk: nothing of the system is held, and the test must be able to count all calls
        try:
            warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            closing.drop()

    def rotate(self, new_key: EncryptionKey) -> None:
        """Change the key of an encrypted database. Durable on return: from then on only the new key opens it. New files
        get a new data key at once, older ones when they are merged. EncryptionError if it is not encrypted;
        StorageError: the old key is still right, or the new one is.

        Example: `db.rotate(secrets.token_bytes(32))`
        """
        rotate(self._store, new_key)

    @property
    def path(self) -> str:
        return self._store.directory

    @property
    def closed(self) -> bool:
        return self._store.closed

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<flin.engine.Engine {self._store.directory!r}{' closed' if self._store.closed else ''}>"

    # The base of the read calls (view.py).

    def _read(self, stored: bytes, *, values: bool = True) -> Live | None:
        return self._store.read(stored, values=values)

    def _now_ms(self) -> int:
        return self._store.now_ms()

    def _frozen(self) -> Snapshot:
        return Snapshot(self._store)

    def _check_open(self) -> None:
        self._store.check_open()

    def _first(self, start: bytes, stop: bytes, count: int) -> Page | None:
        return self._store.first(start, stop, count)

    def _head(self, start: bytes, stop: bytes, limit: int, *, values: bool = True) -> Page | None:
        return self._store.head(start, stop, limit, values=values)

    def _pages(
        self, start: bytes, stop: bytes, reverse: bool, limit: int | None, *, values: bool = True
    ) -> Iterator[Page]:
        return self._store.scan(start, stop, reverse=reverse, limit=limit, values=values)

    def _feed(
        self, prefix: BytesLike, since: int | None, *, durable: bool, timeout: float | None, part: bytes = b""
    ) -> Feed:
        self._store.check_open()
        return Feed(self._store, prefix, since, durable=durable, timeout=timeout, part=part)

    def _commit(
        self,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range],
        sync: bool | None,
        *,
        plain: bool | None = None,
        check: Callable[[RecentWrites], None] | None = None,
    ) -> None:
        """Commit, and wait for the disk if this write asks for it."""
        check_sync(sync)
        if not points and not ranges:
            self._check_open()
            return
        waits = self._sync_always if sync is None else sync
        if waits:
            self._store.check_sync()
        position = self._store.commit(points, ranges, plain=plain, check=check)
        if waits:
            self._store.sync(position)

    def _update(self, key: BytesLike, decide: Callable[[Live | None], Entry | None]) -> None:
        if self._sync_always:
            self._store.check_sync()
        position = self._store.update(as_stored(key), decide)
        if position is not None and self._sync_always:
            self._store.sync(position)

    def _delete_bounds(self, start: bytes, stop: bytes, sync: bool | None = None) -> None:
        self._commit({}, [(start, stop)] if start < stop else (), sync)


class LimitedEngine(Engine):
    """An engine whose reads decide what is evicted: `Engine.get` asks a memtable that tells nobody."""

    get = View.get


def store_of(engine: Engine) -> Store:
    """The store of an engine, for the server and the tools: stored keys and entries."""
    return engine._store


def open(  # `flin.engine.open`, as `dbm.open` and `shelve.open`
    path: AnyPath,
    *,
    sync: SyncMode = "interval",
    sync_interval_ms: int = 1000,
    memory_limit: int | str = 256 << 20,
    shards: int | None = None,
    create: bool = True,
    runner: RunnerKind = "auto",
    compression: Compression = "zstd",
    block_size_bytes: int = 8192,
    stall_timeout_ms: int = 60_000,
    stall_writers: bool = True,
    value_threshold: int = 4096,
    value_cache: bool = True,
    on_expired: Callable[[bytes], object] | None = None,
    encryption_key: EncryptionKey | None = None,
    wal_retention: int | str = 0,
    size_limit: int | str = 0,
    eviction: EvictionPolicy = "least-recently-stored",
    on_evicted: Callable[[bytes], object] | None = None,
    read_only: bool = False,
    fs: FileSystem | None = None,
    clock_ms: Callable[[], int] = wall_clock_ms,
    random_bytes: Callable[[int], bytes] = system_random_bytes,
) -> Engine:
    """Open the database in a directory. Creates both if needed. `flin.engine.Options` explains the options.
    ":memory:" is a database of its own, without files, which is gone once it is closed.

    LockedError: another process or engine has it open. NoDatabaseError: there is none, and `create` is off or
    `read_only` on. CorruptionError, FormatVersionError, StorageError: the files cannot be used. WrongKeyError,
    EncryptionError: the key is another one, or missing. TypeError, ValueError: an option is wrong.

    Example: `with flin.engine.open("data", sync="always") as db: db.put(b"key", b"value")`
    """
    options = Options(
        sync=sync,
        sync_interval_ms=sync_interval_ms,
        memory_limit=memory_limit,
        shards=shards,
        create=create,
        runner=runner,
        compression=compression,
        block_size_bytes=block_size_bytes,
        stall_timeout_ms=stall_timeout_ms,
        stall_writers=stall_writers,
        value_threshold=value_threshold,
        value_cache=value_cache,
        on_expired=on_expired,
        encryption_key=encryption_key,
        wal_retention=wal_retention,
        size_limit=size_limit,
        eviction=eviction,
        on_evicted=on_evicted,
        read_only=read_only,
        fs=(MemoryFileSystem() if path == MEMORY else OsFileSystem()) if fs is None else fs,
        clock_ms=clock_ms,
        random_bytes=random_bytes,
    )
    if path == MEMORY:
        if read_only or fs is not None:
            raise ValueError(f"{MEMORY} is a new database of this process: it takes neither read_only nor fs")
        return _engine(MEMORY, replace(options, create=True))
    return _engine(absolute(path), options)


def _engine(directory: str, options: Options) -> Engine:
    if options.read_only:
        return Engine(ReaderStore(directory, options))
    if not options.size_limit_bytes or options.eviction == "none":
        return Engine(Store(directory, options))
    store = LimitedStore(directory, options)
    return (LimitedEngine if store.policy.heeds_reads else Engine)(store)


def check_sync(sync: object) -> None:
    if sync is not None and sync is not True and sync is not False:
        raise TypeError(f"sync must be True, False or None, not {sync!r}; a sync mode is for open()")
