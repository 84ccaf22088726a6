"""The tick: one frame per round, replies only after it, failures that leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from flin.engine.entry import DELETED
from flin.errors import StorageError
from flin.net.tick import BATCH_BYTES, BATCH_ENTRIES, MISCONF, Tick, TickFailed
from flin.net.unsynced import EVERYTHING, NOTHING
from tests.net.fake_store import FakeStore


class FakeOutlet:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.held: list[int] = []
        self.shown = EVERYTHING

    def release(self) -> None:
        self.events.append("released")

    def hold(self, position: int, synced_position: int) -> bool:
        self.held.append(min(position, self.shown))
        return self.release_held(synced_position)

    def release_held(self, synced_position: int) -> bool:
        while self.held and self.held[0] <= synced_position:
            self.events.append(("sent", self.held.pop(0)))
        return bool(self.held)

    def fail(self, error: str) -> None:
        self.events.append(error)


class LaterExecutor(Executor):
    """Runs what it was given when the test says so."""

    def __init__(self) -> None:
        self.work: list[tuple[Future[Any], Callable[..., Any]]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.work.append((future, function))
        return future

    def run(self) -> None:
        for future, function in self.work[:]:
            self.work.remove((future, function))
            try:
                future.set_result(function())
            except StorageError as error:
                future.set_exception(error)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def run_all(soon: list[Callable[[], None]]) -> None:
    while soon:
        soon.pop(0)()


def test_a_round_is_one_frame_and_replies_follow_it(store: FakeStore) -> None:
    soon: list[Callable[[], None]] = []
    tick = Tick(store, soon.append)
    first, second = FakeOutlet(), FakeOutlet()
    tick.enter(first)
    tick.enter(second)
    tick.pending[b"a"] = b"1"
    tick.pending[b"a"] = b"2"
    assert len(soon) == 1
    assert not first.events
    run_all(soon)
    assert store.entries == {b"a": b"2"}
    assert store.commits == [1]
    assert tick.pending == {}
    assert first.events == second.events == ["released"]


def test_a_round_without_writes_commits_nothing(store: FakeStore) -> None:
    tick = Tick(store, lambda callback: None)
    outlet = FakeOutlet()
    tick.enter(outlet)
    tick.end()
    assert store.commits == []
    assert outlet.events == ["released"]


def test_a_failed_write_drops_the_batch_and_fails_everybody(store: FakeStore) -> None:
    tick = Tick(store, lambda callback: None)
    outlets = [FakeOutlet(), FakeOutlet()]
    for outlet in outlets:
        tick.enter(outlet)
    pending = tick.pending
    pending[b"a"] = DELETED
    store.failure = StorageError("write", "wal", "no space")
    tick.end()
    assert [outlet.events for outlet in outlets] == [[MISCONF], [MISCONF]]
    assert tick.pending is pending
    assert pending == {}
    assert tick.failures == 1
    store.failure = None
    tick.end()
    assert store.entries == {}


def test_a_failure_in_mid_round_unwinds_the_command(store: FakeStore) -> None:
    tick = Tick(store, lambda callback: None)
    store.failure = StorageError("write", "wal", "no space")
    tick.pending[b"a"] = b"1"
    with pytest.raises(TickFailed):
        tick.commit()
    assert tick.maybe_commit(), "there is nothing left to commit"


def test_full_by_number_or_by_size(store: FakeStore) -> None:
    tick = Tick(store, lambda callback: None)
    for number in range(BATCH_ENTRIES - 1):
        tick.pending[b"%d" % number] = b""
    assert not tick.is_full
    tick.pending[b"last"] = b""
    assert tick.is_full
    tick.commit()
    assert not tick.is_full
    tick.large_bytes = BATCH_BYTES
    assert tick.is_full


def always(store: FakeStore) -> tuple[Tick, LaterExecutor]:
    executor = LaterExecutor()
    return (
        Tick(store, lambda callback: None, is_always=True, executor=executor, wake=lambda callback: callback()),
        executor,
    )


def test_always_holds_replies_until_synced(store: FakeStore) -> None:
    tick, executor = always(store)
    writer, reader = FakeOutlet(), FakeOutlet()
    tick.enter(writer)
    tick.pending[b"a"] = b"1"
    tick.end()
    position = store.position
    tick.enter(reader)  # it has seen a, so it waits too
    reader.shown = position
    tick.end()
    assert writer.events == reader.events == []
    other = FakeOutlet()
    tick.enter(other)
    other.shown = NOTHING
    tick.end()
    assert other.events == [("sent", NOTHING)], "who shows nothing unsynced does not wait"
    assert len(executor.work) == 1, "one sync at a time"
    executor.run()
    assert writer.events == [("sent", position)]
    assert reader.events == [("sent", position)]
    tick.enter(reader)
    tick.end()
    assert reader.events[-1] == "released", "nothing is unsynced any more"


def test_the_next_sync_covers_every_frame_since(store: FakeStore) -> None:
    tick, executor = always(store)
    outlet = FakeOutlet()

    def write(name: bytes) -> None:
        tick.enter(outlet)
        tick.pending[name] = b"1"
        tick.end()

    original = store.sync

    def sync_with_writes_meanwhile() -> None:
        original()
        write(b"b")
        write(b"c")

    store.sync = sync_with_writes_meanwhile  # type: ignore[method-assign]
    write(b"a")
    store.sync = original  # type: ignore[method-assign]
    executor.run()
    assert len(outlet.held) == 2
    assert len(executor.work) == 1
    executor.run()
    assert outlet.held == []
    assert store.syncs == 2


def test_a_failed_sync_fails_who_waited(store: FakeStore) -> None:
    tick, executor = always(store)
    outlet = FakeOutlet()
    tick.enter(outlet)
    tick.pending[b"a"] = b"1"
    tick.end()
    store.sync_failure = StorageError("sync", "wal", "input/output error")
    executor.run()
    assert outlet.events == [MISCONF]
