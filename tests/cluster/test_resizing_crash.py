"""A resize on a simulated disk: cut off anywhere, by a kill or a power cut, the target is refused or it is complete."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

import pytest

import flin.engine
from flin.cluster.resize.places import places_in
from flin.cluster.resize.resizing import OpenUnchanged, Resizing
from flin.cluster.resize.staging import Staging
from flin.engine.disk.fs import FileSystem
from flin.engine.engine import Engine
from flin.engine.options import Options
from flin.errors import FlinError, StorageError
from flin.testing import CrashModel, Fault, SimulatedDisk, every_crash, killed
from tests.cluster.copies import Contents, contents, write
from tests.cluster.copies import low_limits as low_limits  # the fixture

pytestmark = pytest.mark.usefixtures("low_limits")

LIMIT = 8 << 20
GROWING = frozenset({"append", "create", "make_directory", "rename"})
"""Calls for which a full disk may have no room."""


def filled() -> tuple[SimulatedDisk, Contents]:
    """A disk with a database at /old, and what is in it."""
    disk = SimulatedDisk()
    with flin.engine.open("/old", runner="inline", fs=disk) as db:
        write(db, Random(1), 150)
        db.put(b"large", bytes(5000))
    return disk, contents("/old", opener(disk), disk)


def resize(disk: SimulatedDisk, workers: int) -> None:
    staging = Staging("/new", workers, disk, disk.remove_directory)
    Resizing(places_in("/old", disk), staging, opener(disk), LIMIT, Options(fs=disk, runner="inline")).run()


def opener(fs: FileSystem) -> OpenUnchanged:
    @contextmanager
    def opened(directory: str, memory_limit: int) -> Iterator[Engine]:
        with flin.engine.open(
            directory, create=False, runner="inline", sync="never", memory_limit=memory_limit, fs=fs
        ) as db:
            yield db

    return opened


def is_complete(state: SimulatedDisk, before: Contents) -> bool:
    """Or it is refused by all. Anything else is an error."""
    names = state.names("/new") if "/new" in state.directories else []
    if not names:  # nothing was done yet
        return False
    try:
        places = places_in("/new", state)
        with opener(state)(places[0].directory, LIMIT):
            pass
    except StorageError as error:
        assert "has not finished it" in str(error)
        with pytest.raises(StorageError, match="has not finished it"):
            flin.engine.open("/new", fs=state)
        return False
    assert contents("/new", opener(state), state) == before
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_leaves_it_refused_or_complete(workers: int) -> None:
    check_crashes(workers)


def check_crashes(workers: int) -> None:
    """At every moment, in every way."""
    disk, before = filled()
    moments: list[SimulatedDisk] = []
    disk.on_change = lambda _: moments.append(killed(disk))
    resize(disk, workers)
    assert len(moments) > 30
    found = set()
    for moment in moments:
        states = [state for model in CrashModel for state in every_crash(moment, model, limit=5)]
        found |= {is_complete(state, before) for state in states}
    assert found == {True, False}
    for model in CrashModel:
        for state in every_crash(disk, model, limit=5):
            assert is_complete(state, before), "it was said to be done"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_disk_that_refuses_a_call(workers: int, sticky: bool) -> None:
    """It raises and leaves what is refused, or what it says it has done is there."""
    start, before = filled()
    refused = 0
    for number in range(0, 10_000, 1 if sticky else 3):
        disk = killed(start)
        fault = Fault(number, errno.ENOSPC if sticky else errno.EIO, GROWING if sticky else frozenset(), sticky=sticky)
        disk.faults.append(fault)
        done = False
        with suppress(FlinError):
            resize(disk, workers)
            done = True
        disk.faults.clear()
        refused += not done
        for state in (killed(disk), *every_crash(disk, CrashModel.JOURNALLED, limit=3)):
            assert is_complete(state, before) or not done
        if not fault.fired:
            assert done
            assert refused
            return
    pytest.fail("the fault never stopped striking")
