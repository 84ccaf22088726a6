"""Transactions among the operations of workloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flin.engine.transaction import Transaction
from flin.errors import ConflictError
from flin.testing.model import Delete, Put, Step
from flin.testing.rule import Draw, Rule
from flin.testing.run import WorkloadRun


@dataclass(frozen=True)
class Transact(Rule):
    """A transaction that reads keys and a range, and moves the value of a key to another one. Perhaps somebody else
    puts a key before it commits: if it has read that, it is in conflict, and nothing of it is written."""

    reads: tuple[bytes, ...]
    scanned: tuple[bytes, bytes]
    source: bytes
    target: bytes
    meanwhile: tuple[bytes, bytes] | None = None
    sync: bool | None = None
    weight: ClassVar[int] = 3

    def do(self, run: WorkloadRun) -> None:
        seen = run.view()
        start, stop = self.scanned
        transaction = run.engine.transaction(sync=self.sync)
        assert transaction.get_many(self.reads) == [seen.get(key) for key in self.reads], "a transaction's reads"
        found = dict(transaction.scan(start=start, stop=stop))
        assert found == {key: value for key, value in seen.items() if start <= key < stop}, "a transaction's scan"
        moved = transaction.pop(self.source, b"nothing")
        assert moved == seen.get(self.source, b"nothing"), "a transaction's pop"
        transaction.delete(self.source)
        transaction.put(self.target, moved)
        if self.meanwhile is not None:
            put = Put(*self.meanwhile)
            run.commit([put], lambda engine: engine.put(put.key, put.value))
            if put.key in (*self.reads, self.source) or start <= put.key < stop:
                check_conflict(transaction)
                return
        steps: list[Step] = [Delete(self.source), Put(self.target, moved)]
        run.commit(steps, lambda _: transaction.commit(), sync=self.sync)

    @classmethod
    def drawn(cls, draw: Draw) -> Transact:
        meanwhile = (draw.key(), draw.value()) if draw.random.random() < 0.3 else None
        return cls(draw.keys(2), draw.bounds(), draw.key(), draw.key(), meanwhile, draw.sync())


def check_conflict(transaction: Transaction) -> None:
    try:
        transaction.commit()
    except ConflictError:
        return
    raise AssertionError("a transaction has committed, though what it has read was written since")
