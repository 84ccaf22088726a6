"""Crashes while threads write and the background flushes and merges: the recovered state has no hole, in the causal
sense.

The test knows no single order of the commits, so each commit carries what its writer knew: how many commits of every
other writer had been answered before it began. If a commit is recovered, all those that it knew of must be, too. The
exact state of a writer's keys follows from the number of its last recovered commit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from threading import Event, Thread
from typing import Any

import pytest

import flin.engine
from flin.engine.options import SyncMode
from flin.testing import CrashModel, ManualClock, SimulatedDisk, after_crash, killed
from flin.testing.crash_checker import assert_no_orphans
from flin.testing.run import PATH

WRITERS = 3
KEYS = 50  # of each writer, so that every generation overwrites and deletes what older ones hold
PADDING = "x" * 300  # some four hundred commits fill a generation of the smallest memory limit


@dataclass(frozen=True, slots=True)
class Cut:
    """The disk at one crash point, and how far each writer was at least by then."""

    disk: SimulatedDisk
    answered: tuple[int, ...]
    promised: tuple[int, ...]


class Crew:
    """Writers on one engine, which the test crashes again and again without stopping them."""

    def __init__(self, engine: Any, sync: str) -> None:
        self.engine = engine
        self.always = sync == "always"
        self.answered = [0] * WRITERS
        self.promised = [0] * WRITERS
        self.stop = Event()
        self.errors: list[BaseException] = []
        self.threads = [Thread(target=self._run, args=(writer,)) for writer in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def _run(self, writer: int) -> None:
        try:
            number = 0
            while not self.stop.is_set():
                number += 1
                self._commit(writer, number)
        except BaseException as error:
            self.errors.append(error)

    def _commit(self, writer: int, number: int) -> None:
        sync = number % 10 == 0
        known = json.dumps({"number": number, "known": self.answered, "padding": PADDING}).encode()
        with self.engine.write_batch(sync=sync or None) as batch:
            batch.put(b"last %d" % writer, known)
            if number % 7 == 0:
                batch.delete(_key(writer, number))
            else:
                batch.put(_key(writer, number), b"%d" % number)
        self.answered[writer] = number
        if sync or self.always:
            self.promised[writer] = number

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def _key(writer: int, number: int) -> bytes:
    return b"key %d %d" % (writer, number % KEYS)


def _expected(writer: int, last: int) -> dict[bytes, bytes]:
    """The writer's keys after `last` of its commits."""
    numbers = range(max(1, last - KEYS + 1), last + 1)
    return {_key(writer, number): b"%d" % number for number in numbers if number % 7}


def _cuts(disk: SimulatedDisk, crew: Crew, count: int) -> list[Cut]:
    cuts: list[Cut] = []
    before = 0
    while len(cuts) < count and not crew.errors:
        if sum(crew.answered) < before + 40:
            time.sleep(0.001)
            continue
        # The answered numbers first, then the copy: so all these commits are in it.
        answered, promised = tuple(crew.answered), tuple(crew.promised)
        cuts.append(Cut(killed(disk), answered, promised))
        before = sum(answered)
    return cuts


def _check(cut: Cut, disk: SimulatedDisk, lowest: Sequence[int], shards: int) -> None:
    engine = flin.engine.open(
        PATH, fs=disk, clock_ms=ManualClock(), runner="inline", shards=shards, memory_limit=1 << 20
    )
    try:
        lasts = [json.loads(engine.get(b"last %d" % writer, b'{"number": 0}')) for writer in range(WRITERS)]
        numbers = [last["number"] for last in lasts]
        for last in lasts:
            assert all(n >= known for n, known in zip(numbers, last.get("known", []), strict=False)), "a hole"
        assert all(n >= low for n, low in zip(numbers, lowest, strict=True)), (numbers, lowest)
        found = dict(engine.scan(prefix=b"key"))
        assert found == {key: value for w, n in enumerate(numbers) for key, value in _expected(w, n).items()}
        assert list(engine.verify()) == []
        assert_no_orphans(disk)
    finally:
        engine.close()


def _crash_under_load(sync: SyncMode, shards: int, cuts: int) -> None:
    disk = SimulatedDisk(window_bytes=0 if sync == "interval" else 4096)
    engine = flin.engine.open(PATH, fs=disk, runner="thread", sync=sync, shards=shards, memory_limit=1 << 20)
    crew = Crew(engine, sync)
    try:
        taken = _cuts(disk, crew, cuts)
    finally:
        crew.end()
        engine.close()
    assert crew.errors == []
    random = Random(cuts)
    for cut in taken:
        _check(cut, killed(cut.disk), cut.answered, shards)
        crash_model = random.choice([CrashModel.IN_ORDER, CrashModel.PREFIXES, CrashModel.JOURNALLED, CrashModel.TORN])
        _check(cut, after_crash(cut.disk, crash_model, random.randrange), cut.promised, shards)


@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_crash_under_load(sync: SyncMode) -> None:
    _crash_under_load(sync, shards=1 if sync == "always" else 4, cuts=16)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4, 16])
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_crash_under_load_for_long(sync: SyncMode, shards: int) -> None:
    _crash_under_load(sync, shards, cuts=100)


def _never(_: int) -> int:
    raise AssertionError("a killed process leaves no choice")
