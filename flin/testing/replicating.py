"""Replicas in workloads: how they are opened, and what happens when another one leads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final, cast

from flin.engine.buffers import as_stored
from flin.engine.disk.file_name import MANIFEST
from flin.engine.engine import Engine, store_of
from flin.engine.entry import TOMBSTONE, make_entry
from flin.engine.key import USER_END
from flin.engine.memtable import Memtable
from flin.engine.options import RunnerKind
from flin.engine.replica import make_standalone, open_replica
from flin.errors import FencedError, FlinError, ReadOnlyError
from flin.testing.clock import ManualClock
from flin.testing.crash_checker import CrashChecker
from flin.testing.crash_model import killed
from flin.testing.disk import SimulatedDisk
from flin.testing.following import ReadElsewhere, Watch
from flin.testing.memory_log import (
    MemoryReplication,
    append_as_another,
    begin,
    check_is_log,
    follow,
    lead,
    replication_of,
)
from flin.testing.model import Model, Put, Step
from flin.testing.operation import Advance, Batch, Delete, DeleteRange, Maintenance, Replace
from flin.testing.operation import Put as PutOperation
from flin.testing.rule import Draw, Rule, Write
from flin.testing.run import PATH, TINY_MERGES, EngineSetup, Operation, WorkloadRun, described, matched


@dataclass(frozen=True, slots=True)
class ReplicaSetup(EngineSetup):
    """How a replica of a workload is opened: it applies its log, then it leads."""

    is_replica: ClassVar[bool] = True

    def open(self, disk: SimulatedDisk, clock: ManualClock, seed: object) -> Engine:
        engine = self.opened(disk, clock, seed)
        lead(engine)
        return engine

    def opened(self, disk: SimulatedDisk, clock: ManualClock, seed: object) -> Engine:
        """One that has applied its log, and follows."""
        engine = open_replica(
            PATH,
            MemoryReplication(disk.elsewhere),
            fs=disk,
            clock_ms=clock,
            random_bytes=Random(repr(seed)).randbytes,
            runner=cast("RunnerKind", self.runner),
            shards=self.shards,
            memory_limit=self.memory_limit,
            value_threshold=self.value_threshold,
            block_size_bytes=512 if self.tiny else 8192,
        )
        if self.tiny:
            engine._compactor.set_sizes(TINY_MERGES, slice_bytes=1)
        try:
            begin(engine)
        except BaseException:
            with suppress(FlinError):  # what it could not do is told
                engine.close(flush=False)
            raise
        return engine

    def check(self, engine: Engine, disk: SimulatedDisk) -> None:
        check_is_log(engine, disk.elsewhere)

    def check_files(self, disk: SimulatedDisk) -> None:
        """They can be made a plain database."""
        if f"{PATH}/{MANIFEST}" not in disk.files():
            return
        clone = killed(disk)
        make_standalone(PATH, clone)
        with EngineSetup.open(self, clone, ManualClock(), "standalone") as engine:
            found = engine.verify()
            if found:
                raise AssertionError(f"what was a replica is damaged: {found}")


@dataclass(frozen=True)
class Fence(Rule):
    """Another replica leads for a while. What this one has not got into the log by then is lost; it opens its directory
    again, and applies what comes: the parts, of which the writes are the other's. Then it leads again."""

    parts: tuple[Rule, ...] = ()
    lost: bytes = b""
    """The key of a write that never gets into the log; none: nothing is lost."""
    flushes: bool = False
    """Whether it tries to flush this."""
    syncs: bool = False
    """Whether all that it has is in the log before."""

    def do(self, run: WorkloadRun) -> None:
        setup = run.setup
        assert isinstance(setup, ReplicaSetup)
        if self.syncs:
            Maintenance("sync").do(run)
            setup.check(run.engine, run.disk)
        self._lose(run)
        run.snapshots.clear()
        run.abandon()
        run.opened += 1
        engine = run._engine = setup.opened(run.disk, run.clock, ("run", run.opened))
        setup.check(engine, run.disk)
        expectation = run.model.expectation()
        state = matched(expectation, engine, run.clock.now_ms, power_cut=True)
        run.model = Model(state, expectation.latest_ms)
        for part in self.parts:
            if isinstance(part, Write):
                _follow(run, part)
            else:
                part.do(run)
        setup.check(engine, run.disk)
        lead(engine)

    def _lose(self, run: WorkloadRun) -> None:
        engine = run.engine
        replication_of(engine).is_fenced = True
        if not self.lost:
            return
        run.model.begin([Put(self.lost, b"lost" * 150)])
        store_of(engine).commit({as_stored(self.lost): b"lost" * 150})
        with suppress(FencedError):
            if self.flushes:
                engine.flush()
            engine.sync()
            raise AssertionError("a replica that is fenced appended to the log")
        with suppress(ReadOnlyError):
            engine.put(b"refused", b"")
            raise AssertionError("a replica that is fenced takes writes")

    @classmethod
    def drawn(cls, draw: Draw) -> Fence:
        random = draw.random
        kinds: tuple[type[Rule], ...] = (PutOperation, Batch, Delete, DeleteRange, Maintenance, Maintenance, Advance)
        parts = [random.choice(kinds).drawn(draw) for _ in range(random.randrange(6))]
        return cls(
            tuple(parts), random.choice((b"", draw.key(), b"lost")), random.random() < 0.5, random.random() < 0.7
        )


def _follow(run: WorkloadRun, write: Write) -> None:
    """The write is the other's, and comes by the log."""
    steps = write.steps(run.model.state, run.clock.now_ms)
    if not steps:
        return
    run.model.begin(steps)
    memtable = _commit_of(steps)
    append_as_another(run.disk.elsewhere, memtable.entries, memtable.ranges)
    run.model.answer()
    run.model.promise()
    follow(run.engine)


def _commit_of(steps: Iterable[Step]) -> Memtable:
    memtable = Memtable()
    for step in steps:
        if isinstance(step, Put):
            memtable.apply((), {as_stored(step.key): make_entry(step.value, step.expires_at_ms)})
        elif hasattr(step, "key"):
            memtable.apply((), {as_stored(step.key): TOMBSTONE})
        else:
            memtable.apply([(as_stored(step.start), USER_END if step.stop is None else as_stored(step.stop))], ())
    return memtable


LONGEST: Final = 20
"""Operations of a random workload, one more than the most."""

FENCES: Final = 0.25
"""The share of operations of a random workload that let another one lead."""


def replica_workload(random: Random, length: int) -> Sequence[Operation]:
    """A random workload of a replica: readers and watchers of its files are refused."""
    draw = Draw(random, without=(ReadElsewhere, Watch, Replace))
    return [Fence.drawn(draw) if random.random() < FENCES else draw.operation() for _ in range(length)]


def crash_replicas(seed: int, points: int, seen: set[int]) -> CrashChecker:
    """Run the random workload of a seed, and crash it in every way at so many of its points. Returns the checker, which
    adds to `seen`."""
    random = Random(seed)
    setup = ReplicaSetup(
        shards=random.choice((1, 1, 4)),
        window_bytes=random.choice((0, 512, 4096)),
        value_threshold=random.choice((0, 8, 8, 600)),
        tiny=random.random() < 0.4,
        idle=random.random() < 0.3,
    )
    workload = replica_workload(random, random.randrange(1, LONGEST))
    run = WorkloadRun(setup, every=random.choice((1, 7, 41))).run(workload)
    checker = CrashChecker(setup, limit=2, second_crashes=2, second_every=8, seen=seen)
    for point in random.sample(run.crash_points, min(points, len(run.crash_points))):
        checker.check(point, f"seed {seed}: {setup} {described(workload)}")
    return checker
