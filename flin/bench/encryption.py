"""The cost of encryption, `flin bench encryption`: a plain and an encrypted database in this process, row by row in
turn. A cost is the processor time of the process for one operation, by all threads together; flushes and merges run in
threads here, so they are counted, too.
"""

from __future__ import annotations

import random
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time_ns
from typing import Any, Final

import flin.engine
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.engine import Engine

PLAIN: Final = "plain"
SEALED: Final = "encrypted"
KEYS: Final = {PLAIN: None, SEALED: bytes(range(32))}

ROOMY: Final = 1 << 30
CACHED: Final = 256 << 20
"""Memory in which nothing is flushed while it is written, and memory for all blocks that are read."""

FILL: Final = 32 << 20
COLD: Final = 16 << 20
"""Memory for a tenth of what is written, and for less than half of what is read."""

NOISE_BYTES: Final = 1 << 20
BATCH: Final = 1000
WARMING: Final = 2
"""What is read so often is in the cache afterwards."""

PAGE: Final = 10


@dataclass(frozen=True, slots=True)
class Settings:
    scale: float = 1.0
    rounds: int = 3

    def steps(self) -> int:
        return self.rounds * len(ROWS)


QUICK: Final = Settings(0.02, 1)


@dataclass(slots=True)
class Result:
    costs: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # by row and database, in microseconds

    def to_json(self) -> dict[str, Any]:
        return {"costs_microseconds": self.costs}


Pairs = Sequence[tuple[bytes, bytes]]


def _data(count: int, value_bytes: int) -> Pairs:
    """Keys in random order, and values of which half can be compressed."""
    chance = random.Random(1)
    keys = [b"%016d" % number for number in range(count)]
    chance.shuffle(keys)
    noise, half, rest = chance.randbytes(NOISE_BYTES), value_bytes // 2, bytes(value_bytes - value_bytes // 2)
    starts = [number * 977 % (NOISE_BYTES - half) for number in range(count)]
    return [(key, noise[start : start + half] + rest) for key, start in zip(keys, starts, strict=True)]


@dataclass(frozen=True, slots=True)
class Row:
    """`work` does as many operations as it returns on an open database; `reads`: one that is filled and merged before.
    `opens`: what is counted is the opening."""

    name: str
    work: Callable[[Engine, Pairs], int]
    count: int
    value_bytes: int
    memory_bytes: int
    reads: bool = False
    warm: bool = False
    opens: bool = False


def _put(db: Engine, pairs: Pairs) -> int:
    for key, value in pairs:
        db.put(key, value)
    return len(pairs)


def _put_batches(db: Engine, pairs: Pairs) -> int:
    for start in range(0, len(pairs), BATCH):
        db.put_many(pairs[start : start + BATCH])
    return len(pairs)


def _fill(db: Engine, pairs: Pairs) -> int:
    _put(db, pairs)
    db.flush()
    db.compact()
    return len(pairs)


def _get(db: Engine, pairs: Pairs) -> int:
    for key, _ in pairs:
        db.get(key)
    return len(pairs)


def _scan(db: Engine, pairs: Pairs) -> int:
    deque(db.items(), maxlen=0)
    return len(pairs)


def _pages(db: Engine, pairs: Pairs) -> int:
    for key, _ in pairs:
        deque(islice(db.scan(start=key), PAGE), maxlen=0)
    return len(pairs)


def _nothing(_: Engine, pairs: Pairs) -> int:
    return len(pairs)


ROWS: Final = (
    Row("put, 100 B, the caller's part", _put, 60_000, 100, ROOMY),
    Row("put, 1 KiB, the caller's part", _put, 30_000, 1024, ROOMY),
    Row(f"batches of {BATCH}, 100 B, the caller's part", _put_batches, 200_000, 100, ROOMY),
    Row("fill, 100 B, with flushes and merges", _fill, 300_000, 100, FILL),
    Row("fill, 1 KiB, with flushes and merges", _fill, 60_000, 1024, FILL),
    Row("fill, 8 KiB, with flushes and merges", _fill, 12_000, 8192, FILL),
    Row("get, 100 B, cached", _get, 100_000, 100, CACHED, reads=True, warm=True),
    Row("get, 100 B, beyond the cache", _get, 200_000, 100, COLD, reads=True),
    Row("get, 1 KiB, beyond the cache", _get, 60_000, 1024, COLD, reads=True),
    Row("get, 8 KiB, from value files", _get, 8_000, 8192, CACHED, reads=True),
    Row(f"seek and {PAGE} entries, 100 B, cached", _pages, 30_000, 100, CACHED, reads=True, warm=True),
    Row("scan, an entry of 100 B, cached", _scan, 200_000, 100, CACHED, reads=True, warm=True),
    Row("scan, an entry of 1 KiB, beyond the cache", _scan, 60_000, 1024, COLD, reads=True),
    Row("opening, an entry of 100 B in the WAL", _nothing, 200_000, 100, ROOMY, opens=True),
)


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    result = Result()
    for row in ROWS:
        pairs = _data(max(BATCH, int(row.count * settings.scale)), row.value_bytes)
        costs: dict[str, list[float]] = {PLAIN: [], SEALED: []}
        with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
            for number in range(settings.rounds):
                for kind in (PLAIN, SEALED) if number % 2 else (SEALED, PLAIN):
                    name = kind if row.reads else f"{kind} {number}"
                    costs[kind].append(_measure(row, pairs, Path(parent) / name, kind))
                progress.step(f"{row.name}: {costs[PLAIN][-1]:.2f} µs, {costs[SEALED][-1]:.2f} µs encrypted")
        result.costs[row.name] = costs
    return result


def _measure(row: Row, pairs: Pairs, directory: Path, kind: str) -> float:
    """Microseconds of one operation."""
    if (row.reads or row.opens) and not directory.exists():
        with _opened(row, directory, kind) as db:
            (_put if row.opens else _filled)(db, pairs)
    before = process_time_ns()
    with _opened(row, directory, kind) as db:
        for _ in range(WARMING if row.warm else 0):
            row.work(db, pairs)
        if not row.opens:
            before = process_time_ns()
        operations = row.work(db, pairs)
        after = process_time_ns()
    return (after - before) / 1000 / operations


def _filled(db: Engine, pairs: Pairs) -> None:
    _put_batches(db, pairs)
    db.flush()
    db.compact()


@contextmanager
def _opened(row: Row, directory: Path, kind: str) -> Iterator[Engine]:
    """Not flushed at the end: `opens` needs what is in the WAL."""
    db = flin.engine.open(directory, memory_limit=row.memory_bytes, runner="thread", encryption_key=KEYS[kind])
    try:
        yield db
    finally:
        db.close(flush=False)


def table(result: Result) -> str:
    lines = [["operation, µs", PLAIN, SEALED, "of plain"]]
    for name, costs in result.costs.items():
        ratio = median(sealed / plain for plain, sealed in zip(costs[PLAIN], costs[SEALED], strict=True))
        lines.append([name, f"{median(costs[PLAIN]):.2f}", f"{median(costs[SEALED]):.2f}", f"{ratio:.2f}"])
    return aligned(lines)
