"""The cost of a history, for the curve of that name: `python -m flin.bench.history TASK`, a line of JSON per length.

Two histories of that length: range deletes, each of a session that has no keys, next to a thousand keys of users; and
takes, from the front of a queue and from the end of a stack, each with a put. Each length has databases of its own.
Figures are microseconds of processor time, including jobs: they run in threads of the same process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Final

import flin.engine
from flin.bench.loader import say
from flin.bench.row import SEEK_LENGTH, WrongAnswerError
from flin.engine.engine import Engine

USERS: Final = 1000
WAITING: Final = 1000
"""Jobs in the queue at all times."""

TIMED: Final = 500
"""Operations that are timed after the history."""


@dataclass(frozen=True, slots=True)
class Task:
    directory: str
    lengths: tuple[int, ...]  # ascending
    memory_bytes: int


def measure(task: Task) -> Iterator[dict[str, float]]:
    for length in task.lengths:
        yield {"count": length, **_range_deletes(task, length), **_takes(task, length)}


def _range_deletes(task: Task, length: int) -> dict[str, float]:
    path = Path(task.directory) / f"ranges-{length}"
    costs = {}
    with _open(task, path) as db:
        for number in range(USERS):
            db.put(_user(number), b"x" * 100)
        db.flush()
        costs["delete_range"] = _timed(lambda number: db.delete_prefix(b"session:%08d:" % number), length)
        costs["get beside them"] = _timed(lambda number: db.get(_user(number)), TIMED)
        costs["seek and ten"] = _timed(
            lambda number: list(db.scan(start=_user(number % 900), limit=SEEK_LENGTH)), TIMED
        )
        if len(list(db)) != USERS:
            raise WrongAnswerError("a range delete took keys of others")
        db.close(flush=False)
    began = process_time()
    with _open(task, path) as db:
        costs["open, a range delete"] = 1e6 * (process_time() - began) / length
        began = process_time()
        db.flush()
        costs["flush, a range delete"] = 1e6 * (process_time() - began) / length
    return costs


def _takes(task: Task, length: int) -> dict[str, float]:
    costs = {}
    with _open(task, Path(task.directory) / f"queue-{length}") as db:
        db.put_many({b"%010d" % number: b"x" * 20 for number in range(WAITING)})
        tail = WAITING

        def put_and_take(_: int) -> None:
            nonlocal tail
            db.put(b"%010d" % tail, b"x" * 20)
            tail += 1
            if db.popitem()[0] != b"%010d" % (tail - WAITING - 1):
                raise WrongAnswerError("the queue is out of order")

        _timed(put_and_take, length)
        costs["put and popitem"] = _timed(put_and_take, TIMED)
    with _open(task, Path(task.directory) / f"stack-{length}") as db:
        db.put_many({b"%010d" % number: b"x" * 20 for number in range(length + TIMED + 1)})

        def take_last(_: int) -> None:
            last = db.last()
            if last is None:
                raise WrongAnswerError("the stack is empty")
            db.delete(last)

        _timed(take_last, length)
        costs["last and delete"] = _timed(take_last, TIMED)
    return costs


def _timed(operation: Callable[[int], object], count: int) -> float:
    """Microseconds of one operation."""
    began = process_time()
    for number in range(count):
        operation(number)
    return 1e6 * (process_time() - began) / count


def _open(task: Task, path: Path) -> Engine:
    return flin.engine.open(str(path), memory_limit=task.memory_bytes, runner="thread", sync="never")


def _user(number: int) -> bytes:
    return b"user:%06d" % (number % USERS)


def main() -> int:
    document = json.loads(sys.argv[1])
    for costs in measure(Task(**{**document, "lengths": tuple(document["lengths"])})):
        say(**costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
