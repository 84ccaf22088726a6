"""Real power cuts of ext4 under load: the promised commits are there, and what is there is a prefix."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from flin.engine.disk.fs import OsFileSystem
from flin.testing.lane import Lanes, Violation
from flin.testing.load import EmbeddedLoad
from flin.testing.process import is_alive, wait_until
from flin.testing.survivor import check_copy
from tests.process.power_cut import CuttableDisk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[CuttableDisk]:
    made = CuttableDisk(tmp_path)
    reason = made.make()
    if reason:
        pytest.skip(reason)
    yield made
    made.unmount()


def _cut_cycles(disk: CuttableDisk, tmp_path: Path, sync: str, cycles: int) -> int:
    """Run cycles. Returns how many answered commits are lost."""
    random, lanes = Random(sync), Lanes()
    OsFileSystem().make_directory(str(disk.path / "db"))
    (tmp_path / "db").symlink_to(disk.path / "db")  # the load's other files stay on another disk
    load = EmbeddedLoad(tmp_path / "db", sync, 4, 4)
    gone = 0
    try:
        for _ in range(cycles):
            load.start()
            load.wait_until_open()
            load.wait_for_commits(500)
            time.sleep(random.uniform(0, 1.5))
            helpers = load.helpers
            least = load.answered() if sync == "always" else load.promised()
            disk.cut()
            load.victim.kill()
            load.reap()
            wait_until(lambda helpers=helpers: not any(map(is_alive, helpers)), "the helpers end")  # type: ignore[misc]
            disk.unmount()
            assert disk.mount() == ""
            least = [max(pair) for pair in zip(least, lanes.recovered(load.lanes), strict=True)]
            check_copy(load.directory, lanes, least, load.bounds()[1])
            gone += sum(load.floor) - sum(lanes.recovered(load.lanes))
            load.recover(lanes.recovered(load.lanes))
    finally:
        with suppress(Violation):
            load.stop()
    return gone


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_a_power_cut(disk: CuttableDisk, tmp_path: Path, sync: str) -> None:
    _cut_cycles(disk, tmp_path, sync, cycles=1)


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_many_power_cuts(disk: CuttableDisk, tmp_path: Path, sync: str) -> None:
    gone = _cut_cycles(disk, tmp_path, sync, cycles=7)
    assert sync != "never" or gone > 0, "a cut that takes nothing is none"
