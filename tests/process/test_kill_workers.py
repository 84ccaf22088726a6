"""Workers and supervisors that are killed, or told to end, in the midst of a load: nothing answered is lost, and who is
not hit does not notice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

import flin.engine
from flin.cluster.workers.groups import read_groups
from flin.cluster.workers.supervisor import wait_for_locks
from flin.engine.disk.fs import OsFileSystem
from flin.testing.process import PATIENCE_SECONDS, is_alive, kill
from tests.cluster.served import Served
from tests.process.workers_load import WorkersLoad

LANES = 3
MORE = 100
"""Transactions of each lane between two events."""

Begin = Callable[..., tuple[Served, WorkersLoad]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """A server under load, and the load."""
    started: list[tuple[Served, WorkersLoad]] = []

    def start(sync: str, workers: int = 2) -> tuple[Served, WorkersLoad]:
        served = Served(tmp_path, "--sync", sync, workers=workers)
        ranges = [(group.first, group.last) for group in read_groups(tmp_path / "db")]
        load = WorkersLoad(served, ranges, LANES)
        started.append((served, load))
        load.start()
        load.wait_for_more(MORE)
        return served, load

    yield start
    for served, load in started:
        load.stop()
        served.program.kill()


def check(directory: Path, load: WorkersLoad) -> None:
    """Everything that was answered is in the databases, after the end of all processes. (Threads of one that was killed
    may end a little after the process is seen as dead.)"""
    groups = read_groups(directory)
    wait_for_locks(OsFileSystem(), groups, PATIENCE_SECONDS)
    for lanes, group in zip(load.lanes, groups, strict=True):
        with flin.engine.open(group.directory, runner="inline") as db:
            assert list(db.verify()) == []
            stored = dict(db.items())
        for lane in lanes:
            lane.check(stored)


def kill_workers(served: Served, load: WorkersLoad, kills: int, seed: int) -> None:
    random = Random(seed)
    spared = set(range(len(load.lanes)))
    for number in range(kills):
        victim = random.choice([0, 1]) if number else 1
        spared.discard(victim)
        kill(served.workers()[victim])
        load.wait_for_more(MORE)
    assert {number for number, lanes in enumerate(load.lanes) if not any(lane.cuts for lane in lanes)} == spared


def test_a_worker_is_killed_under_load(begin: Begin, tmp_path: Path) -> None:
    served, load = begin("interval")
    kill_workers(served, load, 1, 0)
    load.stop()
    load.join()
    assert served.end() == 0
    check(tmp_path / "db", load)


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_workers_are_killed_again_and_again(begin: Begin, tmp_path: Path, sync: str) -> None:
    served, load = begin(sync, workers=3)
    kill_workers(served, load, 8, 1)
    load.stop()
    load.join()
    assert served.end() == 0
    check(tmp_path / "db", load)


def test_the_supervisor_is_killed_under_load(begin: Begin, tmp_path: Path) -> None:
    """Workers end cleanly, and the next supervisor starts while they do."""
    served, load = begin("interval")
    workers = served.workers()
    load.stop()
    kill(served.pid)
    again = Served(tmp_path, workers=2)
    try:
        load.join()
        assert not any(map(is_alive, workers.values()))
        assert " 0 records recovered" in again.start_line, "their end was a clean one"
        assert again.end() == 0
    finally:
        again.program.kill()
    check(tmp_path / "db", load)


@pytest.mark.slow
def test_all_are_killed_under_load(begin: Begin, tmp_path: Path) -> None:
    served, load = begin("interval")
    load.stop()
    served.program.kill()
    load.join()
    check(tmp_path / "db", load)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_in_the_midst_of_load(begin: Begin, tmp_path: Path, number: int) -> None:
    served, load = begin("interval")
    workers = served.workers()
    load.stop()
    assert served.end(number) == 0
    load.join()
    assert not any(map(is_alive, workers.values()))
    again = Served(tmp_path, workers=2)
    assert " 0 records recovered" in again.start_line
    assert again.end() == 0
    check(tmp_path / "db", load)


@pytest.mark.slow
def test_a_signal_while_a_worker_is_away(begin: Begin, tmp_path: Path) -> None:
    served, load = begin("interval")
    for deaths in range(1, 7):
        served.wait_until_logged("worker 1 is ready again", deaths - 1)
        kill(served.workers()[1])
        served.wait_until_logged("worker 1: ended by SIGKILL; it is started again in", deaths)
    assert "it is started again in 3.2 s" in served.program.printed()
    load.stop()
    assert served.end() == 0
    load.join()
    check(tmp_path / "db", load)
