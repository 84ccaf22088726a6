"""The engine's asyncio face, on asyncio and on uvloop: what is read and written, who waits, and what a cancellation
leaves."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import flin.engine
from flin.engine import aio
from flin.engine.aio import AsyncEngine
from flin.engine.tree.stall import Stall
from flin.engine.updates import Updates
from flin.engine.view import View
from flin.errors import ClosedError, ConflictError, LockedError, ReadOnlyError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk
from tests.engine.cold_reads import every_second_read_is_cold

Run = Callable[[Coroutine[Any, Any, Any]], Any]

KEYS = [b"", b"a", b"ab", b"b", b"\xff", b"\xff\x01", *(b"k%03d" % number for number in range(700))]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.fixture(params=["in memory", "cold"])
def coldness(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Cold: every second read that must not wait says that it would have to."""
    found: str = request.param
    if found == "cold":
        every_second_read_is_cold(monkeypatch)
    return found


def opened(**options: Any) -> Coroutine[Any, Any, AsyncEngine]:
    return aio.open("/db", **{"fs": SimulatedDisk(), "runner": "inline", "clock_ms": ManualClock(), **options})


async def listed(items: Any) -> list[Any]:
    return [item async for item in items]


def test_it_reads_what_an_engine_reads(run: Run, coldness: str) -> None:
    async def main() -> None:
        async with await opened(shards=2) as db:
            await db.put_many({key: b"v" + key for key in KEYS})
            await db.flush()
            await db.delete(b"ab")
            await db.put(b"short", b"s", ttl=5)
            there = {key: b"v" + key for key in sorted(KEYS) if key != b"ab"} | {b"short": b"s"}
            async with db.snapshot() as view:
                await db.delete_range(b"k1", b"k2")
                await _reads(view, there)
            await _reads(db, {key: value for key, value in there.items() if not b"k1" <= key < b"k2"})

    run(main())


def test_a_scan_of_tables_that_are_not_open_yet(run: Run) -> None:
    """To learn of range deletes in a table, it must be opened: that waits for the disk, too."""

    async def main() -> None:
        async with await opened() as db:
            await db.put_many({b"a": b"1", b"b": b"2"})
            await db.compact()
            await db.delete_range(b"b", b"c")
            await db.put(b"c", b"3")
            await db.flush()
            for reverse in (False, True):
                for run_of_tables in db._store.state.runs[0]:
                    run_of_tables._deleted = None
                    for table in run_of_tables.tables:
                        table.state = None
                there = [(b"a", b"1"), (b"c", b"3")]
                assert await listed(db.scan(reverse=reverse)) == (there[::-1] if reverse else there)

    run(main())


async def _reads(view: Any, there: dict[bytes, bytes]) -> None:
    ordered = dict(sorted(there.items()))
    keys = [*ordered]
    assert await listed(view.scan()) == [*ordered.items()]
    assert await listed(view.scan_keys(reverse=True)) == keys[::-1]
    assert await listed(view.scan(prefix=b"k0", limit=7)) == [(key, b"v" + key) for key in keys if key[:2] == b"k0"][:7]
    assert await listed(view.scan_keys(start=b"b", stop=b"k", include_start=False)) == []
    assert await listed(view.scan(limit=0)) == []
    assert await view.get_many([*KEYS, b"none"]) == [ordered.get(key) for key in [*KEYS, b"none"]]
    for key in (b"", b"ab", b"k100", b"\xff", bytearray(b"short")):
        assert await view.get(key) == ordered.get(bytes(key))
        assert await view.get(key, 5) == ordered.get(bytes(key), 5)
        assert await view.contains(key) == (bytes(key) in ordered)
    assert (await view.ttl(b"short"), await view.ttl(b"a"), await view.ttl(b"none")) == (5, None, None)
    assert (await view.first(), await view.last()) == (keys[0], keys[-1])
    assert (await view.next_key(b"a"), await view.prev_key(b"b")) == (b"b", b"a")
    assert await view.count() == len(ordered)


@pytest.mark.parametrize("sync", ["interval", "always"])
@pytest.mark.parametrize("is_stalled", [False, True])
def test_it_writes_what_an_engine_writes(
    run: Run, coldness: str, sync: str, is_stalled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimulatedDisk()

    async def main() -> None:
        async with await opened(fs=disk, sync=sync) as db:
            if is_stalled:
                monkeypatch.setattr(db._store, "stall", lambda: Stall(0.1))
            await db.put(b"a", b"1")
            await db.put(b"s", b"1", ttl=5, sync=True)
            assert (await db.incr(b"n", 2), await db.incr(b"n")) == (2, 3)
            assert (await db.put_if_absent(b"a", b"2"), await db.compare_and_set(b"a", b"1", b"3")) == (False, True)
            assert (await db.expire(b"a", 9), await db.persist(b"a"), await db.persist(b"none")) == (True, True, False)
            assert (await db.setdefault(b"d", b"4"), await db.pop(b"d"), await db.pop(b"d", 5)) == (b"4", b"4", 5)
            await db.put_many({b"m%d" % number: b"" for number in range(9)}, sync=False)
            await db.delete_many([b"m1", b"m2"])
            await db.delete(b"m3")
            await db.delete_range(b"m4", b"m6")
            await db.delete_prefix(b"m7")
            async with db.write_batch(sync=True) as batch:
                batch.put(b"batch", b"1")
                batch.delete(b"m8")
                assert (await batch.get(b"batch"), await batch.get(b"m8"), await batch.get(b"a")) == (b"1", None, b"3")
                assert (batch.writes, await db.get(b"batch")) == (2, None)
            with pytest.raises(ConflictError):
                await db.incr(b"m6", 1)
            assert await db.popitem() == (b"a", b"3")
            assert await db.run(lambda engine: sorted(engine)) == [b"batch", b"m0", b"m6", b"n", b"s"]
            if sync == "always":
                assert db._store.synced_position == db._store.position

    run(main())
    with flin.engine.open("/db", fs=disk, runner="inline", clock_ms=ManualClock()) as engine:
        assert list(engine) == [b"batch", b"m0", b"m6", b"n", b"s"]


def test_maintenance(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        db = await aio.open(tmp_path / "db", memory_limit="8mb")
        async with db:
            with pytest.raises(LockedError):
                await aio.open(tmp_path / "db")
            await db.put(b"k", b"v")
            await db.flush()
            await db.compact()
            await db.sync()
            assert (await db.verify(), (await db.stats())["wal"]["torn"], db.closed) == ([], "", False)
            assert db.path == str(tmp_path / "db")
            await db.clear()
        assert db.closed
        await db.close()
        for call in (lambda: db.get(b"k"), lambda: db.put(b"k", b"v"), db.count, db.sync, lambda: listed(db.scan()),
                     db.flush, lambda: db.run(len)):  # fmt: skip
            with pytest.raises(ClosedError):
                await call()
        with pytest.raises(TypeError, match="sinc"):
            await aio.open(tmp_path / "x", sinc=True)  # type: ignore[call-arg]

    run(main())
    flin.engine.open(tmp_path / "db", runner="inline").close()


def test_a_task_watches_what_others_write(run: Run) -> None:
    async def main() -> None:
        async with await opened() as db, db.watch(b"p:") as feed:
            writing = asyncio.ensure_future(db.put_many({b"p:%d" % number: b"v" for number in range(3)} | {b"q": b""}))
            events = [await anext(feed) for _ in range(3)]
            await writing
            assert [(event.key, event.value) for event in events] == [(b"p:%d" % number, b"v") for number in range(3)]
            again = db.watch(since=events[0].sequence)
            assert (await anext(again)).key == b"p:1"
            again.close()

    run(main())


def test_a_reader_beside_the_writer(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with await aio.open(tmp_path, runner="thread") as db:
            await db.put_many({b"p%d" % number: b"%d" % number for number in range(5)})
            async with await aio.open(tmp_path, read_only=True) as reader:
                assert await listed(reader.scan_keys(limit=2)) == [b"p0", b"p1"]
                await db.put(b"p0", b"7")
                assert (await reader.get(b"p0"), await reader.refresh(), await reader.get(b"p0")) == (b"0", True, b"7")
                part = await reader.run(lambda engine: engine.prefixed(b"p").typed(key=str, value=int))
                assert (dict(part), len(part)) == ({"0": 7, "1": 1, "2": 2, "3": 3, "4": 4}, 5)
                with pytest.raises(ReadOnlyError):
                    await reader.put(b"k", b"v")
                with pytest.raises(ReadOnlyError):
                    await reader.incr(b"k")
                with pytest.raises(ReadOnlyError):
                    part.put("1", 5)
        async with await aio.open(":memory:") as db:
            await db.put(b"k", b"v")
            assert await db.get(b"k") == b"v"

    run(main())


# The disk.


def test_tasks_that_wait_for_the_disk_share_its_syncs(run: Run) -> None:
    async def main() -> int:
        async with await opened(sync="always") as db:
            before = db._store._wal.syncs
            await asyncio.gather(*(db.put(b"%d" % number, b"v") for number in range(100)))
            assert db._store.synced_position == db._store.position
            return db._store._wal.syncs - before

    assert run(main()) <= 2, "one that the first began, one for all others"


def test_all_who_wait_are_told_of_a_sync_that_fails(run: Run) -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        db = await opened(fs=disk, sync="always")
        await db.put(b"a", b"1")
        disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
        told = await asyncio.gather(*(db.put(b"%d" % number, b"v") for number in range(5)), return_exceptions=True)
        assert {type(error) for error in told} == {StorageError}
        assert len({id(error) for error in told}) == 5, "each task has a traceback of its own"
        with pytest.raises(ReadOnlyError):
            await db.put(b"a", b"2")
        assert await db.get(b"a") == b"1"
        with pytest.raises((ReadOnlyError, StorageError)):
            await db.close()

    run(main())


# Cancellation.


def test_a_write_that_was_cancelled_in_its_wait_for_the_disk_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with await opened(sync="always") as db:
            goes_on, sync = Event(), db._store.sync
            monkeypatch.setattr(db._store, "sync", lambda *position: (goes_on.wait(), sync(*position)))
            tasks = [asyncio.create_task(db.put_many({b"a": b"%d" % n, b"b": b"%d" % n})) for n in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[2].cancel()
            goes_on.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(end) for end in ended] == [asyncio.CancelledError, type(None), asyncio.CancelledError]
            assert await db.get_many([b"a", b"b"]) == [b"2", b"2"], "written, and not known to be durable"
            await db.sync()

    run(main())


def test_a_write_that_was_cancelled_before_its_turn_was_never_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with await opened() as db:
            goes_on = Event()
            monkeypatch.setattr(db._store, "stall", lambda: Stall(0.1))
            db._writer.submit(goes_on.wait)
            tasks = [asyncio.create_task(db.put(b"%d" % number, b"v")) for number in range(3)]
            await asyncio.sleep(0)
            assert await db.get(b"0") is None, "it waits in a thread, and the loop goes on"
            tasks[1].cancel()
            await asyncio.sleep(0)
            goes_on.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await listed(db.scan_keys()) == [b"0", b"2"]

    run(main())


def test_a_batch_that_was_cancelled_is_discarded(run: Run) -> None:
    async def main() -> None:
        async with await opened() as db:
            batch = db.write_batch()

            async def write() -> None:
                async with batch:
                    batch.put(b"a", b"1")
                    await asyncio.Event().wait()

            task = asyncio.create_task(write())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await db.count() == 0
            with pytest.raises(ClosedError):
                batch.put(b"a", b"1")
            with pytest.raises(ClosedError):
                await batch.get(b"a")
            explicit = db.write_batch()
            explicit.put(b"b", b"1")
            await explicit.commit()
            assert await db.get(b"b") == b"1"

    run(main())


def test_an_open_that_was_cancelled_leaves_no_lock(run: Run) -> None:
    disk, goes_on = SimulatedDisk(), Event()

    def clock_ms() -> int:
        goes_on.wait()
        return 1

    async def main() -> None:
        task = asyncio.create_task(opened(fs=disk, clock_ms=clock_ms))
        await asyncio.sleep(0)
        (opening,) = asyncio.all_tasks() - {task, asyncio.current_task()}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        goes_on.set()
        await asyncio.wait([opening])  # else the other open might come first, and the loop end before this one
        while True:
            try:
                await (await opened(fs=disk)).close()
                return
            except LockedError:
                await asyncio.sleep(0.001)

    run(main())
    assert disk.open_locks() == []


def test_other_tasks_have_their_turn_between_pages(run: Run) -> None:
    async def main() -> int:
        async with await opened() as db:
            await db.put_many({b"%05d" % number: b"v" for number in range(5000)})
            turns = 0

            async def count_turns() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            other = asyncio.create_task(count_turns())
            assert len(await listed(db.scan())) == 5000
            other.cancel()
            return turns

    assert run(main()) > 5


ELSEWHERE = {"iterator", "type", "hash", "list", "set", "sorted_set", "stream", "keys", "items", "values", "update"}
"""Calls that have no awaited form: `run` makes them in a thread."""

OF_AN_ENGINE = {"put_many", "delete", "delete_many", "delete_range", "delete_prefix", "write_batch", "snapshot"}
OF_AN_ENGINE |= {"memoize", "flush", "compact", "sync", "verify", "stats", "close", "path", "closed"}


def test_it_has_the_calls_of_an_engine(run: Run) -> None:
    def calls_of(plain: type) -> set[str]:
        return {name for name in dir(plain) if not name.startswith("_")}

    async def main() -> None:
        async with await opened() as db:
            assert (calls_of(Updates) | OF_AN_ENGINE) - {*dir(db)} <= ELSEWHERE
            assert calls_of(View) - {*dir(db.snapshot())} <= ELSEWHERE

    run(main())
