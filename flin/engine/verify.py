"""The check of everything that an open store has on disk, or of the files of a copy before it is one. It changes
nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from flin.engine.catalog.manifest import read as read_manifest
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import FileSystem, join
from flin.engine.entry import TOMBSTONE, Page
from flin.engine.key import is_counted, namespace_of
from flin.engine.memtable import Memtable
from flin.engine.read.read_state import OpenRuns, ReadState
from flin.engine.read.value_check import ValueCheck
from flin.engine.table.block_cache import BlockCache
from flin.engine.tree.store import Store
from flin.engine.tree.table_cache import TableCache, missing_bytes
from flin.engine.wal.replay import load_segment
from flin.errors import CorruptionError, FlinError, StorageError

CollectionsCheck: TypeAlias = Callable[[Iterable[Page]], list[str]]
"""What is wrong with the collections in a state, given its entries in order. `flin.objects` knows it."""


def verify_store(store: Store, check_collections: CollectionsCheck) -> list[FlinError]:
    """All problems: in tables, the values that they point to, their order, the counts of live keys, collections, the
    WAL of sealed generations, the manifest.

    ClosedError if the store is closed before the end: its directory may be another database's by then."""
    state = store.freeze()
    problems: list[FlinError] = []
    problems += _verify_manifest(store)
    values = ValueCheck(state.value_files)
    for found in _verified_tables(store.directory, state.runs, values):
        problems += found
    if not problems:
        problems += values.sums(state.version.value_files, join(store.directory, MANIFEST))
        try:
            problems += _verify_entries(store, state, check_collections)
        except (CorruptionError, StorageError) as error:  # damage that no table's own check sees
            problems.append(error)
    for generation in state.sealed:
        for piece in generation.segments:
            try:
                load_segment(store.options.fs, store.directory, piece, Memtable())
            except FileNotFoundError:
                continue  # flushed and removed since the state was taken
            except FlinError as error:
                problems.append(error)
            except OSError as error:
                problems.append(StorageError("read", join(store.directory, piece.file), error))
    store.check_open()
    return problems


def verified_files(fs: FileSystem, directory: str) -> Iterator[list[FlinError]]:
    """What is wrong with each table, and at last with the values, that the manifest of a directory names, which nobody
    has open: all of it is read. CorruptionError, FormatVersionError, StorageError if it cannot be opened at all."""
    manifest = read_manifest(fs, directory)
    if manifest is None:
        raise CorruptionError(join(directory, MANIFEST), 0, "there is no manifest")
    version = manifest.version
    missing_bytes(fs, directory, version)
    tables = TableCache(fs, directory, BlockCache(0))
    try:
        runs = tables.runs_of(version)
        values, is_sound = ValueCheck(tables.value_files), True
        for found in _verified_tables(directory, runs, values):
            is_sound = is_sound and not found
            yield found
        if is_sound:
            yield list(values.sums(version.value_files, join(directory, MANIFEST)))
    finally:
        tables.close()


def _verified_tables(directory: str, shards: OpenRuns, values: ValueCheck) -> Iterator[list[FlinError]]:
    """Table by table what is wrong with it, with the values that it points to, and with its place."""
    for runs in shards:
        for run in runs:
            for table in run.tables:
                problems: list[FlinError] = []
                path = join(directory, table.meta.file)
                try:
                    problems += table.verify() or values.table(table, path)
                except FlinError as error:  # of a newer format, or not readable: the others are still checked
                    problems.append(error)
                yield problems
            for left, right in zip(run.tables, run.tables[1:], strict=False):
                if left.meta.largest >= right.meta.smallest:
                    path = join(directory, right.meta.file)
                    yield [CorruptionError(path, right.meta.offset, "it overlaps its neighbour in the run")]


def _verify_manifest(store: Store) -> list[FlinError]:
    try:
        found = read_manifest(store.options.fs, store.directory)
    except FlinError as error:
        return [error]
    except OSError as error:
        return [StorageError("read the manifest of", store.directory, error)]
    if found is None or found.database_id != store.manifest.database_id:
        return [CorruptionError(join(store.directory, MANIFEST), 0, "the manifest of this database is gone")]
    return []


def _verify_entries(store: Store, state: ReadState, check_collections: CollectionsCheck) -> list[FlinError]:
    """Read every entry once: for the collections, and to compare the number of live keys with what the engine says
    without reading."""
    counted: dict[int, int] = {}
    reasons = check_collections(_counting(state.pages(), counted))
    for namespace in counted.keys() | state.version.counts.keys() | {0}:
        said = store.live_count.of(state, namespace, None)  # whatever it is: also a number below zero
        if said != counted.get(namespace, 0):
            reasons.append(f"namespace {namespace} is said to have {said} keys and has {counted.get(namespace, 0)}")
    return [CorruptionError(store.directory, 0, reason) for reason in reasons]


def _counting(pages: Iterator[Page], counted: dict[int, int]) -> Iterator[Page]:
    """The pages, whose live keys are counted by namespace."""
    for keys, entries in pages:
        for key, entry in zip(keys, entries, strict=True):
            if entry is not TOMBSTONE and is_counted(key):
                namespace = namespace_of(key)
                counted[namespace] = counted.get(namespace, 0) + 1
        yield keys, entries
