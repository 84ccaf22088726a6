"""A sample is as large as it can be, and every item has the same chance, however the items come."""

from __future__ import annotations

import random

from flin.transfer.sample import Sample


def _sampled(pages: list[int], size: int, source: random.Random) -> list[int]:
    sample, begun = Sample[int](size, source), 0
    for count in pages:
        sample.add(count, range(begun, begun + count).__getitem__)
        begun += count
    return sample.items


def test_few_are_all_taken() -> None:
    source = random.Random(1)
    assert _sampled([], 5, source) == []
    assert _sampled([2, 0, 2], 5, source) == [0, 1, 2, 3]
    assert _sampled([3, 2], 5, source) == [0, 1, 2, 3, 4]


def test_every_item_has_the_same_chance() -> None:
    source = random.Random(2)
    taken = [0] * 60
    for _ in range(6000):
        found = _sampled([7, 1, 0, 30, 22], 10, source)
        assert len(set(found)) == 10
        for item in found:
            taken[item] += 1
    assert min(taken) > 850, taken  # 1,000 are expected, give or take 29
    assert max(taken) < 1150, taken
