"""The oracle judges as it should: it accepts every prefix that was allowed and nothing else."""

from __future__ import annotations

import pytest

from flin.testing.clock import ManualClock
from flin.testing.model import Delete, DeleteRange, Model, Put, apply, view


def followed() -> Model:
    model = Model()
    for key in (b"a", b"b", b"c"):
        model.begin([Put(key, key), Put(b"z", key)])
        model.answer()
        if key == b"a":
            model.promise()
    return model


def found(number: int) -> dict[bytes, bytes]:
    state = {key: key for key in (b"a", b"b", b"c")[:number]}
    return state | ({b"z": list(state)[-1]} if state else {})


def test_prefixes() -> None:
    expectation = followed().expectation()
    assert view(expectation.match(found(3), 0, power_cut=False), 0) == found(3)
    for number in (1, 2, 3):
        assert view(expectation.match(found(number), 0, power_cut=True), 0) == found(number)
    for number, power_cut in ((0, True), (2, False)):
        with pytest.raises(AssertionError, match=f"only {number} commits are there"):
            expectation.match(found(number), 0, power_cut=power_cut)


@pytest.mark.parametrize(
    "wrong", [{b"b": b"b"}, {b"a": b"a", b"z": b"a", b"c": b"c"}, {b"a": b"a", b"b": b"b", b"z": b"a"}]
)
def test_holes_and_halves_are_refused(wrong: dict[bytes, bytes]) -> None:
    with pytest.raises(AssertionError, match="no prefix"):
        followed().expectation().match(wrong, 0, power_cut=True)


def test_open_commit_may_be_there() -> None:
    model = followed()
    model.begin([Put(b"d", b"d")])
    model.begin([Put(b"e", b"e")])
    for extra in ({}, {b"d": b"d"}, {b"e": b"e"}):
        assert model.expectation().match(found(3) | extra, 0, power_cut=False)
    with pytest.raises(AssertionError, match="no prefix"):
        model.expectation().match(found(3) | {b"d": b"d", b"e": b"e"}, 0, power_cut=True)
    model.begin([Delete(b"a")])
    model.answer()
    assert model.expectation().match(found(3) | {b"d": b"d"}, 0, power_cut=True)
    model.promise()
    with pytest.raises(AssertionError, match="no prefix"):
        model.expectation().match(found(3) | {b"d": b"d"}, 0, power_cut=True)


def test_what_was_found_at_a_reopening_counts() -> None:
    model = followed()
    model.begin([Put(b"d", b"d")])
    model.reopened(found(3) | {b"d": b"d"}, 0)
    model.begin([Put(b"e", b"e")])
    model.answer()
    assert model.view(0) == found(3) | {b"d": b"d", b"e": b"e"}


def test_steps() -> None:
    state = apply({}, [Put(b"a", b"1"), Put(b"b", b"2", 50), Put(b"c", b"3")])
    assert view(state, 49) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert view(state, 50) == {b"a": b"1", b"c": b"3"}
    assert view(apply(state, [Delete(b"a"), DeleteRange(b"c", None), Put(b"c", b"4")]), 0) == {b"b": b"2", b"c": b"4"}
    assert view(apply(state, [DeleteRange(b"a", b"c")]), 0) == {b"c": b"3"}


def test_clock() -> None:
    clock = ManualClock(2500)
    clock.advance(1.25)
    assert clock() == 3750
