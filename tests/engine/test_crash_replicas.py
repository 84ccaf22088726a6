"""Replicas and crashes: whatever the disk lost, and whoever led meanwhile, a replica that has applied the log again
holds exactly what the log says. Its files can be made a plain database at every moment.
"""

from __future__ import annotations

import pytest

from flin.engine.replica import make_standalone
from flin.testing import CrashModel, killed
from flin.testing.crash_checker import CrashChecker
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.operation import Maintenance, Put
from flin.testing.replicating import Fence, ReplicaSetup, crash_replicas
from flin.testing.run import PATH, EngineSetup, Workload, WorkloadRun
from tests.engine.hunts import REPLICAS
from tests.engine.test_faults import WORKLOADS
from tests.figures import FAILED_CALLS, Figures

FENCED: Workload = (
    Put(b"a", b"1" * 600),
    Maintenance("flush"),
    Fence((Put(b"a", b"2" * 600), Maintenance("flush"), Put(b"b", b"3")), b"lost", flushes=True, syncs=True),
    Put(b"c", b"4"),
)


def test_a_crash_at_every_call(figures: Figures) -> None:
    setup = ReplicaSetup(value_threshold=8)
    run = WorkloadRun(setup).run(FENCED)
    checker = CrashChecker(setup, limit=2, second_crashes=2, second_every=8)
    for crash_point in run.crash_points:
        checker.check(crash_point, f"{setup} {FENCED}")
    figures.checked(checker)
    assert checker.states > 60


def test_random_workloads(figures: Figures) -> None:
    seen: set[int] = set()
    for seed in range(3):
        figures.checked(crash_replicas(seed, 6, seen))
    assert len(seen) > 30


@pytest.mark.slow
def test_more_random_workloads(figures: Figures) -> None:
    """As many as the mutants are hunted with, and more."""
    seen: set[int] = set()
    for seed in range(3 * REPLICAS):
        figures.checked(crash_replicas(seed, 12, seen))
    assert len(seen) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nth_call_fails(kind: str, figures: Figures) -> None:
    checker = CrashChecker(setup := ReplicaSetup(value_threshold=8), limit=2, second_crashes=0)
    for name, workload in WORKLOADS.items():
        for number, run in enumerate(every_failure(setup, workload, KINDS[kind], 0, 3)):
            check_failed(run, checker, f"{name}, {kind}, call {3 * number}", no_files=True)
            figures.add(FAILED_CALLS, 1)
    figures.checked(checker)
    assert checker.states


def test_what_was_thrown_away_never_comes_back() -> None:
    """The segments that an open of a replica drops are below the floor, though their removal may not be durable: a
    plain open later must not take them for its own, in the place of newer ones."""
    setup = ReplicaSetup()
    run = WorkloadRun(setup, record=False)
    run.open()
    for write in (Put(b"a", b"old"), Put(b"b", b"old")):
        write.do(run)
    old = {path: data for path, data in run.disk.files().items() if path.endswith(".wal")}
    run.crash(CrashModel.KILLED, 0)
    Put(b"c", b"new").do(run)
    for path, data in old.items():
        run.disk.write(path, data)
    standalone = killed(run.disk)
    make_standalone(PATH, standalone)
    with EngineSetup().open(standalone, run.clock, "standalone") as engine:
        assert dict(engine.scan()) == {b"a": b"old", b"b": b"old", b"c": b"new"}
        assert not engine.verify()
    run.abandon()
