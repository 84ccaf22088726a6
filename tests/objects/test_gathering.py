"""The members of a large set are gathered in slices, whatever changes in between."""

from __future__ import annotations

from random import Random

import pytest

from flin.objects.set import Gathering


@pytest.mark.parametrize("seed", range(20))
def test_changes_between_pages(seed: int) -> None:
    chance = Random(seed)
    alphabet = [b""] + [bytes(chance.choices(b"ab\xff", k=chance.randrange(1, 4))) for _ in range(60)]
    there = set(chance.sample(sorted(set(alphabet)), 20))
    size = chance.randrange(1, 8)
    gathering = Gathering()
    while True:
        gathering.read(sorted(member for member in there if member >= gathering.next)[:size], size)
        if gathering.is_done:
            break
        for member in chance.sample(alphabet, chance.randrange(5)):
            if member in there:
                there.discard(member)
                gathering.removed([member])
            else:
                there.add(member)
                gathering.added([member])
    assert set(gathering.members) == there
