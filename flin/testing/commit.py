"""Commits as operations of workloads: one key or many at once (operation.py has the others)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flin.engine.engine import Engine
from flin.engine.key import prefix_stop
from flin.testing.model import Delete as DeleteStep
from flin.testing.model import DeleteRange as RangeStep
from flin.testing.model import Put as PutStep
from flin.testing.model import State, Step, view
from flin.testing.rule import COUNTER, KEYS, Draw, Write


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
