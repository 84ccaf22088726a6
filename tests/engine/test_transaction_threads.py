"""A bank: threads move money between accounts by transactions, others add all of it up, and the power fails.

Whatever happens, the sum is the same: to whoever reads all accounts in one transaction or snapshot, at every moment,
and after every crash. And what the threads have recorded has an order one after the other.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest

import flin.engine
from flin.engine import ConflictError, Engine, Transaction
from flin.engine.options import SyncMode
from flin.testing import CrashModel, ManualClock, SimulatedDisk, after_crash, killed
from flin.testing.run import PATH
from tests.engine.histories import Recorder
from tests.engine.test_concurrency import Crew, eager_threads

__all__ = ["eager_threads"]  # the fixture

ACCOUNTS = 20
TOTAL = 100 * ACCOUNTS
TELLERS = 3
PADDING = b" " * 200  # so that generations fill and are flushed


def account(number: int) -> bytes:
    return b"account %03d" % number


def total(view: Any) -> int:
    return sum(map(int, dict(view.scan(prefix=b"account")).values()))


class Bank:
    def __init__(self, db: Engine) -> None:
        self.db = db
        self.crew = Crew()
        self.answered = [0] * TELLERS
        self.conflicts = 0
        self.sums = 0
        with db.write_batch(sync=True) as batch:
            for number in range(ACCOUNTS):
                batch.put(account(number), b"100" + PADDING)

    def move(self, t: Transaction, teller: int, number: int, chance: Random) -> None:
        source, target = map(account, chance.sample(range(ACCOUNTS), 2))
        amount = min(int(t[source]), chance.randrange(50))
        t[source] = b"%d" % (int(t[source]) - amount) + PADDING
        t[target] = b"%d" % (int(t[target]) + amount) + PADDING
        t[b"teller %d" % teller] = b"%d" % number

    def tell(self, teller: int, moves: int) -> None:
        chance = Random(teller)
        move = self.db.transactional(retries=1000)(self.move)
        for number in range(1, moves + 1):
            move(teller, number, chance)
            self.answered[teller] = number
            if self.crew.stop.is_set():
                return

    def add_up(self) -> None:
        """Also beside the tellers; a transaction in conflict has seen no wrong sum, either."""
        while not self.crew.stop.is_set():
            with self.db.snapshot() as view:
                assert total(view) == TOTAL, "a snapshot"
            try:
                with self.db.transaction() as t:
                    assert total(t) == TOTAL, "a scan of a transaction"
                    assert sum(int(t[account(number)]) for number in range(ACCOUNTS)) == TOTAL, "reads one by one"
                self.sums += 1
            except ConflictError:
                self.conflicts += 1

    def check(self, least: list[int]) -> None:
        """After a crash: the sum, and what was promised."""
        assert total(self.db) == TOTAL
        told = [int(self.db.get(b"teller %d" % teller, b"0")) for teller in range(TELLERS)]
        assert all(number >= low for number, low in zip(told, least, strict=True)), (told, least)
        assert self.db.verify() == []


def crash(sync: SyncMode, shards: int, cuts: int) -> None:
    disk = SimulatedDisk(window_bytes=0 if sync == "interval" else 4096)
    engine = flin.engine.open(PATH, fs=disk, runner="thread", sync=sync, shards=shards, memory_limit=1 << 20)
    bank = Bank(engine)
    tellers = [bank.crew.start(bank.tell, teller, 10**9) for teller in range(TELLERS)]
    bank.crew.start(bank.add_up)
    taken: list[tuple[SimulatedDisk, list[int]]] = []
    try:
        while len(taken) < cuts and not bank.crew.errors:
            before = sum(taken[-1][1]) if taken else 0
            if sum(bank.answered) < before + 30:
                time.sleep(0.001)
                continue
            answered = list(bank.answered)  # first, then the copy: so all these are in it
            taken.append((killed(disk), answered))
    finally:
        bank.crew.stop.set()
        bank.crew.end(tellers)
        engine.close()
    chance = Random(cuts)
    models = (CrashModel.IN_ORDER, CrashModel.PREFIXES, CrashModel.JOURNALLED, CrashModel.TORN)
    for cut, answered in taken:
        promised = answered if sync == "always" else [0] * TELLERS
        for image, least in (
            (killed(cut), answered),
            (after_crash(cut, chance.choice(models), chance.randrange), promised),
        ):
            with flin.engine.open(PATH, fs=image, clock_ms=ManualClock(), runner="inline", memory_limit=1 << 20) as db:
                found = Bank.__new__(Bank)
                found.db = db
                found.check(least)


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_the_sum_after_crashes(sync: SyncMode) -> None:
    crash(sync, shards=4 if sync == "always" else 1, cuts=12)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_the_sum_after_many_crashes(sync: SyncMode, shards: int) -> None:
    crash(sync, shards, cuts=60)


def be_a_bank(db: Engine, moves: int) -> Bank:
    bank = Bank(db)
    tellers = [bank.crew.start(bank.tell, teller, moves) for teller in range(TELLERS)]
    bank.crew.start(bank.add_up)
    bank.crew.end(tellers)
    assert bank.answered == [moves] * TELLERS
    bank.check(bank.answered)
    assert not db._store._notes_writes
    return bank


def test_the_sum_beside_transfers(open_engine: Callable[..., Engine], eager_threads: None) -> None:
    """On the real disk; generations are flushed and merged meanwhile."""
    be_a_bank(open_engine(runner="thread", memory_limit="1mb", sync="never", shards=4), 400)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["thread", "helper"])
def test_the_sum_beside_many_transfers(open_engine: Callable[..., Engine], eager_threads: None, runner: str) -> None:
    bank = be_a_bank(open_engine(runner=runner, memory_limit="1mb", sync="interval"), 5000)
    assert bank.sums


def record(db: Engine, threads: int, transactions: int) -> None:
    moments = itertools.count(1).__next__
    numbers = itertools.count(1)
    recorders = [Recorder(db, random.Random(number), moments) for number in range(threads)]

    def run(recorder: Recorder) -> None:
        for _ in range(transactions):
            for _ in recorder.steps(next(numbers)):
                pass

    crew = Crew()
    running: list[Thread] = [crew.start(run, recorder) for recorder in recorders]
    crew.end(running)
    for recorder in recorders[1:]:
        recorders[0].history += recorder.history
    assert len(recorders[0].history) > transactions
    recorders[0].check()


def test_what_threads_have_recorded_has_an_order(open_engine: Callable[..., Engine], eager_threads: None) -> None:
    record(open_engine(runner="thread", memory_limit="1mb", sync="never"), 4, 150)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 16])
def test_what_more_threads_have_recorded(
    open_engine: Callable[..., Engine], eager_threads: None, tmp_path: Path, shards: int
) -> None:
    for number in range(5):
        record(open_engine(f"db{number}", runner="thread", memory_limit="1mb", sync="never", shards=shards), 8, 250)
