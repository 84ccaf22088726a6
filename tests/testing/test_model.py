"""The oracle is right: it accepts every allowed prefix and nothing else."""

from __future__ import annotations

import pytest

from flin.testing.clock import ManualClock
from flin.testing.model import Delete, DeleteRange, Model, Put, State, apply, view


def followed() -> Model:
    model = Model()
    for key in (b"a", b"b", b"c"):
        model.begin([Put(key, key), Put(b"z", key)])
        model.answer()
        if key == b"a":
            model.promise()
    return model


def found(number: int) -> State:
    values = {key: key for key in (b"a", b"b", b"c")[:number]}
    return for_ever(values | ({b"z": list(values)[-1]} if values else {}))


def for_ever(values: dict[bytes, bytes]) -> State:
    return {key: (value, 0) for key, value in values.items()}


def test_prefixes() -> None:
    expectation = followed().expectation()
    assert expectation.match(found(3), 0, power_cut=False) == found(3)
    for number in (1, 2, 3):
        assert expectation.match(found(number), 0, power_cut=True) == found(number)
    for number, power_cut in ((0, True), (2, False)):
        with pytest.raises(AssertionError, match=f"only {number} commits are there"):
            expectation.match(found(number), 0, power_cut=power_cut)


@pytest.mark.parametrize(
    "wrong", [{b"b": b"b"}, {b"a": b"a", b"z": b"a", b"c": b"c"}, {b"a": b"a", b"b": b"b", b"z": b"a"}]
)
def test_holes_and_halves_are_refused(wrong: dict[bytes, bytes]) -> None:
    with pytest.raises(AssertionError, match="no prefix"):
        followed().expectation().match(for_ever(wrong), 0, power_cut=True)


def test_open_commit_may_be_there() -> None:
    model = followed()
    model.begin([Put(b"d", b"d")])
    model.begin([Put(b"e", b"e")])
    for extra in ({}, {b"d": b"d"}, {b"e": b"e"}):
        assert model.expectation().match(found(3) | for_ever(extra), 0, power_cut=False)
    with pytest.raises(AssertionError, match="no prefix"):
        model.expectation().match(found(3) | for_ever({b"d": b"d", b"e": b"e"}), 0, power_cut=True)
    model.begin([Delete(b"a")])
    model.answer()
    assert model.expectation().match(found(3) | for_ever({b"d": b"d"}), 0, power_cut=True)
    model.promise()
    with pytest.raises(AssertionError, match="no prefix"):
        model.expectation().match(found(3) | for_ever({b"d": b"d"}), 0, power_cut=True)


def test_what_was_found_at_a_reopening_counts() -> None:
    model = followed()
    model.begin([Put(b"d", b"d")])
    model.reopened(found(3) | for_ever({b"d": b"d"}), 0)
    model.begin([Put(b"e", b"e")])
    model.answer()
    assert model.state == found(3) | for_ever({b"d": b"d", b"e": b"e"})


def test_steps() -> None:
    state = apply({}, [Put(b"a", b"1"), Put(b"b", b"2", 50), Put(b"c", b"3")])
    assert view(state, 49) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert view(state, 50) == {b"a": b"1", b"c": b"3"}
    assert view(apply(state, [Delete(b"a"), DeleteRange(b"c", None), Put(b"c", b"4")]), 0) == {b"b": b"2", b"c": b"4"}
    assert view(apply(state, [DeleteRange(b"a", b"c")]), 0) == {b"c": b"3"}


def test_an_expiry_is_part_of_what_is_found() -> None:
    model = Model()
    for expires_at_ms in (0, 50):
        model.begin([Put(b"a", b"1", expires_at_ms)])
        model.answer()
    assert model.expectation().match({b"a": (b"1", 50)}, 49, power_cut=False) == {b"a": (b"1", 50)}
    assert model.expectation().match({b"a": (b"1", 0)}, 49, power_cut=True) == {b"a": (b"1", 0)}
    for wrong in ({b"a": (b"1", 51)}, {b"a": (b"1", 0)}):
        with pytest.raises(AssertionError):
            model.expectation().match(wrong, 49, power_cut=False)


def test_a_clock_that_was_set_back() -> None:
    """Each key that had expired by the latest moment is gone, or alive again; the others are there."""
    model = Model(latest_ms=100)
    expiring: State = {b"a": (b"1", 50), b"b": (b"2", 80), b"c": (b"3", 101), b"d": (b"4", 20)}
    model.begin([Put(key, value, expires_at_ms) for key, (value, expires_at_ms) in expiring.items()])
    model.answer()
    for gone in ([], [b"a"], [b"b"], [b"a", b"b"], [b"a", b"b", b"d"]):
        found = {key: entry for key, entry in expiring.items() if key not in gone}
        assert model.expectation().match(found, 40, power_cut=False) == found
    for wrong in ([b"c"], [b"a", b"c"]):
        with pytest.raises(AssertionError, match="no prefix"):
            model.expectation().match(
                {key: entry for key, entry in expiring.items() if key not in wrong}, 40, power_cut=False
            )
    model.set_back({b"b": (b"2", 80), b"c": (b"3", 101)}, 40)
    assert model.view(40) == {b"b": b"2", b"c": b"3"}
    assert model.expectation().match(expiring, 10, power_cut=True) == expiring, "the sweep may be lost"


def test_what_has_expired_tells_states_apart() -> None:
    """Both show nothing; if the expired key is still held, its deletion cannot have happened."""
    model = Model()
    for step in (Put(b"a", b"1", 50), Delete(b"a")):
        model.begin([step])
        model.answer()
    assert model.expectation().expiring == {b"a"}
    for held in ({b"a": (b"1", 50)}, {}):
        assert model.expectation().match(held, 60, power_cut=True) == held
    with pytest.raises(AssertionError, match="only 1 commits"):
        model.expectation().match({b"a": (b"1", 50)}, 60, power_cut=False)


def test_clock() -> None:
    clock = ManualClock(2500)
    clock.advance(1.25)
    assert clock() == 3750
