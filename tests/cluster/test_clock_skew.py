"""What entries of a log tell of another clock, whatever they take on their way."""

from __future__ import annotations

import random

import pytest

from flin.cluster.replica.clock_skew import LEAST_ENTRIES, WINDOW_SECONDS, ClockSkew


@pytest.mark.parametrize("skew_ms", [-3000, 0, 700])
def test_delays_are_no_skew(skew_ms: int) -> None:
    rng, skew = random.Random(1), ClockSkew()
    for number in range(200):
        skew.note(skew_ms + rng.choice((1, 5, 40, 2500)), number / 10)
    assert skew.ms == skew_ms + 1


def test_few_entries_tell_nothing() -> None:
    skew = ClockSkew()
    for _ in range(LEAST_ENTRIES - 1):
        skew.note(2000, 1.0)
    assert skew.ms == 0
    skew.note(1500, 1.0)
    assert skew.ms == 1500


def test_a_clock_that_is_put_right() -> None:
    skew = ClockSkew()
    for second in range(int(3 * WINDOW_SECONDS)):
        skew.note(-5000 if second < WINDOW_SECONDS else 3, float(second))
    assert skew.ms == 3


def test_a_quiet_time_forgets_nothing() -> None:
    skew = ClockSkew()
    for _ in range(LEAST_ENTRIES):
        skew.note(600, 1.0)
    skew.note(2600, 10 * WINDOW_SECONDS)
    assert skew.ms == 600
