"""The pace of maintenance: syncs on time, rounds, and the time of a sweep."""

from __future__ import annotations

import pytest

from flin.engine.background.pace import MAX_SWEEP_SHARE, ROUND_SECONDS, SWEEP_SHARE, Pace


@pytest.mark.parametrize(("interval", "rounds"), [(None, ROUND_SECONDS), (1.0, ROUND_SECONDS), (0.05, 0.05)])
def test_rounds(interval: float | None, rounds: float) -> None:
    pace = Pace(interval, 100.0)
    assert pace.round == rounds
    assert pace.wait_seconds(100.0) == pytest.approx(rounds)
    assert pace.wait_seconds(200.0) == 0, "it is late already"
    pace.begin_round(200.0)
    assert pace.wait_seconds(200.0 + rounds / 4) == (0 if interval else pytest.approx(rounds * 3 / 4))


def test_a_sync_is_on_time_whatever_a_sweep_takes() -> None:
    """In every round of a second the sweep takes all the time that it may."""
    pace = Pace(1.0, 0.0)
    now, syncs = 0.0, []
    for _ in range(40):
        now += pace.wait_seconds(now)
        pace.begin_round(now)
        if pace.is_sync_due(now):
            pace.begin_sync(now)
            syncs.append(now)
        assert pace.sweep_until > now
        now = pace.sweep_until
    assert syncs == pytest.approx([1.0 + number for number in range(len(syncs))])
    assert len(syncs) >= 8


def test_without_an_interval_no_sync_is_due() -> None:
    pace = Pace(None, 0.0)
    assert not pace.is_sync_due(1e9)


def test_a_sweep_that_is_late_gets_more_of_the_processor() -> None:
    pace = Pace(None, 0.0)
    shares = []
    for all_done in (True, False, False, False, False, True):
        pace.end_sweep(all_done=all_done)
        shares.append(pace.sweep_seconds / pace.round)
    assert shares == pytest.approx(
        [SWEEP_SHARE, 2 * SWEEP_SHARE, MAX_SWEEP_SHARE, MAX_SWEEP_SHARE, MAX_SWEEP_SHARE, SWEEP_SHARE]
    )
