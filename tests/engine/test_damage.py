"""Damage on the disk: any bit, any length, any file is detected or harmless, never a wrong answer (damage.py)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.damage import SCENES, Damage, cut, exchange, flip, go_back, lose, put_in_place, writing
from tests.figures import BITS, Figures


@pytest.mark.parametrize("name", SCENES)
def test_flipped_bits(name: str, figures: Figures) -> None:
    outcomes = flip(name, 32)
    figures.add(BITS, outcomes.total())
    assert outcomes["open"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_more_flipped_bits(name: str, figures: Figures) -> None:
    outcomes = flip(name, 8)
    figures.add(BITS, outcomes.total())
    assert outcomes["open"] > 100


@pytest.mark.parametrize("name", SCENES)
def test_lengths(name: str) -> None:
    outcomes = cut(name, 8)
    assert outcomes["open"] > 10
    assert outcomes["harmless"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_every_length(name: str) -> None:
    assert cut(name)["open"] > 100


@pytest.mark.parametrize("change", [lose, exchange, put_in_place, go_back], ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", SCENES)
def test_moved_files(name: str, change: Callable[[str], None]) -> None:
    """Files that are gone, exchanged, of another database, of an earlier open."""
    change(name)


@pytest.mark.parametrize("name", SCENES)
def test_duplicates_and_strangers(name: str) -> None:
    """Copies under names that nobody names are harmless, and so is whatever is not Flin's."""
    damage = Damage(name)
    for path in damage.paths():
        content = damage.image.read(path)
        directory, _, base = path.rpartition("/")
        number, _, suffix = base.partition(".")
        for copy in (f"{base}~", f"copy of {base}", f"{base}.1", base.lower(), f"0{base}", f"{number}x.{suffix}"):
            if copy != base:
                assert damage.case(copy, writing(f"{directory}/{copy}", content)) == "harmless", copy
        if base.endswith(".sst"):
            assert damage.case("table", writing(f"{directory}/00009999-0000.1.sst", content)) == "harmless"
        if base.endswith(".wal"):
            for copy in ("99999999.1.wal", f"{number}.9.wal"):
                assert damage.case(copy, writing(f"{directory}/{copy}", content)) in ("harmless", "open")
