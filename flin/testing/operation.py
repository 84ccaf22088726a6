"""The operations of workloads: one small class for each call of the API that changes the disk.

A class says what its call means for the model, makes the call, and generates itself at random. If you add a feature to
the engine, add such a class and list it in RULES: every crash test then uses it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from flin.engine.engine import Engine, store_of
from flin.engine.key import prefix_stop
from flin.errors import ReadOnlyError, StorageError
from flin.testing.copies import MakeBackup, MakeCheckpoint
from flin.testing.crash_model import CrashModel
from flin.testing.evicting import Evict
from flin.testing.fault import Fault
from flin.testing.following import ReadElsewhere, Watch
from flin.testing.model import Delete as DeleteStep
from flin.testing.model import DeleteRange as RangeStep
from flin.testing.model import Put as PutStep
from flin.testing.model import State, Step, view
from flin.testing.rule import COUNTER, KEYS, RULES, Draw, Rule, Write
from flin.testing.run import WorkloadRun, check_retired, drop_retired
from flin.testing.transaction import Transact

__all__ = ["COUNTER", "KEYS", "RULES", "Draw", "Rule", "Write"]  # and the operations


def _expiry(ttl: float | None, now_ms: int) -> int:
    return 0 if ttl is None else now_ms + round(ttl * 1000)


# One key.


@dataclass(frozen=True)
class Put(Write):
    key: bytes
    value: bytes
    ttl: float | None = None
    sync: bool | None = None
    weight: ClassVar[int] = 6

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [PutStep(self.key, self.value, _expiry(self.ttl, now_ms))]

    def call(self, engine: Engine) -> None:
        engine.put(self.key, self.value, ttl=self.ttl, sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> Put:
        return cls(draw.key(), draw.value(), draw.ttl(), draw.sync())


@dataclass(frozen=True)
class Delete(Write):
    key: bytes
    sync: bool | None = None

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [DeleteStep(self.key)]

    def call(self, engine: Engine) -> None:
        engine.delete(self.key, sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> Delete:
        return cls(draw.key(), draw.sync())


@dataclass(frozen=True)
class Incr(Write):
    delta: int

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        expires_at_ms = state[COUNTER][1] if COUNTER in view(state, now_ms) else 0
        return [PutStep(COUNTER, b"%d" % self._sum(state, now_ms), expires_at_ms)]

    def answer(self, state: State, now_ms: int) -> object:
        return self._sum(state, now_ms)

    def call(self, engine: Engine) -> object:
        return engine.incr(COUNTER, self.delta)

    def _sum(self, state: State, now_ms: int) -> int:
        return int(view(state, now_ms).get(COUNTER, b"0")) + self.delta

    @classmethod
    def drawn(cls, draw: Draw) -> Incr:
        return cls(draw.random.randrange(-9, 99))


@dataclass(frozen=True)
class CompareAndSet(Write):
    """compare_and_set. With None for `expected` it is put_if_absent, with None for `new` a conditional delete."""

    key: bytes
    expected: bytes | None
    new: bytes | None

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        if not self.answer(state, now_ms):
            return []
        return [DeleteStep(self.key) if self.new is None else PutStep(self.key, self.new)]

    def answer(self, state: State, now_ms: int) -> object:
        return view(state, now_ms).get(self.key) == self.expected

    def call(self, engine: Engine) -> object:
        return engine.compare_and_set(self.key, self.expected, self.new)

    @classmethod
    def drawn(cls, draw: Draw) -> CompareAndSet:
        return cls(draw.key(), draw.random.choice((None, b"", b"swapped")), draw.random.choice((None, b"swapped")))


@dataclass(frozen=True)
class Expire(Write):
    """expire; None removes the expiry (persist)."""

    key: bytes
    ttl: float | None

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        if not self.answer(state, now_ms):
            return []
        return [PutStep(self.key, state[self.key][0], _expiry(self.ttl, now_ms))]

    def answer(self, state: State, now_ms: int) -> object:
        is_there = self.key in view(state, now_ms)
        return is_there and (self.ttl is not None or bool(state[self.key][1]))

    def call(self, engine: Engine) -> object:
        return engine.persist(self.key) if self.ttl is None else engine.expire(self.key, self.ttl)

    @classmethod
    def drawn(cls, draw: Draw) -> Expire:
        return cls(draw.random.choice((*KEYS, COUNTER)), draw.ttl())


@dataclass(frozen=True)
class Pop(Write):
    key: bytes

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [DeleteStep(self.key)] if self.key in view(state, now_ms) else []

    def answer(self, state: State, now_ms: int) -> object:
        return view(state, now_ms).get(self.key)

    def call(self, engine: Engine) -> object:
        return engine.pop(self.key, None)

    @classmethod
    def drawn(cls, draw: Draw) -> Pop:
        return cls(draw.key())


# Many keys.


@dataclass(frozen=True)
class PutMany(Write):
    pairs: tuple[tuple[bytes, bytes], ...]
    ttl: float | None = None
    sync: bool | None = None

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [PutStep(key, value, _expiry(self.ttl, now_ms)) for key, value in self.pairs]

    def call(self, engine: Engine) -> None:
        engine.put_many(self.pairs, ttl=self.ttl, sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> PutMany:
        return cls(tuple((key, draw.value()) for key in draw.keys(4)), draw.ttl(), draw.sync())


@dataclass(frozen=True)
class DeleteMany(Write):
    keys: tuple[bytes, ...]
    sync: bool | None = None

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [DeleteStep(key) for key in self.keys]

    def call(self, engine: Engine) -> None:
        engine.delete_many(self.keys, sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> DeleteMany:
        return cls(draw.keys(3), draw.sync())


@dataclass(frozen=True)
class DeleteRange(Write):
    start: bytes
    stop: bytes
    sync: bool | None = None

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [RangeStep(self.start, self.stop)]

    def call(self, engine: Engine) -> None:
        engine.delete_range(self.start, self.stop, sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> DeleteRange:
        return cls(*draw.bounds(), draw.sync())


@dataclass(frozen=True)
class DeletePrefix(Write):
    prefix: bytes
    sync: bool | None = None
    weight: ClassVar[int] = 1

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [RangeStep(self.prefix, prefix_stop(self.prefix))]

    def call(self, engine: Engine) -> None:
        engine.delete_prefix(self.prefix, sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> DeletePrefix:
        return cls(draw.key()[:1], draw.sync())


@dataclass(frozen=True)
class Clear(Write):
    weight: ClassVar[int] = 1

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [RangeStep(b"", None)]

    def call(self, engine: Engine) -> None:
        engine.clear()

    @classmethod
    def drawn(cls, draw: Draw) -> Clear:
        return cls()


@dataclass(frozen=True)
class Batch(Write):
    """An atomic batch of puts and deletes, of one key or of a range."""

    parts: tuple[Put | Delete | DeleteRange, ...]
    sync: bool | None = None
    weight: ClassVar[int] = 4

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [step for part in self.parts for step in part.steps(state, now_ms)]

    def call(self, engine: Engine) -> object:
        with engine.write_batch(sync=self.sync) as batch:
            for part in self.parts:
                if isinstance(part, Put):
                    batch.put(part.key, part.value, ttl=part.ttl)
                elif isinstance(part, Delete):
                    batch.delete(part.key)
                else:
                    batch.delete_range(part.start, part.stop)
        return None

    @classmethod
    def drawn(cls, draw: Draw) -> Batch:
        kinds: tuple[type[Put | Delete | DeleteRange], ...] = (Put, Put, Delete, DeleteRange)
        count = draw.random.randrange(5)
        return cls(tuple(draw.random.choice(kinds).drawn(draw) for _ in range(count)), draw.sync())


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
        *(PutMany, DeleteMany, DeleteRange, DeletePrefix, Clear, Batch, Transact, Fill, Layer, Take, DeleteEach),
        *(Maintenance, CompactRange, Reopen, Advance, Sweep, Evict, CountSome),
        *(Read, ReadElsewhere, Watch, TakeSnapshot, ReleaseSnapshot),
        *(MakeCheckpoint, MakeBackup),
        *(Refused, Crash, Replace),
    )
)
