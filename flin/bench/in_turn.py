"""Stores in turn, round by round, each in a fresh process and directory: the frame of `sustained` and `rewriting`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flin.bench.child import ChildError, call
from flin.bench.progress import Progress


@dataclass(frozen=True, slots=True)
class Task:
    store: str
    directory: str
    count: int
    value_bytes: int
    memory_bytes: int


class Settings(Protocol):
    @property
    def stores(self) -> tuple[str, ...]: ...

    @property
    def rounds(self) -> int: ...

    @property
    def count(self) -> int: ...

    @property
    def value_bytes(self) -> int: ...

    @property
    def memory_bytes(self) -> int: ...


def in_turn(
    row: str, settings: Settings, scratch: str, progress: Progress, failures: list[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Each store with the figures of the module that is named as the row. One that fails is noted, and left out."""
    for _ in range(settings.rounds):
        for store in settings.stores:
            with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=scratch) as parent:
                directory = str(Path(parent) / "data")
                task = Task(store, directory, settings.count, settings.value_bytes, settings.memory_bytes)
                try:
                    figures = call(f"flin.bench.{row}", task, f"{store} {row}")
                except ChildError as error:
                    failures.append(f"{store}: {error}")
                    progress.step(f"{row} {store}: failed: {error}")
                    continue
            yield store, figures


def main(perform: Callable[[Task], dict[str, float]]) -> int:
    """What such a module does as a program."""
    print(json.dumps(perform(Task(**json.loads(sys.argv[1])))))
    return 0
