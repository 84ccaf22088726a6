"""The store of a reader: a database that another process, or this one, has open for writing. It changes nothing.

What it shows is as of its last refresh. Then it reads the manifest; if that has changed, it opens what is new; and it
replays the frames that were added to the write-ahead log since. One assignment shows all of it. Nothing here waits for
the writer, and the writer knows of no reader:

- Files that the writer removes meanwhile. A reader has its tables and value files open, by whatever name
  (read_only_fs.py). If one is gone before it is open, or a segment before it is replayed, there is a newer manifest
  that does not name it: everything is read again.
- Frames that are half written end the replay; the next refresh reads on from there.

The memtables of a reader are frozen. Each segment has its own, so that those go which a flush has put into tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Final, TypeVar

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.generation import Memtables, OpenGeneration, join_neighbours, split_memtable
from flin.engine.catalog.manifest import Manifest, ManifestWriter
from flin.engine.catalog.recovery import Recovery, recover
from flin.engine.disk.data_keys import DataKeys, key_of
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.lock import HeldLock
from flin.engine.disk.read_only_fs import NoLock, ReadOnlyFileSystem
from flin.engine.disk.sealed_files import SealedFileSystem, raw_of, unlock
from flin.engine.key import KEYS_END
from flin.engine.memtable import Memtable
from flin.engine.options import Options
from flin.engine.read.live_count import LiveCount
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, refuse_reentry
from flin.engine.table.block_cache import BlockCache
from flin.engine.tree.opening import Opened, check_manifest, check_shards, find_directory
from flin.engine.tree.store import Store
from flin.engine.tree.table_cache import TableCache, missing_bytes
from flin.engine.wal.replay import replay
from flin.engine.wal.tail import Chunk, Rewritten, Tail, Taken
from flin.errors import CorruptionError, FlinError, NoDatabaseError, StorageError

READ_ONLY_TEXT: Final = (
    "it was opened with read_only=True; write in the process that has it open for writing, or open it without read_only"
)

ATTEMPTS: Final = 100
"""How often a reader begins anew because the writer has changed what it was reading. A few in a row are to be expected
of a writer that flushes all the time; more mean that something else is wrong."""

Result = TypeVar("Result")


@dataclass(slots=True)
class _Contents:
    """What was read of a database: its manifest, the memtables of its segments, and where to read on."""

    manifest: Manifest
    tail: Tail
    segments: dict[int, tuple[Memtables, ...]] = field(default_factory=dict)
    """By number, of each shard the memtables, newest first."""

    def add(self, number: int, memtable: Memtable) -> None:
        """Add what was replayed of a segment."""
        shards = self.manifest.shards
        stacks = self.segments.get(number, ((),) * shards)
        self.segments[number] = tuple(
            join_neighbours((part, *stack)) if part else stack
            for part, stack in zip(split_memtable(memtable, shards), stacks, strict=True)
        )

    def read_on(self) -> bool:
        """Replay what the log has got since. Returns whether that is anything."""
        memtables: dict[int, Memtable] = {}

        def take(chunk: Chunk) -> Taken:
            memtable = memtables.setdefault(chunk.number, Memtable())
            end = len(chunk.data)
            done = replay(chunk.data, chunk.header, chunk.path, memtable, start=0, end=end, opener=chunk.opener)
            return Taken(done.end, done.next_sequence)

        found = self.tail.read(take)
        for number, memtable in memtables.items():
            self.add(number, memtable)
        return found

    def frozen(self) -> tuple[Memtables, ...]:
        """All of them by shard, newest first."""
        newest_first = [self.segments[number] for number in sorted(self.segments, reverse=True)]
        return tuple(
            tuple(memtable for stacks in newest_first for memtable in stacks[shard])
            for shard in range(self.manifest.shards)
        )


class PinnedTables(TableCache):
    """The table cache of a reader: what it lets go of is the writer's to remove."""

    def __init__(self, fs: FileSystem, directory: str, cache: BlockCache, pins: ReadOnlyFileSystem) -> None:
        super().__init__(fs, directory, cache)
        self._pins = pins

    def remove_obsolete(self) -> list[str]:
        """Let go of the files that no state holds. None of them is removed."""
        self.block_cache.drop_gone()
        self._gone.clear()
        self._pins.unpin_unless(self.holds)
        return []


class ReaderStore(Store):
    """A store that only reads. Threads may share it, and one may refresh it while others read."""

    def __init__(self, directory: str, options: Options) -> None:
        self._pins = ReadOnlyFileSystem(raw_of(options.fs))
        self._decoded: tuple[bytes, Manifest] | None = None  # the newest manifest that was read
        self._is_torn = False  # the tail may have read what no memtable has: everything must be read anew
        self._refreshing = RLock()
        super().__init__(directory, replace(options, fs=self._pins, runner="inline"))
        self.make_read_only(READ_ONLY_TEXT)

    # Opening.

    def _open_directory(self, directory: str, options: Options) -> Opened:
        find_directory(options.fs, directory, create=False)
        self._unlock(directory)
        contents, recovery = self._steady(directory, lambda manifest: self._read_all(directory, manifest))
        check_shards(directory, contents.manifest, options)
        self._contents = contents
        lock = HeldLock(options.fs, directory, b"", NoLock())
        return Opened(directory, lock, contents.manifest, ManifestWriter(options.fs, directory), recovery)

    def _begin(self) -> None:
        super()._begin()
        self._counts = self.state.version, self._live_count
        self.state = replace(self.state, frozen=self._contents.frozen())
        self.tables.remove_obsolete()  # what earlier attempts have opened

    def _table_cache(self) -> TableCache:
        cache = BlockCache(self.options.budget.quiet_block_cache)
        return PinnedTables(self.options.fs, self.directory, cache, self._pins)

    def _unlock(self, directory: str) -> None:
        """Read the data keys of an encrypted database. EncryptionError, WrongKeyError.

        What is shown, and snapshots of it, may need keys that the writer has dropped since: they stay."""
        key, fs = self.options.encryption_key, self.options.fs
        before = fs.keys.by_number if isinstance(fs, SealedFileSystem) else {}
        try:
            unlock(fs, directory, None if key is None else key_of(key), create=False)
        except OSError as error:
            raise StorageError("read", directory, error) from error
        if isinstance(fs, SealedFileSystem):
            fs.keys = DataKeys(dict(sorted((before | fs.keys.by_number).items())))

    def _steady(self, directory: str, read: Callable[[Manifest], Result]) -> Result:
        """Call `read` with the manifest, and again if its writer has taken a segment away meanwhile, or a file was
        gone. An error that comes twice although nothing has changed is damage."""
        seen: tuple[str, object] | None = None
        error: FlinError = StorageError("read", directory, "its writer is faster than this reader")
        for _ in range(ATTEMPTS):
            try:
                manifest = self._read_manifest(directory)
                result = read(manifest)
                after = self._read_manifest(directory)
            except (OSError, CorruptionError, Rewritten) as raised:
                before, seen = seen, (str(raised), self._decoded)
                error = raised if isinstance(raised, CorruptionError) else StorageError("read", directory, raised)
                if seen == before:
                    break
                self._unlock(directory)  # there may be another key since
                continue
            if after is manifest or (after.epoch, after.wal_floor) == (manifest.epoch, manifest.wal_floor):
                return result
        raise error

    def _read_manifest(self, directory: str) -> Manifest:
        """The newest manifest; the same object as long as it has not changed."""
        path = join(directory, MANIFEST)
        try:
            file = self.options.fs.open(path)
            found = file.pread(file.size(), 0)
        except FileNotFoundError as error:
            raise NoDatabaseError("read", directory, "its manifest is gone") from error
        except OSError as error:
            raise StorageError("read", path, error) from error
        if self._decoded is None or self._decoded[0] != found:
            self._decoded = found, manifest_format.decode(found, path)
        return self._decoded[1]

    def _read_all(self, directory: str, manifest: Manifest) -> tuple[_Contents, Recovery]:
        """Read a database from the beginning."""
        check_manifest(self.options.fs, directory, manifest)
        self._pin(directory, manifest)
        recovery = recover(self.options.fs, directory, manifest, 0)  # 0: a memtable for each segment
        tail = Tail(
            self.options.fs,
            directory,
            manifest.database_id,
            position=recovery.position,
            sequence=recovery.next_sequence,
            after=recovery.last_segment or manifest.wal_floor - 1,
        )
        contents = _Contents(manifest, tail)
        for generation in recovery.generations:
            contents.add(generation.next_segment - 1, generation.memtable)
        if recovery.generations:
            tail.enter(recovery.generations[-1].segments[0].file, recovery.last_end)
        recovery.generations = []  # they are in the contents
        return contents, recovery

    def _pin(self, directory: str, manifest: Manifest) -> None:
        missing_bytes(self.options.fs, directory, manifest.version)
        for name in manifest.version.files():
            self._pins.pin(join(directory, name))

    # Refreshing.

    @holds_lock
    def refresh(self) -> bool:
        """Show what the writer has committed since. Returns whether that is anything. An error leaves what was shown.

        StorageError, CorruptionError, FormatVersionError; NoDatabaseError if it is gone."""
        refuse_reentry("refresh()")
        with self._refreshing:
            self.check_open()
            shown = self.state
            contents = self._steady(self.directory, self._read_new)
            if contents is not self._contents:
                self._show(contents)
                self._contents, self._is_torn = contents, False
                self.tables.remove_obsolete()
            return self.state is not shown

    def _read_new(self, manifest: Manifest) -> _Contents:
        before, tail = self._contents, self._contents.tail
        if manifest.database_id != before.manifest.database_id:
            raise StorageError("refresh", self.directory, "another database is at its path now: open that")
        goes_on = manifest.epoch == before.manifest.epoch and (
            tail.number >= manifest.wal_floor or tail.position == manifest.wal_position
        )
        if self._is_torn or not goes_on:
            return self._read_all(self.directory, manifest)[0]
        if manifest is not before.manifest:
            self._pin(self.directory, manifest)
        kept = {number: stacks for number, stacks in before.segments.items() if number >= manifest.wal_floor}
        contents = _Contents(manifest, tail, kept)
        self._is_torn = True  # until all that the tail has read is in the contents that count
        found = contents.read_on()
        if manifest is before.manifest and not found:
            self._is_torn = False
            return before
        return contents

    @holds_lock
    def _show(self, contents: _Contents) -> None:
        manifest, frozen = contents.manifest, contents.frozen()
        with self._versions.lock:
            is_new = manifest is not self._versions.manifest
            flushes = self.state.flushes + is_new
            runs = self.tables.runs_of(manifest.version) if is_new else self.state.runs
            if is_new:
                self.value_cache.empty(flushes)

            def install() -> None:
                self._dead.reset()
                if self._notes_writes:  # any key may be another one now
                    self._recent.note_commit((), [(b"", KEYS_END)])
                self._versions.manifest = manifest
                self._wal.position = self._wal.synced = contents.tail.position
                self._wal.sequence = contents.tail.sequence
                self._generation = OpenGeneration(contents.tail.position)
                if is_new:
                    self._live_count = LiveCount()
                    self._counts = manifest.version, self._live_count
                self.state = replace(
                    self.state,
                    frozen=frozen,
                    runs=runs,
                    version=manifest.version,
                    value_files=self.tables.value_files,
                    flushes=flushes,
                )

            self._exclusively(install)

    # What is otherwise in a reader.

    def count(self, namespace: int = 0, budget: int | None = None, state: ReadState | None = None) -> int | None:
        """What `Store.count` gives. What was counted of one manifest says nothing of a snapshot of another: only a
        writer knows what merges have dropped in between."""
        state = state or self.freeze()
        version, live_count = self._counts
        return (live_count if state.version is version else LiveCount()).of(state, namespace, budget)

    @holds_lock
    def end_close(self) -> None:
        super().end_close()
        self._contents.tail.close()
        self._pins.unpin_unless(lambda _: False)
