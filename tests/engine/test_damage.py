"""Damage on the disk: any bit, any length, any file is detected or harmless, never a wrong answer (damage.py)."""

from __future__ import annotations

from itertools import permutations

import pytest

from flin.testing import SimulatedDisk
from tests.engine.damage import SCENES, Damage, cut, flip, subsets, writing
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


@pytest.mark.parametrize("name", SCENES)
def test_missing_files(name: str) -> None:
    """Whichever files are gone: detected, as long as any other is left that knows of them.

    Segments that nothing names yet may be missing unnoticed: a directory can hold none of them after a crash."""
    damage = Damage(name, check_every=1)
    paths = damage.paths()
    for lost in subsets(paths):
        if len(lost) == len(paths):
            continue  # nothing is left to know it by: an empty directory

        def lose(disk: SimulatedDisk, lost: list[str] = lost) -> None:
            for path in lost:
                disk.lose(path)

        only_wal = all(path.endswith(".wal") for path in lost)
        outcome = damage.case(f"{lost} are gone", lose, any_prefix=only_wal)
        assert outcome == "open" or only_wal, f"{lost} are gone and nobody noticed: {outcome}"


@pytest.mark.parametrize("name", SCENES)
def test_exchanged_files(name: str) -> None:
    """Each file's bytes under each other's name, and the same bytes under both."""
    damage = Damage(name, check_every=1)
    for one, other in permutations(damage.paths(), 2):
        first, second = damage.image.read(one), damage.image.read(other)

        def exchange(disk: SimulatedDisk, one: str = one, other: str = other) -> None:
            disk.write(one, damage.image.read(other))
            disk.write(other, damage.image.read(one))

        any_prefix = one.endswith(".wal") and other.endswith(".wal")
        if first != second:
            damage.case(f"{one} and {other} exchanged", exchange, any_prefix=any_prefix)
            damage.case(f"{one} is {other}", writing(one, second), any_prefix=one.endswith(".wal"))


@pytest.mark.parametrize("name", SCENES)
def test_files_of_other_databases(name: str) -> None:
    """Files of databases with another identity under this one's names: what decodes is still not this one's."""
    damage = Damage(name, check_every=1)
    has_segments = any(path.endswith(".wal") for path in damage.paths())
    for other in SCENES:
        foreign = Damage(other, seed=1000)
        for path in damage.paths():
            for strange in foreign.paths():
                content = foreign.image.read(strange)
                is_same_kind = path.rpartition(".")[2] == strange.rpartition(".")[2]
                if (
                    path.endswith("MANIFEST")
                    and not has_segments
                    and not any(".sst" in each for each in foreign.paths())
                ):
                    continue  # without tables and segments nothing tells one database from another
                if is_same_kind and content != damage.image.read(path):
                    damage.case(
                        f"{path} is {strange} of {other}", writing(path, content), any_prefix=path.endswith(".wal")
                    )


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
