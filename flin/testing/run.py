"""Runs a workload on an engine and on the model, and records every point at which it could crash.

A workload is a list of operations (operation.py). A failing case prints their repr, which can be run again.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import ClassVar, Final, TypeAlias, cast

import flin.engine
from flin.engine.background.compaction import CompactionOptions
from flin.engine.background.inline_runner import InlineRunner
from flin.engine.background.job import CompactionJob, Job, JobStarved
from flin.engine.buffers import as_stored
from flin.engine.engine import Engine, store_of
from flin.engine.entry import EXPIRED_MS, TOMBSTONE
from flin.engine.options import RunnerKind, SyncMode
from flin.engine.read.read_path import from_retired, from_tables
from flin.engine.snapshot import Snapshot
from flin.engine.table.bloom import hash_key
from flin.errors import ClosedError, FencedError, FlinError, ReadOnlyError
from flin.testing.clock import ManualClock
from flin.testing.crash_model import CrashModel, after_crash, killed
from flin.testing.disk import SimulatedDisk
from flin.testing.mirror import Mirror
from flin.testing.model import Expectation, Model, Put, State, Step, view

PATH: Final = "/data/db"

KEY: Final = bytes(range(32))
"""That of encrypted databases."""

TINY_MERGES: Final = CompactionOptions(
    target_table_bytes=2048, merge_width=2, maximum_runs=4, plan_bytes=3000, range_bytes=3000
)
"""Some six values of 300 bytes are a full table, and ten are a range."""

UNCHECKED: Final = object()
"""The expected answer of a call about which the model says nothing."""


class Operation(ABC):
    """One step of a workload. operation.py has the classes."""

    @abstractmethod
    def do(self, run: WorkloadRun) -> None: ...


Workload: TypeAlias = Sequence[Operation]


def described(workload: Workload) -> str:
    """The operations as Python, long repeated values as a product."""
    return re.sub(r"b'(\w{1,3}?)\1{9,}'", _as_product, repr(list(workload)))


def _as_product(found: re.Match[str]) -> str:
    return f"b'{found[1]}' * {(len(found[0]) - 3) // len(found[1])}"


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """How the engine of a workload is opened."""

    sync: str = "always"
    shards: int = 1
    memory_limit: int = 1 << 20  # the least possible: generations fill soon
    runner: str = "inline"
    window_bytes: int = 512
    """Bytes of a WAL segment that are mapped at once: a sector, so that short workloads fill several. 0: no mapping."""
    value_threshold: int = 0
    tiny: bool = False
    """Whether blocks, tables, merges and the ranges between fences hold a few keys."""
    wal_retention: int = 0
    idle: bool = False
    """Whether after each flush the merges follow that are made while nothing is written."""
    encrypted: bool = False
    starves: int = 0
    """At which of its checkpoints a merge starves that is not urgent; 0: at none."""
    is_replica: ClassVar[bool] = False
    """Whether it waits for a log (replicating.py). Then a kill takes what a power cut takes: what the log lacks."""

    def check(self, engine: Engine, disk: SimulatedDisk) -> None:
        """Called after an opening: what the kind of database must hold besides."""

    def check_files(self, disk: SimulatedDisk) -> None:
        """Called after some crashes: what must be possible with the files besides."""

    def open(self, disk: SimulatedDisk, clock: ManualClock, seed: object) -> Engine:
        # Every opening has its own seed: two engines that draw equal salts would prove nothing.
        engine = flin.engine.open(
            PATH,
            fs=disk,
            clock_ms=clock,
            random_bytes=Random(repr(seed)).randbytes,
            runner=cast("RunnerKind", self.runner),
            sync=cast("SyncMode", self.sync),
            shards=self.shards,
            memory_limit=self.memory_limit,
            value_threshold=self.value_threshold,
            wal_retention=self.wal_retention,
            block_size_bytes=512 if self.tiny else 8192,
            encryption_key=KEY if self.encrypted else None,
        )
        if self.tiny:
            engine._compactor.set_sizes(TINY_MERGES, slice_bytes=1)
        if self.starves and isinstance(engine._runner, InlineRunner):
            engine._runner.checkpoint = starving(self.starves)
        return engine


def starving(nth: int) -> Callable[[Job], None]:
    """Starves merges that are not urgent, each at its n-th checkpoint: its files are half written then."""
    current: Job | None = None
    passed = 0

    def checkpoint(job: Job) -> None:
        nonlocal current, passed
        if job is not current:
            current, passed = job, 0
        passed += 1
        if passed == nth and isinstance(job, CompactionJob) and not job.urgent:
            raise JobStarved

    return checkpoint


@dataclass(frozen=True, slots=True)
class CopyMade:
    """A checkpoint or a backup of a run (copies.py)."""

    path: str
    number: int  # of the backup; 0: a checkpoint
    expectation: Expectation  # what it must hold
    is_encrypted: bool = False
    is_answered: bool = False


@dataclass(slots=True)
class CrashPoint:
    """The disk directly after a call, with its pending changes, and what may be found if the power fails now."""

    disk: SimulatedDisk
    expectation: Expectation
    operation: int  # index of the operation under way, -1 during the first opening
    call: str
    now_ms: int
    copies: Sequence[CopyMade] = ()
    watched: Mirror | None = None
    """What somebody who watches has of the database, and a power cut must not take away."""


@dataclass(slots=True)
class WorkloadRun:
    """One engine and its model, doing the same workload."""

    setup: EngineSetup = field(default_factory=EngineSetup)
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    record: bool = True
    every: int = 1
    """Every n-th append, copy and sync of a file is recorded, and every change of another kind."""
    clock: ManualClock = field(default_factory=ManualClock)
    model: Model = field(default_factory=Model)
    crash_points: list[CrashPoint] = field(default_factory=list)
    operation: int = -1
    snapshots: list[tuple[Snapshot, dict[bytes, bytes]]] = field(default_factory=list)
    """Open snapshots, oldest first, with what each must show."""
    copies: list[CopyMade] = field(default_factory=list)
    opened: int = 0
    """How often the engine was opened; its identity and salts follow from it."""
    _engine: Engine | None = None
    mirrors: dict[bool, Mirror] = field(default_factory=dict)
    """Copies of those who watch, by whether only durable events come."""
    _reader: Engine | None = None
    _frequent: int = 0

    def __post_init__(self) -> None:
        self.disk.window_bytes = self.setup.window_bytes
        self.model.latest_ms = self.clock.now_ms

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the run has no engine open"
        return self._engine

    @property
    def is_open(self) -> bool:
        return self._engine is not None and not self._engine.closed

    @property
    def moments(self) -> list[CrashPoint]:
        """The old name of `crash_points`, until the next release."""
        return self.crash_points

    def run(self, workload: Workload) -> WorkloadRun:
        """Open, do all operations, release. AssertionError if an answer differs from the model's."""
        self.watch(self.record)
        try:
            self.open()
            for self.operation, operation in enumerate(workload):
                operation.do(self)
            self.release_snapshots()
        finally:
            self.watch(False)
            self.abandon()
        return self

    def open(self) -> None:
        self.opened += 1
        self._engine = self.setup.open(self.disk, self.clock, ("run", self.opened))

    def abandon(self) -> None:
        """Drop the engine, without a clean end on the disk that counts: the crash points are copies."""
        engine, self._engine = self._engine, None
        self.snapshots.clear()
        self.close_reader()
        if engine is not None:
            self.disk.faults.clear()
            with suppress(ReadOnlyError, FencedError):  # after a failed sync
                engine.close()

    # For operations.

    def commit(
        self,
        steps: Sequence[Step],
        call: Callable[[Engine], object],
        answer: object = UNCHECKED,
        *,
        sync: bool | None = None,
    ) -> None:
        """Do one commit: `steps` say what it means (none: no commit), `call` makes it and must return `answer`."""
        if steps:
            self.model.begin(steps)
        given = call(self.engine)
        if steps:
            self.model.answer()
            if sync or (sync is None and self.setup.sync == "always"):
                self.model.promise()
        assert answer is UNCHECKED or given == answer, f"answered {given!r}, the model says {answer!r}"

    def view(self) -> dict[bytes, bytes]:
        """What a reader must see now."""
        return view(self.model.state, self.clock.now_ms)

    def reopen(self, *, flush: bool = True) -> None:
        """Close cleanly, and open again."""
        self.release_snapshots(max(0, len(self.snapshots) - 1))
        self.engine.close(flush=flush)
        self.model.promise()
        self.open()
        self._release_outlived()

    def crash(self, crash_model: CrashModel, seed: int) -> None:
        """Crash, and continue with what is left."""
        watched = self.disk.on_change is not None
        self.watch(False)
        clone = after_crash(self.disk, crash_model, Random(seed).randrange)
        expectation = self.model.expectation()
        self.abandon()
        self.disk = clone
        self.open()
        power_cut = self.setup.is_replica or crash_model is not CrashModel.KILLED
        self.setup.check(self.engine, clone)
        state = matched(expectation, self.engine, self.clock.now_ms, power_cut=power_cut)
        self.model = Model(state, expectation.latest_ms)  # recovery has made everything that it accepted durable
        if power_cut:
            self.mirrors.pop(False, None)  # it may have events of what is lost
        self.watch(watched)

    def replace_directory(self, trespass: Callable[[Engine], object]) -> None:
        """Remove the directory under the running engine; make a new database there, and go on with that."""
        old = self.engine
        self.close_reader()
        self.disk.remove_directory(PATH)
        self.mirrors.clear()
        self.model = Model({}, self.model.latest_ms)
        self.opened += 1
        self._engine = self.setup.open(self.disk.for_another_program(), self.clock, ("run", self.opened))
        self.commit([Put(b"new", b"1")], lambda engine: engine.put(b"new", b"1", sync=True), sync=True)
        trespass(old)
        assert old.closed
        self._release_outlived()
        assert dict(self.engine.scan()) == {b"new": b"1"}, "the old handle wrote into the new database"
        assert not self.engine.verify()

    def advance(self, seconds: float) -> None:
        """Move the clock forward or, below 0, back."""
        self.clock.advance(seconds)
        now_ms = self.clock.now_ms
        if seconds >= 0:
            self.model.latest_ms = max(self.model.latest_ms, now_ms)
            return
        try:
            self.model.set_back(held(self.engine, now_ms, self.model.expectation().expiring), now_ms)
        except FlinError:  # what is there is unknown
            self.clock.advance(-seconds)
            raise

    def take_snapshot(self) -> None:
        self.snapshots.append((self.engine.snapshot(), self.view()))

    def reader(self) -> Engine:
        """A reader of the same files, as another program has it: opened at first, then refreshed."""
        if self._reader is None:
            self._reader = flin.engine.open(
                PATH,
                read_only=True,
                fs=self.disk.for_another_program(),
                clock_ms=self.clock,
                memory_limit=self.setup.memory_limit,
                encryption_key=KEY if self.setup.encrypted else None,
            )
        else:
            self._reader.refresh()
        return self._reader

    def mirror(self, *, durable: bool) -> Mirror:
        """The copy that somebody keeps who watches, with all that was committed."""
        mirror = self.mirrors.setdefault(durable, Mirror(durable))
        if durable:
            self.engine.sync()
            self.model.promise()
        mirror.follow(self.engine, keeps_all=self.setup.wal_retention > 0)
        return mirror

    def close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def release_snapshots(self, most: int | None = None) -> None:
        """Read the oldest snapshots again and close them."""
        for snapshot, expected in self.snapshots[:most]:
            check_snapshot(snapshot, expected)
            snapshot.close()
        del self.snapshots[:most]

    def _release_outlived(self) -> None:
        """Check and release the snapshots of a closed engine: they show what they showed, or raise ClosedError."""
        for snapshot, expected in self.snapshots:
            with suppress(ClosedError):
                check_snapshot(snapshot, expected)
        self.snapshots.clear()

    # Crash points.

    def watch(self, wanted: bool = True) -> None:
        """Switch the recording of crash points on or off."""
        self.disk.on_change = self._remember if wanted else None

    def _remember(self, call: str) -> None:
        if call in ("append", "copy", "sync"):
            self._frequent += 1
            if self._frequent % self.every:
                return
        expectation, copies = self.model.expectation(), tuple(self.copies)
        found = CrashPoint(killed(self.disk), expectation, self.operation, call, self.clock.now_ms, copies)
        if True in self.mirrors:
            found.watched = self.mirrors[True].copy()
        self.crash_points.append(found)


def drop_retired(engine: Engine) -> None:
    """Have lookups read tables from now on, until the next flush."""
    store = store_of(engine)
    store._exclusively(lambda: store._install(replace(store.state, retired=())))


def check_retired(engine: Engine) -> None:
    """Check that retired generations say what tables say."""
    state = store_of(engine).state
    bare = replace(state, retired=())
    for shard, memtables in enumerate(state.retired_memtables):
        for key in {key for memtable in memtables for key in memtable.entries}:
            found = from_retired(state, shard, key)
            if found is not None:
                told = from_tables(bare, shard, key, hash_key(key))
                expected = TOMBSTONE if told is None else told
                assert found == expected, f"tables have {told!r} at {key!r}, a retired generation {found!r}"


def check_snapshot(snapshot: Snapshot, expected: dict[bytes, bytes]) -> None:
    """Check that a snapshot still shows what was there when it was taken."""
    assert dict(snapshot.scan()) == expected, "a snapshot changed"
    assert list(snapshot.scan_keys(reverse=True)) == sorted(expected, reverse=True)
    for key, value in expected.items():
        assert snapshot.get(key) == value, f"a snapshot's get({key!r})"


def held(engine: Engine, now_ms: int, expiring: Set[bytes]) -> State:
    """What the engine shows, and those of the keys that ever had an expiry that it still holds expired, with values."""
    found: State = {}
    for key, value in engine.scan():
        ttl = engine.ttl(key) if key in expiring else None
        found[key] = (value, 0 if ttl is None else now_ms + round(ttl * 1000))
    for key in expiring:
        if key not in found:
            entry = store_of(engine).read(as_stored(key))
            if type(entry) is tuple and entry[1] != EXPIRED_MS:
                found[key] = entry[:2]
    return found


def matched(expectation: Expectation, engine: Engine, now_ms: int, *, power_cut: bool) -> State:
    """The state of an engine after its opening; AssertionError if it is not allowed."""
    return expectation.match(held(engine, now_ms, expectation.expiring), now_ms, power_cut=power_cut)


def what_is_there(state: State, now_ms: int) -> dict[bytes, bytes]:
    """What a reader sees, sorted, as scans give it."""
    return dict(sorted(view(state, now_ms).items()))


# The old names, until the next release.
Run, Scene, Moment = WorkloadRun, EngineSetup, CrashPoint
