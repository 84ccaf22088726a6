"""The operations of those who follow a database: a reader in another program, and somebody who watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flin.testing.rule import Draw, Rule
from flin.testing.run import WorkloadRun


@dataclass(frozen=True)
class ReadElsewhere(Rule):
    """Another program opens the directory with `read_only=True`, or refreshes what it has open, and reads everything.

    It shows what the engine shows. After a call that failed it may also show the commit that was refused, as a recovery
    may (whose frame is whole, but does not count)."""

    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        reader = run.reader()
        found = dict(reader.scan())
        assert len(reader) == len(found), "a reader counts other keys than it shows"
        if not any(fault.fired for fault in run.disk.faults):
            assert found == run.view(), "a reader shows something else"

    @classmethod
    def drawn(cls, draw: Draw) -> ReadElsewhere:
        return cls()


@dataclass(frozen=True)
class Watch(Rule):
    """Somebody takes all events since the last time, and has then what the engine has."""

    durable: bool
    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        run.mirror(durable=self.durable).check(run.engine, run.model.latest_ms)

    @classmethod
    def drawn(cls, draw: Draw) -> Watch:
        return cls(draw.random.choice((True, False)))
