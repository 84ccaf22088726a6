"""Readers in another process than the writer's, which is under load, and killed: what they show is a prefix of its
commits, with all that was answered before the refresh."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

import flin.engine
from flin.testing.lane import Lanes
from flin.testing.load import EmbeddedLoad
from flin.testing.process import wait_until
from flin.testing.survivor import check_state

LANES = 2


class Following:
    """A reader of a load's directory, and what it must show."""

    def __init__(self, load: EmbeddedLoad) -> None:
        wait_until(lambda: (load.directory / "MANIFEST").exists(), "there is a database")
        self.reader = flin.engine.open(load.directory, read_only=True, memory_limit="4mb")
        self.refreshes = 0
        self._load = load
        self._lanes = Lanes()
        self._least = [0] * LANES

    def check(self, *, counts: bool = True) -> None:
        self._least = [max(pair) for pair in zip(self._least, self._load.answered(), strict=True)]
        self.reader.refresh()
        with self.reader.snapshot() as view:
            found = dict(view.scan())
            most = [number + self._load.in_flight * (self._load.starts + 1) for number in self._load.answered()]
            expected = self._lanes.recover(found, self._least, most)
            check_state(found, expected)
            self._least = self._lanes.recovered(LANES)  # it never goes back
            if counts:
                assert len(view) == len(found)
        self.refreshes += 1


def _follow(tmp_path: Path, sync: str, shards: int, cycles: int, commits: int) -> None:
    load = EmbeddedLoad(tmp_path / "db", sync, shards, LANES)
    try:
        load.start()
        load.wait_until_open()
        following = Following(load)
        other = Following(load)  # a second one, which looks seldom
        for cycle in range(cycles):
            goal = sum(load.answered()) + commits
            while sum(load.answered()) < goal:
                load.wait_for_commits(1)
                following.check(counts=following.refreshes % 5 == 0)
            load.victim.kill()
            load.reap()
            following.check()
            other.check()
            assert list(following.reader.items()) == list(other.reader.items())
            if cycle < cycles - 1:
                load.start()
                thread = Thread(target=load.wait_until_open)
                thread.start()
                while thread.is_alive():  # in the middle of its recovery, too
                    following.check(counts=False)
                thread.join()
        with flin.engine.open(load.directory, runner="inline", memory_limit="1mb") as writer:
            assert dict(writer.items()) == dict(following.reader.items())
            following.check()
            assert following.reader.verify() == []
        assert following.refreshes > 2 * cycles
        following.reader.close()
        other.reader.close()
    finally:
        load.stop()


def test_readers_alongside_a_writer_that_is_killed(tmp_path: Path) -> None:
    _follow(tmp_path, "interval", 1, cycles=2, commits=2000)


@pytest.mark.slow
@pytest.mark.parametrize(("sync", "shards"), [("always", 4), ("never", 1), ("interval", 4)])
def test_readers_alongside_a_writer_that_is_killed_again_and_again(tmp_path: Path, sync: str, shards: int) -> None:
    _follow(tmp_path, sync, shards, cycles=4, commits=10_000 if sync != "always" else 3000)
