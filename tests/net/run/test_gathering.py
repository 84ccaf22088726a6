"""When a leader appends: clients in virtual time, and the tick that asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest

from flin.errors import StorageError
from flin.net.batch.pending import Pending
from flin.net.run.gathering import MAX_SECONDS, Gathering
from flin.net.run.leased_tick import LeasedTick
from tests.net.fake_store import FakeStore
from tests.net.run.test_tick import FakeSink, LaterExecutor

APPEND_SECONDS = 0.003


class Clients:
    """Each writes, waits for its reply, and writes again after a pause; the leader appends when `Gathering` says so."""

    def __init__(self, pauses: list[float], append_seconds: float = APPEND_SECONDS) -> None:
        self.gathering = Gathering()
        self.pauses = pauses
        self.entries: list[int] = []
        """Of how many clients each is."""
        self.waits: list[float] = []
        """How long somebody waited while none was under way, before each."""
        self.now = 0.0
        self._append_seconds = append_seconds
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._waiting: list[int] = []
        self._idle_since: float | None = 0.0
        for client in range(len(pauses)):
            self._later(client * 1e-5, lambda client=client: self._write(client))  # type: ignore[misc]

    def run(self, entries: int) -> None:
        while len(self.entries) < entries:
            self.now, _, call = heappop(self._events)
            call()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        heappush(self._events, (self.now + seconds, next(self._order), call))

    def _write(self, client: int) -> None:
        self._waiting.append(client)
        self._maybe_append()

    def _maybe_append(self) -> None:
        if self._idle_since is None or not self._waiting:
            return
        if seconds := self.gathering.seconds_left(len(self._waiting), self.now):
            self._later(seconds, self._maybe_append)
            return
        self.gathering.end(len(self._waiting))
        appended, self._waiting = self._waiting, []
        self.entries.append(len(appended))
        self.waits.append(self.now - self._idle_since)
        self._idle_since = None
        self._later(self._append_seconds, lambda: self._answer(appended))

    def _answer(self, clients: list[int]) -> None:
        self._idle_since = self.now
        self.gathering.begin(len(clients), len(self._waiting), self.now, self._append_seconds)
        for place, client in enumerate(clients):
            self._later(self.pauses[client] + place * 1e-5, lambda client=client: self._write(client))  # type: ignore[misc]
        self._maybe_append()


def test_clients_that_write_again_at_once_share_each_entry() -> None:
    clients = Clients([0.0] * 64)
    clients.run(50)
    assert min(clients.entries[5:]) >= 55, "without the wait they would be two halves"
    assert max(clients.waits[5:]) < 0.001, "and nobody waits for longer than they take"


def test_one_client_never_waits() -> None:
    clients = Clients([0.0])
    clients.run(50)
    assert max(clients.waits) == 0


def test_nobody_waits_long_for_those_that_do_not_write_again() -> None:
    clients = Clients([0.1 + number / 1000 for number in range(50)])
    clients.run(1_000)
    assert fmean(clients.waits[20:]) < APPEND_SECONDS / 2


def test_some_that_do_not_write_again_keep_the_others_from_nothing() -> None:
    clients = Clients([0.0] * 40 + [0.05 + number / 1000 for number in range(40)])
    clients.run(2_000)
    assert min(clients.entries[100:]) >= 25, "the forty that write at once share their entries"
    assert fmean(clients.waits[100:]) < APPEND_SECONDS / 2


def test_clients_that_begin_to_write_at_once_are_found_out() -> None:
    clients = Clients([0.1 + number / 500 for number in range(64)])
    clients.run(100)
    clients.pauses = [0.0] * 64
    clients.run(100 + 200)
    assert min(clients.entries[-20:]) >= 55


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 6])
def test_the_wait_costs_a_fifth_of_the_rate_at_worst(milliseconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    for waits in (True, False):
        if not waits:
            monkeypatch.setattr(Gathering, "seconds_left", lambda *_: 0.0)
        clients = Clients([milliseconds / 1000] * 64)
        clients.run(500)
        rates.append(sum(clients.entries) / clients.now)
    assert rates[0] > 0.75 * rates[1], "the worst is clients that take nearly as long as the longest wait"


def test_a_slow_append_is_not_waited_for_as_long() -> None:
    gathering = Gathering()
    gathering.begin(answered=10, waiting=1, now=5.0, took=2.0)
    assert 0 < gathering.seconds_left(1, 5.0) <= MAX_SECONDS
    assert gathering.seconds_left(11, 5.0) == 0, "all are there"
    assert gathering.seconds_left(1, 5.0 + MAX_SECONDS) == 0


class HalfSyncedStore(FakeStore):
    """A sync is of what was committed before it."""

    meanwhile: Callable[[], None] | None = None

    def sync(self) -> None:
        position = self.position
        if self.meanwhile is not None:
            self.meanwhile()
        super().sync()
        self.synced_position = position


@dataclass
class Leader:
    """A leader's tick on a store whose syncs end when the test says so, and a clock that it sets."""

    store: HalfSyncedStore = field(default_factory=HalfSyncedStore)
    executor: LaterExecutor = field(default_factory=LaterExecutor)
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.pending = Pending(self.store, is_always=True)
        role: Any = SimpleNamespace(has_lease=lambda: True)
        self.tick = LeasedTick(
            role, self.store, self.pending, lambda callback: None, executor=self.executor,
            wake=lambda callback: callback(), later=lambda *timer: self.timers.append(timer), clock=lambda: self.now,
        )  # fmt: skip

    def write(self, *sinks: FakeSink) -> None:
        for sink in sinks:
            self.tick.enter(sink)
        self.pending.points[b"key"] = b"value"
        self.tick.end()

    def sync(self, late: FakeSink | None = None) -> None:
        """It takes its time; meanwhile one who is late writes."""
        self.store.meanwhile = None if late is None else lambda: self.write(late)
        self.now += APPEND_SECONDS
        self.executor.run()


def test_a_sync_waits_for_those_that_were_answered() -> None:
    leader, sinks = Leader(), [FakeSink() for _ in range(4)]
    leader.write(*sinks)
    assert len(leader.executor.work) == 1, "nobody else is known: at once"
    late = FakeSink()
    leader.sync(late)
    assert [len(sink.events) for sink in (*sinks, late)] == [1, 1, 1, 1, 0]
    assert not leader.executor.work, "one waits for the four"
    leader.write(*sinks[:3])
    assert not leader.executor.work
    leader.write(sinks[3])
    assert len(leader.executor.work) == 1, "all are there"
    leader.sync()
    assert [len(sink.events) for sink in (*sinks, late)] == [2, 2, 2, 2, 1]


def test_a_sync_does_not_wait_longer_than_it_takes() -> None:
    leader, sinks, late = Leader(), [FakeSink() for _ in range(4)], FakeSink()
    leader.write(*sinks)
    leader.sync(late)
    (seconds, call), *_ = leader.timers
    assert 0 < seconds <= APPEND_SECONDS
    leader.now += seconds
    call()
    assert len(leader.executor.work) == 1
    leader.sync()
    assert len(late.events) == 1


def test_who_waits_when_a_sync_fails_is_told() -> None:
    leader, sinks, late = Leader(), [FakeSink() for _ in range(4)], FakeSink()
    leader.write(*sinks)
    leader.write(late)
    leader.store.sync_failure = StorageError("append to", "the log", "fenced")
    leader.sync()
    assert [sink.events[0][0] for sink in (*sinks, late)] == ["refused"] * 5
    assert not leader.executor.work
