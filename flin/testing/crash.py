"""The long run: random workloads with crashes and failing calls, until the time is over.

    python -m flin.testing.crash --seconds 1800 --seed 7

Each seed is one workload in one setup. Most workloads are crashed at chosen crash points in every way
(crash_checker.py). In every eighth one the n-th call fails, for one n after the other (faulty.py). A violation ends the
run, which prints the command that replays it, and the shortened workload as Python.

With `--replicas` they are workloads of replicas, among whose operations others lead (replicating.py).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, TextIO

from flin.testing.crash_checker import CrashChecker
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.operation import Crash, Draw, Refused, Replace
from flin.testing.replicating import crash_replicas
from flin.testing.run import EngineSetup, Operation, Workload, WorkloadRun, described

OPERATIONS: Final = 24
"""The most operations of a workload: enough for several generations, flushes and merges."""

MOMENTS: Final = 40
"""Random crash points of each workload: another workload finds more than more points of the same one."""

SECOND_EVERY: Final = 16
"""One crash state in 16 is written to, and crashed during its recovery."""

SECOND_CRASHES: Final = 2
"""Crashes during each such recovery: one crash per eight crash states."""

FAULTS_EVERY: Final = 8
FAULT_RUNS: Final = 60
"""In every eighth seed calls fail, in at most 60 runs."""

SMALL_VALUE: Final = 8
"""The least value threshold."""

LAYERS: Final = 0.5
"""The share of operations that make a run where merges take a few keys: two or three runs are merged."""

PROGRESS_SECONDS: Final = 5.0
SHORTEN_SECONDS: Final = 60.0

_SEEN: Final[set[int]] = set()
"""Crash states that this process has checked."""


@dataclass(frozen=True, slots=True)
class Case:
    """The workload and the setup of a seed."""

    seed: int
    setup: EngineSetup
    workload: Workload
    every: int
    limit: int

    @property
    def is_faulty(self) -> bool:
        return self.seed % FAULTS_EVERY == FAULTS_EVERY - 1


@dataclass(slots=True)
class Tally:
    """The counts of one seed; they can be added up."""

    workloads: int = 0
    states: list[int] = field(default_factory=list)  # digests of those not seen before in this process
    recoveries: int = 0
    faults: int = 0
    violation: str = ""


def case_of(seed: int) -> Case:
    random = Random(seed)
    setup = EngineSetup(
        random.choice(("always", "interval", "never")),
        random.choice((1, 1, 4, 16)),
        window_bytes=random.choice((0, 512, 4096)),
    )
    of_the_engine = Random(f"{seed} engine")  # apart: whatever is added leaves the other choices as they are
    setup = replace(setup, tiny=of_the_engine.random() < 0.4, value_threshold=of_the_engine.choice((0, 8, 8, 600)))
    setup = replace(setup, idle=of_the_engine.random() < 0.3, wal_retention=of_the_engine.choice((0, 0, 1 << 30)))
    setup = replace(setup, starves=of_the_engine.choice((0, 0, 0, 0, 1, 2, 5)))
    layers = LAYERS if setup.tiny else 0.0
    workload = Draw(random).workload(random.randrange(1, OPERATIONS + 1), layers)
    return Case(seed, setup, workload, every=random.choice((1, 7, 41)), limit=random.randrange(1, 5))


def run_seed(seed: int) -> Tally:
    """Run one case. A violation is returned, not raised."""
    case = case_of(seed)
    tally = Tally(workloads=1)
    try:
        (_fail if case.is_faulty else _crash)(case, tally)
    except Exception as error:  # whatever it is: it must not get lost between processes
        tally.violation = f"seed {seed}: {type(error).__name__}: {error}"
    return tally


def run_replica_seed(seed: int) -> Tally:
    """What `run_seed` does, of a replica."""
    tally = Tally(workloads=1)
    try:
        checker = crash_replicas(seed, MOMENTS, _SEEN)
        tally.states, tally.recoveries = checker.found, checker.during_recovery
    except Exception as error:  # whatever it is: it must not get lost between processes
        tally.violation = f"{type(error).__name__}: {error}"
    return tally


def _crash(case: Case, tally: Tally) -> None:
    random = Random(~case.seed)
    run = WorkloadRun(case.setup, every=case.every).run(case.workload)
    checker = CrashChecker(case.setup, case.limit, SECOND_CRASHES, SECOND_EVERY, seen=_SEEN)
    tally.states = checker.found
    for crash_point in random.sample(run.crash_points, min(len(run.crash_points), MOMENTS)):
        checker.check(crash_point, f"{case.setup} {described(case.workload)}")
    tally.recoveries = checker.during_recovery


def _fail(case: Case, tally: Tally) -> None:
    random = Random(~case.seed)
    name = random.choice(list(KINDS))
    workload = [operation for operation in case.workload if not isinstance(operation, (Crash, Refused, Replace))]
    checker = CrashChecker(case.setup, limit=1, second_crashes=0, second_every=SECOND_EVERY, seen=_SEEN)
    tally.states = checker.found
    step = random.choice((1, 3, 11))
    for n, run in enumerate(every_failure(case.setup, workload, KINDS[name], random.randrange(step), step)):
        if n == FAULT_RUNS:
            break
        check_failed(run, checker, f"{name}: {case.setup} {described(workload)}")
        tally.faults += 1


# A violation, shortened.


def shortened(case: Case, seconds: float = SHORTEN_SECONDS) -> Workload:
    """The workload without the operations that the violation does not need, as far as the time allows."""
    workload = list(case.workload)
    deadline = time.monotonic() + seconds
    size = len(workload) // 2
    while size:
        start = 0
        while start < len(workload) and time.monotonic() < deadline:
            without = workload[:start] + workload[start + size :]
            if _still_fails(case, without):
                workload = without
            else:
                start += size
        size //= 2
    return workload


def _still_fails(case: Case, workload: Sequence[Operation]) -> bool:
    trial = Case(case.seed, case.setup, workload, case.every, case.limit)
    _SEEN.clear()
    try:
        (_fail if case.is_faulty else _crash)(trial, Tally())
    except Exception:  # any violation at all
        return True
    return False


# The command.


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    options = _parser().parse_args(arguments)
    _SEEN.clear()  # states that another run in this process has seen do not count
    started = time.monotonic()
    total = Tally()
    states: set[int] = set()
    told = started
    for seed, tally in _tallies(options):
        states.update(tally.states)
        total.workloads += 1
        total.recoveries += tally.recoveries
        total.faults += tally.faults
        now = time.monotonic()
        if tally.violation:
            _tell_violation(seed, tally.violation, out, replicas=options.replicas)
            return 1
        if now - told >= PROGRESS_SECONDS:
            told = now
            print(_line(total, len(states), now - started), file=out, flush=True)
    seconds = time.monotonic() - started
    print(f"{_line(total, len(states), seconds)}: no violation", file=out)
    if options.json:
        report = {
            "seed": options.seed, "seconds": round(seconds, 1), "jobs": options.jobs, "workloads": total.workloads,
            "crash_states": len(states), "crashes_during_recovery": total.recoveries, "failed_calls": total.faults,
        }  # fmt: skip
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flin.testing.crash",
        description="Crash random workloads on a simulated disk and check the recovered databases.",
        epilog="Exit code: 0 no violation, 1 a violation (with the command that replays it), 2 wrong usage.",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first workload (default 0)")
    parser.add_argument("--workloads", type=int, help="run this number of workloads, however long it takes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--replicas", action="store_true", help="workloads of replicas")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file")
    return parser


def _tallies(options: argparse.Namespace) -> Iterator[tuple[int, Tally]]:
    """Seed after seed, in parallel, until the time is over."""
    deadline = time.monotonic() + options.seconds
    run = run_replica_seed if options.replicas else run_seed
    seeds = range(options.seed, options.seed + (options.workloads or sys.maxsize - options.seed))
    if options.jobs == 1 or len(seeds) == 1:
        for seed in seeds:
            yield seed, run(seed)
            if time.monotonic() > deadline and not options.workloads:
                return
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.jobs) as pool:
        waiting = []
        for seed in seeds:
            waiting.append((seed, pool.apply_async(run, (seed,))))
            if len(waiting) >= 4 * options.jobs:
                first, result = waiting.pop(0)
                yield first, result.get()
            if time.monotonic() > deadline and not options.workloads:
                break
        for seed, result in waiting:
            yield seed, result.get()


def _line(total: Tally, states: int, seconds: float) -> str:
    return (
        f"{seconds:,.0f} s: {total.workloads:,} workloads, {states:,} crash states ({states / seconds:,.0f}/s), "
        f"{total.recoveries:,} crashes during a recovery, {total.faults:,} runs with a failed call"
    )


def _tell_violation(seed: int, violation: str, out: TextIO, *, replicas: bool) -> None:
    print(f"VIOLATION\n{violation}\n", file=out)
    kind = " --replicas" if replicas else ""
    print(f"replay it:  python -m flin.testing.crash{kind} --workloads 1 --seed {seed}", file=out, flush=True)
    if replicas:
        return
    case = case_of(seed)
    print(f"shortened:  {case.setup!r}\n            {described(shortened(case))}", file=out)


if __name__ == "__main__":
    sys.exit(main())
