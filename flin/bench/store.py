"""One interface for the engines that are compared: Flin, RocksDB (rocksdict) and LevelDB (plyvel).

The calls of a hot loop (`put`, `get`, `delete`) are the libraries' own bound methods, so that no adapter's frame is
measured. The peers run as a careful user would set them up (`tuned`): the same memory, a quarter of it for a memtable
and half for the block cache, and a Bloom filter of 10 bits per key; or with their defaults.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, Protocol

Pair = tuple[bytes, bytes]

FILTER_BITS_PER_KEY: Final = 10
"""About 1 % of false positives, as both libraries' manuals advise."""

_STALL: Final = re.compile(r"Cumulative stall: (\d+):(\d+):([\d.]+) H:M:S")


class Store(Protocol):
    """The calls that rows need. `get` returns None for an absent key."""

    @property
    def put(self) -> Callable[[bytes, bytes], object]: ...

    @property
    def get(self) -> Callable[[bytes], bytes | None]: ...

    @property
    def delete(self) -> Callable[[bytes], object]: ...

    def put_synced(self, key: bytes, value: bytes) -> object:
        """Put a key; returns when the write is on the disk."""

    def put_batch(self, pairs: list[Pair]) -> object:
        """Put the pairs in one atomic commit."""

    def scan(self, *, reverse: bool) -> Iterator[Pair]: ...

    def seek(self, start: bytes, count: int) -> list[Pair]:
        """The first pairs from start on, as of now (a new iterator for each call)."""

    def close(self) -> None: ...


class FlinStore:
    def __init__(self, path: str, memory_bytes: int, tuned: bool, shards: int | None = None) -> None:
        import flin.engine

        self._engine = engine = flin.engine.open(path, memory_limit=memory_bytes, shards=shards)
        self.put = engine.put
        self.get = engine.get
        self.delete = engine.delete

    def put_synced(self, key: bytes, value: bytes) -> None:
        self._engine.put(key, value, sync=True)

    def put_batch(self, pairs: list[Pair]) -> None:
        self._engine.put_many(pairs)

    def scan(self, *, reverse: bool) -> Iterator[Pair]:
        return iter(self._engine.scan(reverse=reverse))

    def seek(self, start: bytes, count: int) -> list[Pair]:
        return list(self._engine.scan(start=start, limit=count))

    def flush(self) -> None:
        self._engine.flush()

    def statistics(self) -> dict[str, Any]:
        return self._engine.stats()

    def close(self) -> None:
        self._engine.close()


class RocksStore:
    def __init__(self, path: str, memory_bytes: int, tuned: bool) -> None:
        import rocksdict

        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        if tuned:
            table = rocksdict.BlockBasedOptions()
            table.set_bloom_filter(FILTER_BITS_PER_KEY, False)
            table.set_block_cache(rocksdict.Cache(memory_bytes // 2))
            options.set_block_based_table_factory(table)
            options.set_write_buffer_size(memory_bytes // 4)
        self._library = rocksdict
        self._database = _untyped(rocksdict.Rdict(path, options))
        self._synced = rocksdict.WriteOptions()
        self._synced.sync = True
        self.put = self._database.put
        self.get = self._database.get
        self.delete = self._database.delete

    def put_synced(self, key: bytes, value: bytes) -> None:
        self._database.put(key, value, self._synced)

    def put_batch(self, pairs: list[Pair]) -> None:
        batch = self._library.WriteBatch(raw_mode=True)
        put = batch.put
        for key, value in pairs:
            put(key, value)
        self._database.write(batch)

    def scan(self, *, reverse: bool) -> Iterator[Pair]:
        return iter(self._database.items(backwards=reverse))

    def seek(self, start: bytes, count: int) -> list[Pair]:
        return list(islice(self._database.items(from_key=start), count))

    def held_back_seconds(self) -> float:
        """How long writers were slowed or stopped, from the line "Cumulative stall: 00:00:1.234 H:M:S, 5.6 percent"."""
        found = _STALL.search(self._database.property_value("rocksdb.stats"))
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0

    def close(self) -> None:
        self._database.close()


class LevelStore:
    def __init__(self, path: str, memory_bytes: int, tuned: bool) -> None:
        import plyvel

        options: dict[str, int] = {}
        if tuned:
            options["bloom_filter_bits"] = FILTER_BITS_PER_KEY
            options["lru_cache_size"] = memory_bytes // 2
            options["write_buffer_size"] = memory_bytes // 4
        self._database = _untyped(plyvel.DB(path, create_if_missing=True, **options))
        self.put = self._database.put
        self.get = self._database.get
        self.delete = self._database.delete

    def put_synced(self, key: bytes, value: bytes) -> None:
        self._database.put(key, value, sync=True)

    def put_batch(self, pairs: list[Pair]) -> None:
        with self._database.write_batch() as batch:
            put = batch.put
            for key, value in pairs:
                put(key, value)

    def scan(self, *, reverse: bool) -> Iterator[Pair]:
        return iter(self._database.iterator(reverse=reverse))

    def seek(self, start: bytes, count: int) -> list[Pair]:
        return list(islice(self._database.iterator(start=start), count))

    def close(self) -> None:
        self._database.close()


def _untyped(database: object) -> Any:
    """The database without types: methods take more arguments than rows give; not every version has types."""
    return database


# name → (the module that must be importable, the adapter)
STORES: Final[dict[str, tuple[str, Callable[[str, int, bool], Store]]]] = {
    "flin": ("flin.engine", FlinStore),
    "rocksdict": ("rocksdict", RocksStore),
    "plyvel": ("plyvel", LevelStore),
}


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(STORES[name][0]) is not None


def import_library(name: str) -> None:
    """Import a store's library before the clock starts: the time to open a store does not include the import."""
    importlib.import_module(STORES[name][0])


def open_store(name: str, path: str, memory_bytes: int, *, tuned: bool = True) -> Store:
    """Open a store. `tuned` applies only to the peers: Flin runs with its defaults."""
    return STORES[name][1](path, memory_bytes, tuned)
