"""Positions in a list: between any two lies another, and bytes sort as the fractions that they stand for."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.objects.list_position import FIRST_INDEX, MOST_FRACTION_BYTES, maybe_between, parse_position, position


@pytest.mark.parametrize(
    ("left", "right", "between"),
    [
        ((5, b""), (6, b""), (5, b"\x80")),
        ((5, b"\x80"), (6, b""), (5, b"\xc0")),
        ((5, b""), (5, b"\x02"), (5, b"\x01")),
        ((5, b""), (5, b"\x01"), (5, b"\0\x80")),
        ((5, b"\x01"), (5, b"\x02"), (5, b"\x01\x80")),
        ((5, b"\xff"), (6, b""), (5, b"\xff\x80")),
        ((5, b""), (7, b""), (6, b"")),
        ((5, b"\x80"), (6, b"\x80"), (6, b"")),
        ((5, b"\xff"), (6, b"\x01"), (6, b"")),
        ((255, b""), (257, b""), (256, b"")),
    ],
)
def test_table(left: tuple[int, bytes], right: tuple[int, bytes], between: tuple[int, bytes]) -> None:
    assert maybe_between(position(*left), position(*right)) == position(*between)


@pytest.mark.parametrize("side", ["left", "right", "middle"])
def test_insertions_at_one_place(side: str) -> None:
    """A list is numbered anew after hundreds at the earliest."""
    left, right = position(FIRST_INDEX), position(FIRST_INDEX + 1)
    count = 0
    while (middle := maybe_between(left, right)) is not None:
        assert left < middle < right
        assert parse_position(middle)
        if side == "left" or (side == "middle" and count % 2):
            right = middle
        else:
            left = middle
        count += 1
    assert count >= 200
    assert len(left) == 8 + MOST_FRACTION_BYTES or len(right) == 8 + MOST_FRACTION_BYTES


POSITIONS = st.builds(
    position, st.integers(0, 3), st.binary(max_size=4).filter(lambda fraction: fraction[-1:] != b"\0")
)


@given(st.lists(POSITIONS, min_size=2, max_size=2, unique=True))
def test_between_any_two(pair: list[bytes]) -> None:
    left, right = sorted(pair)
    middle = maybe_between(left, right)
    assert middle is not None
    assert left < middle < right
    parse_position(middle)
    values = [Fraction(int.from_bytes(each, "big"), 256 ** len(each)) for each in (left, middle, right)]
    assert values == sorted(set(values))
