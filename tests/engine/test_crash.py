"""The promise of durability.md, on the simulated disk: a crash after every call that changes it, in every way there is.

Exhaustive first: every workload of up to two operations (three in the long run), every moment, every choice while
there are few. Then longer workloads by hypothesis. After each crash the database opens and holds a prefix of what was
accepted, with all that was promised, batches whole; it verifies, counts and scans alike, leaves no orphan, takes
writes, and survives a second crash, during its recovery or right after.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flin.testing import Personality
from fuzz import crashes
from tests.engine.workload import Judge, Operation, Run, Scene, crash_every_workload, every_workload

SYNC_MODES = ["always", "interval", "never"]

# One operation of each kind that leaves something else on the disk; they meet in the keys a, b and c.
ALPHABET: list[Operation] = [
    ("put", b"a", b"1"),
    ("put_sync", b"b", b"2"),
    ("batch", (("put", b"a", b"3"), ("delete", b"b"), ("put", b"c", b"x" * 600))),
    ("delete", b"a"),
    ("delete_range", b"a", b"c"),
    ("put_fails", b"c", b"4" * 600),
    ("flush",),
    ("compact",),
    ("reopen",),
]

keys = st.sampled_from([b"a", b"b", b"c", b"ab", b"", b"\xff", b"\xff\x01x", b"{a}1"])
values = st.one_of(st.binary(max_size=8), st.integers(1, 4).map(lambda size: b"v" * 512 * size))
writes = st.one_of(
    st.tuples(st.just("put"), keys, values),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("delete_range"), keys, keys).filter(lambda operation: operation[1] < operation[2]),
)
OPERATIONS = st.one_of(
    writes,
    st.tuples(st.just("put_sync"), keys, values),
    st.tuples(st.just("put"), keys, values, st.sampled_from([0.5, 2.0])),
    st.tuples(st.just("put_many"), st.lists(st.tuples(keys, values), max_size=4).map(tuple)),
    st.tuples(st.just("delete_many"), st.lists(keys, max_size=3).map(tuple)),
    st.tuples(st.just("delete_prefix"), st.sampled_from([b"a", b"b", b"\xff"])),
    st.tuples(st.just("batch"), st.lists(writes, min_size=1, max_size=4).map(tuple)),
    st.tuples(st.just("put_fails"), keys, st.just(b"4" * 600)),
    st.sampled_from([("flush",), ("compact",), ("reopen",), ("advance", 1.0)]),
)


@pytest.mark.parametrize(
    ("sync", "window_bytes"), [("always", 512), ("interval", 512), ("never", 512), ("interval", 0)]
)
def test_every_short_workload(sync: str, window_bytes: int) -> None:
    judge = Judge(Scene(sync, window_bytes=window_bytes), limit=6)
    crash_every_workload(judge, every_workload(ALPHABET, 2))
    assert judge.states > 500
    assert judge.during_recovery > judge.states


@pytest.mark.slow
@pytest.mark.parametrize("sync", SYNC_MODES)
def test_every_workload_of_three(sync: str) -> None:
    judge = Judge(Scene(sync), limit=8)
    crash_every_workload(judge, every_workload(ALPHABET, 3))
    assert judge.states > 5_000


def _crash_a_workload(scene: Scene, workload: list[Operation], limit: int, moments: int) -> None:
    run = Run(scene).run(workload)
    judge = Judge(scene, limit)
    # The first moments are those of an empty database's creation, which the short workloads cover.
    chosen = [moment for moment in run.moments if moment.operation >= 0][::-1]
    for moment in chosen[:: max(1, len(chosen) // moments)]:
        judge.judge(moment, f"{scene} {workload!r}")


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SYNC_MODES),
    st.sampled_from([1, 4]),
    st.sampled_from([0, 512]),
    st.lists(OPERATIONS, min_size=3, max_size=12),
)
def test_longer_workloads(sync: str, shards: int, window_bytes: int, workload: list[Operation]) -> None:
    _crash_a_workload(Scene(sync, shards, window_bytes=window_bytes), workload, limit=2, moments=12)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4, 16])
@pytest.mark.parametrize("sync", SYNC_MODES)
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(workload=st.lists(OPERATIONS, min_size=3, max_size=30))
def test_long_workloads(sync: str, shards: int, workload: list[Operation]) -> None:
    _crash_a_workload(Scene(sync, shards), workload, limit=4, moments=30)


def _crash_generations(scene: Scene, seed: int, every: int, limit: int) -> int:
    """Enough writes that generations are sealed, flushed and merged by themselves; crashes in between."""
    random = Random(seed)
    workload: list[Operation] = []
    for number in range(8):
        workload.append(("fill", number * 150, random.randrange(50, 250)))
        start = b"f%03d" % random.randrange(200)
        workload.append(
            random.choice([("delete_range", start, start + b"\xff"), ("delete_prefix", b"f1"), ("compact",)])
        )
    run = Run(scene, every=every).run(workload)
    judge = Judge(scene, limit)
    for moment in run.moments:
        judge.judge(moment, f"{scene} seed {seed} every {every}")
    return judge.states


@pytest.mark.parametrize("sync", SYNC_MODES)
def test_generations(sync: str) -> None:
    scene = Scene(sync, shards=4 if sync == "never" else 1)
    assert _crash_generations(scene, seed=1, every=97, limit=1) > 60


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("sync", SYNC_MODES)
def test_many_generations(sync: str, shards: int) -> None:
    assert sum(_crash_generations(Scene(sync, shards), seed, every=31, limit=2) for seed in range(3)) > 200


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_seeds(seed: int) -> None:
    """The long run's own workloads, so that it stays fit to run."""
    for each in range(seed * 20, seed * 20 + (20 if seed else 2)):
        crashes.one_seed(each)


def test_kill_and_then_power_cut_between_operations() -> None:
    """A process dies, the next one recovers what the kernel still held, and then the power goes: nothing is lost."""
    scene = Scene("never")
    run = Run(scene).run([("put", b"a", b"1"), ("put", b"b", b"2"), ("delete", b"a")])
    judge = Judge(scene, limit=1, second_crashes=30)
    for moment in run.moments:
        judge.judge(moment, str(scene), [Personality.KILLED])
    assert judge.during_recovery > 20
