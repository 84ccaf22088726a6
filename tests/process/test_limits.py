"""Too tight limits of the operating system: documented errors, nothing lost, and service once they are raised."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from flin.testing.lane import Lanes, Violation
from flin.testing.load import EmbeddedLoad, ServedLoad
from flin.testing.process import PATIENCE_SECONDS, kill, wait_until
from flin.testing.survivor import check_copy
from tests.process.stubborn_load import StubbornLoad
from tests.process.stubborn_writer import NO_MEMORY

MB = 1 << 20
LIMITED_SECONDS = 1.5
"""Longer than the background waits between two attempts."""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[StubbornLoad]:
    made = StubbornLoad(tmp_path / "db", "interval", 1, 2)
    yield made
    made.stop()


@contextmanager
def _limited(pids: list[int], limit: int, soft: int) -> Iterator[None]:
    """Set the soft limit of running processes for a while."""
    before = {pid: resource.prlimit(pid, limit) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, limit, (soft, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError, PermissionError):  # it has ended
                resource.prlimit(pid, limit, limits)


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _check(load: EmbeddedLoad, lanes: Lanes) -> None:
    check_copy(load.directory, lanes, *load.bounds())
    load.recover(lanes.recovered(load.lanes))


# Files.


@pytest.mark.parametrize("spare", [1, *[pytest.param(spare, marks=pytest.mark.slow) for spare in (0, 2)]])
def test_no_more_files_for_a_while(load: StubbornLoad, spare: int) -> None:
    """The helpers die, too, so that none can be started again meanwhile."""
    load.start()
    load.wait_until_open()
    wait_until(lambda: load.helpers, "a helper starts")
    pid = load.victim.pid
    with _limited([pid], resource.RLIMIT_NOFILE, max(_descriptors(pid) - 2 + spare, 3)):
        for helper in load.helpers:
            kill(helper)
        time.sleep(LIMITED_SECONDS)
    assert load.victim.poll() is None, load.printed()
    load.wait_for_commits(3000)
    wait_until(lambda: load.helpers, "a helper starts again")
    load.end_cleanly()
    check_copy(load.directory, Lanes(), load.floor, load.floor)


@pytest.mark.parametrize(
    "limits", [(8, 32, 64), pytest.param((5, 9, 10, 11, 12, 13, 14, 16, 24, 32, 64), marks=pytest.mark.slow)]
)
def test_few_files_from_the_start(load: StubbornLoad, limits: tuple[int, ...]) -> None:
    """With so few files it does not open, or writes what it can; answered writes are there."""
    lanes = Lanes()
    opened = 0
    for files in limits:
        load.limits = f"ulimit -n {files};"
        load.start()
        load.wait_until_open_or_ended()
        if load.victim.poll() is None:
            opened += 1
            time.sleep(0.3)
            load.victim.kill()
        load.reap()
        _check(load, lanes)
    assert opened >= 2, "32 and 64 are enough"
    load.limits = ""
    load.start()
    load.wait_until_open()
    load.wait_for_commits(1000)
    load.end_cleanly()
    check_copy(load.directory, lanes, load.floor, load.floor)


@pytest.mark.parametrize("sync", ["interval", pytest.param("always", marks=pytest.mark.slow)])
def test_a_server_without_more_files(tmp_path: Path, sync: str) -> None:
    """Connected clients are served; others get in once there is room."""
    load = ServedLoad(tmp_path / "db", sync, shards=1, lanes=0)
    load.start()
    try:
        load.wait_until_open()
        pid, port = load.victim.pid, load.port
        with redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS) as client:
            client.set("before", "1")
            with _limited([pid], resource.RLIMIT_NOFILE, _descriptors(pid)):
                refused = [socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) for _ in range(3)]
                for number in range(2000):
                    client.set(f"k{number}", "v" * 100)
                assert client.get("k7") == b"v" * 100
            for sock in refused:
                sock.close()
            with redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS) as another:
                assert another.get("before") == b"1"
                another.set("after", "1")
            assert client.dbsize() == 2002
        load.victim.kill()
        load.reap()
        load.start()
        load.wait_until_open()
        with redis.Redis(port=load.port, socket_timeout=PATIENCE_SECONDS) as client:
            assert client.dbsize() == 2002
        load.end_cleanly()
    finally:
        load.stop()


# Memory.


def _address_space(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


@pytest.mark.parametrize("spare_mb", [1, *[pytest.param(spare, marks=pytest.mark.slow) for spare in (0, 9)]])
def test_no_more_memory_for_a_while(load: StubbornLoad, spare_mb: int) -> None:
    """It goes on, or ends for want of memory; either way nothing is lost, and without the limit all is well."""
    lanes = Lanes()
    load.start()
    load.wait_until_open()
    wait_until(lambda: load.helpers, "a helper starts")
    pids = [load.victim.pid, *load.helpers]
    with _limited(pids[:1], resource.RLIMIT_AS, _address_space(pids[0]) + spare_mb * MB):
        for helper in pids[1:]:
            resource.prlimit(helper, resource.RLIMIT_AS, (_address_space(helper) + spare_mb * MB,) * 2)
        time.sleep(LIMITED_SECONDS)
    for helper in pids[1:]:
        kill(helper)
    try:
        load.wait_for_commits(3000)
        load.victim.kill()
    except Violation:  # it ended, perhaps only now: it had met the limit
        assert load.victim.returncode == NO_MEMORY, load.printed()
    load.reap()
    _check(load, lanes)
    load.start()
    load.wait_until_open()
    load.wait_for_commits(1000)
    load.end_cleanly()
    check_copy(load.directory, lanes, load.floor, load.floor)


@pytest.mark.slow
def test_little_memory_from_the_start(load: StubbornLoad) -> None:
    lanes = Lanes()
    for size_mb in (40, 80, 120, 200, 400, 800):
        load.limits = f"ulimit -v {size_mb << 10};"
        load.start()
        load.wait_until_open_or_ended()
        time.sleep(0.3)
        if load.victim.poll() is None:
            load.victim.kill()
        load.reap()
        _check(load, lanes)
    assert sum(load.floor) > 0, "800 MB are enough"


# Files that must not grow: a full disk where nothing can be mounted.


def _stands_still(load: EmbeddedLoad) -> bool:
    answered = load.answered()
    time.sleep(LIMITED_SECONDS)
    return load.answered() == answered


@pytest.mark.parametrize("sync", ["interval", pytest.param("always", marks=pytest.mark.slow)])
def test_files_must_not_grow_for_a_while(load: StubbornLoad, sync: str) -> None:
    load.sync = sync
    load.start()
    load.wait_until_open()
    wait_until(lambda: load.helpers, "a helper starts")
    with _limited([load.victim.pid, *load.helpers], resource.RLIMIT_FSIZE, 0):
        wait_until(lambda: _stands_still(load), "everything is refused")
        assert load.victim.poll() is None, load.printed()
    load.wait_for_commits(3000)
    load.end_cleanly()
    check_copy(load.directory, Lanes(), load.floor, load.floor)
