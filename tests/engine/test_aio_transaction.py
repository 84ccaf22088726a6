"""Transactions of tasks, on asyncio and on uvloop: nothing that they have read has changed when they commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from flin.engine import aio
from flin.engine.aio import AsyncEngine
from flin.engine.aio_transaction import AsyncTransaction
from flin.errors import ClosedError, ConflictError
from flin.testing import ManualClock, SimulatedDisk
from tests.engine.cold_reads import every_second_read_is_cold

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.fixture(params=["in memory", "cold"], autouse=True)
def coldness(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "cold":
        every_second_read_is_cold(monkeypatch)


def opened(**options: Any) -> Coroutine[Any, Any, AsyncEngine]:
    return aio.open("/db", fs=SimulatedDisk(), runner="inline", clock_ms=ManualClock(), **options)


async def listed(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_its_calls(run: Run, sync: str) -> None:
    async def main() -> None:
        async with await opened(sync=sync) as db:
            await db.put_many({b"a": b"1", b"b": b"2", b"n": b"5"})
            async with db.transaction(sync=True) as t:
                t.put(b"c", b"3")
                t.delete(b"b")
                assert await t.get_many([b"a", b"b", b"c"]) == [b"1", None, b"3"]
                assert (await t.get(b"none"), await t.get(b"none", 5), await t.contains(b"c")) == (None, 5, True)
                assert (await t.incr(b"n", ttl=5), await t.put_if_absent(b"n", b""), await t.pop(b"c")) == (
                    6,
                    False,
                    b"3",
                )
                assert (await t.setdefault(b"d", b"4"), await t.compare_and_set(b"d", b"4", b"5")) == (b"4", True)
                assert (await t.expire(b"d", 9), await t.ttl(b"d"), await t.persist(b"d")) == (True, 9, True)
                assert await listed(t.scan()) == [(b"a", b"1"), (b"d", b"5"), (b"n", b"6")]
                assert await listed(t.scan_keys(reverse=True, limit=2)) == [b"n", b"d"]
                assert await db.get(b"d") is None
            assert await listed(db.scan()) == [(b"a", b"1"), (b"d", b"5"), (b"n", b"6")]
            assert db._store.synced_position == db._store.position
            with pytest.raises(ClosedError):
                await t.get(b"a")

    run(main())


def test_a_change_of_what_was_read_is_a_conflict(run: Run) -> None:
    async def main() -> None:
        async with await opened() as db:
            await db.put_many({b"%03d" % number: b"" for number in range(9)})
            for read in (lambda t: t.get(b"003"), lambda t: t.contains(b"003"), lambda t: listed(t.scan(limit=4))):
                t = db.transaction()
                await read(t)
                await db.put(b"003", b"meanwhile")
                t.put(b"x", b"1")
                with pytest.raises(ConflictError):
                    await t.commit()
                assert t.conflict is not None
                assert await db.get(b"x") is None
            async with db.transaction() as t:
                await listed(t.scan(limit=3))
                await db.put(b"003", b"not read")
                t.put(b"x", b"1")
            assert await db.get(b"x") == b"1"

    run(main())


def test_no_increment_is_lost(run: Run) -> None:
    async def main() -> None:
        async with await opened() as db:
            calls = Counter[str]()

            @db.transactional(retries=1000)
            async def add(t: AsyncTransaction, key: bytes, number: int) -> int:
                """What it says."""
                calls["add"] += 1
                found = int(await t.get(key, b"0")) + number
                await asyncio.sleep(0)
                t.put(key, b"%d" % found)
                return found

            assert add.__doc__ == "What it says."
            sums = await asyncio.gather(*(add(b"n", number=2) for _ in range(20)))
            assert sorted(sums) == [*range(2, 41, 2)]
            assert await db.get(b"n") == b"40"
            assert calls["add"] > 20, "some were in conflict, and tried again"

    run(main())


def test_what_is_tried_again(run: Run) -> None:
    async def main() -> None:
        async with await opened() as db:
            calls = Counter[str]()

            @db.transactional(retries=2)
            async def never(t: AsyncTransaction) -> None:
                calls["never"] += 1
                await t.get(b"k")
                await db.put(b"k", b"%d" % calls["never"])
                t.put(b"x", b"")

            @db.transactional()
            async def wrong_value(t: AsyncTransaction) -> int:
                calls["wrong"] += 1
                return await t.incr(b"k", 2**63)

            with pytest.raises(ConflictError, match="was written since the transaction began"):
                await never()
            with pytest.raises(ConflictError, match="64"):
                await wrong_value()
            assert calls == {"never": 3, "wrong": 1}
            with pytest.raises(TypeError, match="async def"):
                db.transactional()(lambda t: None)  # type: ignore[arg-type, return-value]
            with pytest.raises(ValueError, match="must not be negative"):
                db.transactional(retries=-1)

    run(main())


def test_one_that_is_cancelled_is_discarded(run: Run) -> None:
    async def main() -> None:
        async with await opened() as db:

            @db.transactional()
            async def wait(t: AsyncTransaction) -> None:
                t.put(b"a", b"1")
                await asyncio.Event().wait()

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await db.count() == 0

    run(main())
