"""The popularity of keys: its shape against the formula, its scattering, its growth."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from flin.bench.zipfian import THETA, Zipfian, scattered


def test_popularity_falls_as_the_formula_says() -> None:
    count, choices = 1000, 100_000
    zipfian = Zipfian(count, seed=3)
    seen = Counter(zipfian.next() for _ in range(choices))
    total = sum(1 / rank**THETA for rank in range(1, count + 1))
    assert set(seen) <= set(range(count))
    for rank in (0, 1):  # exact in the algorithm
        assert seen[rank] / choices == pytest.approx(1 / (rank + 1) ** THETA / total, rel=0.05)
    tenth = sum(1 / rank**THETA for rank in range(1, count // 10 + 1)) / total
    assert sum(seen[rank] for rank in range(count // 10)) / choices == pytest.approx(tenth, rel=0.05)


def test_it_follows_from_its_seed() -> None:
    one, two, other = Zipfian(50, 1), Zipfian(50, 1), Zipfian(50, 2)
    drawn = [one.next() for _ in range(100)]
    assert drawn == [two.next() for _ in range(100)]
    assert drawn != [other.next() for _ in range(100)]


def test_growing_is_beginning_with_more() -> None:
    grown, whole = Zipfian(10, 1), Zipfian(40, 1)
    for _ in range(30):
        grown.grow()
    assert [grown.next() for _ in range(100)] == [whole.next() for _ in range(100)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_items(count: int) -> None:
    zipfian = Zipfian(count, 1)
    assert {zipfian.next() for _ in range(1000)} == set(range(count))


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="nothing to choose"):
        Zipfian(0, 1)


def test_scattered_ranks_are_no_neighbours() -> None:
    count = 100_000
    items = [scattered(rank, count) for rank in range(1000)]
    assert all(0 <= item < count for item in items)
    assert len(set(items)) > 980
    assert sum(abs(left - right) < 10 for left, right in pairwise(items)) < 10
