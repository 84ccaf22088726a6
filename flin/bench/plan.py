"""The parts of a run of `flin bench` with their settings, chosen by the options and by what is installed.

Pure: it starts nothing. The parts are the modules of this package that have `Settings` and `compare`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeAlias

from flin.bench import (
    beyond_memory,
    compaction,
    embedded,
    following,
    headline,
    opening,
    rewriting,
    served,
    slow_sync,
    sustained,
    workers,
)
from flin.bench.comparison import Result
from flin.bench.progress import Progress
from flin.bench.rows import ROWS

EMBEDDED_ROWS: Final = (*ROWS, "sustained", "rewriting", "open", "headline")
SERVED_ROWS: Final = (
    *served.SCENES,
    "headline-served",
    "compaction",
    "beyond-memory",
    "slow-sync",
    "workers",
    "follow",
)
ALL_ROWS: Final = (*EMBEDDED_ROWS, *SERVED_ROWS)

NEED_REDIS_BENCHMARK: Final = (*served.SCENES, "headline-served", "slow-sync", "workers", "follow")

LONG_ROWS: Final = ("compaction", "follow", "headline-served", "mget", "missing", "reconnecting", "workers")
"""Not in a quick run, unless asked for by name: three compactions take long; the others are much like `plain` and
`pipelined`."""

QUICK_REST_SECONDS: Final = 0.0
"""So few keys are one run in every store."""

QUICK_KEYS: Final = 30_000
QUICK_OPEN_KEYS: Final = 100_000
QUICK_REWRITTEN: Final = 10_000
QUICK_SECONDS: Final = 0.4
QUICK_SLICES: Final = 2
QUICK_MEMORY: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Choice:
    """The given options. None: the default of the run, quick or full."""

    stores: tuple[str, ...]
    servers: tuple[str, ...]
    rows: tuple[str, ...] = ()  # all if there are none
    only: str | None = None  # "embedded" or "served"
    quick: bool = False
    count: int | None = None
    value_sizes: tuple[int, ...] = ()
    rounds: int | None = None
    memory_bytes: int | None = None
    latencies: bool = True
    tuned: bool = True

    def chosen(self) -> tuple[str, ...]:
        """The rows that will run."""
        possible = {"embedded": EMBEDDED_ROWS, "served": SERVED_ROWS}[self.only] if self.only else ALL_ROWS
        if self.rows:
            return tuple(row for row in possible if row in self.rows)
        return tuple(row for row in possible if not (self.quick and row in LONG_ROWS))


@dataclass(frozen=True, slots=True)
class Memtable:
    name: str
    settings: Any  # its module's: a dataclass with steps() and seconds(), about how long it takes
    compare: Callable[[Any, str, Progress], list[Any]]

    def run(self, scratch: str, progress: Progress) -> list[Result]:
        progress.begin(self.name, self.settings.steps(), self.settings.seconds())
        return self.compare(self.settings, scratch, progress)

    def to_json(self) -> dict[str, Any]:
        return asdict(self.settings)


_Make: TypeAlias = Callable[[Choice, tuple[str, ...]], Any]
"""Settings of a part for a choice and the rows chosen; None if it has no row among them."""


def parts(choice: Choice) -> list[Memtable]:
    rows = choice.chosen()
    made = [(name, make(choice, rows), compare) for name, make, compare in _PARTS]
    return [Memtable(name, settings, compare) for name, settings, compare in made if settings is not None]


def _embedded(choice: Choice, rows: tuple[str, ...]) -> embedded.Settings | None:
    mine = tuple(row for row in rows if row in ROWS)
    full = embedded.Settings()
    settings = embedded.Settings(
        choice.stores,
        mine,
        choice.value_sizes or ((100,) if choice.quick else full.value_sizes),
        choice.count or (QUICK_KEYS if choice.quick else full.count),
        _rounds(choice, full.rounds),
        choice.memory_bytes or full.memory_bytes,
        choice.latencies and not choice.quick,
        choice.tuned,
        QUICK_REST_SECONDS if choice.quick else full.rest_seconds,
    )
    return settings if mine else None


def _sustained(choice: Choice, rows: tuple[str, ...]) -> sustained.Settings | None:
    if "sustained" not in rows:
        return None
    full = sustained.Settings(choice.stores, rounds=_rounds(choice, 3))
    return replace(full, memory_bytes=choice.memory_bytes or (QUICK_MEMORY if choice.quick else full.memory_bytes))


def _rewriting(choice: Choice, rows: tuple[str, ...]) -> rewriting.Settings | None:
    if "rewriting" not in rows:
        return None
    full = rewriting.Settings(choice.stores, rounds=choice.rounds or 1)
    quick = replace(full, count=QUICK_REWRITTEN, memory_bytes=QUICK_MEMORY)
    settings = quick if choice.quick else full
    return replace(settings, count=choice.count or settings.count)


def _opening(choice: Choice, rows: tuple[str, ...]) -> opening.Settings | None:
    if "open" not in rows:
        return None
    full = opening.Settings(choice.stores, rounds=_rounds(choice, 3))
    counts = (choice.count,) if choice.count else (QUICK_OPEN_KEYS,) if choice.quick else full.counts
    wide = full.wide_count if counts == full.counts else 0
    return replace(full, counts=counts, wide_count=wide, memory_bytes=choice.memory_bytes or full.memory_bytes)


def _headline(choice: Choice, rows: tuple[str, ...]) -> headline.Settings | None:
    if "headline" not in rows:
        return None
    full = headline.Settings(choice.stores, rounds=_rounds(choice, 3))
    return replace(full, seconds_each=QUICK_SECONDS, loaded=1000) if choice.quick else full


def _served(choice: Choice, rows: tuple[str, ...]) -> served.Settings | None:
    scenes = tuple(scene for name, scene in served.SCENES.items() if name in rows)
    return _scenes(choice, scenes) if scenes else None


def _headline_served(choice: Choice, rows: tuple[str, ...]) -> served.Settings | None:
    return _scenes(choice, served.HEADLINE_SCENES) if "headline-served" in rows else None


def _scenes(choice: Choice, scenes: tuple[served.Scene, ...]) -> served.Settings:
    scenes = tuple(map(served.quick, scenes)) if choice.quick else scenes
    return served.Settings(choice.servers, scenes, _rounds(choice, 3), 0.0 if choice.quick else served.SETTLE_SECONDS)


def _compaction(choice: Choice, rows: tuple[str, ...]) -> compaction.Settings | None:
    return compaction.Settings() if "compaction" in rows else None


def _beyond_memory(choice: Choice, rows: tuple[str, ...]) -> beyond_memory.Settings | None:
    if "beyond-memory" not in rows:
        return None
    full = beyond_memory.Settings(rounds=_rounds(choice, 3))
    return replace(full, memory_bytes=QUICK_MEMORY, seconds_each=1.0) if choice.quick else full


def _slow_sync(choice: Choice, rows: tuple[str, ...]) -> slow_sync.Settings | None:
    if "slow-sync" not in rows:
        return None
    full = slow_sync.Settings(rounds=_rounds(choice, 3))
    return replace(full, seconds_each=1.5) if choice.quick else full


def _workers(choice: Choice, rows: tuple[str, ...]) -> workers.Settings | None:
    if "workers" not in rows:
        return None
    full = workers.Settings()
    return replace(full, rounds=choice.rounds or (QUICK_SLICES if choice.quick else full.rounds))


def _following(choice: Choice, rows: tuple[str, ...]) -> following.Settings | None:
    if "follow" not in rows or "redis-server" not in choice.servers:
        return None
    return following.Settings(rounds=_rounds(choice, 3))


def _rounds(choice: Choice, full: int) -> int:
    return choice.rounds or (1 if choice.quick else full)


_PARTS: Final[tuple[tuple[str, _Make, Callable[[Any, str, Progress], list[Any]]], ...]] = (
    ("embedded", _embedded, embedded.compare),
    ("sustained", _sustained, sustained.compare),
    ("rewriting", _rewriting, rewriting.compare),
    ("open", _opening, opening.compare),
    ("headline", _headline, headline.compare),
    ("served", _served, served.compare),
    ("headline-served", _headline_served, served.compare),
    ("compaction", _compaction, compaction.compare),
    ("beyond-memory", _beyond_memory, beyond_memory.compare),
    ("slow-sync", _slow_sync, slow_sync.compare),
    ("workers", _workers, workers.compare),
    ("follow", _following, following.compare),
)
