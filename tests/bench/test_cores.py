"""The model of more cores: what bounds the rate, and which share of zipfian requests one worker gets."""

from __future__ import annotations

import pytest

from flin.bench.cores import Cost, speedup, zipfian_share

EVEN = 1 / 8


@pytest.mark.parametrize(
    ("one", "worker", "cores", "workers_share", "expected"),
    [
        (Cost(5, 5), Cost(5, 5), 8, EVEN, 8.0),  # nothing but loops
        (
            Cost(5, 6),
            Cost(5, 6),
            8,
            EVEN,
            40 / 6,
        ),  # helpers take a core from loops, where one server has them beside it
        (Cost(5, 5), Cost(5.5, 5.5), 8, EVEN, 8 / 1.1),  # what a cluster costs
        (Cost(5, 6), Cost(5, 6), 8, 0.25, 4.0),  # one worker has a quarter of all requests
        (Cost(5, 5), Cost(5, 5), 2, EVEN, 2.0),  # more workers than cores
        (Cost(5, 6), Cost(5, 6), 1, EVEN, 1.0),  # one core, which helpers share
    ],
)
def test_what_bounds_the_rate(one: Cost, worker: Cost, cores: int, workers_share: float, expected: float) -> None:
    assert speedup(one, worker, cores, workers_share) == pytest.approx(expected)


def test_the_busiest_worker() -> None:
    assert zipfian_share(1, 100) == pytest.approx(1)
    assert zipfian_share(8, 20_000, theta=0.0) == pytest.approx(1 / 8, rel=0.05), "keys that are asked for alike"
    assert 0.18 < zipfian_share(8, 20_000) < 0.25, "the hottest key alone is 9 % of all requests"
