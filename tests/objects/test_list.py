"""Lists against Python's: packed, spread, with holes and fractions; commits, refusals, settles, evictions."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from flin.errors import CorruptionError
from flin.objects import limits, read_ahead, spread_list
from flin.objects.host import Host
from flin.objects.layout import PREFIX_BYTES
from flin.objects.list import List
from flin.objects.list_position import FIRST_INDEX, INDEX_BYTES
from flin.objects.live_objects import LiveObjects
from flin.objects.meta import ListMeta
from flin.objects.thresholds import Thresholds
from tests.objects.plain_host import PlainHost

KEY = b"l"
MUCH = 1 << 30

elements = st.sampled_from([b"a", b"b", b"c", b"", b"\xff"])
some = st.lists(elements, min_size=1, max_size=6)
sides = st.booleans()


def made() -> tuple[PlainHost, LiveObjects]:
    host = PlainHost()
    return host, LiveObjects(cast(Host, host), 1 << 20, Thresholds())


class Machine(RuleBasedStateMachine):
    """One key."""

    def __init__(self) -> None:
        super().__init__()
        self.host, self.objects = made()
        self.model: list[bytes] = []
        self.committed: list[bytes] = []

    def found(self) -> List:
        found = self.objects.find(KEY, List)
        assert (found is not None) == bool(self.model)
        return List(self.objects, KEY) if found is None else found

    # Changes.

    @rule(new=some, is_left=sides)
    def push(self, new: list[bytes], is_left: bool) -> None:
        if is_left:
            self.found().push_left(new)
            self.model[:0] = new[::-1]
        else:
            self.found().push_right(tuple(new))
            self.model += new

    @precondition(lambda self: self.model)
    @rule(is_left=sides)
    def pop(self, is_left: bool) -> None:
        popped = self.found().pop_left() if is_left else self.found().pop_right()
        assert popped == self.model.pop(0 if is_left else -1)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), is_left=sides)
    def pop_some(self, data: st.DataObject, is_left: bool) -> None:
        count = data.draw(st.integers(1, len(self.model)))
        found = self.found()
        assert found.at_end(count, is_left=is_left) == (self.model if is_left else self.model[::-1])[:count]
        found.drop(count if is_left else 0, 0 if is_left else count)
        self.model = self.model[count:] if is_left else self.model[:-count]

    @precondition(lambda self: self.model)
    @rule(is_from_left=sides, is_to_left=sides)
    def rotate(self, is_from_left: bool, is_to_left: bool) -> None:
        element = self.model.pop(0 if is_from_left else -1)
        self.model.insert(0 if is_to_left else len(self.model), element)
        assert self.found().rotate(is_from_left=is_from_left, is_to_left=is_to_left) == element

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        left = data.draw(st.integers(0, len(self.model)))
        right = data.draw(st.integers(0, len(self.model) - left))
        if left + right:
            self.found().drop(left, right)
            del self.model[len(self.model) - right :]
            del self.model[:left]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), most_bytes=st.sampled_from([0, MUCH]))
    def keep(self, data: st.DataObject, most_bytes: int) -> None:
        start = data.draw(st.integers(0, len(self.model)))
        stop = data.draw(st.integers(start, len(self.model)))
        if stop - start < len(self.model):
            self.found().keep(start, stop, most_bytes)
            self.model = self.model[start:stop]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), element=elements)
    def set_at(self, data: st.DataObject, element: bytes) -> None:
        self.set_at_rank(data.draw(st.integers(0, len(self.model) - 1)), element)

    def set_at_rank(self, rank: int, element: bytes) -> None:
        self.found().set_at(rank, element)
        self.model[rank] = element

    @precondition(lambda self: self.model)
    @rule(pivot=elements, element=elements, is_before=sides, times=st.sampled_from([1, 1, 30]))
    def insert(self, pivot: bytes, element: bytes, is_before: bool, times: int) -> None:
        for _ in range(times):
            is_there = pivot in self.model
            assert self.found().insert(pivot, element, is_before=is_before, most_bytes=MUCH) == is_there
            if is_there:
                self.model.insert(self.model.index(pivot) + (not is_before), element)

    @precondition(lambda self: self.model)
    @rule(element=elements, count=st.integers(-3, 3))
    def remove(self, element: bytes, count: int) -> None:
        ranks = [rank for rank, other in enumerate(self.model) if other == element]
        ranks = ranks[count:] if count < 0 else ranks[: count or None]
        assert self.found().remove(element, count) == len(ranks)
        self.model = [other for rank, other in enumerate(self.model) if rank not in ranks]

    # What becomes of the batch.

    @rule()
    def commit(self) -> None:
        self.host.commit()
        self.committed = deepcopy(self.model)
        self.owns_what_is_stored()

    @rule()
    def refuse(self) -> None:
        self.host.refuse()
        self.objects.forget_all()
        self.model = deepcopy(self.committed)

    @rule()
    def settle_and_forget(self) -> None:
        """As a savepoint and a RENAME do: it is loaded again from the batch."""
        self.host.settle()
        self.objects.forget_all()

    @rule()
    def settle(self) -> None:
        self.host.settle()

    @rule()
    def evict(self) -> None:
        self.commit()
        self.objects.forget_all()

    def owns_what_is_stored(self) -> None:
        """Under its version lie its elements, and nothing else."""
        found = self.found()
        if found.meta is None:
            return
        assert isinstance(found.meta, ListMeta)
        stored = sorted(key[PREFIX_BYTES:] for key in self.host.store if key.startswith(found.prefix))
        assert [self.host.store[found.prefix + suffix] for suffix in stored] == self.model
        indices = [int.from_bytes(suffix[:INDEX_BYTES], "big") for suffix in stored]
        assert (found.meta.head, found.meta.tail) == (indices[0], indices[-1] + 1)
        has_fractions = any(len(suffix) > INDEX_BYTES for suffix in stored)
        assert found.meta.has_fractions >= has_fractions
        if not found.meta.has_fractions:
            assert found.meta.is_dense == (indices == [*range(indices[0], indices[-1] + 1)])

    @invariant()
    def is_what_the_model_says(self) -> None:
        found, model = self.found(), self.model
        assert len(found) == len(model)
        if model:
            assert [found.at(rank) for rank in range(len(model))] == model
            assert list(chain.from_iterable(found.all_pages())) == model
            assert list(chain.from_iterable(found.all_pages(reverse=True))) == model[::-1]
            for start, stop in ((0, len(model)), (1, len(model)), (0, len(model) - 1), (2, 4)):
                expected = model[start:stop]
                if expected:
                    stop = start + len(expected)
                    assert found.between(start, stop) == expected
                    assert list(chain.from_iterable(found.frozen_pages(start, stop))) == expected
            for _ in range(2):
                assert found.between(0, len(model)) == model
            self.read_ahead_is_right(found)
        self.objects._check()

    def read_ahead_is_right(self, found: List) -> None:
        spread = found.spread
        if spread is not None and spread.ahead.elements:
            assert spread.meta.is_dense
            first = spread.ahead.start - spread.meta.head
            assert first >= 0
            assert self.model[first : first + len(spread.ahead.elements)] == spread.ahead.elements

    def teardown(self) -> None:
        self.evict()
        self.is_what_the_model_says()


def run(examples: int, patch: pytest.MonkeyPatch, packed: int, near: int) -> None:
    patch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    patch.setattr(limits, "MIN_REWRITTEN", 2)
    patch.setattr(limits, "MAX_REWRITES", 2)
    patch.setattr(limits, "PAGE", 3)
    patch.setattr(spread_list, "CHUNK", 3)
    patch.setattr(read_ahead, "BEGIN", 3)
    patch.setattr(read_ahead, "MAX_ELEMENTS", 5)
    patch.setattr(spread_list, "NEAR", near)
    patch.setattr(spread_list, "MAX_TOMBSTONES", 4)
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))


BOTH = pytest.mark.parametrize(("packed", "near"), [(4, 2), (1, 256)])


@BOTH
def test_lists(packed: int, near: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(30, monkeypatch, packed, near)


@pytest.mark.slow
@BOTH
def test_many_lists(packed: int, near: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(400, monkeypatch, packed, near)


# One thing at a time.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """With a committed list of nine different elements, spread and dense."""
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    machine = Machine()
    machine.push([b"%d" % number for number in range(9)], is_left=False)
    machine.commit()
    return machine


def meta_of(machine: Machine) -> ListMeta:
    meta = machine.found().meta
    assert isinstance(meta, ListMeta)
    return meta


@pytest.mark.parametrize("is_left", [True, False])
def test_a_list_that_is_loaded_within_a_batch_takes_nothing_back(machine: Machine, is_left: bool) -> None:
    """The batch may hold a tombstone for what the store has."""
    machine.pop(is_left=is_left)
    machine.settle_and_forget()
    machine.push([b"x"], is_left=is_left)
    machine.pop(is_left=is_left)
    machine.commit()
    machine.push([b"x"], is_left=is_left)
    machine.pop(is_left=is_left)
    assert len(machine.host.points) == 1, "now it knows again"


def test_elements_that_come_and_go_in_one_batch(machine: Machine) -> None:
    machine.push([b"x"] * 100, is_left=True)
    machine.push([b"x"] * 100, is_left=False)
    for is_left in (True, False):
        for _ in range(101):
            machine.pop(is_left=is_left)
    assert len(machine.host.points) == 1 + 2


@pytest.mark.parametrize("is_left", [True, False])
def test_a_queue_reads_ahead(machine: Machine, is_left: bool) -> None:
    """Each element is read once at most, however many went before; after it was loaded again it begins with one."""
    for number in range(50):
        machine.push([b"x"], is_left=not is_left)
        found, before = machine.found(), machine.host.reads
        assert found.pop_left() if is_left else found.pop_right()
        assert machine.host.reads <= before + (8 if number % 10 else 1)
        if number % 10 == 9:
            machine.host.commit()
            machine.objects.forget_all()
    assert machine.host.reads <= 60


def test_what_is_read_ahead_is_charged_and_forgotten(machine: Machine) -> None:
    machine.commit()
    found = machine.found()
    least = found.charge_bytes()
    machine.pop(is_left=True)
    machine.pop(is_left=True)
    assert found.charge_bytes() > least + 6 * read_ahead.ELEMENT_BYTES
    machine.set_at_rank(0, b"changed")
    assert found.charge_bytes() == least


def test_what_has_left_is_not_kept() -> None:
    ahead = read_ahead.ReadAhead()
    ahead.fill(7, [b"a", b"b", b"c", b"d"])
    ahead.cut(8, 10)
    assert (ahead.find(8, 10), ahead.find(9, 10), ahead.find(7, 9)) == ([b"b", b"c"], [b"c"], None)
    assert ahead.held_bytes
    ahead.cut(12, 20)
    assert (ahead.elements, ahead.held_bytes) == ([], 0)


def test_a_range_that_is_read_again_is_kept(machine: Machine) -> None:
    machine.commit()
    found, before = machine.found(), machine.host.reads
    least = machine.objects.memory_bytes()
    for reads in (5, 10, 10, 10):
        assert found.between(2, 7) == machine.model[2:7]
        assert machine.host.reads == before + reads
    assert machine.objects.memory_bytes() > least + 5 * read_ahead.ELEMENT_BYTES
    assert found.between(3, 5) == machine.model[3:5]
    machine.push([b"new"], is_left=True)
    before = machine.host.reads
    assert found.between(3, 8) == machine.model[3:8]
    assert machine.host.reads == before
    machine.set_at_rank(5, b"changed")
    assert found.between(3, 8) == machine.model[3:8]
    assert machine.host.reads == before + 5


def test_ranges_that_are_not_kept() -> None:
    ahead = read_ahead.ReadAhead()
    for elements in ([b"a"] * 3, [b"a"] * 1025, [b"x" * 100_000] * 4):
        assert not any(ahead.keep(7, elements) for _ in range(3))
    assert not any(ahead.keep(number, [b"a"] * 9) for number in range(9)), "each begins elsewhere"
    assert ahead.keep(8, [b"a"] * 9)


def test_pages_grow_to_a_bound() -> None:
    ahead = read_ahead.ReadAhead()
    reaches = []
    for size in (1, 8, 8, 8, 8, 8, 8, 60_000, 8):
        count = ahead.reach(1)
        reaches.append(count)
        ahead.fill(7, [b"x" * size] * count)
    assert reaches == [1, 8, 16, 32, 64, 128, 256, 256, 1]


@pytest.mark.parametrize("is_left", [True, False])
def test_a_hole_behind_what_is_popped_hurts_nobody(machine: Machine, is_left: bool) -> None:
    """What can be read ahead is read."""
    machine.commit()
    machine.pop(is_left=is_left)
    found = machine.found()
    del machine.host.store[found.prefix + (FIRST_INDEX + 4).to_bytes(8, "big")]
    for number in (1, 2, 3):
        popped = found.pop_left() if is_left else found.pop_right()
        assert popped == b"%d" % (number if is_left else 8 - number)
    with pytest.raises(CorruptionError, match="lacks elements"):
        _ = found.pop_left() if is_left else found.pop_right()


def test_holes_leave_at_the_ends(machine: Machine) -> None:
    """Then it is dense again."""
    machine.remove(b"3", 0)
    machine.remove(b"5", 1)
    assert (meta_of(machine).is_dense, meta_of(machine).has_fractions) == (False, False)
    machine.push([b"9"], is_left=False)
    machine.evict()
    machine.is_what_the_model_says()
    for _ in range(3):
        machine.pop(is_left=True)
    assert not meta_of(machine).is_dense
    machine.pop(is_left=True)
    assert meta_of(machine).is_dense
    machine.commit()
    machine.is_what_the_model_says()


def test_removed_ends_leave_no_holes(machine: Machine) -> None:
    for element in (b"0", b"1", b"8"):
        machine.remove(element, 0)
    assert meta_of(machine).is_dense
    machine.commit()


@pytest.mark.parametrize("is_before", [True, False])
def test_too_many_insertions_at_one_place_write_the_list_anew(machine: Machine, is_before: bool) -> None:
    version = meta_of(machine).version
    count = 0
    while meta_of(machine).version == version:
        machine.insert(b"4", b"x%d" % count, is_before=is_before, times=1)
        count += 1
    assert 200 < count < 300
    assert meta_of(machine).is_dense
    assert list(machine.objects.gone), "the reaper is told"
    machine.commit()
    machine.is_what_the_model_says()


def test_a_list_that_is_too_large_to_write_anew(machine: Machine) -> None:
    """Nothing has changed then."""
    found = machine.found()
    assert found.spread is not None
    while (place := found.spread.maybe_position_beside(found.spread.position_at(4), is_before=False)) is not None:
        found.spread.insert(place, b"x")
        machine.model.insert(5, b"x")
    with pytest.raises(MemoryError):
        found.insert(b"4", b"x", is_before=False, most_bytes=100)
    found.touch()
    machine.commit()
    machine.is_what_the_model_says()


def test_insertions_at_the_ends_need_no_fraction(machine: Machine) -> None:
    machine.insert(b"0", b"x", is_before=True, times=1)
    machine.insert(b"8", b"y", is_before=False, times=1)
    assert meta_of(machine).is_dense
    assert meta_of(machine).head == FIRST_INDEX - 1


def test_less_stays_than_goes(machine: Machine) -> None:
    """What stays is written anew, packed; the reaper deletes the rest."""
    anchor = machine.found().anchor()
    machine.found().keep(2, 5, MUCH)
    machine.model = machine.model[2:5]
    assert machine.found().is_packed
    assert list(machine.objects.gone) == [anchor]
    assert len(machine.host.points) == 1
    machine.commit()
    machine.is_what_the_model_says()


def test_many_go_by_one_range_delete(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_list, "MAX_TOMBSTONES", 2)
    machine.remove(b"4", 0)
    machine.found().drop(2, 1)
    machine.model = machine.model[2:-1]
    assert not [key for key in machine.host.points if key.startswith(machine.found().prefix + b"\x80")][1:]
    machine.push([b"x", b"y", b"z"], is_left=True)
    machine.commit()
    machine.is_what_the_model_says()


def test_an_element_that_is_missing_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_list, "CHUNK", 2)
    found = machine.found()
    del machine.host.store[found.prefix + FIRST_INDEX.to_bytes(8, "big")]
    with pytest.raises(CorruptionError, match="no element at the position"):
        found.at(0)
    with pytest.raises(CorruptionError, match="lacks elements"):
        found.pop_left()
    with pytest.raises(CorruptionError, match="lacks elements"):
        found.between(0, 9)


def test_the_rank_index_of_a_list_with_holes_is_charged() -> None:
    host, objects = made()
    found = objects.find_or_make(KEY, List)
    found.push_right([b"%d" % number for number in range(5000)])
    found.remove(b"2500", 1)
    host.commit()
    before = objects.memory_bytes()
    assert found.at(2600) == b"2601"
    assert objects.memory_bytes() > before + 10 * 64
