"""Hunts: parts of the crash suite, each as one function that goes on until something violates the promise.

test_mutants.py sends them after the mutants. They take what the suite's own tests take: all short workloads, the seeded
random workloads of flin.testing.crash, the calls that fail, the bits that are turned over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

import pytest

from flin.errors import FlinError
from flin.testing import SimulatedDisk, crash
from flin.testing.faulty import KINDS, every_failure, judge_failed
from flin.testing.judge import Judge, crash_every_workload, every_workload
from flin.testing.operation import Advance, Delete, DeleteRange, Fill, Maintenance, Put, Read, Refused, Reopen, Sweep
from flin.testing.run import Run, Scene, Workload
from tests.engine import damage
from tests.engine.test_crash import ALPHABET
from tests.engine.test_faults import SCENES as FAULTY_SCENES
from tests.engine.test_faults import WORKLOADS

SEEDS: Final = 80
"""Random workloads that are crashed."""

RUNS: Final = 400
"""Random workloads that only run, with a few crashes among their operations: a hundredth of the time each."""

FLUSH: Final = Maintenance("flush")


@dataclass(slots=True)
class Tally:
    """How much a hunt has tried."""

    count: int = 0
    unit: str = "crash states"

    def __str__(self) -> str:
        return f"{self.count:,} {self.unit if self.count != 1 else self.unit.removesuffix('s')}"


Hunt: TypeAlias = Callable[[Tally], None]
"""Returns if nothing was found. A violation is an AssertionError, or an error of Flin's where there should be none."""


def hunt_down(hunt: Hunt, tally: Tally) -> str:
    """What it finds; "" for nothing. Any other exception comes out: a hunt that broke has caught nothing."""
    crash._SEEN.clear()
    try:
        hunt(tally)
    except (AssertionError, FlinError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        crash._SEEN.clear()  # what passed with a mutant was not judged
    return ""


def _crash_each(tally: Tally, judge: Judge, workloads: Iterable[Workload]) -> None:
    try:
        crash_every_workload(judge, workloads)
    finally:
        tally.count += judge.states


def short_workloads(tally: Tally) -> None:
    """All of up to two operations, each commit synced: every crash."""
    _crash_each(tally, Judge(Scene("always"), limit=6), every_workload(ALPHABET, 2))


def unsynced_workloads(tally: Tally) -> None:
    """The same without a sync after each commit."""
    _crash_each(tally, Judge(Scene("interval"), limit=6), every_workload(ALPHABET, 2))


LONG_WRITES: Final[Sequence[Workload]] = (
    (Put(b"a", b"x" * 3000), Put(b"b", b"2")),
    (Put(b"a", b"x" * 3000), Put(b"b", b"y" * 3000)),
    (Put(b"a", b"x" * 3000), Reopen(flush=False)),
    (Put(b"a", b"1"), Refused(Put(b"b", b"2" * 600)), Put(b"c", b"3")),
    *((Put(b"a", b"x" * size), Reopen(flush=False)) for size in (700, 1200, 1700)),
)
"""Over several sectors, or two segments: the short ones lie within one, of which a crash leaves no end without its
beginning."""


def long_writes(tally: Tally) -> None:
    """A few, made for it: over several sectors or segments, nothing synced; many crashes of each."""
    _crash_each(tally, Judge(Scene("interval"), limit=60), LONG_WRITES)


def crashed_recoveries(tally: Tally) -> None:
    """Of two writes, the first of which is promised: every recovery is crashed after each of its calls."""
    _crash_each(tally, Judge(Scene("always"), limit=3, second_crashes=30), every_workload(ALPHABET[:4], 2))


def random_workloads(tally: Tally) -> None:
    """The long run's, from its first seed on: crashed in every way, and with calls that fail."""
    for seed in range(SEEDS):
        found = crash.run_seed(seed)
        tally.count += len(found.states)
        if found.violation:
            raise AssertionError(found.violation)


def running_workloads(tally: Tally) -> None:
    """The same, of more seeds, without crashes but those in the workload: every answer is the model's."""
    tally.unit = "workloads"
    for seed in range(RUNS):
        case = crash.case_of(seed)
        tally.count += 1
        Run(case.scene, record=False).run(case.workload)


def failing_calls(tally: Tally) -> None:
    """The n-th call of short workloads fails, for every n, in every way."""
    tally.unit = "failed calls"
    for scene in FAULTY_SCENES:
        judge = Judge(scene, limit=2, second_crashes=0)
        for (name, workload), (kind, fault) in product(WORKLOADS.items(), KINDS.items()):
            for number, run in enumerate(every_failure(scene, workload, fault)):
                tally.count += 1
                judge_failed(run, judge, f"{name}, {kind}, call {number}")


def turned_bits(tally: Tally) -> None:
    """Every 32nd bit of every file of some databases, one at a time."""
    tally.unit = "bits"
    flip = SimulatedDisk.flip

    def count_and_flip(disk: SimulatedDisk, path: str, bit: int) -> None:
        tally.count += 1
        flip(disk, path, bit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedDisk, "flip", count_and_flip)
        for name in damage.SCENES:
            damage.flip(name, 32)


LAYERED_WORKLOADS: Final[Sequence[Workload]] = (
    (Put(b"a", b"1"), FLUSH, Read(), Put(b"a", b"2"), FLUSH, Read()),
    (Put(b"a", b"1", ttl=0.5), Put(b"a", b"2"), Advance(1.0), Sweep(), Read()),
    (Put(b"a", b"1", ttl=0.5), Reopen(flush=False), Advance(1.0), Sweep()),
    (
        *(Fill(0, 200), FLUSH, Maintenance("compact")),
        *(Delete(b"f000"), FLUSH, DeleteRange(b"f001", b"f002"), FLUSH),
        *(Put(b"f100", b"1"), FLUSH, Put(b"f150", b"2"), FLUSH, Read()),
    ),
)
"""A value that is read, flushed and read again; one that expired, but for a later put; one that expires after a
recovery; four small runs above a large one, which are merged among themselves. Few random workloads come so far."""


def layered_workloads(tally: Tally) -> None:
    """Four, made for it, which read and sweep what flushes, merges and recoveries have moved."""
    tally.unit = "workloads"
    for workload in LAYERED_WORKLOADS:
        tally.count += 1
        Run(Scene("always"), record=False).run(workload)


HUNTS: Final[tuple[Hunt, ...]] = (
    *(short_workloads, unsynced_workloads, long_writes, crashed_recoveries, random_workloads),
    *(running_workloads, layered_workloads, failing_calls, turned_bits),
)
