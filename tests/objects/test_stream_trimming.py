"""How many entries are trimmed."""

from __future__ import annotations

from bisect import bisect_left

import pytest

from flin.objects.layout import stream_id
from flin.objects.stream_trimming import Trimming


class Entries:
    """Ids 1-0 to count-0."""

    def __init__(self, count: int) -> None:
        self.ids = [stream_id(ms, 0) for ms in range(1, count + 1)]

    def __len__(self) -> int:
        return len(self.ids)

    def number_below(self, id_: bytes, enough: int = 0) -> int:
        below = bisect_left(self.ids, id_)
        return enough + 1 if 0 < enough < below else below


@pytest.mark.parametrize(
    ("count", "most", "node", "limit", "number"),
    [
        (0, 0, 0, 0, 0),
        (5, 5, 0, 0, 0),
        (5, 3, 0, 0, 2),
        (5, 0, 0, 0, 5),
        (25, 6, 10, 0, 10),
        (25, 5, 10, 0, 20),
        (25, 4, 10, 0, 20),
        (25, 0, 10, 0, 25),
        (25, 0, 10, 24, 20),
        (25, 0, 10, 19, 10),
        (25, 0, 10, 9, 0),
        (5, 1, 10, 0, 0),
        (5, 0, 10, 0, 5),
    ],
)
def test_lengths(count: int, most: int, node: int, limit: int, number: int) -> None:
    assert Trimming(most, None, node, limit).number_of(Entries(count)) == number
    least = stream_id(count - most + 1, 0)
    assert Trimming(None, least, node, limit).number_of(Entries(count)) == number


def test_the_entry_that_is_about_to_be_added_counts() -> None:
    added = stream_id(99, 0)
    assert Trimming(0).number_of(Entries(5), added) == 6
    assert Trimming(3).number_of(Entries(5), added) == 3
    assert Trimming(None, stream_id(99, 0)).number_of(Entries(5), added) == 5
    assert Trimming(None, stream_id(99, 1)).number_of(Entries(5), added) == 6
