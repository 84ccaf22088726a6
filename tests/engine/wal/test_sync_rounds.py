"""Group commit, thread by thread: each step is taken once the one before it can be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from flin.engine.wal import sync_rounds
from flin.engine.wal.sync_rounds import SyncRounds
from flin.testing.process import wait_until

SECONDS = 60


class Actor:
    """A thread that joins a round. Its sync waits until the test lets it end."""

    def __init__(self, setup: EngineSetup, name: str, failure: BaseException | None = None) -> None:
        self.name = name
        self.syncs, self.may_end = threading.Event(), threading.Event()
        self.raised: BaseException | None = None
        self._scene = setup
        self._failure = failure
        self.thread = threading.Thread(target=self._join, name=name)
        self.thread.start()

    def _sync(self) -> None:
        self._scene.led.append(self.name)
        self.syncs.set()
        assert self.may_end.wait(SECONDS)
        if self._failure is not None:
            raise self._failure

    def _join(self) -> None:
        try:
            self._scene.rounds.join(self._sync)
        except BaseException as error:
            self.raised = error

    def waits(self) -> None:
        """Return once it waits at a lock that is held."""
        wait_until(lambda: self.name in self._scene.waiting, f"{self.name} waits")

    def leads(self) -> None:
        assert self.syncs.wait(SECONDS)

    def ends(self) -> None:
        self.may_end.set()
        self.returns()

    def returns(self) -> None:
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


class EngineSetup:
    """Rounds whose locks tell which threads wait at them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: set[str] = set()
        self.led: list[str] = []
        self.interrupted: set[str] = set()  # whose wait raises
        monkeypatch.setattr(sync_rounds, "Lock", lambda: TellingLock(self))
        self.rounds = SyncRounds()

    def actor(self, name: str, failure: BaseException | None = None) -> Actor:
        return Actor(self, name, failure)


class TellingLock:
    def __init__(self, setup: EngineSetup) -> None:
        self._scene = setup
        self._lock = threading.Lock()
        self.release: Callable[[], None] = self._lock.release

    def acquire(self) -> None:
        name = threading.current_thread().name
        if self._lock.locked():
            self._scene.waiting.add(name)
            if name in self._scene.interrupted:
                raise KeyboardInterrupt
        self._lock.acquire()
        self._scene.waiting.discard(name)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> EngineSetup:
    return EngineSetup(monkeypatch)


def at_rest(setup: EngineSetup) -> bool:
    return setup.rounds._running is None and setup.rounds._next is None


def test_the_time_line(setup: EngineSetup) -> None:
    a = setup.actor("A")
    a.leads()
    b = setup.actor("B")
    b.waits()
    c = setup.actor("C")
    c.waits()
    assert not b.syncs.is_set()
    a.ends()
    b.leads()
    d = setup.actor("D")  # after B's turn: round 3
    d.waits()
    assert c.thread.is_alive()
    b.ends()
    c.returns()
    d.leads()
    d.ends()
    assert setup.led == ["A", "B", "D"]
    assert at_rest(setup)


def test_many_waiting_threads_are_one_round(setup: EngineSetup) -> None:
    a = setup.actor("A")
    a.leads()
    others = [setup.actor(f"B{number}") for number in range(8)]
    for other in others:
        other.waits()
        other.may_end.set()
    a.ends()
    for other in others:
        other.returns()
    assert len(setup.led) == 2
    assert at_rest(setup)


def test_an_exception_of_a_round_is_raised_in_its_leader(setup: EngineSetup) -> None:
    a = setup.actor("A")
    a.leads()
    b = setup.actor("B", OSError("the disk"))
    b.waits()
    c = setup.actor("C")
    c.waits()
    a.ends()
    b.ends()
    c.returns()
    assert (a.raised, str(b.raised), c.raised) == (None, "the disk", None)
    assert setup.led == ["A", "B"], "whether that was enough is for C to find out"
    assert at_rest(setup)


def test_a_leader_that_is_interrupted_before_its_turn(setup: EngineSetup) -> None:
    """Its round ends without a sync, so the threads that joined it ask again; the next thread opens another one."""
    a = setup.actor("A")
    a.leads()
    setup.interrupted.add("B")
    b = setup.actor("B")
    b.returns()
    assert isinstance(b.raised, KeyboardInterrupt)
    c = setup.actor("C")
    c.waits()
    c.may_end.set()
    a.ends()
    c.returns()
    assert setup.led == ["A", "C"]
    assert at_rest(setup)


def test_a_thread_that_is_interrupted_while_another_leads(setup: EngineSetup) -> None:
    a = setup.actor("A")
    a.leads()
    b = setup.actor("B")
    b.waits()
    setup.interrupted.add("C")
    c = setup.actor("C")
    c.returns()
    assert isinstance(c.raised, KeyboardInterrupt)
    b.may_end.set()
    a.ends()
    b.returns()
    assert setup.led == ["A", "B"]
    assert at_rest(setup)
