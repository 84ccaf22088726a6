"""The operations of workloads: one small class for each call of the API that changes the disk.

A class says what its call means for the model, makes the call, and generates itself at random. If you add a feature to
the engine, add such a class and list it in RULES: every crash test then uses it.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from flin.engine.engine import Engine, store_of
from flin.errors import ReadOnlyError, StorageError
from flin.testing.commit import (
    Batch,
    Clear,
    CompareAndSet,
    Delete,
    DeleteMany,
    DeletePrefix,
    DeleteRange,
    Expire,
    Incr,
    Pop,
    Put,
    PutMany,
)
from flin.testing.copies import MakeBackup, MakeCheckpoint
from flin.testing.crash_model import CrashModel
from flin.testing.evicting import Evict
from flin.testing.fault import Fault
from flin.testing.following import ReadElsewhere, Watch
from flin.testing.rule import COUNTER, KEYS, RULES, Draw, Rule, Write
from flin.testing.run import WorkloadRun, check_retired, drop_retired
from flin.testing.transaction import Transact

__all__ = [
    "COUNTER", "KEYS", "RULES", "Batch", "Clear", "CompareAndSet", "Delete", "DeleteMany", "DeletePrefix",
    "DeleteRange", "Draw", "Expire", "Incr", "Pop", "Put", "PutMany", "Rule", "Write",
]  # fmt: skip  # and the operations below


@dataclass(frozen=True)
class Fill(Rule):
    """`count` puts of some 300 bytes, each a commit: some four hundred seal the smallest generation."""

    first: int
    count: int

    def do(self, run: WorkloadRun) -> None:
        for number in range(self.first, self.first + self.count):
            Put(b"f%03d" % (number * 37 % 200), b"%d " % number * 60).do(run)

    @classmethod
    def drawn(cls, draw: Draw) -> Fill:
        return cls(draw.random.randrange(1000), draw.random.choice((3, 30, 200)))


@dataclass(frozen=True)
class Layer(Rule):
    """One commit of puts and deletes over neighbouring keys of Fill, and its flush: a run more."""

    first: int
    count: int
    length: int  # of values
    deleted: int  # every so many keys are deleted; 0: none
    ttl: float | None = None

    def do(self, run: WorkloadRun) -> None:
        parts: list[Put | Delete | DeleteRange] = []
        for number in range(self.first, self.first + self.count):
            key = b"f%03d" % (number % 200)
            if self.deleted and number % self.deleted == 0:
                parts.append(Delete(key))
            else:
                parts.append(Put(key, (b"%d of %d " % (number, self.count) * 100)[: self.length], self.ttl))
        Batch(tuple(parts)).do(run)
        Maintenance("flush").do(run)

    @classmethod
    def drawn(cls, draw: Draw) -> Layer:
        random = draw.random
        count = random.choice((3, 10, 40))
        length, deleted, ttl = random.choice((7, 9, 300, 600)), random.choice((0, 0, 2, 5)), random.choice((None, 50.0))
        return cls(random.randrange(0, 200, 5), count, length, deleted, ttl)


@dataclass(frozen=True)
class Rewrite(Rule):
    """Two keys are written in turn, and deleted at the end or not; then a flush, which may read a condensed log."""

    keys: tuple[bytes, bytes]
    times: int
    length: int  # of values
    deletes: bool
    ttl: float | None = None

    def do(self, run: WorkloadRun) -> None:
        for number in range(self.times):
            Put(self.keys[number % 2], (b"%d of %d " % (number, self.times) * 100)[: self.length], self.ttl).do(run)
        if self.deletes:
            Delete(self.keys[0]).do(run)
        Maintenance("flush").do(run)

    @classmethod
    def drawn(cls, draw: Draw) -> Rewrite:
        random = draw.random
        first, second = random.sample(KEYS, 2)
        times, length = random.choice((6, 12, 24)), random.choice((2, 7, 9, 600))
        return cls((first, second), times, length, random.random() < 0.3, draw.ttl())


@dataclass(frozen=True)
class Take(Rule):
    """Takes from the front, as from a queue, or from the end, as from a stack; each one is a commit."""

    count: int
    from_end: bool = False

    def do(self, run: WorkloadRun) -> None:
        end, there = (run.engine.last, max) if self.from_end else (run.engine.first, min)
        for _ in range(self.count):
            key = end()
            assert key == there(run.view(), default=None), "the first or last key is wrong"
            if key is None:
                return
            Pop(key).do(run)

    @classmethod
    def drawn(cls, draw: Draw) -> Take:
        return cls(draw.random.choice((1, 8, 120)), draw.random.choice((False, False, True)))


@dataclass(frozen=True)
class DeleteEach(Rule):
    """Range deletes of one key each, of every other key that Fill writes; each one is a commit."""

    first: int
    count: int
    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        for number in range(self.first, self.first + self.count):
            key = b"f%03d" % (number * 2 % 200)
            DeleteRange(key, key + b"\0").do(run)

    @classmethod
    def drawn(cls, draw: Draw) -> DeleteEach:
        return cls(draw.random.randrange(100), draw.random.choice((2, 10, 90)))


# Operations that move data, or time.


@dataclass(frozen=True)
class Maintenance(Rule):
    """flush, compact or sync: everything before it is durable when it returns."""

    name: str
    weight: ClassVar[int] = 5

    def do(self, run: WorkloadRun) -> None:
        getattr(run.engine, self.name)()
        run.model.promise()
        if run.setup.idle and self.name == "flush":
            while run.engine._compactor.merge_idle_once():
                pass

    @classmethod
    def drawn(cls, draw: Draw) -> Maintenance:
        return cls(draw.random.choice(("flush", "flush", "compact", "sync")))


@dataclass(frozen=True)
class CompactRange(Rule):
    """compact of a range: everything before it is durable when it returns."""

    start: bytes
    stop: bytes
    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        run.engine.compact(self.start, self.stop)
        run.model.promise()

    @classmethod
    def drawn(cls, draw: Draw) -> CompactRange:
        return cls(*draw.bounds())


@dataclass(frozen=True)
class Reopen(Rule):
    """Close and open again. Without a flush the WAL ends with an end frame, and the next open replays it."""

    flush: bool = True

    def do(self, run: WorkloadRun) -> None:
        run.reopen(flush=self.flush)

    @classmethod
    def drawn(cls, draw: Draw) -> Reopen:
        return cls(draw.random.choice((True, False)))


@dataclass(frozen=True)
class Advance(Rule):
    """Time passes, or the clock jumps, either way."""

    seconds: float

    def do(self, run: WorkloadRun) -> None:
        run.advance(self.seconds)

    @classmethod
    def drawn(cls, draw: Draw) -> Advance:
        return cls(draw.random.choice((1.0, 1.0, 1.0, 1.0, 6.0, -2.0, -6.0, 3600.0, -3600.0)))


@dataclass(frozen=True)
class Sweep(Rule):
    """Delete expired keys, which the model does not see. If the disk refuses writes, they may still count."""

    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        alive = run.view()
        refuses = store_of(run.engine).read_only_reason is not None or run.disk.faults
        expired = run.model.expectation().expiring - alive.keys() if refuses else ()
        assert len(alive) <= len(run.engine) <= len(alive) + len(expired), "the count is wrong"

    @classmethod
    def drawn(cls, draw: Draw) -> Sweep:
        return cls()


@dataclass(frozen=True)
class CountSome(Rule):
    """Go on counting with a budget of look-ups, as the server does: the count may end in a later state."""

    lookups: int

    def do(self, run: WorkloadRun) -> None:
        found = store_of(run.engine).count(budget=self.lookups)
        if found is not None:
            alive = run.view()
            expired = run.model.expectation().expiring - alive.keys()
            assert len(alive) <= found <= len(alive) + len(expired), "the count is wrong"

    @classmethod
    def drawn(cls, draw: Draw) -> CountSome:
        return cls(draw.random.choice((1, 5, 50)))


@dataclass(frozen=True)
class Read(Rule):
    """Read everything, then twice more without retired generations, whose memory may be needed at any moment: entries
    read again from tables enter caches, and must not stay there after the next write."""

    def do(self, run: WorkloadRun) -> None:
        expected = run.view()
        for times in range(3):
            if times:
                check_retired(run.engine)
                drop_retired(run.engine)
            for key in {*KEYS, *expected}:
                assert run.engine.get(key) == expected.get(key), f"get({key!r}) is wrong"
            assert dict(run.engine.scan()) == expected, "a scan is wrong"

    @classmethod
    def drawn(cls, draw: Draw) -> Read:
        return cls()


@dataclass(frozen=True)
class TakeSnapshot(Rule):
    """Take a snapshot. At most three are open: the oldest one is closed, after it was read again."""

    def do(self, run: WorkloadRun) -> None:
        run.take_snapshot()
        run.release_snapshots(max(0, len(run.snapshots) - 3))

    @classmethod
    def drawn(cls, draw: Draw) -> TakeSnapshot:
        return cls()


@dataclass(frozen=True)
class ReleaseSnapshot(Rule):
    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        run.release_snapshots(1)

    @classmethod
    def drawn(cls, draw: Draw) -> ReleaseSnapshot:
        return cls()


# Failures.


@dataclass(frozen=True)
class Refused(Rule):
    """A write of which the disk takes ten bytes and refuses the rest; then the disk works again.

    A commit of a kilobyte is too large for a copy into a window, which cannot fail."""

    operation: Write

    def do(self, run: WorkloadRun) -> None:
        fault = Fault(0, errno.ENOSPC, frozenset({"append"}), taken=10)
        run.disk.faults.append(fault)
        try:
            self.operation.do(run)
        except StorageError:
            assert fault.fired, "refused without a reason"
        finally:
            run.disk.faults.clear()

    @classmethod
    def drawn(cls, draw: Draw) -> Refused:
        return cls(Put(draw.key(), b"no" * 500))


@dataclass(frozen=True)
class Crash(Rule):
    """A crash in the middle of a workload, which continues with what is left."""

    crash_model: CrashModel
    seed: int

    def do(self, run: WorkloadRun) -> None:
        run.crash(self.crash_model, self.seed)

    @classmethod
    def drawn(cls, draw: Draw) -> Crash:
        return cls(draw.random.choice(tuple(CrashModel)), draw.random.randrange(1 << 16))


@dataclass(frozen=True)
class Replace(Rule):
    """Another program removes the directory and opens its own database at the path, while this engine goes on."""

    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        run.replace_directory(self.trespass)

    @staticmethod
    def trespass(engine: Engine) -> None:
        """Call everything that writes, on the engine whose directory is gone."""
        for call in (
            engine.flush,
            engine.compact,
            lambda: engine.put(b"a", b"nowhere", sync=True),
            lambda: engine.put(b"b", b"nowhere" * 500),
            engine.sync,
            engine.close,
        ):
            with suppress(StorageError, ReadOnlyError):
                call()
                assert call in (engine.flush, engine.compact, engine.sync), "a write into a directory that is gone"

    @classmethod
    def drawn(cls, draw: Draw) -> Replace:
        return cls()


RULES.extend(
    (
        *(Put, Delete, Incr, CompareAndSet, Expire, Pop),
        *(
            PutMany,
            DeleteMany,
            DeleteRange,
            DeletePrefix,
            Clear,
            Batch,
            Transact,
            Fill,
            Layer,
            Rewrite,
            Take,
            DeleteEach,
        ),
        *(Maintenance, CompactRange, Reopen, Advance, Sweep, Evict, CountSome),
        *(Read, ReadElsewhere, Watch, TakeSnapshot, ReleaseSnapshot),
        *(MakeCheckpoint, MakeBackup),
        *(Refused, Crash, Replace),
    )
)
