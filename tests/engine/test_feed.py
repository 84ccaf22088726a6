"""The feed (`db.watch`): every commit as events, in order, without a hole, from any event that is kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import Any

import pytest

import flin.engine
from flin.engine.aio_feed import AsyncFeed
from flin.engine.engine import Engine, store_of
from flin.engine.feed import Event, Feed
from flin.errors import ClosedError, CorruptionError, FeedGapError, ReadOnlyError
from flin.testing import CrashModel, ManualClock, SimulatedDisk, after_crash
from flin.testing.run import KEY
from tests.engine.small_database import DB, opened
from tests.source import ROOT


def taken(feed: Feed) -> list[Event]:
    """All events that there are now."""
    return list(iter(feed.poll, None))


def keys(feed: Feed) -> list[bytes]:
    return [event.key for event in taken(feed)]


@pytest.mark.parametrize("shards", [1, 16])
def test_every_write_is_an_event(shards: int) -> None:
    """In the order of commits, whatever shard a key is in; a batch's range deletes before its points."""
    clock = ManualClock()
    with opened(SimulatedDisk(window_bytes=4096), shards=shards, clock_ms=clock) as db:
        db.put(b"before", b"0")
        feed = db.watch()
        assert feed.sequence == 1
        db.put(b"a", b"1")
        db.delete(b"a")
        db.put(b"b", b"2", ttl=60)
        with db.write_batch() as batch:
            batch.put(b"x", b"3")
            batch.delete_range(b"a", b"c")
            batch.delete(b"y")
        db.incr(b"n", 5)
        db.delete_prefix(b"\xff")
        db.clear()
        db.put_many({b"\xff\x01": b"4", b"": b"5"})
        at = clock.now_ms + 60_000
        assert taken(feed) == [
            Event(b"a", b"1", 2, "put", commit=2),
            Event(b"a", None, 3, "delete", commit=3),
            Event(b"b", b"2", 4, "put", expires_at_ms=at, commit=4),
            Event(b"a", None, 5, "delete_range", stop=b"c", commit=5),
            Event(b"x", b"3", 6, "put", commit=5),
            Event(b"y", None, 7, "delete", commit=5),
            Event(b"n", b"5", 8, "put", commit=8),
            Event(b"\xff", None, 9, "delete_range", stop=None, commit=9),
            Event(b"", None, 10, "delete_range", stop=None, commit=10),
            Event(b"\xff\x01", b"4", 11, "put", commit=11),
            Event(b"", b"5", 12, "put", commit=11),
        ]
        assert feed.sequence == 12
        assert feed.poll() is None


def test_an_expiry_is_an_event_once_the_sweep_deletes_the_key() -> None:
    clock = ManualClock()
    with opened(SimulatedDisk(), clock_ms=clock) as db:
        db.put(b"k", b"v", ttl=1)
        feed = db.watch()
        clock.advance(2)
        assert taken(feed) == []
        assert len(db) == 0
        assert taken(feed) == [Event(b"k", None, 2, "delete", commit=2)]


def test_a_prefix_and_ranges_that_meet_it() -> None:
    with opened(SimulatedDisk()) as db:
        feed = db.watch(b"b")
        for key in (b"a", b"b", b"ba", b"c"):
            db.put(key, b"1")
        db.delete_range(b"", b"b")
        db.delete_range(b"", b"b\0")
        db.delete_range(b"bz", b"z")
        db.delete_range(b"c", b"d")
        assert keys(feed) == [b"b", b"ba", b"", b"bz"]
        assert feed.sequence == 8, "also what concerned others is behind it"


def test_what_a_server_keeps_is_not_seen() -> None:
    """Internal keys are none of the user's; a collection is an event without its value."""
    with opened(SimulatedDisk()) as db:
        feed = db.watch()
        store_of(db).commit({b"\xff\x01\x80\x00piece": b"1", b"h": (b"packed", 0, 1), b"s": b"2"})
        store_of(db).commit({}, [(b"\xff\x01\x80\x00", b"\xff\x01\x80\x01")])
        assert taken(feed) == [
            Event(b"h", None, 2, "collection", commit=1),
            Event(b"s", b"2", 3, "put", commit=1),
        ]
        assert feed.sequence == 4


@pytest.mark.parametrize("window_bytes", [0, 512])
@pytest.mark.parametrize(("value_threshold", "key"), [(0, None), (64, None), (64, KEY)])
def test_it_goes_on_after_every_event(window_bytes: int, value_threshold: int, key: bytes | None) -> None:
    """Through segments, flushes, reopens; in the middle of batches, too."""
    disk, random = SimulatedDisk(window_bytes=window_bytes), Random(7)
    options: dict[str, Any] = {"wal_retention": "1gb", "value_threshold": value_threshold, "encryption_key": key}
    db = opened(disk, **options)
    expected: list[tuple[bytes, bytes | None]] = []
    for step in range(200):
        kind = random.randrange(12)
        if kind < 6:
            pairs = {b"%d" % random.randrange(99): b"%d" % step * random.randrange(1, 60) for _ in range(kind + 1)}
            db.put_many(pairs)
            expected += pairs.items()
        elif kind < 9:
            db.put(b"p%d" % step, b"v" * kind)
            expected.append((b"p%d" % step, b"v" * kind))
        elif kind == 9:
            db.delete(b"%d" % step)
            expected.append((b"%d" % step, None))
        elif kind == 10:
            db.flush()
        else:
            db.close(flush=random.random() < 0.7)
            db = opened(disk, **options)
    events = taken(db.watch(since=0))
    assert [(event.key, event.value) for event in events] == expected
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    for since in range(0, len(events), 23):
        assert taken(db.watch(since=since)) == events[since:]
    assert len([name for name in disk.names(DB) if name.endswith(".wal")]) > 10
    db.close()


def test_what_is_not_kept_is_a_gap() -> None:
    """At the beginning, and in the middle; the error says what is there."""
    much = b"x" * 200_000
    with opened(SimulatedDisk(), value_threshold=0) as db:
        feed = db.watch()
        db.put(b"a", b"1")
        db.put(b"b", b"2")
        assert feed.poll() == Event(b"a", b"1", 1, commit=1)
        db.flush()
        db.put(b"c", b"3")
        assert feed.poll() == Event(b"b", b"2", 2, commit=2), "it had been read already"
        assert feed.poll() == Event(b"c", b"3", 3, commit=3), "and the segment stood at its end"
        behind = db.watch()
        db.put(b"d", much)
        db.flush()
        db.put(b"e", much)
        db.flush()
        assert keys(feed) == [b"d", b"e"], "what it has not read is kept"
        behind.close()
        behind = db.watch()
        for number in range(3):
            db.put(b"%d" % number, much)
            db.flush()
        with pytest.raises(FeedGapError, match="after event 5: the first event that is kept is 7") as raised:
            behind.poll()
        assert (raised.value.since, raised.value.first_kept, raised.value.last) == (5, 7, 8)
        with pytest.raises(FeedGapError):
            db.watch(since=0)
        db.put(b"f", b"6")
        assert keys(db.watch(since=raised.value.first_kept - 1)) == [b"1", b"2", b"f"]
        assert keys(db.watch(since=9)) == []
        with pytest.raises(FeedGapError, match="after event 10: the database ends at 9"):
            db.watch(since=10)


def test_how_much_is_kept() -> None:
    """At least so many bytes, and at most a segment more; nothing once the option is gone."""
    disk = SimulatedDisk()

    def wal_bytes() -> int:
        return sum(len(disk.read(f"{DB}/{name}")) for name in disk.names(DB) if name.endswith(".wal"))

    with opened(disk, wal_retention="100kb") as db:
        for number in range(60):
            db.put_many({b"%d" % each: b"%d" % number * 50 for each in range(100)})
            db.flush()
        assert 100_000 <= wal_bytes() < 130_000
        with pytest.raises(FeedGapError) as raised:
            db.watch(since=0)
        kept = raised.value.first_kept
        assert 3000 < kept < 6000
    with opened(disk, wal_retention="100kb") as db:
        db.put(b"new", b"1")
        assert [event.sequence for event in taken(db.watch(since=kept - 1))] == list(range(kept, 6002))
        assert db.verify() == []
    with opened(disk) as db:
        assert wal_bytes() == 0
        assert db.verify() == []


def test_a_kept_segment_that_is_lost_or_damaged() -> None:
    disk = SimulatedDisk()
    with opened(disk, wal_retention="1mb") as db:
        for number in range(5):
            db.put(b"%d" % number, b"v")
            db.flush()
        segments = [name for name in disk.names(DB) if name.endswith(".wal")]
        assert len(segments) == 5
        disk.lose(f"{DB}/{segments[1]}")
        with pytest.raises(FeedGapError) as raised:
            db.watch(since=0)
        assert raised.value.first_kept == 3
        disk.flip(f"{DB}/{segments[3]}", 8 * 120)
        feed = db.watch(since=2)
        assert keys(db.watch(since=4)) == [b"4"]
        assert feed.poll() == Event(b"2", b"v", 3, commit=3)
        with pytest.raises(CorruptionError, match="has no good frame at offset 88"):
            feed.poll()
    with opened(disk, wal_retention="1mb") as db:
        assert db.verify() == [], "the database itself needs none of them"


def test_durable_events_are_synced() -> None:
    disk = SimulatedDisk(window_bytes=512)
    with opened(disk, sync="never") as db:
        fast, durable = db.watch(), db.watch(durable=True)
        db.put(b"a", b"1")
        assert (keys(fast), keys(durable)) == ([b"a"], [])
        db.put(b"b", b"2", sync=True)
        assert (keys(fast), keys(durable)) == ([b"b"], [b"a", b"b"])
        db.put(b"c", b"3")
        assert (keys(fast), keys(durable)) == ([b"c"], [])
        sequence = durable.sequence
        clone = after_crash(disk, CrashModel.PREFIXES, lambda _: 0)
    with opened(clone) as db:
        assert dict(db) == {b"a": b"1", b"b": b"2"}
        assert keys(db.watch(since=sequence)) == []
        with pytest.raises(FeedGapError, match="it has lost what was not synced"):
            db.watch(since=fast.sequence)


def test_what_was_refused_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes lie after the end of a segment, whole or not."""
    disk = SimulatedDisk()
    with opened(disk) as db:
        feed = db.watch()
        db.put(b"a", b"1")
        (segment,) = [name for name in disk.names(DB) if name.endswith(".wal")]
        wal = store_of(db)._wal
        at = wal.position, wal.sequence
        db.put(b"never", b"1")
        wal.position, wal.sequence = at
        del store_of(db).state.active[0].entries[b"never"]
        wal.end_segment()
        db.put(b"b", b"2")
        assert keys(feed) == [b"a", b"b"]
        assert keys(db.watch(since=0)) == [b"a", b"b"]
        assert segment in disk.names(DB)


def test_a_large_commit_and_many_small_ones() -> None:
    with opened(SimulatedDisk(window_bytes=4096), memory_limit="64mb") as db:
        feed = db.watch(b"k")
        db.put(b"k", b"x" * (3 << 20))
        db.put_many({b"k%05d" % number: b"v" * 40 for number in range(40_000)})
        for number in range(5000):
            db.put(b"k%d" % number, b"v" * (number % 3))
        found = taken(feed)
        assert len(found) == 45_001
        assert [event.sequence for event in found] == list(range(1, 45_002))
        assert len({event.commit for event in found}) == 5002


def test_an_interrupt_in_the_middle_repeats_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(SimulatedDisk()) as db:
        feed = db.watch()
        for number in range(100):
            db.put(b"%d" % number, b"v")
        take = feed._take

        def interrupted(chunk: Any) -> Any:
            take(chunk)
            raise KeyboardInterrupt

        monkeypatch.setattr(feed, "_take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            feed.poll()
        assert feed.poll() == Event(b"0", b"v", 1, commit=1)
        monkeypatch.setattr(feed, "_take", take)
        assert [event.sequence for event in taken(feed)] == list(range(2, 101))


# Waiting.


def waiting_for(db: Engine) -> bool:
    watchers = store_of(db).watchers
    return bool(watchers.for_commits or watchers.for_syncs)


def test_a_thread_that_waits_is_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By each kind of write; nothing but the write wakes it, as it would look by itself only after an hour."""
    monkeypatch.setattr("flin.engine.feed.LOOK_SECONDS", 3600.0)
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        feed, found, told = db.watch(), list[bytes](), Flag()

        def follow() -> None:
            for event in feed:
                found.append(event.key)
                told.set()

        thread = Thread(target=follow)
        thread.start()
        writes: list[Callable[[], object]] = [
            lambda: db.put(b"put", b"1"),
            lambda: db.delete(b"delete"),
            lambda: db.put_many({b"commit": b"1"}),
            lambda: db.incr(b"update"),
            lambda: db.put(b"synced", b"1", sync=True),
        ]
        for write in writes:
            _until(lambda: waiting_for(db))
            told.clear()
            write()
            told.wait()
        assert found == [b"put", b"delete", b"commit", b"update", b"synced"]
        _until(lambda: waiting_for(db))
        feed.close()
        thread.join()
        assert not waiting_for(db)


def test_one_that_waits_for_syncs_is_woken_by_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.engine.feed.LOOK_SECONDS", 3600.0)
    with flin.engine.open(tmp_path / "db", runner="inline", sync="never") as db:
        feed, found = db.watch(durable=True), list[Event]()
        thread = Thread(target=lambda: found.append(next(feed)))
        thread.start()
        _until(lambda: waiting_for(db))
        db.put(b"a", b"1")
        assert waiting_for(db)
        db.sync()
        thread.join()
        assert found == [Event(b"a", b"1", 1, commit=1)]


def test_a_close_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.engine.feed.LOOK_SECONDS", 3600.0)
    db = flin.engine.open(tmp_path / "db", runner="inline")
    feed, errors = db.watch(), list[BaseException]()

    def follow() -> None:
        try:
            next(feed)
        except ClosedError as error:
            errors.append(error)

    thread = Thread(target=follow)
    thread.start()
    _until(lambda: waiting_for(db))
    db.close()
    thread.join()
    assert len(errors) == 1
    with pytest.raises(ClosedError):
        db.watch()


def test_a_timeout_ends_the_iteration_and_the_next_goes_on() -> None:
    with opened(SimulatedDisk()) as db:
        feed = db.watch(timeout=0.01)
        db.put(b"a", b"1")
        assert [event.key for event in feed] == [b"a"]
        db.put(b"b", b"1")
        assert [event.key for event in feed] == [b"b"]
        assert feed.get(timeout=0) is None
        db.put(b"c", b"1")
        with feed:
            event = feed.get(timeout=0)
            assert event is not None
            assert event.key == b"c"
        db.put(b"d", b"1")
        assert (feed.is_closed, list(feed), feed.get()) == (True, [], None)


def test_a_writer_pays_nothing_while_nobody_waits() -> None:
    """A feed that does not wait leaves nothing in the way of a write."""
    with opened(SimulatedDisk()) as db:
        feed = db.watch()
        db.put(b"a", b"1")
        assert len(taken(feed)) == 1
        store = store_of(db)
        assert store._seal_check > 0
        assert not store._blocked
        assert feed.get(timeout=0.001) is None
        db.put(b"b", b"1")
        assert store._seal_check > 0, "the first write after a wait looks once"


def _until(happened: Any, seconds: float = 60.0) -> None:
    deadline = monotonic() + seconds
    while not happened():
        assert monotonic() < deadline


def test_threads_write_and_threads_watch(tmp_path: Path) -> None:
    """All feeds give the same events, and these make the database."""
    with flin.engine.open(tmp_path / "db", memory_limit="1mb", runner="thread", wal_retention="100mb", shards=4) as db:
        found: list[list[Event]] = [[], [], []]
        feeds = [db.watch(), db.watch(), db.watch(durable=True)]

        def follow(number: int) -> None:
            for event in feeds[number]:
                if event.key == b"end":
                    return
                found[number].append(event)

        def write(writer: int) -> None:
            random = Random(writer)
            for number in range(600):
                key = b"%d" % random.randrange(300)
                if number % 50 == 49:
                    db.delete_range(key, key + b"5")
                elif number % 3:
                    db.put(key, b"%d %d" % (writer, number) * 30)
                else:
                    db.put_many({key: b"1" * 300, b"%d" % writer: b"%d" % number})

        followers = [Thread(target=follow, args=(number,)) for number in range(3)]
        writers = [Thread(target=write, args=(number,)) for number in range(3)]
        for thread in (*followers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        db.put(b"end", b"", sync=True)
        for thread in followers:
            thread.join()
        assert found[0] == found[1] == found[2] == taken(db.watch(since=0))[:-1]
        assert applied(found[0]) | {b"end": b""} == dict(db)


def applied(events: list[Event]) -> dict[bytes, bytes]:
    data: dict[bytes, bytes] = {}
    for event in events:
        if event.kind == "delete_range":
            gone = [key for key in data if event.key <= key and (event.stop is None or key < event.stop)]
            for key in gone:
                del data[key]
        elif event.value is None:
            data.pop(event.key, None)
        else:
            data[event.key] = event.value
    return data


# asyncio.


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_async_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It waits without a thread, is woken by writes of other threads, and a task that is cancelled loses no event."""
    monkeypatch.setattr("flin.engine.aio_feed.LOOK_SECONDS", 3600.0)
    factory = asyncio.new_event_loop if name == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def main(db: Engine) -> None:
        async with AsyncFeed(db.watch(b"k")) as feed:
            found: list[bytes] = []

            async def follow() -> None:
                async for event in feed:
                    found.append(event.key)
                    if event.key == b"k end":
                        return

            for attempt in range(3):  # cancelled while it waits
                task = asyncio.create_task(follow())
                while not waiting_for(db):
                    await asyncio.sleep(0)
                await asyncio.to_thread(db.put, b"k%d" % attempt, b"1")
                while len(found) <= attempt:
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            task = asyncio.create_task(follow())
            await asyncio.to_thread(db.put_many, {b"k large %d" % number: b"v" * 1000 for number in range(2000)})
            db.put(b"other", b"1")
            db.put(b"k end", b"1")
            await task
            assert found == [b"k0", b"k1", b"k2", *[b"k large %d" % number for number in range(2000)], b"k end"]
            waiting = asyncio.create_task(feed.__anext__())
            while not waiting_for(db):
                await asyncio.sleep(0)
            feed.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            assert feed.sequence == 2005
        assert not waiting_for(db)

    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        loop = factory()
        try:
            loop.run_until_complete(main(db))
        finally:
            loop.close()


def test_a_loop_that_is_closed_hinders_no_writer(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        feed = AsyncFeed(db.watch())
        loop = asyncio.new_event_loop()
        task = loop.create_task(feed.__anext__())
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert waiting_for(db)
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
        db.put(b"a", b"1")


# What is wrong with a call.


def test_wrong_arguments() -> None:
    disk = SimulatedDisk()
    with opened(disk) as db:
        with pytest.raises(ValueError, match="must not be negative"):
            db.watch(since=-1)
        with pytest.raises(TypeError, match="sequence of an event"):
            db.watch(since="1")
        with pytest.raises(TypeError):
            db.watch("text")
        reader = flin.engine.open(DB, fs=disk.for_another_program(), read_only=True)
        with reader, pytest.raises(ReadOnlyError):
            reader.watch()
    with pytest.raises(TypeError, match="wal_retention must be bytes"):
        opened(disk, wal_retention=1.5)
    with pytest.raises(ValueError, match="must not be negative"):
        opened(disk, wal_retention=-1)


def test_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of docs/feed.md run as they are written."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "feed.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
