"""The faults that the twin of etcd makes on demand, and its simulated time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from queue import Queue

import pytest

from flin.cluster.etcd.key_value import KeyValueError, KeyValueStore, ModRevision, NoSpace, Put, Unavailable, WatchBatch
from flin.cluster.etcd.memory_key_value import Fate, MemoryKeyValues

TIMEOUT = 20.0
AT_ONCE = 0.01


def put(store: KeyValueStore, key: bytes, value: bytes = b"", timeout: float = TIMEOUT) -> int:
    return store.txn((), [Put(key, value)], timeout=timeout).revision


@pytest.mark.parametrize(("fate", "is_executed"), [(Fate.REQUEST_LOST, False), (Fate.ANSWER_LOST, True)])
def test_what_is_lost(fate: Fate, is_executed: bool) -> None:
    values = MemoryKeyValues()
    store = values.client()
    store.plan(fate)
    with pytest.raises(Unavailable):
        put(store, b"k")
    assert bool(store.get(b"k", timeout=TIMEOUT).pairs) is is_executed


def test_a_late_request_is_executed_after_the_second_try() -> None:
    values = MemoryKeyValues()
    store = values.client()
    store.plan(Fate.LATE)
    with pytest.raises(Unavailable):
        store.txn([ModRevision(b"k", 0)], [Put(b"k", b"first")], timeout=TIMEOUT)
    assert store.txn([ModRevision(b"k", 0)], [Put(b"k", b"second")], timeout=TIMEOUT).succeeded
    store.deliver_late()
    assert store.get(b"k", timeout=TIMEOUT).pairs[0].value == b"second"


def test_a_slow_line_makes_requests_late() -> None:
    values = MemoryKeyValues()
    store = values.client()
    store.delay = AT_ONCE
    put(store, b"k")
    with pytest.raises(Unavailable):
        put(store, b"late", timeout=AT_ONCE / 2)
    assert not values.client().get(b"late", timeout=TIMEOUT).pairs
    store.deliver_late()
    assert values.client().get(b"late", timeout=TIMEOUT).pairs


def test_a_judge_decides_of_the_rest() -> None:
    store = MemoryKeyValues().client()
    fates = iter([Fate.ANSWERED, Fate.ANSWER_LOST])
    store.judge = lambda: next(fates)
    put(store, b"a")
    with pytest.raises(Unavailable):
        put(store, b"b")


def test_a_cut_line_and_its_mending() -> None:
    values = MemoryKeyValues()
    one, other = values.client(), values.client()
    told: Queue[WatchBatch | KeyValueError] = Queue()
    one.watch(b"k", b"", 1, told.put)
    one.cut()
    with pytest.raises(Unavailable):
        put(one, b"k", timeout=AT_ONCE)
    put(other, b"k", b"meanwhile")
    assert told.empty()
    one.mend()
    batch = told.get(timeout=TIMEOUT)
    assert isinstance(batch, WatchBatch)
    assert batch.events[0].pair.value == b"meanwhile"
    put(one, b"k")


def test_a_full_store() -> None:
    values = MemoryKeyValues()
    store = values.client()
    revision = put(store, b"k")
    values.is_full = True
    with pytest.raises(NoSpace):
        put(store, b"k")
    with pytest.raises(NoSpace):
        store.txn((), [], [Put(b"k", b"")], timeout=TIMEOUT)
    assert store.txn((), [], timeout=TIMEOUT).revision == revision
    store.compact(revision, timeout=TIMEOUT)


class VirtualTime:
    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._calls, (self.now + seconds, self._count, call))

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self._calls)
            call()
        self.now = end


def test_simulated_time_has_no_threads() -> None:
    timing = VirtualTime()
    values = MemoryKeyValues(timing)
    one, other = values.client(), values.client()
    told: list[WatchBatch | KeyValueError] = []
    one.delay = 2.0
    one.watch(b"k", b"", 1, told.append)
    put(other, b"k", b"1")
    timing.sleep(1.9)
    assert not told
    timing.sleep(0.1)
    assert len(told) == 1
    one.cut()
    with pytest.raises(Unavailable):
        put(one, b"k", timeout=3600)
    assert timing.now == 3602
    put(other, b"k", b"2")
    timing.sleep(10)
    assert len(told) == 1
    one.mend()
    timing.sleep(2)
    assert len(told) == 2
    one.close()
    put(other, b"k", b"3")
    timing.sleep(10)
    assert len(told) == 2
