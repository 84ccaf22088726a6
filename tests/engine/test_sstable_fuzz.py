"""The corpus of fuzz/sstable.py, and inputs made from it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.sstable import one_input

FOLDER = Path(__file__).parents[2] / "fuzz" / "corpus" / "sstable"
CORPUS = sorted(path for path in FOLDER.iterdir() if path.stat().st_size > 1)  # less cannot be changed
CHANGES = 2000  # of all files together, however many there are


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    data = path.read_bytes()
    one_input(data)
    chance = random.Random(path.name)
    for _ in range(CHANGES // len(CORPUS)):
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(1, len(changed))] = chance.choice((0, 1, 2, 255, chance.randrange(256)))
        one_input(bytes(changed[: chance.randrange(1, len(changed) + 1)] if chance.random() < 0.2 else changed))


@given(st.binary(min_size=1, max_size=120))
def test_any_bytes(data: bytes) -> None:
    one_input(data)
