"""The promise of docs/crash-safety.md, on the simulated disk: a crash after every call that changes it, in every way.

Exhaustive first: every workload of up to two operations (three in the slow suite), every crash point, every choice if
there are few. Then longer workloads by hypothesis. After each crash the database opens and holds a prefix of the
accepted commits, with all promised ones, batches whole; it verifies, its counts and scans agree, it leaves no orphan,
takes writes, and survives a second crash, during its recovery or directly after it.
"""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flin.testing import CrashModel
from flin.testing.crash_checker import CrashChecker, crash_every_workload, every_workload
from flin.testing.operation import (
    Batch,
    Delete,
    DeletePrefix,
    DeleteRange,
    Draw,
    Fill,
    Maintenance,
    Put,
    Refused,
    Reopen,
    Replace,
    Sweep,
)
from flin.testing.run import EngineSetup, Operation, Workload, WorkloadRun
from tests.figures import Figures

SYNC_MODES = ["always", "interval", "never"]

# One operation of each kind that changes the disk in another way; they meet in the keys a, b and c.
ALPHABET: list[Operation] = [
    Put(b"a", b"1"),
    Put(b"b", b"2", sync=True),
    Batch((Put(b"a", b"3"), Delete(b"b"), Put(b"c", b"x" * 600))),
    Delete(b"a"),
    DeleteRange(b"a", b"c"),
    Refused(Put(b"c", b"4" * 600)),
    Maintenance("flush"),
    Maintenance("compact"),
    Reopen(),
    Reopen(flush=False),
    Replace(),
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("sync", "shards", "window_bytes"), [("always", 1, 512), ("interval", 1, 0), ("never", 4, 512)]
)
def test_every_short_workload(sync: str, shards: int, window_bytes: int, figures: Figures) -> None:
    """The slow workloads of three, with more crashes of each, have "always" and "interval" over mapped windows."""
    checker = CrashChecker(EngineSetup(sync, shards, window_bytes=window_bytes), limit=8, second_every=12)
    crash_every_workload(checker, every_workload(ALPHABET, 2))
    figures.checked(checker)
    assert checker.states > 1500
    assert checker.during_recovery > checker.states // 18


WITH_VALUES: list[Operation] = [
    Put(b"a", b"another value of a"),
    Put(b"d", b"x" * 600),
    Batch((Delete(b"a"), Put(b"b", b"another of b", ttl=60.0))),
    DeleteRange(b"a", b"c"),
    Maintenance("flush"),
    Maintenance("compact"),
    Sweep(),
    Reopen(),
    Reopen(flush=False),
]
"""What changes the values that lie in value files, and the counts."""

VALUE_FILES: Workload = (
    Batch(tuple(Put(key, b"the first value of %b " % key * 30) for key in (b"a", b"b", b"c"))),
    Maintenance("flush"),
    Put(b"a", b"the second value of a " * 30),
    Put(b"b", b"the second value of b " * 20),
    Maintenance("flush"),
)
"""Two value files, of which the next merge into the bottom finds the first one worn, and two unsettled runs at most."""


def crash_value_files(sync: str, length: int, limit: int) -> CrashChecker:
    checker = CrashChecker(EngineSetup(sync, value_threshold=8, tiny=True), limit, second_every=12)
    crash_every_workload(checker, ((*VALUE_FILES, *each) for each in every_workload(WITH_VALUES, length)))
    return checker


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_every_short_workload_of_value_files(sync: str, figures: Figures) -> None:
    checker = crash_value_files(sync, 1, 8)
    figures.checked(checker)
    assert checker.states > 60


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["always", "never"])
def test_every_workload_of_value_files(sync: str, figures: Figures) -> None:
    checker = crash_value_files(sync, 2, 12)
    figures.checked(checker)
    assert checker.states > 1000


@pytest.mark.slow
@pytest.mark.long(70)
@pytest.mark.parametrize(("sync", "first"), [("always", 0), ("interval", 1)])
def test_every_workload_of_three(sync: str, first: int, figures: Figures) -> None:
    """Every other one in each mode: the alphabet has an odd length, so each mode has any operation in each place.
    Without "never", whose crash points are those of "interval": nothing is synced by time here."""
    assert len(ALPHABET) % 2
    checker = CrashChecker(EngineSetup(sync), limit=12, second_every=10)
    crash_every_workload(checker, islice(every_workload(ALPHABET, 3), first, None, 2))
    figures.checked(checker)
    assert checker.states > 10_000


def _crash_a_workload(figures: Figures, setup: EngineSetup, workload: Workload, limit: int, crash_points: int) -> None:
    run = WorkloadRun(setup).run(workload)
    checker = CrashChecker(setup, limit, second_every=4)
    # The first crash points are those of an empty database's creation, which the short workloads cover.
    chosen = [crash_point for crash_point in run.crash_points if crash_point.operation >= 0][::-1]
    for crash_point in chosen[:: max(1, len(chosen) // crash_points)]:
        checker.check(crash_point, f"{setup} {workload!r}")
    figures.checked(checker)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    st.builds(
        EngineSetup,
        st.sampled_from(SYNC_MODES),
        st.sampled_from([1, 4]),
        window_bytes=st.sampled_from([0, 512, 4096]),
        value_threshold=st.sampled_from([0, 8]),
        tiny=st.booleans(),
    ),
    st.randoms(use_true_random=False),
    st.integers(3, 12),
)
def test_longer_workloads(figures: Figures, setup: EngineSetup, random: Random, length: int) -> None:
    _crash_a_workload(figures, setup, Draw(random).workload(length), limit=2, crash_points=12)


@pytest.mark.slow
@pytest.mark.long(20)
@pytest.mark.parametrize("sync", SYNC_MODES)
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    shards=st.sampled_from([1, 4, 16]),
    threshold=st.sampled_from([0, 8]),
    tiny=st.booleans(),
    random=st.randoms(use_true_random=False),
    length=st.integers(3, 30),
)
def test_long_workloads(
    figures: Figures, sync: str, shards: int, threshold: int, tiny: bool, random: Random, length: int
) -> None:
    setup = EngineSetup(sync, shards, value_threshold=threshold, tiny=tiny)
    _crash_a_workload(figures, setup, Draw(random).workload(length, 0.3 if tiny else 0), limit=4, crash_points=30)


def _crash_generations(figures: Figures, setup: EngineSetup, seed: int, every: int, limit: int) -> int:
    """Enough writes that generations are sealed, flushed and merged by themselves; crashes in between."""
    random = Random(seed)
    workload: list[Operation] = []
    for number in range(8):
        workload.append(Fill(number * 150, random.randrange(50, 250)))
        start = b"f%03d" % random.randrange(200)
        workload.append(
            random.choice([DeleteRange(start, start + b"\xff"), DeletePrefix(b"f1"), Maintenance("compact")])
        )
    run = WorkloadRun(setup, every=every).run(workload)
    checker = CrashChecker(setup, limit, second_every=4)
    for crash_point in run.crash_points:
        checker.check(crash_point, f"{setup} seed {seed} every {every}")
    figures.checked(checker)
    return checker.states


@pytest.mark.parametrize("sync", SYNC_MODES)
def test_generations(sync: str, figures: Figures) -> None:
    setup = EngineSetup(sync, shards=4 if sync == "never" else 1)
    assert _crash_generations(figures, setup, seed=1, every=197, limit=1) > 30


@pytest.mark.slow
@pytest.mark.parametrize(("sync", "shards"), [("always", 4), ("interval", 1), ("never", 4)])
def test_many_generations(sync: str, shards: int, figures: Figures) -> None:
    setup = EngineSetup(sync, shards)
    assert sum(_crash_generations(figures, setup, seed, every=31, limit=2) for seed in range(3)) > 200


def test_kill_and_then_power_cut_between_operations(figures: Figures) -> None:
    """A process dies, the next one recovers what the kernel still held, and then the power fails: nothing is lost."""
    setup = EngineSetup("never")
    run = WorkloadRun(setup).run([Put(b"a", b"1"), Put(b"b", b"2"), Delete(b"a")])
    checker = CrashChecker(setup, limit=1, second_crashes=30)
    for crash_point in run.crash_points:
        checker.check(crash_point, str(setup), [CrashModel.KILLED])
    figures.checked(checker)
    assert checker.during_recovery > 20
