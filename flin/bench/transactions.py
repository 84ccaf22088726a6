"""The cost of transactions beside that of plain writes, `flin bench transactions`: in this process, rows in turn, round
by round. A cost is the processor time of the process for one operation, by all threads together, so it holds whatever
else the machine does; helpers are other processes. In rows with several threads conflicts are counted, too: those that
change one key meet, those that change any of many hardly do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread
from time import process_time_ns
from typing import Any, Final

import flin.engine
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.engine import Engine, Transaction

VALUE: Final = b"v" * 100
FEW: Final = 10
"""The reads and the writes of a longer transaction."""

THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Settings:
    operations: int = 20_000
    rounds: int = 5
    memory_bytes: int = 256 << 20

    def steps(self) -> int:
        return self.rounds * len(ROWS)


QUICK: Final = Settings(1000, 1)


@dataclass(slots=True)
class Result:
    costs: dict[str, list[float]] = field(default_factory=dict)  # by row, in microseconds
    attempts: dict[str, list[float]] = field(default_factory=dict)  # of one transaction

    def to_json(self) -> dict[str, Any]:
        return {"costs_microseconds": self.costs, "attempts": self.attempts}


Act = Callable[[Engine, bytes], object]


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    act: Act
    threads: int = 1
    same_key: bool = False
    beside: bool = False  # while a transaction is open


def _put(db: Engine, key: bytes) -> None:
    db.put(key, VALUE)


def _batch(db: Engine, key: bytes) -> None:
    with db.write_batch() as batch:
        batch.put(key, VALUE)


def _blind(db: Engine, key: bytes) -> None:
    with db.transaction() as t:
        t.put(key, VALUE)


def _read_and_write(db: Engine, key: bytes) -> None:
    with db.transaction() as t:
        t.get(key)
        t.put(key, VALUE)


def _read_and_write_few(db: Engine, key: bytes) -> None:
    with db.transaction() as t:
        for number in range(FEW):
            one = key + b"%d" % number
            t.get(one)
            t.put(one, VALUE)


def _scan_and_write(db: Engine, key: bytes) -> None:
    with db.transaction() as t:
        for _ in t.scan(start=key, limit=FEW):
            pass
        t.put(key, VALUE)


def _read(db: Engine, key: bytes) -> None:
    with db.transaction() as t:
        t.get(key)


def _read_snapshot(db: Engine, key: bytes) -> None:
    with db.snapshot() as view:
        view.get(key)


def _incr(db: Engine, key: bytes) -> None:
    db.incr(b"number of " + key)


ROWS: Final = (
    Row("put", _put),
    Row("put while a transaction is open", _put, beside=True),
    Row("batch of one put", _batch),
    Row("transaction of one put", _blind),
    Row("transaction of one get and one put", _read_and_write),
    Row(f"transaction of {FEW} gets and {FEW} puts", _read_and_write_few),
    Row(f"transaction of a scan of {FEW} and one put", _scan_and_write),
    Row("transaction of one get", _read),
    Row("snapshot of one get", _read_snapshot),
    Row("incr", _incr),
    Row(f"put, {THREADS} threads", _put, THREADS),
    Row(f"transactional get and put, {THREADS} threads", _read_and_write, THREADS),
    Row(f"the same of one key, {THREADS} threads", _read_and_write, THREADS, same_key=True),
)


def run(settings: Settings, scratch: str, progress: Progress) -> Result:
    result = Result()
    with _engine(settings, scratch) as db:
        keys = [b"%016d" % (number * 7919 % settings.operations) for number in range(settings.operations)]
        db.put_many(dict.fromkeys(keys, VALUE))
        for _ in range(settings.rounds):
            for row in ROWS:
                cost, attempts = _measure(db, row, keys)
                result.costs.setdefault(row.name, []).append(cost)
                result.attempts.setdefault(row.name, []).append(attempts)
                progress.step(f"{row.name}: {cost:.2f} µs")
    return result


@contextmanager
def _engine(settings: Settings, scratch: str) -> Iterator[Engine]:
    with (
        tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent,
        flin.engine.open(Path(parent) / "data", memory_limit=settings.memory_bytes) as db,
    ):
        yield db


def _measure(db: Engine, row: Row, keys: list[bytes]) -> tuple[float, float]:
    """Microseconds of one operation, and how often it was tried."""
    attempts = [0] * row.threads
    share = len(keys) // row.threads

    def work(thread: int) -> None:
        mine = keys[:1] * share if row.same_key else keys[thread * share : (thread + 1) * share]
        for key in mine:
            attempts[thread] += _tried(row.act, db, key)

    opened: Transaction | None = db.transaction() if row.beside else None
    before = process_time_ns()
    if row.threads == 1:
        act = row.act
        for key in keys:
            act(db, key)
        attempts = [len(keys)]
    else:
        threads = [Thread(target=work, args=(number,)) for number in range(row.threads)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    cost = (process_time_ns() - before) / 1000 / (share * row.threads)
    if opened is not None:
        opened.discard()
    return cost, sum(attempts) / (share * row.threads)


def _tried(act: Act, db: Engine, key: bytes) -> int:
    """Act until nobody is in the way. Returns the number of attempts."""
    attempts = 1
    while True:
        try:
            act(db, key)
        except flin.engine.ConflictError:
            attempts += 1
            continue
        return attempts


def table(result: Result) -> str:
    lines = [["operation", "µs", "of a put", "attempts"]]
    put = median(result.costs["put"])
    for name, costs in result.costs.items():
        cost = median(costs)
        lines.append([name, f"{cost:.2f}", f"{cost / put:.2f}", f"{median(result.attempts[name]):.3f}"])
    return aligned(lines)
