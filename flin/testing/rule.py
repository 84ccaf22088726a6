"""What the operations of workloads have in common, and how they are drawn. operation.py has the operations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from random import Random
from typing import ClassVar, Final

from flin.engine.engine import Engine
from flin.testing.model import State, Step
from flin.testing.run import Operation, WorkloadRun

KEYS: Final = (b"a", b"b", b"c", b"ab", b"", b"\xff", b"\xff\x01x", b"{a}1", b"f050", b"f150")
"""The keys of random workloads: few, so that writes meet; the empty one, those next to the engine's own bytes, and two
that Fill writes, too."""

COUNTER: Final = b"n"
"""The key of Incr only, which always holds a number."""


class Draw:
    """Random arguments."""

    def __init__(self, random: Random, without: tuple[type[Rule], ...] = ()) -> None:
        self.random = random
        self._rules = [rule for rule in RULES if rule not in without]

    def key(self) -> bytes:
        return self.random.choice(KEYS)

    def keys(self, most: int) -> tuple[bytes, ...]:
        return tuple(self.random.sample(KEYS, self.random.randrange(most + 1)))

    def bounds(self) -> tuple[bytes, bytes]:
        first, last = sorted(self.random.sample(KEYS, 2))
        return first, last

    def value(self) -> bytes:
        """Also of seven to nine bytes, since a value of eight may lie in a value file."""
        length = self.random.choice((0, 2, 10, 600, self.random.randrange(7, 10)))
        return (b"%02d" % self.random.randrange(100) * 300)[:length]

    def ttl(self) -> float | None:
        return self.random.choice((None, None, None, 0.5, 5.0))

    def sync(self) -> bool | None:
        return self.random.choice((None, None, None, True, False))

    def operation(self) -> Operation:
        """Any operation, by weight."""
        rule = self.random.choices(self._rules, [rule.weight for rule in self._rules])[0]
        return rule.drawn(self)

    def layer(self) -> Operation:
        """A run more."""
        return next(rule for rule in RULES if rule.__name__ == "Layer").drawn(self)

    def workload(self, length: int, layers: float = 0.0) -> list[Operation]:
        """`layers`: the share of operations that make a run, besides those drawn by weight."""
        return [self.layer() if self.random.random() < layers else self.operation() for _ in range(length)]


class Rule(Operation):
    """An operation that random workloads may choose."""

    weight: ClassVar[int] = 2

    @classmethod
    @abstractmethod
    def drawn(cls, draw: Draw) -> Rule: ...


class Write(Rule):
    """One commit."""

    @abstractmethod
    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        """The steps by which it changes the state."""

    @abstractmethod
    def call(self, engine: Engine) -> object: ...

    def answer(self, state: State, now_ms: int) -> object:
        """What the call must return, given the state before."""
        return None

    def do(self, run: WorkloadRun) -> None:
        state, now_ms = run.model.state, run.clock.now_ms
        sync = getattr(self, "sync", None)
        run.commit(self.steps(state, now_ms), self.call, self.answer(state, now_ms), sync=sync)


RULES: Final[list[type[Rule]]] = []
"""Those that random workloads choose from; operation.py lists them."""
