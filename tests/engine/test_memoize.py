"""Memoized functions: what is one result, who computes it, and what is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import combinations
from threading import Event, Thread
from typing import Any

import pytest

from flin.engine import Engine, aio
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]
Open = Callable[[], Coroutine[Any, Any, Engine]]
"""Of an engine, or of an AsyncEngine, which memoizes in the same way."""


@pytest.fixture(params=["engine", "prefixed"])
def db(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Any:
    engine = open_engine(fs=SimulatedDisk(), clock_ms=ManualClock(), random_bytes=bytes)
    return engine if request.param == "engine" else engine.prefixed(b"cache:")


def test_a_result_is_computed_once_until_it_expires(db: Engine) -> None:
    calls: list[Any] = []

    @db.memoize(ttl=5)
    def area(width: int, height: int = 2) -> dict[str, Any]:
        """What it says."""
        calls.append((width, height))
        return {"area": width * height, "sides": (width, height)}

    assert [area(3), area(3, 2), area(height=2, width=3)] == [{"area": 6, "sides": [3, 2]}] * 3, "as JSON has it"
    assert (calls, area.__doc__, repr(area)[:14]) == ([(3, 2)], "What it says.", "<function test")
    assert list(db) == [area.cache_key(3)]
    assert db.ttl(area.cache_key(3)) == 5
    db.delete(area.cache_key(3, 2))
    area(3)
    area(4)
    assert calls == [(3, 2), (3, 2), (4, 2)]
    db[b"other"] = b""
    area.cache_clear()
    assert list(db) == [b"other"]


def test_after_a_restart_it_is_still_there(open_engine: OpenEngine) -> None:
    disk, calls = SimulatedDisk(), Counter[int]()

    def square(number: int) -> int:
        calls[number] += 1
        return number * number

    for _ in range(2):
        with open_engine(fs=disk) as db:
            assert db.memoize(name="square")(square)(7) == 49
    assert calls[7] == 1


NONE_EQUAL: list[tuple[Any, ...]] = [
    *((), (1,), (1.0,), (True,), (False,), (0,), (None,), ("1",), (b"1",), ("",), (b"",), (1, 1), ("a", "b"), ("ab",)),
    *((float("nan"),), (-0.0,), (0.0,), ({1: 0.0},), ({1: -0.0},), ("nan",), (b"",) * 2, (2**70 + 1,), (None, None)),
    *(((1,),), ([1],), ((1, 2),), ((1,), 2), ((), ()), ((()),), ({},), ({"a": 1},), ({"a": 1, "b": 2},), ("a\0", "b")),
    *(("a", "\0b"), ([[]],), ([], []), (2**70,), (-1,), ("?1",), (({"a": 1},),), ({"a": {"b": 1}},)),
]


def test_no_two_arguments_have_one_key(db: Engine) -> None:
    @db.memoize()
    def count(*arguments: Any) -> int:
        return len(arguments)

    keys = [count.cache_key(*arguments) for arguments in NONE_EQUAL if arguments != ((()),)]
    for (one, first), (other, second) in combinations(enumerate(keys), 2):
        assert first != second, (NONE_EQUAL[one], NONE_EQUAL[other])
    assert count.cache_key({"a": 1, "b": 2}) == count.cache_key({"b": 2, "a": 1})


def test_functions_have_prefixes_of_their_own(db: Engine) -> None:
    names = ["f", "ff", "f\0", ""]
    functions = [db.memoize(name=name)(lambda number, name=name: f"{name}{number}") for name in names]
    assert [function(1) for function in functions for _ in range(2)] == [f"{name}1" for name in names for _ in range(2)]
    functions[0].cache_clear()
    assert len(db) == 3


def test_values_may_be_of_other_kinds(db: Engine) -> None:
    assert [db.memoize(name="b", value=bytes)(lambda: b"\xff")() for _ in range(2)] == [b"\xff"] * 2
    assert [db.memoize(name="i", value=int)(lambda: 5)() for _ in range(2)] == [5, 5]
    assert [db.memoize(name="n")(lambda: None)() for _ in range(2)] == [None, None]
    with pytest.raises(TypeError, match="values cannot be of 'pickle'"):
        db.memoize(value="pickle")(len)  # type: ignore[arg-type]


def test_arguments_that_are_refused(db: Engine) -> None:
    @db.memoize()
    def f(first: Any, second: Any = None) -> int:
        return 1

    with pytest.raises(TypeError, match="the argument second of a memoized function must be None, bool"):
        f(1, object())
    with pytest.raises(TypeError, match="missing a required argument"):
        f()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="surrogates not allowed"):
        f("\ud800")
    assert len(db) == 0


def test_what_is_one_result_for_lru_cache_is_one_here(db: Engine) -> None:
    """functools.lru_cache(typed=True) beside it, for all that it can hash: what differs is what the page says."""
    calls = Counter[str]()

    def function(*arguments: Any, **named: Any) -> int:
        return len(arguments)

    def beside(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[bool, bool]:
        """Whether each of the two has a result already."""
        before = cached.cache_info().hits
        cached(*arguments, **named)
        known = memoized.cache_key(*arguments, **named) in db
        memoized(*arguments, **named)
        return cached.cache_info().hits > before, known

    cached, memoized = lru_cache(typed=True)(function), db.memoize()(function)
    nan = float("nan")
    one_and_many: list[Any] = [1, True, 1.0, "1", b"1", None, 0, 0.0, False, 2**70, (1, 2), (1, (2,)), nan, "", b""]
    for value in one_and_many:
        assert beside((value,), {}) == (False, False), value
        assert beside((value,), {}) == (True, True), value
        assert beside((), {"value": value}) == (False, False), value
        assert beside((value, value), {}) == (False, False), value
    assert beside((), {"a": 1, "b": 2}) == (False, False)
    # What differs.
    assert beside((), {"b": 2, "a": 1}) == (False, True), "the order of named arguments does not count"
    assert beside((-0.0,), {}) == (True, False), "a function may tell it from 0.0"
    assert beside((float("-nan"),), {}) == (False, True), "all of them are one"
    assert beside(((True, 2),), {}) == (True, False), "types count within tuples, too"

    @db.memoize(name="with a default")
    def default(first: int, *, second: int = 2, **rest: int) -> int:
        calls[f"{first} {second} {rest}"] += 1
        return first

    assert [default(1), default(first=1), default(1, second=2), default(second=2, first=1)] == [1] * 4
    assert [default(1, c=3, d=4), default(d=4, c=3, first=1)] == [1, 1]
    assert calls == {"1 2 {}": 1, "1 2 {'c': 3, 'd': 4}": 1}


def test_arguments_that_do_not_count(db: Engine) -> None:
    calls = Counter[int]()

    class Shop:
        @db.memoize(ignore={"self", "log"})
        def price(self, number: int, log: Any = None) -> int:
            calls[number] += 1
            return number

    assert [Shop().price(1), Shop().price(1, log=print), Shop().price(2), Shop.price(Shop(), 2)] == [1, 1, 2, 2]
    assert calls == {1: 1, 2: 1}
    assert Shop.price.cache_key(Shop(), 2) in db
    with pytest.raises(ValueError, match=r"no argument 'nubmer' to ignore: there are \['number'\]"):
        db.memoize(ignore={"nubmer"})(lambda number: number)


def test_what_has_no_name_of_its_own_needs_one(db: Engine) -> None:
    class Counted:
        def __init__(self, number: int) -> None:
            self.number = number

        def plus(self, number: int) -> int:
            return self.number + number

        @classmethod
        def twice(cls, number: int) -> int:
            return 2 * number

    for nameless in (lambda number: number, Counted(1).plus, partial(Counted, number=1)):
        with pytest.raises(TypeError, match=r"memoize\(name=…\) tells its results apart"):
            db.memoize()(nameless)
    one, two = [db.memoize(name=f"plus {number}")(Counted(number).plus) for number in (1, 2)]
    assert [one(1), two(1), one(1)] == [2, 3, 2]
    assert db.memoize()(Counted.twice)(4) == 8
    power: Any = partial(lambda base, exponent: base**exponent, 2)
    assert db.memoize(name="power")(power)(8) == 256


def test_a_wrong_ttl_is_refused_at_once(db: Engine) -> None:
    for wrong, error in ((0, ValueError), (-1, ValueError), ("5", TypeError), (float("nan"), ValueError)):
        with pytest.raises(error, match="ttl must be a number"):
            db.memoize(ttl=wrong)  # type: ignore[arg-type]


def test_an_exception_is_not_kept(db: Engine) -> None:
    calls = 0

    @db.memoize()
    def fails_once(number: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("no")
        return number

    with pytest.raises(OSError, match="no"):
        fails_once(1)
    assert [fails_once(1), fails_once(1), calls] == [1, 1, 2]


def test_one_thread_computes_and_the_others_wait(db: Engine) -> None:
    begun, goes_on, calls = Event(), Event(), Counter[int]()

    @db.memoize()
    def slow(number: int) -> list[int]:
        calls[number] += 1
        begun.set()
        goes_on.wait()
        if number == 2 and calls[2] < 3:
            raise ValueError("not yet")
        return [number]

    with ThreadPoolExecutor(8) as threads:
        for number in (1, 2):
            begun.clear()
            goes_on.clear()
            asked = [threads.submit(slow, number) for _ in range(8)]
            begun.wait()
            goes_on.set()
            ended = [future.exception() or future.result() for future in asked]
            results = [end for end in ended if isinstance(end, list)]
            assert len(results) == (8 if number == 1 else 6), "each that failed was told, and another one tried"
            assert results == [[number]] * len(results)
            assert len({id(result) for result in results}) == len(results), "nobody shares what can be changed"
    assert calls == {1: 1, 2: 3}


def test_a_call_of_itself_with_the_same_arguments_is_an_error(db: Engine) -> None:
    @db.memoize()
    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    @db.memoize()
    def itself(number: int) -> int:
        result: int = itself(number)
        return result

    assert fibonacci(50) == 12586269025
    with pytest.raises(RecursionError, match="has called itself with the same arguments"):
        itself(1)
    with pytest.raises(RecursionError):
        itself(1)


# Tasks.


@pytest.fixture(params=["engine", "aio"])
def tasks_db(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Iterator[Open]:
    """A function that opens an engine of either face in a task."""
    if request.param == "engine":
        db = open_engine(fs=SimulatedDisk())

        async def give() -> Any:
            return db

        yield give
        return

    async def give_async() -> Any:
        return await aio.open("/db", fs=SimulatedDisk(), runner="inline")

    yield give_async


def test_one_task_computes_and_the_others_wait(tasks_db: Open) -> None:
    calls: Counter[int] = Counter()

    async def main() -> None:
        db, goes_on = await tasks_db(), asyncio.Event()

        @db.memoize(ttl=60)
        async def slow(number: int) -> list[int]:
            calls[number] += 1
            await goes_on.wait()
            if number == 2 and calls[2] == 1:
                raise ValueError("not yet")
            return [number]

        for number in (1, 2):
            goes_on.clear()
            tasks = [asyncio.create_task(slow(number)) for _ in range(5)]
            await asyncio.sleep(0)
            goes_on.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(end) for end in ended].count(ValueError) == number - 1
            assert [end for end in ended if not isinstance(end, ValueError)] == [[number]] * (6 - number)
        assert calls == {1: 1, 2: 2}
        cleared = slow.cache_clear()
        if isinstance(cleared, Coroutine):
            await cleared
        assert await slow(1) == [1]
        assert calls[1] == 2
        await _close(db)

    asyncio.run(main())


def test_a_cancelled_task_cancels_nobody_else(tasks_db: Open) -> None:
    async def main() -> None:
        db, goes_on, calls = await tasks_db(), asyncio.Event(), Counter[str]()

        @db.memoize()
        async def slow() -> int:
            calls["slow"] += 1
            await goes_on.wait()
            return 7

        tasks = [asyncio.create_task(slow()) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[2].cancel()  # it waits
        await asyncio.sleep(0)
        tasks[0].cancel()  # it computes
        await asyncio.sleep(0)
        goes_on.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ended] == [asyncio.CancelledError, int, asyncio.CancelledError, int]
        assert calls["slow"] == 2
        await _close(db)

    asyncio.run(main())


async def _close(db: Any) -> None:
    if isinstance(db, aio.AsyncEngine):
        decorate: Any = db.memoize()
        with pytest.raises(TypeError, match="async def"):
            decorate(len)
        with pytest.raises(ValueError, match="ttl must be"):
            db.memoize(ttl=0)
        await db.close()


def test_loops_of_two_threads_share_a_computation(open_engine: OpenEngine) -> None:
    db: Engine = open_engine(fs=SimulatedDisk())
    begun, goes_on, calls = Event(), Event(), Counter[str]()

    @db.memoize()
    async def slow() -> int:
        calls["slow"] += 1
        begun.set()
        await asyncio.to_thread(goes_on.wait)
        return 7

    results: list[int] = []
    threads = [Thread(target=lambda: results.append(asyncio.run(slow()))) for _ in range(2)]
    threads[0].start()
    begun.wait()
    threads[1].start()
    goes_on.set()
    for thread in threads:
        thread.join()
    assert (results, calls["slow"]) == ([7, 7], 1)
