"""Damage on the disk: any bit, any length, any file is detected or harmless, never a wrong answer (damage.py)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

import flin.engine
from flin.engine.options import Options
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.wal import frames as wal_frames
from flin.testing import ManualClock, SimulatedDisk, killed
from flin.testing.crash_model import Filling, overwrite
from flin.testing.run import PATH
from tests.engine.damage import (
    LONG_SCENES,
    SCENES,
    Damage,
    cut,
    exchange,
    flip,
    go_back,
    lose,
    put_in_place,
    stretch,
    writing,
)
from tests.figures import BITS, Figures


@pytest.mark.parametrize("name", SCENES)
def test_flipped_bits(name: str, figures: Figures) -> None:
    outcomes = flip(name, 64)
    figures.add(BITS, outcomes.total())
    assert outcomes["open"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_more_flipped_bits(name: str, figures: Figures) -> None:
    outcomes = flip(name, 8)
    figures.add(BITS, outcomes.total())
    assert outcomes["open"] > 100


@pytest.mark.parametrize("name", [*SCENES, *LONG_SCENES])
def test_stretches(name: str) -> None:
    """Stretches of every length and place: anything left that vouches for a sync is believed."""
    outcomes = stretch(name, 1024 if name in LONG_SCENES else 192)
    assert outcomes["open"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SCENES, *LONG_SCENES])
def test_more_stretches(name: str) -> None:
    outcomes = stretch(name, 80 if name in LONG_SCENES else 24, tuple(Filling))
    assert outcomes["open"] > 100


@pytest.mark.parametrize("filling", Filling)
@pytest.mark.parametrize("size", [100, 512, 4096])
def test_the_head_of_a_segment(size: int, filling: Filling) -> None:
    """A bad sector takes the header and the first frames of hundreds of synced writes: nothing vanishes in silence, and
    a repair keeps everything after it."""
    damage = Damage("synced puts", check_every=1)
    (path,) = [path for path in damage.paths() if path.endswith(".wal")]
    damaged = killed(damage.image)
    assert overwrite(damaged, path, 0, size, filling, Random(size))
    assert damage.case("head", lambda disk: disk.write(path, damaged.read(path))) == "open"
    target = Options(fs=SimulatedDisk(), clock_ms=ManualClock())
    report = Repair(damaged, PATH, RepairOptions(), target, "/repaired").run()
    with flin.engine.open("/repaired", fs=target.fs, clock_ms=target.clock_ms, runner="inline") as repaired:
        found = dict(repaired)
    expected = damage.expectation.states[-1]
    whole = [key for key in expected if key in found]
    assert found == {key: expected[key][0] for key in whole}
    frame = len(wal_frames.encode_put(bytes(8), 0, 0, 0, b"k000", b"000" * 12))
    assert len(expected) - len(found) <= 1 + (size - wal_frames.HEADER_BYTES) // frame + 1
    assert report.keys == len(found)
    assert not report.lossless


@pytest.mark.parametrize("name", SCENES)
def test_lengths(name: str) -> None:
    outcomes = cut(name, 16)
    assert outcomes["open"] > 10
    assert outcomes["harmless"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_every_length(name: str) -> None:
    assert cut(name)["open"] > 100


@pytest.mark.parametrize("change", [lose, exchange, put_in_place, go_back], ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", SCENES)
def test_moved_files(name: str, change: Callable[[str], None]) -> None:
    """Files that are missing, swapped, from another database, or from an earlier open."""
    change(name)


@pytest.mark.parametrize("name", SCENES)
def test_duplicates_and_strangers(name: str) -> None:
    """Copies under names that nothing refers to are harmless, and so are files that are not Flin's."""
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
