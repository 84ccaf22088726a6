"""limits: its three strategies, with locks and scripts in the server."""

from __future__ import annotations

import pytest

from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize(
    "strategy", ["FixedWindowRateLimiter", "MovingWindowRateLimiter", "SlidingWindowCounterRateLimiter"]
)
def test_strategy(served: Served, strategy: str) -> None:
    limits = needs_package("limits")
    storage = limits.storage.storage_from_string(served.url)
    assert storage.check()
    limiter = getattr(limits.strategies, strategy)(storage)
    hourly, minutely = limits.parse("10/hour"), limits.parse("3 per minute")
    assert [limiter.hit(hourly, "ada") for _ in range(12)] == [True] * 10 + [False] * 2
    assert limiter.hit(hourly, "grace", cost=9)
    assert not limiter.test(hourly, "grace", cost=2)
    assert limiter.test(minutely, "ada")
    assert limiter.get_window_stats(hourly, "grace").remaining == 1
    served.kill_and_start()
    storage.storage.connection_pool.disconnect()
    assert not limiter.hit(hourly, "ada"), "it still remembers"
    assert limiter.get_window_stats(hourly, "grace").remaining == 1
    assert limiter.get_window_stats(hourly, "ada").reset_time > 0
    limiter.clear(hourly, "ada")
    assert limiter.hit(hourly, "ada")
    assert storage.reset() is not None
    assert limiter.hit(hourly, "grace", cost=9)
