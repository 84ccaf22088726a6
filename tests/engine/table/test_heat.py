"""Which blocks are admitted to the cache: by a table of lookups, and with even and uneven lookups."""

from __future__ import annotations

import random

import pytest

from flin.engine.table.heat import HOT, WARM, WORN, Heat, should_expand

BLOCKS = 8
FULL, ROOM = True, False

# Whether the cache is full, the blocks that are looked up, which of them is admitted ("+") or read in place (".").
CASES = [
    (ROOM, "00", ".+"),
    (ROOM, "0000", ".+.+"),
    (ROOM, "01230123", "....++++"),
    (FULL, "00000", "....+"),
    (FULL, "0000000000", "....+....+"),
    (FULL, "0102000", "......+"),
    (FULL, "012345670123456701234567", "." * 24),  # evenly: every second round begins with all counts at 0
    (FULL, "0000123450", ".........."),  # the ninth lookup is one more than there are blocks: counts begin anew
    (FULL, "000012340", "........+"),
]


@pytest.mark.parametrize(("is_full", "asked", "answers"), CASES)
def test_on_miss(is_full: bool, asked: str, answers: str) -> None:
    heat = Heat(BLOCKS)
    assert "".join(".+"[heat.on_miss(int(number), is_full)] for number in asked) == answers


def test_a_cache_that_fills_up_asks_for_more() -> None:
    heat = Heat(BLOCKS)
    assert [heat.on_miss(3, ROOM) for _ in range(WARM + 1)] == [False] * WARM + [True]
    assert [heat.on_miss(3, FULL) for _ in range(HOT + 1)] == [False] * HOT + [True]
    assert not heat.on_miss(3, FULL)
    assert heat.on_miss(3, ROOM), "and for less again once there is room"


def test_decay() -> None:
    heat = Heat(BLOCKS)
    for number in range(BLOCKS):
        assert not heat.on_miss(number, FULL)
    assert (heat.cold_reads, sum(heat.counts)) == (BLOCKS, BLOCKS)
    assert not heat.on_miss(0, FULL)
    assert (heat.cold_reads, sum(heat.counts)) == (0, 0)


def test_what_is_asked_for_more_often_than_others_is_admitted() -> None:
    """A tenth of the blocks takes half of the lookups."""
    chance = random.Random(5)
    heat = Heat(1000)
    hot, cold = 0, 0
    for _ in range(20_000):
        number = chance.randrange(100) if chance.random() < 0.5 else chance.randrange(100, 1000)
        if heat.on_miss(number, FULL):
            hot, cold = hot + (number < 100), cold + (number >= 100)
    assert hot > 200 > 20 * cold


def test_should_expand() -> None:
    assert [should_expand(hits, ROOM) for hits in (0, 1, 2)] == [False, False, True]
    assert [should_expand(hits, FULL) for hits in (WORN, WORN + 1)] == [False, True]
