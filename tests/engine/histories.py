"""Histories of transactions, recorded while they ran, and whether they could have run one after the other.

Theory. Every value is the list of those who have written it: a transaction that writes a key reads it and adds its own
number. So a value tells who wrote before whom, and each read who came before it and who after. That makes a graph: A
before B, if B has read or overwritten what A wrote; if B overwrote what A has read; and if A had ended before B began.
A cycle in it has no order one after the other. (The idea is Adya's; lists as values are Elle's.)

An absent key is an empty list, so a key that somebody adds where another has looked makes an edge, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from random import Random
from typing import Final, TypeAlias

from flin.engine import ConflictError, Transaction
from flin.engine.engine import Engine
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import EngineSetup

Numbers: TypeAlias = tuple[int, ...]

KEYS: Final = (b"a", b"b", b"c", b"d", b"e", b"f")


@dataclass
class Recorded:
    """A transaction that has committed, or a write by itself."""

    number: int
    began: int  # moments: any numbers that rise
    ended: int = 0
    reads: dict[bytes, Numbers] = field(default_factory=dict)  # what others had written
    writes: set[bytes] = field(default_factory=set)


def parse(value: bytes | None) -> Numbers:
    return tuple(map(int, value.split())) if value else ()


def added(value: bytes | None, number: int) -> bytes:
    return b"%b %d" % (value or b"", number)


def check(history: Iterable[Recorded], final: dict[bytes, Numbers]) -> None:
    """AssertionError if what they saw and what is there at the end could not come of one after the other."""
    by_number = {each.number: each for each in history}
    graph: TopologicalSorter[str] = TopologicalSorter()
    for key, written in final.items():
        writers = [number for number, each in by_number.items() if key in each.writes]
        assert sorted(written) == sorted(writers), f"{key!r} was written by {writers}, and holds {written}"
        for before, after in itertools.pairwise(written):
            graph.add(f"T{after}", f"T{before}")
    for each in by_number.values():
        for key, seen in each.reads.items():
            written = final.get(key, ())
            assert written[: len(seen)] == seen, f"T{each.number} saw {seen} at {key!r}, which holds {written}"
            if seen:
                graph.add(f"T{each.number}", f"T{seen[-1]}")
            following = written[len(seen) :]
            if following and following[0] == each.number:  # its own
                following = following[1:]
            if following:
                graph.add(f"T{following[0]}", f"T{each.number}")
    _add_moments(graph, by_number.values())
    try:
        graph.prepare()
    except CycleError as error:
        raise AssertionError(f"no order one after the other: {' before '.join(error.args[1])}") from None


def _add_moments(graph: TopologicalSorter[str], history: Iterable[Recorded]) -> None:
    """Who had ended before another began comes before it: through a chain of moments, so that it takes few edges."""
    ends = sorted((each.ended, each.number) for each in history)
    for (_, before), (_, after) in itertools.pairwise(ends):
        graph.add(f"end {after}", f"end {before}")
    for _, number in ends:
        graph.add(f"end {number}", f"T{number}")
    for each in history:
        earlier = [number for ended, number in ends if ended < each.began]
        if earlier:
            graph.add(f"T{each.number}", f"end {earlier[-1]}")


class Recorder:
    """Runs random transactions on one engine, one step at a time, and records those that commit."""

    def __init__(self, engine: Engine, random: Random, moments: Callable[[], int]) -> None:
        self.engine = engine
        self.random = random
        self.moments = moments
        self.history: list[Recorded] = []

    def steps(self, number: int) -> Iterable[None]:
        """A transaction, which stops after each of its steps."""
        record = Recorded(number, self.moments())
        transaction = self.engine.transaction()
        try:
            for _ in range(self.random.randrange(1, 5)):
                self._step(record, transaction)
                yield
            transaction.commit()
        except ConflictError:
            transaction.discard()
            return
        record.ended = self.moments()
        self.history.append(record)

    def _step(self, record: Recorded, transaction: Transaction) -> None:
        random = self.random
        key = random.choice(KEYS)
        kind = random.randrange(5)
        if kind == 0:
            first, last = sorted(random.sample((*KEYS, b"g"), 2))
            found = dict(transaction.scan(start=first, stop=last, reverse=random.random() < 0.5))
            for each in KEYS:
                if first <= each < last:
                    self._saw(record, each, found.get(each))
        elif kind == 1:
            above = transaction.next_key(key)
            for each in KEYS:  # none in between
                if key < each and (above is None or each < above):
                    self._saw(record, each, None)
        else:
            value = transaction.get(key)
            self._saw(record, key, value)
            if kind > 2 and key not in record.writes:
                transaction.put(key, added(value, record.number))
                record.writes.add(key)

    @staticmethod
    def _saw(record: Recorded, key: bytes, value: bytes | None) -> None:
        seen = parse(value)
        if key in record.writes:
            assert seen[-1:] == (record.number,), "a transaction does not see its own write"
            seen = seen[:-1]
        before = record.reads.setdefault(key, seen)
        assert before == seen, f"a transaction saw {before} at {key!r}, then {seen}"

    def write(self, number: int) -> None:
        """A write by itself, of some keys. Only for one thread: it reads first."""
        record = Recorded(number, self.moments())
        for key in self.random.sample(KEYS, self.random.randrange(1, 3)):
            record.reads[key] = parse(self.engine.get(key))
            record.writes.add(key)
        values = {key: added(self.engine.get(key), number) for key in record.writes}
        if len(values) == 1:
            self.engine.put(*values.popitem())
        else:
            self.engine.put_many(values)
        record.ended = self.moments()
        self.history.append(record)

    def check(self) -> None:
        final = {key: parse(self.engine.get(key)) for key in KEYS}
        check(self.history, final)


def interleave(random: Random, transactions: int) -> Recorder:
    """Run transactions in one thread, three at a time, their steps and other writes in a random order."""
    engine = EngineSetup("never", random.choice((1, 4))).open(SimulatedDisk(), ManualClock(), random.random())
    recorder = Recorder(engine, random, itertools.count(1).__next__)
    numbers = iter(range(1, transactions + 1))
    running = [iter(recorder.steps(next(numbers))) for _ in range(3)]
    for number in numbers:
        if random.random() < 0.2:
            recorder.write(number)
            continue
        place = random.randrange(3)
        while next(running[place], StopIteration) is not StopIteration:
            place = random.randrange(3)
        running[place] = iter(recorder.steps(number))
    for each in running:
        for _ in each:
            pass
    recorder.check()
    engine.close()
    return recorder
