"""The options of an engine, checked when it opens, and how the memory limit is divided."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from flin.engine.disk.data_keys import EncryptionKey, key_of
from flin.engine.disk.fs import FileSystem, OsFileSystem
from flin.engine.disk.sealed_files import raw_of
from flin.engine.replication import Replication
from flin.engine.slot import MAX_SHARDS
from flin.errors import EncryptionError, LimitError

SyncMode: TypeAlias = Literal["always", "interval", "never"]
RunnerKind: TypeAlias = Literal["auto", "helper", "thread", "inline"]
Compression: TypeAlias = Literal["zstd", "none"]
EvictionPolicy: TypeAlias = Literal[
    "least-recently-stored",
    "least-recently-used",
    "least-frequently-used",
    "random",
    "volatile-least-recently-used",
    "volatile-least-frequently-used",
    "volatile-random",
    "soonest-expiring",
    "none",
]

MIN_MEMORY_LIMIT_BYTES: Final = 1 << 20
"""Below this a generation holds a few hundred entries and everything is flushing."""

MIN_VALUE_THRESHOLD: Final = 8
"""A place takes 24 bytes, so smaller ones than that serve tests alone."""

MIN_SIZE_LIMIT_BYTES: Final = 1 << 18
"""Eviction works in steps of a sixty-fourth, at least 4 KiB."""

MAX_VALUE_THRESHOLD: Final = 1 << 30

_UNITS: Final = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4} | {
    power + suffix: 1 << 10 * number for number, power in enumerate("kmgt", 1) for suffix in ("b", "ib")
}
"""As in Redis' configuration, "1m" is a million and "1mb" is 1,048,576; so is "1mib", the unambiguous name."""


def wall_clock_ms() -> int:
    """Milliseconds since 1970: the time that expiries are compared with."""
    return time.time_ns() // 1_000_000


def system_random_bytes(size: int) -> bytes:
    """Random bytes for ids and salts."""
    return secrets.token_bytes(size)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `flin.engine.open`. TypeError or ValueError names the wrong one."""

    sync: SyncMode = "interval"
    """When a write becomes durable against a power cut: before it is answered (always), once per interval, or when the
    kernel writes it (never). If only the process is killed, no mode loses an answered write."""
    sync_interval_ms: int = 1000
    """The interval of the mode "interval"; the default is that of Redis' `everysec`."""
    memory_limit: int | str = 256 << 20
    """Bytes, or text like "256mb": the memory of memtables, caches and helper processes together."""
    shards: int | None = None
    """A power of two (default 1), fixed when the database is created. Later opens may leave it out."""
    create: bool = True
    """Create the database if the directory holds none."""
    runner: RunnerKind = "auto"
    """Where flushes and compactions run: in helper processes (auto: in a thread if these cannot start), in a thread,
    or inline, in the thread whose write made them necessary."""
    compression: Compression = "zstd"
    """The compression of merged tables. A flush compresses only if its entries have 512 bytes and more on average: what
    it writes is merged soon."""
    block_size_bytes: int = 8192
    """The size of a data block before compression: what one cold lookup reads and decodes. With 4096 compression costs
    twice as much per entry, and scans are slower."""
    stall_timeout_ms: int = 60_000
    """How long a write may wait for flushes and compactions before StallTimeout."""
    stall_writers: bool = True
    """Let writes wait if flushes and compactions fall behind. The server turns it off: instead of waiting itself, it
    stops reading from the clients that write."""
    value_threshold: int = 4096
    """Bytes from which on a value stays in the write-ahead log's file instead of being copied into tables; at least 8.
    0: every value is copied. Databases that hold such values can be opened with any threshold. Below 4096 seeks and
    scans cost more than with values in tables; from there on nothing does (docs/performance.md)."""
    value_cache: bool = True
    """Cache values that are often read from tables. The server turns it off, since it caches cached replies instead."""
    on_expired: Callable[[bytes], object] | None = None
    """Called with each key that has expired, once it is deleted: about a third of a second after its time, by the
    thread that deletes it (docs/as-a-cache.md)."""
    encryption_key: EncryptionKey | None = None
    """32 bytes, or a function that gives them when the database is opened: everything on the disk is encrypted then
    (docs/encryption.md). Fixed when the database is created; `Engine.rotate` changes the key."""
    wal_retention: int | str = 0
    """Bytes, or text like "64mb": at least so much of the write-ahead log is kept after its flush, across restarts, so
    that `watch(since=…)` can begin there. 0: what is flushed is gone."""
    size_limit: int | str = 0
    """Bytes, or text like "1gb": about how large the data may become, keys and values together, before compression.
    Beyond it keys are evicted: a cache (docs/as-a-cache.md). 0: no limit."""
    eviction: EvictionPolicy = "least-recently-stored"
    """Which keys go first beyond `size_limit`. The volatile ones, and "soonest-expiring", only take keys that expire;
    "none" evicts nothing."""
    on_evicted: Callable[[bytes], object] | None = None
    """Called with each key that was evicted, by the thread that evicts."""
    read_only: bool = False
    """Only read, alongside the process that has the database open for writing, if there is one. Takes no lock, writes
    nothing, starts no thread and no process; `refresh()` shows what was committed since (docs/readers.md)."""
    replication: Replication | None = None
    """Who keeps the log of which the directory holds a copy; `sync` does not apply then (engine/replica.py)."""
    fs: FileSystem = field(default_factory=OsFileSystem)
    """The file system below; for tests a simulated disk (docs/testing.md)."""
    clock_ms: Callable[[], int] = wall_clock_ms
    """Tells the time in whole milliseconds since 1970, with which expiries are compared; for tests a clock that they
    move."""
    random_bytes: Callable[[int], bytes] = system_random_bytes
    """Gives random bytes, for ids and salts; for tests the same ones each time."""

    def __post_init__(self) -> None:
        _check_choice("sync", self.sync, get_args(SyncMode))
        _check_choice("runner", self.runner, get_args(RunnerKind))
        _check_choice("compression", self.compression, get_args(Compression))
        _check_choice("eviction", self.eviction, get_args(EvictionPolicy))
        self._check_types()
        self._check_replication()
        if self.runner == "helper" and not isinstance(raw_of(self.fs), OsFileSystem):
            raise ValueError("runner 'helper' is another process, which needs the real file system: use 'thread'")
        shards = self.shards
        if shards is not None and (not 1 <= shards <= MAX_SHARDS or shards & (shards - 1)):
            raise ValueError(f"shards must be a power of two from 1 to {MAX_SHARDS}, not {shards}")
        if not 512 <= self.block_size_bytes <= 1 << 20:
            raise ValueError(f"block_size_bytes must be from 512 to 1048576, not {self.block_size_bytes}")
        if self.value_threshold and not MIN_VALUE_THRESHOLD <= self.value_threshold <= MAX_VALUE_THRESHOLD:
            least, most = MIN_VALUE_THRESHOLD, MAX_VALUE_THRESHOLD
            raise ValueError(f"value_threshold must be 0 or from {least} to {most}, not {self.value_threshold}")
        if self.sync_interval_ms < 1 or self.stall_timeout_ms < 0:
            raise ValueError("sync_interval_ms must be at least 1 and stall_timeout_ms at least 0")
        if self.memory_limit_bytes < MIN_MEMORY_LIMIT_BYTES:
            raise ValueError(f"memory_limit must be at least {MIN_MEMORY_LIMIT_BYTES} bytes, not {self.memory_limit!r}")
        if self.size_limit_bytes and self.size_limit_bytes < MIN_SIZE_LIMIT_BYTES:
            least = MIN_SIZE_LIMIT_BYTES
            raise ValueError(f"size_limit must be 0 or at least {least} bytes, not {self.size_limit!r}")
        if self.wal_retention_bytes < 0:
            raise ValueError(f"wal_retention must not be negative, but is {self.wal_retention!r}")

    def _check_replication(self) -> None:
        if self.replication is None:
            return
        if self.encryption_key is not None:
            raise EncryptionError("a replica cannot be encrypted, since its log is not: open it without encryption_key")
        if self.read_only or self.wal_retention_bytes or self.size_limit_bytes:
            raise ValueError("a replica takes neither read_only nor wal_retention nor size_limit")

    def _check_types(self) -> None:
        """Check types first: a wrong type would fail somewhere deep, or be taken for another value."""
        for name in ("sync_interval_ms", "shards", "block_size_bytes", "stall_timeout_ms", "value_threshold"):
            value = getattr(self, name)
            if type(value) is not int and not (name == "shards" and value is None):
                raise TypeError(f"{name} must be an int, not {value!r}")
        for name in ("create", "stall_writers", "value_cache", "read_only"):
            if type(getattr(self, name)) is not bool:
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if type(self.memory_limit) not in (int, str):
            raise TypeError(f'memory_limit must be bytes or text like "256mb", not {self.memory_limit!r}')
        if self.encryption_key is not None and not callable(self.encryption_key):
            key_of(self.encryption_key)
        for name in ("clock_ms", "random_bytes"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} must be a function, not {getattr(self, name)!r}")
        for name in ("on_expired", "on_evicted"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be a function or None, not {function!r}")
        for name in ("wal_retention", "size_limit"):
            if type(getattr(self, name)) not in (int, str):
                raise TypeError(f'{name} must be bytes or text like "64mb", not {getattr(self, name)!r}')
        now_ms = self.clock_ms()
        if type(now_ms) is not int:
            raise TypeError(f"clock_ms must return whole milliseconds (time.time_ns() // 1_000_000), not {now_ms!r}")

    @property
    def memory_limit_bytes(self) -> int:
        return parse_bytes(self.memory_limit)

    @property
    def size_limit_bytes(self) -> int:
        return parse_bytes(self.size_limit)

    @property
    def wal_retention_bytes(self) -> int:
        return parse_bytes(self.wal_retention)

    @property
    def budget(self) -> MemoryBudget:
        """How `memory_limit` is divided."""
        return MemoryBudget.of(self.memory_limit_bytes)


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """How the memory limit is divided, in bytes."""

    generation: int
    """One eighth for the open generation: with the two that may wait for their flush, three eighths. As long as none
    waits, the last two that were flushed stay as a cache (generation.py: RetiredGeneration)."""
    flush: int
    """Three sixteenths: a flush job holds one generation again, and the table that it writes."""
    compaction_slice: int
    """A thirty-second: what one compaction job holds at once; two may run."""
    block_cache: int
    """A quarter: decoded blocks cost about twice what they hold."""
    quiet_block_cache: int
    """A half while nothing is written, and until the first write: the room of the generations that would wait for their
    flush, except what retired ones take of it. It is given back within a quarter of a second of a write, and before a
    flush."""
    value_cache: int
    """An eighth for hot values (or, in the server, cached replies: they may borrow three eighths of the block cache's
    quarter, too)."""

    @classmethod
    def of(cls, memory_limit_bytes: int) -> MemoryBudget:
        sixteenth = memory_limit_bytes // 16
        return cls(2 * sixteenth, 3 * sixteenth, sixteenth // 2, 4 * sixteenth, 8 * sixteenth, 2 * sixteenth)


MAX_SEALED_GENERATIONS: Final = 2
"""The most generations that may wait for their flush before writers have to wait: one being flushed, and the next."""


def parse_bytes(size: int | str) -> int:
    """The bytes of a size: 1048576 for 1048576, "1mb", "1MB" or "1MiB"; as in Redis, "1m" is a million. ValueError if
    it is not a size."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"\s*([0-9]+)\s*([a-z]*)\s*", size.lower()) if isinstance(size, str) else None
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{size!r} is not a size: write whole bytes, or a whole number with kb, mb, gb or tb (256mb)")
    return int(match[1]) * _UNITS[match[2]]


def check_size(what: str, size: int, maximum: int) -> None:
    if size > maximum:
        raise LimitError(what, size, maximum)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
