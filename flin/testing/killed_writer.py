"""The program that embedded kill loops run and kill: it writes as fast as it can and shows its progress in a shared
page.

    python -m flin.testing.killed_writer DIRECTORY SYNC SHARDS LANES PAGE

The kernel has a page of a file as soon as it is written to: kill -9 does not lose it.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any, Final

import flin.engine
from flin.engine.engine import Engine
from flin.testing.lane import VALUE_THRESHOLD, commit_of, counter_key, counter_value, parse_counter

SYNC_EVERY: Final = 1000
"""Commits of the first lane between two calls of sync(): after each, everything answered before is promised."""

COUNT_EVERY: Final = 1000
"""Commits of the first lane between two counts of the keys: the helper counts, too."""

MEMORY_LIMIT: Final = 1 << 20
"""The least possible: a flush every few hundred commits, so that kills meet flushes and compactions under way."""

_HEAD: Final = 2


class Page:
    """A page shared by the writer and its killer: 8-byte numbers, each changed by one store."""

    def __init__(self, path: Path, lanes: int, *, create: bool = False) -> None:
        self.lanes = lanes
        size = 8 * (_HEAD + 2 * lanes)
        if create:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), size)).cast("Q")

    @property
    def is_open(self) -> bool:
        """Whether the engine has opened."""
        return self._numbers[0] == 1

    def set_open(self, is_open: bool) -> None:
        self._numbers[0] = is_open

    @property
    def is_stop_wanted(self) -> bool:
        return self._numbers[1] == 1

    def set_stop_wanted(self, is_wanted: bool) -> None:
        self._numbers[1] = is_wanted

    def answered(self) -> list[int]:
        return list(self._numbers[_HEAD : _HEAD + self.lanes])

    def set_answered(self, lane: int, number: int) -> None:
        self._numbers[_HEAD + lane] = number

    def promised(self) -> list[int]:
        """How many commits of each lane must survive a power cut."""
        return list(self._numbers[_HEAD + self.lanes :])

    def set_promised(self, numbers: Sequence[int]) -> None:
        for lane, number in enumerate(numbers):
            self._numbers[_HEAD + self.lanes + lane] = number


def commit(engine: Engine, lane: int, number: int, known: Sequence[int]) -> None:
    todo = commit_of(lane, number)
    counter = counter_value(number, known)
    if todo.writes == 1:
        engine.put(counter_key(lane), counter)
        return
    with engine.write_batch() as batch:
        batch.put_many(todo.puts)
        batch.delete_many(todo.deletes)
        batch.put(counter_key(lane), counter)


def _write(engine: Engine, page: Page, lane: int) -> None:
    number = parse_counter(engine.get(counter_key(lane)))[0]
    try:
        while not page.is_stop_wanted:
            number += 1
            commit(engine, lane, number, page.answered())
            page.set_answered(lane, number)
            if lane == 0 and number % SYNC_EVERY == 0:
                before = page.answered()
                engine.sync()
                page.set_promised(before)
            if lane == 0 and number % COUNT_EVERY == 0:
                len(engine)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)  # one lane that fails ends the process: the others would hide it


def main(write: Callable[[Engine, Page, int], None] = _write) -> None:
    """Run the lanes; each calls `write`, which writes until it is told to stop."""
    directory, sync, shards, lanes, path = sys.argv[1:]
    page = Page(Path(path), int(lanes))
    # With so little memory every job is small, and "auto" would run it here: there would be no helper to kill.
    options: Any = {"sync": sync, "shards": int(shards), "memory_limit": MEMORY_LIMIT, "runner": "helper"}
    options["value_threshold"] = VALUE_THRESHOLD
    with flin.engine.open(directory, **options) as engine:
        page.set_open(True)
        threads = [Thread(target=write, args=(engine, page, lane), daemon=True) for lane in range(page.lanes)]
        for thread in threads:
            thread.start()
        while not page.is_stop_wanted:
            sleep(0.005)
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
