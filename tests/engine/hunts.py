"""Hunts: parts of the crash suite, each as one function that goes on until something violates the promise.

test_mutants.py sends them after the mutants. They try what the suite's own tests try: all short workloads, the seeded
random workloads of flin.testing.crash, failing calls, flipped bits.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any, Final, TypeAlias

import pytest

import flin.engine
from flin.engine.background.inline_runner import InlineRunner
from flin.engine.buffers import as_stored
from flin.engine.engine import store_of
from flin.engine.wal.frames import FRAME_BYTES, HEADER_BYTES
from flin.errors import CorruptionError, FlinError
from flin.testing import Fault, SimulatedDisk, crash
from flin.testing.copies import MakeBackup, MakeCheckpoint, check_copies
from flin.testing.crash_checker import CrashChecker, crash_every_workload, every_workload
from flin.testing.crash_model import SECTOR_BYTES, CrashModel
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.following import ReadElsewhere, Watch
from flin.testing.operation import (
    Advance,
    CompactRange,
    Crash,
    Delete,
    DeleteRange,
    Draw,
    Fill,
    Maintenance,
    Put,
    Read,
    Refused,
    Reopen,
    Rewrite,
    Rule,
    Sweep,
    TakeSnapshot,
)
from flin.testing.replicating import crash_replicas
from flin.testing.run import EngineSetup, Operation, Workload, WorkloadRun
from tests.engine import damage
from tests.engine.crash_corpus import CORPUS
from tests.engine.histories import interleave
from tests.engine.interleaved import Interleaving
from tests.engine.test_crash import ALPHABET, VALUE_FILES, WITH_VALUES
from tests.engine.test_faults import SETUPS as FAULTY_SETUPS
from tests.engine.test_faults import WORKLOADS

SEEDS: Final = 80
"""Random workloads that are crashed."""

RUNS: Final = 400
"""Random workloads that only run, with a few crashes among their operations: a hundredth of the time each."""

REPLICAS: Final = 30
"""Random workloads of replicas."""

RANGED_RUNS: Final = 150
"""Random workloads of many runs."""

FLUSH: Final = Maintenance("flush")

LONG: Final = SECTOR_BYTES - HEADER_BYTES - FRAME_BYTES - 4 - len(as_stored(b"a"))
"""The length of a value with which the first frame of a segment ends at the end of a sector."""


@dataclass(slots=True)
class Tally:
    """How much a hunt has tried."""

    count: int = 0
    unit: str = "crash states"

    def __str__(self) -> str:
        return f"{self.count:,} {self.unit if self.count != 1 else self.unit.removesuffix('s')}"


Hunt: TypeAlias = Callable[[Tally], None]
"""Returns if nothing was found. A violation is an AssertionError, or an error of Flin where there should be none."""


def hunt_down(hunt: Hunt, tally: Tally) -> str:
    """What the hunt finds; "" for nothing. Any other exception is raised: a hunt that broke has caught nothing."""
    crash._SEEN.clear()
    try:
        hunt(tally)
    except (AssertionError, FlinError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        crash._SEEN.clear()  # states that passed with a mutant count as unchecked
    return ""


def _crash_each(tally: Tally, checker: CrashChecker, workloads: Iterable[Workload]) -> None:
    try:
        crash_every_workload(checker, workloads)
    finally:
        tally.count += checker.states


def short_workloads(tally: Tally) -> None:
    """All workloads of up to two operations, each commit synced: every crash."""
    _crash_each(tally, CrashChecker(EngineSetup("always"), limit=6), every_workload(ALPHABET, 2))


def unsynced_workloads(tally: Tally) -> None:
    """These workloads without a sync after each commit."""
    _crash_each(tally, CrashChecker(EngineSetup("interval"), limit=6), every_workload(ALPHABET, 2))


LONG_WRITES: Final[Sequence[Workload]] = (
    (Put(b"a", b"x" * 3000), Put(b"b", b"2")),
    (Put(b"a", b"x" * 3000), Put(b"b", b"y" * 3000)),
    (Put(b"a", b"x" * 3000), Reopen(flush=False)),
    (Put(b"a", b"1"), Refused(Put(b"b", b"2" * 600)), Put(b"c", b"3")),
    *((Put(b"a", b"x" * size), Reopen(flush=False)) for size in (700, 1200, 1700)),
)
"""Over several sectors, or two segments: short writes lie within one sector, of which a crash leaves no end without its
beginning."""


def long_writes(tally: Tally) -> None:
    """A few workloads made for this: over several sectors or segments, nothing synced; many crashes of each."""
    _crash_each(tally, CrashChecker(EngineSetup("interval"), limit=60), LONG_WRITES)


LOST_SEGMENTS: Final[Sequence[Workload]] = tuple(
    (Put(b"a", b"1" * size), Put(b"b", b"2" * 300), Crash(CrashModel.PREFIXES, seed), Put(b"a", b"3" * size),
     Put(b"c", b"4" * 300))
    for size in (1, LONG)
    for seed in (0, 2)
)  # fmt: skip
"""Unsynced, so that a power cut takes even the segment's name; the next segment lies in its place, sector by sector.
With the longer value the second frame begins at a sector."""


def lost_segments(tally: Tally) -> None:
    """A few workloads made for this: the first segment is lost, and its bytes show in unwritten parts of the next."""
    _crash_each(tally, CrashChecker(EngineSetup("never", window_bytes=0), limit=300, second_every=50), LOST_SEGMENTS)


TWO_PUTS: Final = (Put(b"b", b"2"), Put(b"c", b"3"))

REOPENED_WORKLOADS: Final[Sequence[Workload]] = (
    (Put(b"a", b"1"), Reopen(flush=False), *TWO_PUTS),
    (Put(b"a", b"1"), Crash(CrashModel.KILLED, 0), *TWO_PUTS),
    (Put(b"a", b"1"), FLUSH, Reopen(), *TWO_PUTS),
)
"""Writes after a recovery follow the recovered ones, or the end that the manifest gives."""


def reopened_workloads(tally: Tally) -> None:
    """Three workloads made for this, which write after a recovery."""
    _crash_each(tally, CrashChecker(EngineSetup("always"), limit=6), REOPENED_WORKLOADS)


@dataclass(frozen=True)
class ConcurrentWrite(Operation):
    """A flush or a sync, and an unsynced write of another thread just after one of its calls."""

    name: str
    call: int

    def do(self, run: WorkloadRun) -> None:
        watching, left = run.disk.on_change, self.call

        def write(call: str) -> None:
            nonlocal left
            if watching is not None:
                watching(call)
            left -= 1
            if left == -1:
                Put(b"b", b"beside" * 90, sync=False).do(run)

        run.disk.on_change = write
        try:
            getattr(run.engine, self.name)()
        finally:
            run.disk.on_change = watching


def concurrent_writes(tally: Tally) -> None:
    """Two workloads made for this: a write comes between any two calls of a sync or a flush; two more come after it."""
    for name, calls, limit in (("sync", 2, 60), ("flush", 9, 2)):
        start = (Put(b"a", b"1"), Put(b"c", b"2", sync=False))
        for call in range(calls):
            begun = (*start, ConcurrentWrite(name, call))
            workloads = [begun, (*begun, TWO_PUTS[1]), (*begun, TWO_PUTS[1], Delete(b"a"))]
            _crash_each(tally, CrashChecker(EngineSetup("always"), limit, second_every=8), workloads)


def past_failures(tally: Tally) -> None:
    """Past failures (crash_corpus.py), except mistakes of the oracle: crashed, or with failing calls."""
    for past in CORPUS:
        if past.name.startswith("oracle"):
            continue
        checker = CrashChecker(past.setup, limit=8)
        try:
            if not past.fault:
                crash_every_workload(checker, [past.workload])
                continue
            for run in every_failure(past.setup, past.workload, KINDS[past.fault]):
                check_failed(run, checker, past.name)
        finally:
            tally.count += checker.states


def crashed_recoveries(tally: Tally) -> None:
    """Two writes, of which the first is promised: every recovery is crashed after each of its calls."""
    _crash_each(tally, CrashChecker(EngineSetup("always"), limit=3, second_crashes=30), every_workload(ALPHABET[:4], 2))


def random_workloads(tally: Tally) -> None:
    """Those of the long run, from its first seed on: crashed in every way, and with failing calls."""
    for seed in range(SEEDS):
        found = crash.run_seed(seed)
        tally.count += len(found.states)
        if found.violation:
            raise AssertionError(found.violation)


def running_workloads(tally: Tally) -> None:
    """Those of more seeds, crashed only where the workload says so: every answer is compared with the model's."""
    tally.unit = "workloads"
    for seed in range(RUNS):
        case = crash.case_of(seed)
        tally.count += 1
        WorkloadRun(case.setup, record=False).run(case.workload)


def followed_workloads(tally: Tally) -> None:
    """Random workloads with somebody who watches, or a reader in another program, after every second operation."""
    tally.unit = "workloads"
    for seed in range(RUNS):
        random = Random(seed)
        setup = EngineSetup(
            random.choice(("always", "interval", "never")),
            random.choice((1, 4)),
            window_bytes=random.choice((0, 512)),
            wal_retention=random.choice((0, 1 << 30)),
        )
        workload: list[Operation] = []
        for operation in Draw(random).workload(12):
            follow = random.choice((Watch(durable=True), Watch(durable=False), ReadElsewhere(), None))
            workload += [operation] if follow is None else [operation, follow]
        tally.count += 1
        WorkloadRun(setup, record=False).run(workload)


def failing_calls(tally: Tally) -> None:
    """The n-th call of short workloads fails, for every n, in every way."""
    tally.unit = "failed calls"
    for setup in FAULTY_SETUPS:
        checker = CrashChecker(setup, limit=2, second_crashes=0)
        for (name, workload), (kind, fault) in product(WORKLOADS.items(), KINDS.items()):
            for number, run in enumerate(every_failure(setup, workload, fault)):
                tally.count += 1
                check_failed(run, checker, f"{name}, {kind}, call {number}", no_files=True)


def turned_bits(tally: Tally) -> None:
    """Every 32nd bit of every file of some databases is flipped, one at a time."""
    tally.unit = "bits"
    flip = SimulatedDisk.flip

    def count_and_flip(disk: SimulatedDisk, path: str, bit: int) -> None:
        tally.count += 1
        flip(disk, path, bit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedDisk, "flip", count_and_flip)
        for name in damage.SCENES:
            damage.flip(name, 32)


def damaged_stretches(tally: Tally) -> None:
    """Stretches of many lengths of every file of a database, and of the segment of a longer one."""
    tally.unit = "stretches"
    checker = damage.Damage.case

    def count_and_check(*arguments: Any, **options: Any) -> str:
        tally.count += 1
        return checker(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(damage.Damage, "case", count_and_check)
        for name in ("wal", "synced puts"):
            damage.stretch(name, 512)


def moved_files(tally: Tally) -> None:
    """Every 32nd length of every file of some databases; files that are missing, swapped, or another database's."""
    tally.unit = "damaged databases"
    case = damage.Damage.case

    def count_and_check(
        self: damage.Damage, what: str, change: Callable[[SimulatedDisk], None], *, any_prefix: bool = False
    ) -> str:
        tally.count += 1
        return case(self, what, change, any_prefix=any_prefix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(damage.Damage, "case", count_and_check)
        for name in damage.SCENES:
            damage.lose(name)
            damage.exchange(name)
            damage.put_in_place(name)
            damage.go_back(name)
            damage.cut(name, 32)


@dataclass(frozen=True)
class FillUnflushed(Fill):
    """A Fill, unsynced, while every flush fails: generations wait for theirs."""

    def do(self, run: WorkloadRun) -> None:
        for number in range(self.first, self.first + self.count):
            run.disk.faults[:] = [Fault(0, errno.EIO, frozenset({"sync_directory"}))]  # the next is that of a job
            Fill(number, 1).do(run)
        run.disk.faults.clear()


@dataclass(frozen=True)
class FlushAhead(Operation):
    """The writes, each in a generation of its own; then all are flushed, and each job runs before the edit of the
    former one, though in this thread."""

    writes: tuple[Operation, ...]

    def do(self, run: WorkloadRun) -> None:
        for write in self.writes:
            write.do(run)
            store_of(run.engine).seal()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InlineRunner, "runs_apart", lambda *_: True)
            run.engine.flush()


AHEAD: Final[Workload] = (
    FlushAhead((Put(b"a", b"1" * 200), Put(b"b", b"2" * 200), Delete(b"a"))),
    Put(b"c", b"3"),
    FlushAhead((Put(b"a", b"4" * 200), DeleteRange(b"a", b"c"))),
    Reopen(flush=False),
    FlushAhead((Put(b"b", b"5"), Put(b"d", b"6" * 200, ttl=0.5), Put(b"b", b"7"))),
)
"""Later generations overwrite and delete what earlier ones hold."""

FAILING_AHEAD: Final[Workload] = (*AHEAD[:3], Put(b"e", b"8"))
"""The write at the end has the close write a manifest: that removes what a failed one may have left."""


def flushes_ahead(tally: Tally) -> None:
    """A workload made for this, of flushes whose jobs run ahead: every crash, and each call fails in every way."""
    _crash_each(tally, CrashChecker(EngineSetup("always"), limit=6, second_every=8), [AHEAD])
    setup = EngineSetup("interval", value_threshold=8)
    checker = CrashChecker(setup, limit=1, second_crashes=0)
    for kind, fault in KINDS.items():
        for number, run in enumerate(every_failure(setup, FAILING_AHEAD, fault)):
            tally.count += 1
            check_failed(run, checker, f"flushes ahead, {kind}, call {number}", no_files=True)


class RefusedSweep(Operation):
    """The disk has no room for the tombstones of expired keys."""

    def do(self, run: WorkloadRun) -> None:
        fault = Fault(0, errno.ENOSPC, frozenset({"append"}))
        run.disk.faults.append(fault)
        len(run.engine)
        run.disk.faults.clear()
        assert fault.fired, "nothing was swept"


LAYERED_WORKLOADS: Final[Sequence[Workload]] = (
    (Put(b"a", b"1"), FLUSH, Read(), Put(b"a", b"2"), FLUSH, Read()),
    (Put(b"a", b"1", ttl=0.5), Put(b"a", b"2"), Advance(1.0), Sweep(), Read()),
    (Put(b"a", b"1", ttl=0.5), Reopen(flush=False), Advance(1.0), Sweep()),
    (
        *(Fill(0, 200), FLUSH, Maintenance("compact")),
        *(Delete(b"f000"), FLUSH, DeleteRange(b"f001", b"f002"), FLUSH),
        *(Put(b"f100", b"1"), FLUSH, Put(b"f150", b"2"), FLUSH, Read()),
    ),
    (
        *(Fill(0, 200), FLUSH, Put(b"f100", b"2"), FLUSH, Delete(b"f100"), FLUSH),
        *(CompactRange(b"f100", b"f101"), Read(), Sweep()),
    ),
    (Put(b"a", b"1", ttl=0.5), Advance(1.0), FLUSH, Advance(-3600.0), Read()),
    (Put(b"a", b"1", ttl=0.5), Advance(1.0), RefusedSweep(), Sweep()),
    (FillUnflushed(0, 900), Crash(CrashModel.KILLED, 0), Read()),
    (Put(b"a", b"1"), FLUSH, Put(b"a", b"2", ttl=0.5), Advance(1.0), FLUSH, Read()),
    (Put(b"a", b"1"), FLUSH, Put(b"a", b"2"), FLUSH, Read()),
    (Put(b"a", b"1"), FLUSH, Put(b"a", b"2"), TakeSnapshot(), Read()),
    (Put(b"a", b"1"), Put(b"b", b"1"), FLUSH, DeleteRange(b"a", b"b"), FLUSH, Read()),
    (Put(b"a", b"1", ttl=10.0), Advance(3600.0), RefusedSweep(), Advance(-3595.0), Read(), Advance(5.0), Sweep()),
    (Put(b"a", b"1"), TakeSnapshot(), Read(), Rewrite((b"a", b"b"), 24, 9, deletes=False), Reopen(), Read()),
)
"""A value that is read, flushed and read again; one that would have expired without a later put; one that expires after
a recovery; four small runs above a large one, which are merged among themselves; a key that is deleted, in a range that
is compacted; a value that has expired at a flush before the clock is set back; a refused sweep; recovered generations;
one that has expired at a flush, above an older one; retired generations, of which one is newer, or below a frozen
memtable, or below a range delete; one that lives again after a refused sweep, since the clock is set back; a frozen
memtable below one that is condensed. Few random workloads get so far."""


def layered_workloads(tally: Tally) -> None:
    """A few workloads made for this, which read and sweep what flushes, merges and recoveries have moved."""
    tally.unit = "workloads"
    for workload in LAYERED_WORKLOADS:
        tally.count += 1
        WorkloadRun(EngineSetup("never", window_bytes=0), record=False).run(workload)


def ranged_workloads(tally: Tally) -> None:
    """Random workloads of many runs, where tables, merges and the ranges between fences hold a few keys."""
    tally.unit = "workloads"
    setup = EngineSetup("never", window_bytes=0, tiny=True)
    for seed in range(RANGED_RUNS):
        tally.count += 1
        WorkloadRun(setup, record=False).run([*Draw(Random(seed)).workload(16, layers=0.7), Read(), Sweep()])


def valued_workloads(tally: Tally) -> None:
    """The same with values of eight bytes and more in value files. At the end live sums and pointers are verified."""
    tally.unit = "workloads"
    for seed in range(RANGED_RUNS):
        tally.count += 1
        setup = EngineSetup("never", window_bytes=0, value_threshold=8, tiny=seed % 2 > 0)
        run = WorkloadRun(setup, record=False)
        run.open()
        for operation in Draw(Random(seed)).workload(16, layers=0.5):
            operation.do(run)
        Read().do(run)
        Sweep().do(run)
        run.release_snapshots()
        problems = run.engine.verify()
        assert not problems, problems
        run.abandon()


def value_files(tally: Tally) -> None:
    """Every operation after two flushes that made value files: flushes, merges that collect, and more; every crash."""
    checker = CrashChecker(EngineSetup("always", value_threshold=8, tiny=True), limit=8, second_every=12)
    _crash_each(tally, checker, ((*VALUE_FILES, *each) for each in every_workload(WITH_VALUES, 1)))


COPIED_WORKLOADS: Final[Sequence[Workload]] = (
    (Put(b"a", b"1"), MakeCheckpoint()),
    (Put(b"a", b"1"), FLUSH, Put(b"b", b"2"), MakeCheckpoint()),
    (Put(b"a", b"1"), MakeBackup()),
    (Put(b"a", b"1"), FLUSH, Put(b"b", b"2"), MakeBackup(), Put(b"a", b"3"), MakeBackup()),
    (Put(b"a", b"1"), FLUSH, MakeBackup(), Put(b"a", b"3"), Maintenance("compact"), MakeBackup(keep=1)),
    (Put(b"a", b"1"), Refused(Put(b"b", b"2" * 600)), MakeBackup()),
    (Put(b"a", b"1"), MakeCheckpoint(), Put(b"a", b"2"), FLUSH),
)


def copied_workloads(tally: Tally) -> None:
    """A few workloads made for this: checkpoints and backups after writes, flushes and merges; every crash."""
    _crash_each(tally, CrashChecker(EngineSetup("interval"), limit=8, second_crashes=0), COPIED_WORKLOADS)


@dataclass(frozen=True)
class BusyCopy(Operation):
    """A copy, and a deletion, a flush and a merge of other threads just after one of the calls that make its files."""

    rule: Rule
    call: int

    def do(self, run: WorkloadRun) -> None:
        left = self.call

        def write(operation: str) -> None:
            nonlocal left
            left -= store_of(run.engine).tables.is_pinned and operation in ("link", "create", "append")
            if left == -1:
                left -= 1
                DeleteRange(b"a", b"z").do(run)
                Maintenance("compact").do(run)

        run.disk.on_change = write
        try:
            self.rule.do(run)
        finally:
            run.disk.on_change = None


def busy_copies(tally: Tally) -> None:
    """Checkpoints and backups, each with a deletion of everything, a flush and a merge between two of its calls; and
    what they have made is opened, and written to beside the database."""
    tally.unit = "workloads"
    for rule, call in product((MakeCheckpoint(), MakeBackup()), range(6)):
        tally.count += 1
        run = WorkloadRun(EngineSetup("interval", value_threshold=8), record=False)
        run.open()
        for operation in (Put(b"a", b"1" * 300), FLUSH, Put(b"b", b"2" * 600), BusyCopy(rule, call)):
            operation.do(run)
        check_copies(run.disk, run.copies, run.clock.now_ms)
        assert not run.engine.verify()
        run.abandon()


def lives_of_copies(tally: Tally) -> None:
    """A database and one that is restored from its backup go on, and both are backed up into one directory."""
    tally.unit = "backups"
    run = WorkloadRun(EngineSetup("interval"), record=False)
    run.open()
    for operation in (Put(b"a", b"1"), FLUSH, Reopen(), MakeBackup()):
        operation.do(run)
    (backup,) = run.copies
    Reopen().do(run)  # both of them are in their next epoch
    flin.engine.restore(backup.path, "/second", fs=run.disk)
    second = flin.engine.open("/second", fs=run.disk, runner="inline")
    lives = []
    for number, engine in enumerate((run.engine, second, run.engine, second)):
        engine.put(b"a", b"%d" % number)
        engine.flush()
        lives.append((engine.backup(backup.path).number, dict(engine.scan())))
        tally.count += 1
    for number, expected in lives:
        path = f"/restored-{number}"
        flin.engine.restore(backup.path, path, number=number, fs=run.disk)
        with flin.engine.open(path, fs=run.disk, runner="inline") as restored:
            assert dict(restored.scan()) == expected, "a backup holds another life's files"
    second.close()
    run.abandon()


def damaged_backups(tally: Tally) -> None:
    """One bit of each file of a backup is flipped: it is found, and not restored."""
    tally.unit = "flipped bits"
    run = WorkloadRun(EngineSetup("interval"), record=False)
    run.open()
    for operation in (Put(b"a", b"1" * 300), FLUSH, Put(b"b", b"2"), MakeBackup()):
        operation.do(run)
    path = run.copies[0].path
    for name in run.disk.names(f"{path}/files"):
        tally.count += 1
        run.disk.flip(f"{path}/files/{name}", 8 * 60)
        assert flin.engine.verify_backup(path, fs=run.disk), f"damage of {name} is not found"
        with suppress(CorruptionError):
            flin.engine.restore(path, f"/restored-{name}", fs=run.disk)
            raise AssertionError(f"damaged {name} was restored")
        run.disk.flip(f"{path}/files/{name}", 8 * 60)
    run.abandon()


def replicated_workloads(tally: Tally) -> None:
    """Random workloads of replicas, among whose operations others lead; crashed in every way. Each holds what the log
    says after it has applied that."""
    checker_states: set[int] = set()
    for seed in range(REPLICAS):
        try:
            crash_replicas(seed, 12, checker_states)
        finally:
            tally.count = len(checker_states)


INTERLEAVINGS: Final = 150
"""Each of 60 steps: the mutants are caught by the first 20 on average."""


def interleaved_transactions(tally: Tally) -> None:
    """Transactions in one thread, their steps among each other's and other writes, beside a model."""
    tally.unit = "interleavings"
    for seed in range(INTERLEAVINGS):
        tally.count += 1
        Interleaving(Random(seed)).run(60)


def recorded_histories(tally: Tally) -> None:
    """The same without the model: could what they saw have come of one after the other?"""
    tally.unit = "recorded runs"
    for seed in range(INTERLEAVINGS):
        tally.count += 1
        interleave(Random(seed), 40)


HUNTS: Final[tuple[Hunt, ...]] = (
    *(short_workloads, unsynced_workloads, long_writes, crashed_recoveries, random_workloads),
    *(reopened_workloads, lost_segments, concurrent_writes, past_failures, running_workloads, layered_workloads),
    *(
        flushes_ahead,
        ranged_workloads,
        valued_workloads,
        value_files,
        failing_calls,
        turned_bits,
        damaged_stretches,
        moved_files,
        replicated_workloads,
        interleaved_transactions,
        recorded_histories,
    ),
    *(copied_workloads, busy_copies, lives_of_copies, damaged_backups, followed_workloads),
)
