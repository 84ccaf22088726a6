"""The tick: one frame per round, replies only after it, failures that leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from flin.engine.entry import TOMBSTONE
from flin.errors import LimitError, StorageError
from flin.net.batch.pending import Pending
from flin.net.batch.refusal import MISCONF, Refusal
from flin.net.batch.reply_barrier import EVERYTHING, NOTHING
from flin.net.run.tick import LONE_TICKS, Tick
from tests.net.fake_store import FakeStore


class FakeSink:
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

    def mark(self, batch: int) -> None:
        self.events.append(("mark", batch))

    def refuse(self, batch: int, refusal: Refusal) -> None:
        self.events.append((batch, refusal))

    def deny(self, *, has_committed: bool) -> None:
        self.events.append(("denied", has_committed))

    def refuse_held(self, synced_position: int) -> None:
        self.events.append(("refused", [position for position in self.held if position > synced_position]))
        self.held.clear()


class LaterExecutor(Executor):
    """Runs calls when the test says so."""

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
    pending = Pending(store)
    tick = Tick(store, pending, soon.append)
    first, second = FakeSink(), FakeSink()
    tick.enter(first)
    tick.enter(second)
    pending.points[b"a"] = b"1"
    pending.points[b"a"] = b"2"
    assert len(soon) == 1
    assert not first.events
    run_all(soon)
    assert store.entries == {b"a": b"2"}
    assert store.commits == [1]
    assert pending.points == {}
    assert first.events == second.events == ["released"]


def test_one_that_is_alone_for_some_time_is_a_lone_one(store: FakeStore) -> None:
    tick = Tick(store, Pending(store), lambda callback: None)
    first, second = FakeSink(), FakeSink()

    def reply(*sinks: FakeSink) -> None:
        for sink in sinks:
            tick.enter(sink)
        tick.end()

    for _ in range(LONE_TICKS):
        assert tick.lone is None
        reply(first)
    assert tick.lone is first
    for others in ((second,), (first, second)):
        reply(*others)
        assert tick.lone is None
        while tick.lone is None:
            reply(second)
        assert tick.lone is second
    tick.forget(first)
    assert tick.lone is second
    tick.forget(second)
    assert tick.lone is None


def test_a_tick_of_the_lone_one_ends_at_once_if_it_wrote_nothing(store: FakeStore) -> None:
    pending = Pending(store)
    tick = Tick(store, pending, lambda callback: None)
    lone, other = FakeSink(), FakeSink()
    tick.enter(lone)
    assert tick.ends_at_once()
    assert (tick.ticks, tick.is_scheduled) == (1, False)
    tick.enter(lone)
    tick.enter(other)
    assert not tick.ends_at_once()
    tick.end()
    tick.enter(lone)
    pending.points[b"k"] = b"v"
    assert not tick.ends_at_once()
    tick.end()
    assert lone.events == ["released", "released"]
    assert (tick.ticks, store.commits) == (3, [1])


def test_a_round_without_writes_commits_nothing(store: FakeStore) -> None:
    pending = Pending(store)
    tick = Tick(store, pending, lambda callback: None)
    sink = FakeSink()
    tick.enter(sink)
    tick.end()
    assert store.commits == []
    assert sink.events == ["released"]


def test_a_failed_write_drops_the_batch_and_tells_everybody_of_the_tick(store: FakeStore) -> None:
    pending = Pending(store)
    tick = Tick(store, pending, lambda callback: None)
    sinks = [FakeSink(), FakeSink()]
    for sink in sinks:
        tick.enter(sink)
    points = pending.points
    points[b"a"] = TOMBSTONE
    pending.delete_range(b"x", b"y")
    store.failure = StorageError("write", "wal", "no space")
    tick.end()
    for sink in sinks:
        (batch, refusal), released = sink.events
        assert batch == pending.batches == 0
        assert released == "released", "and then what is left of its replies leaves"
        assert (refusal.keys, refusal.ranges, refusal.text) == ({b"a"}, (b"x", b"y"), MISCONF)
    assert pending.points is points
    assert points == {}
    assert not pending.ranges
    assert pending.failures == 1
    store.failure = None
    tick.end()
    assert store.entries == {}


def test_a_failure_in_mid_round(store: FakeStore) -> None:
    """The running command goes on, over the earlier commits."""
    pending = Pending(store)
    tick = Tick(store, pending, lambda callback: None)
    sink = FakeSink()
    tick.enter(sink)
    tick.speaker = sink
    pending.points[b"a"] = b"1"
    pending.commit()
    store.failure = StorageError("write", "wal", "no space")
    pending.points[b"b"] = b"1"
    pending.commit()
    assert not pending.points
    store.failure = None
    pending.points[b"c"] = b"1"
    tick.end()
    assert store.entries == {b"a": b"1", b"c": b"1"}
    marked, refused, released = sink.events
    assert marked == ("mark", 1)
    assert refused[0] == 1
    assert released == "released"


def test_whatever_a_commit_raises_the_replies_are_owed(store: FakeStore) -> None:
    pending = Pending(store)
    tick = Tick(store, pending, lambda callback: None)
    sink = FakeSink()
    tick.enter(sink)
    pending.points[b"a"] = b"1"
    store.failure = MemoryError()
    tick.end()
    assert sink.events[0][1].text == MISCONF
    assert sink.events[1] == "released"


def test_too_large_a_commit_says_nothing_of_the_disk(store: FakeStore) -> None:
    pending = Pending(store)
    tick = Tick(store, pending, lambda callback: None)
    sink = FakeSink()
    tick.enter(sink)
    pending.points[b"a"] = b"1"
    store.failure = LimitError("a commit's bytes", 5, 4)
    tick.end()
    assert sink.events[0][1].text == "ERR a commit's bytes is 5, the maximum is 4"


def always(store: FakeStore) -> tuple[Tick, Pending, LaterExecutor]:
    executor = LaterExecutor()
    pending = Pending(store, is_always=True)
    tick = Tick(store, pending, lambda callback: None, executor=executor, wake=lambda callback: callback())
    return tick, pending, executor


def test_always_holds_replies_until_synced(store: FakeStore) -> None:
    tick, pending, executor = always(store)
    writer, reader = FakeSink(), FakeSink()
    tick.enter(writer)
    pending.points[b"a"] = b"1"
    tick.end()
    position = store.position
    tick.enter(reader)  # it has seen a, so it waits, too
    reader.shown = position
    tick.end()
    assert writer.events == reader.events == []
    other = FakeSink()
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
    tick, pending, executor = always(store)
    sink = FakeSink()

    def write(name: bytes) -> None:
        tick.enter(sink)
        pending.points[name] = b"1"
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
    assert len(sink.held) == 2
    assert len(executor.work) == 1
    executor.run()
    assert sink.held == []
    assert store.syncs == 2


def test_a_failed_sync_fails_waiting_requests(store: FakeStore) -> None:
    tick, pending, executor = always(store)
    sink = FakeSink()
    tick.enter(sink)
    pending.points[b"a"] = b"1"
    tick.end()
    store.sync_failure = StorageError("sync", "wal", "input/output error")
    executor.run()
    assert sink.events == [("refused", [store.position])]
