"""A sorted set over a real engine, against a dict: both forms, whole or not, both ends of it, floor and ceiling.

Writers and readers come in any order, with commits, refusals, evictions and reopenings between them. What is read is
what the dict says, sorted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import flin.engine
from flin.engine.engine import store_of
from flin.engine.entry import Page
from flin.errors import StorageError
from flin.net.batch.pending import Pending
from flin.net.data.databases import Databases
from flin.net.data.object_host import ObjectHost
from flin.objects import limits, rank_index, spread_order
from flin.objects.layout import PREFIX_BYTES
from flin.objects.meta import SortedSetMeta
from flin.objects.score import encode_score
from flin.objects.sorted_set import SortedSet, pair_at, place_of
from flin.testing import ManualClock, SimulatedDisk

KEY = b"z"
LONG = b"l" * 70
"""Longer than floor and ceiling may be."""

members = st.sampled_from(
    [b"a", b"b", b"c", b"", b"\xff", b"d\x00", LONG, LONG + b"m", b"\xff" * 80, *map(str.encode, "efgh")]
)
scores = st.sampled_from([-math.inf, -1.5, -0.0, 0.0, 1.0, 1.0, 2.0, 1e300, math.inf])
counts = st.integers(1, 4)
Model = dict[bytes, float]


def in_order(model: Model) -> list[bytes]:
    return [member for _, member in sorted((score, member) for member, score in model.items())]


class Machine(RuleBasedStateMachine):
    room_bytes = 100_000

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        self.model: Model = {}
        self.committed: Model = {}
        self.open()

    def open(self) -> None:
        self.engine = flin.engine.open(
            "/db", fs=self.disk, runner="inline", shards=1, memory_limit="1mb", clock_ms=ManualClock(), sync="never"
        )
        self.store = store_of(self.engine)
        self.pending = Pending(self.store)
        self.databases = Databases(self.store, self.pending, 1, self.room_bytes)
        self.databases.block_reads(blocking=True)

    @property
    def found(self) -> SortedSet:
        return self.databases.keyspaces[0].objects.find_or_make(KEY, SortedSet)

    @property
    def expected(self) -> list[bytes]:
        """The places in order."""
        return [place_of(member, self.model[member]) for member in in_order(self.model)]

    # Changes.

    @rule(pairs=st.dictionaries(members, scores, min_size=1, max_size=9))
    def put(self, pairs: Model) -> None:
        found = self.found
        before = {member: found.score(member) for member in pairs}
        assert before == {member: self.model.get(member) for member in pairs}
        if len(pairs) == 1:
            for member, score in pairs.items():
                found.put(member, score, before[member])
        else:
            found.put_many([(member, score, before[member]) for member, score in pairs.items()])
        self.model |= pairs

    @rule(gone=st.lists(members, min_size=1, max_size=3, unique=True))
    def remove(self, gone: list[bytes]) -> None:
        self._take_out([place_of(member, self.model[member]) for member in gone if member in self.model])

    @rule(count=counts, reverse=st.booleans())
    def pop(self, count: int, reverse: bool) -> None:
        places = self.found.order.from_rank(0, count, reverse=reverse)
        assert places == (self.expected[::-1] if reverse else self.expected)[:count]
        self._take_out(places)

    @rule(low=scores, high=scores)
    def remove_range(self, low: float, high: float) -> None:
        bounds = encode_score(low), encode_score(high)
        places = self.found.order.part(*bounds, len(self.found))
        assert places == [place for place in self.expected if bounds[0] <= place < bounds[1]]
        self._take_out(places)

    def _take_out(self, places: list[bytes]) -> None:
        if places:
            self.found.remove(places)
            for place in places:
                del self.model[place[8:]]

    @rule()
    def delete(self) -> None:
        if self.model:
            self.databases.keyspaces[0].delete(KEY)
            self.model.clear()

    # The batch and the disk.

    @rule()
    def commit(self) -> None:
        self.pending.commit()
        self.committed = self.model.copy()

    @rule()
    def settle(self) -> None:
        self.pending.settle()

    @rule()
    def evict(self) -> None:
        self.commit()
        self.databases.forget_objects()

    @rule()
    def refuse(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.store, "commit", _fail)
            patch.setattr(self.store, "put", _fail)
            self.pending.commit()
        self.model = self.committed.copy()

    @rule(work=st.sampled_from(["flush", "compact"]))
    def background(self, work: str) -> None:
        getattr(self.engine, work)()

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.open()
        self.model = self.committed.copy()

    # Questions.

    @rule(count=counts, reverse=st.booleans(), rank=st.integers(0, 12))
    def by_rank(self, count: int, reverse: bool, rank: int) -> None:
        expected = self.expected[::-1] if reverse else self.expected
        assert self.found.order.from_rank(rank, count, reverse=reverse) == expected[rank : rank + count]

    @rule(data=st.data(), count=counts, reverse=st.booleans(), skip=st.integers(0, 5))
    def by_bounds(self, data: Any, count: int, reverse: bool, skip: int) -> None:
        start, stop = data.draw(_bounds), data.draw(st.none() | _bounds)
        inside = [place for place in self.expected if start <= place and (stop is None or place < stop)]
        order = self.found.order
        assert order.count(start, stop) == len(inside)
        assert list(_joined(order.parts(start, stop, reverse=reverse))) == (inside[::-1] if reverse else inside)
        found = order.part(start, stop, count, reverse=reverse, skip=skip)
        assert found == (inside[::-1] if reverse else inside)[skip : skip + count]

    @rule(data=st.data(), reverse=st.booleans())
    def frozen(self, data: Any, reverse: bool) -> None:
        """As of the call, whatever is written between two pages."""
        start, stop = data.draw(_bounds), data.draw(st.none() | _bounds)
        inside = [place for place in self.expected if start <= place and (stop is None or place < stop)]
        self.commit()
        pages = self.found.order.frozen_parts(start, stop, reverse=reverse)
        taken = next(pages, [])
        self.put({b"a": 1.0, b"between": 0.0})
        assert [*taken, *_joined(pages)] == (inside[::-1] if reverse else inside)

    @rule()
    def ranks(self) -> None:
        found = self.found
        assert [found.rank(member) for member in in_order(self.model)] == list(range(len(self.model)))
        assert found.rank(b"absent") is None

    @rule(pairs=st.dictionaries(members, scores, min_size=1, max_size=9))
    def put_between_ranks(self, pairs: Model) -> None:
        """What is known of the order is put right, not made anew."""
        self.ranks()
        self.put(pairs)
        self.ranks()

    @rule(pages=st.integers(1, 3))
    def rank_some(self, pages: int) -> None:
        """The rank index is made while others write."""
        for _ in range(pages):
            self.found.order.rank_some()

    @rule()
    def read_all(self) -> None:
        assert self.found.all_scores() == self.model

    @rule()
    def whatever_else(self) -> None:
        found = self.found
        assert len(found) == len(self.model)
        assert [found.element_at(rank) for rank in range(len(found))] == list(map(pair_at, self.expected))
        assert sorted(found.elements()) == sorted(self.model.items())
        scanned, after = found.scan(None, 2)
        while after is not None:
            some, after = found.scan(after, 2)
            scanned += some
        assert sorted(scanned) == sorted(self.model.items())
        meta = found.meta
        if isinstance(meta, SortedSetMeta) and self.expected:
            assert meta.floor <= self.expected[0]
            assert not meta.ceiling or self.expected[-1] <= meta.ceiling

    def teardown(self) -> None:
        self.pending.commit()
        assert self.engine.verify() == []
        self.engine.close()


_bounds = st.builds(place_of, members, scores) | st.builds(encode_score, scores) | st.just(b"")


def _joined(pages: Any) -> Any:
    return (place for page in pages for place in page)


def _fail(*_: Any) -> int:
    raise StorageError("write", "/db", "a test says so")


LIMITS = [(2, 0, 100_000), (2, 5, 100_000), (64, 5, 100_000), (2, 0, 2000)]
"""Members of a packed one, and of a spread one that is kept whole; bytes of room, of which half holds an object."""


def small_limits(patch: pytest.MonkeyPatch, packed: int, whole: int) -> None:
    patch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    patch.setattr(limits, "MIN_REWRITTEN", 2)
    patch.setattr(limits, "MAX_WHOLE", whole)
    patch.setattr(limits, "PAGE", 3)
    patch.setattr(spread_order, "WINDOW", 3)
    patch.setattr(spread_order, "MAX_WINDOW", 4)
    for name, number in (("NEW", 2), ("MOST", 3), ("HUGE", 4), ("_LEAST", 1), ("_GROUP", 1)):
        patch.setattr(rank_index, name, number)


@pytest.fixture(params=LIMITS, ids=["never whole", "perhaps whole", "packed", "no room"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    packed, whole, room_bytes = request.param
    small_limits(monkeypatch, packed, whole)
    monkeypatch.setattr(Machine, "room_bytes", room_bytes)

    def run(examples: int) -> None:
        sizes = settings(max_examples=examples, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
        run_state_machine_as_test(Machine, settings=sizes)

    return run


def test_sorted_set_over_an_engine(run: Callable[[int], None]) -> None:
    run(25)


@pytest.mark.slow
def test_many_sorted_sets_over_an_engine(run: Callable[[int], None]) -> None:
    run(800)


def test_windows_and_ranks_take_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a spread one holds is counted, and goes when the room is another's."""
    monkeypatch.setattr(limits, "MAX_WHOLE", 0)
    machine = Machine()
    objects = machine.databases.keyspaces[0].objects
    machine.put({b"%05d" % number: float(number) for number in range(3000)})
    machine.commit()
    bare = objects.memory_bytes()
    machine.found.order.from_rank(0, 10)
    head = objects.memory_bytes()
    assert head - bare > spread_order.WINDOW * (8 + 5)
    machine.found.order.from_rank(0, 10, reverse=True)
    assert objects.memory_bytes() - head == head - bare
    assert machine.found.rank(b"01500") == 1500
    assert machine.found.order.is_ranked
    assert objects.memory_bytes() > 2 * head - bare + 3000 // rank_index.MOST * (8 + 5)
    machine.evict()
    monkeypatch.setattr(Machine, "room_bytes", 1500)
    machine.reopen()
    objects = machine.databases.keyspaces[0].objects
    assert machine.found.order.from_rank(0, 10) == machine.expected[:10]
    assert objects.memory_bytes() == 0, "it does not fit"
    machine.teardown()


def test_a_queue_never_reads_behind_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were popped, also after a restart: a read begins at the last popped place, or above it."""
    monkeypatch.setattr(limits, "MAX_WHOLE", 0)
    machine = Machine()
    starts: list[bytes] = []

    def page(self: ObjectHost, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Page:
        starts.append(start)
        return original(self, start, stop, count, reverse=reverse)

    original = ObjectHost.page
    monkeypatch.setattr(ObjectHost, "page", page)
    machine.put({b"%05d" % number: float(number) for number in range(3000)})
    popped = b""
    for number in range(1500):
        machine.put({b"%05d" % (3000 + number): float(3000 + number)})
        starts.clear()
        places = machine.found.order.from_rank(0, 2)
        machine.found.remove(places)
        assert all(start[PREFIX_BYTES + 1 :] >= popped for start in starts), number
        popped = places[-1]
        for place in places:
            del machine.model[place[8:]]
        if number % 10 == 0:
            machine.commit()
        if number % 500 == 499:
            machine.commit()
            machine.reopen()
    assert machine.expected[0] == machine.found.order.from_rank(0, 1)[0]
    machine.teardown()


def test_a_piece_that_grew_below_the_floor_is_divided_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor of an earlier question is not that of the division: members have come below it."""
    small_limits(monkeypatch, 2, 0)
    machine = Machine()
    low = -math.inf
    machine.put({b"": -1.5, b"\xff": low, b"b": low, b"c": low})
    machine.found.order.part(b"", None, 1)  # finds the floor
    machine.ranks()
    machine.put({b"a": low, b"b": low, b"c": low, b"": -1.5})
    machine.rank_some(1)
    machine.ranks()
    machine.teardown()
