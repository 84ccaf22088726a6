"""Processes that are stopped (SIGSTOP: a debugger, a frozen container, a laptop asleep) and go on, or do not."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from flin.testing.lane import Lanes
from flin.testing.load import EmbeddedLoad, Load, ServedLoad
from flin.testing.process import is_alive, kill, state_of, wait_until
from flin.testing.survivor import check_copy

STOPPED_SECONDS = 0.5

Begin = Callable[[str], Load]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """`begin("served")`: a load under way, with a helper."""
    loads: list[Load] = []

    def start(mode: str) -> Load:
        load = (EmbeddedLoad if mode == "embedded" else ServedLoad)(tmp_path / "db", "interval", 1, 2)
        loads.append(load)
        load.start()
        load.wait_until_open()
        wait_until(lambda: load.helpers, "a helper starts")
        return load

    yield start
    for load in loads:
        load.stop()


@contextmanager
def _adopting() -> Iterator[None]:
    """Make orphans children of this process. Else the kernel would continue them: a stopped process group that no
    process in the session can continue gets SIGHUP and SIGCONT (POSIX)."""
    set_child_subreaper = 36  # from <linux/prctl.h>
    prctl = ctypes.CDLL(None).prctl
    assert prctl(set_child_subreaper, 1) == 0
    try:
        yield
    finally:
        prctl(set_child_subreaper, 0)


def _collect(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _end_and_check(load: Load, lanes: Lanes) -> None:
    load.end_cleanly()
    check_copy(load.directory, lanes, load.floor, load.floor)


@pytest.mark.parametrize("mode", ["embedded", "served"])
@pytest.mark.parametrize("who", ["both", *[pytest.param(who, marks=pytest.mark.slow) for who in ("helper", "parent")]])
def test_stopped_and_continued(begin: Begin, mode: str, who: str) -> None:
    load = begin(mode)
    pids = {"helper": load.helpers, "parent": [load.victim.pid], "both": [load.victim.pid, *load.helpers]}[who]
    try:
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(state_of(pid) == "T" for pid in pids), "they are stopped")
        time.sleep(STOPPED_SECONDS)
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)
    load.wait_for_commits(3000)
    assert all(map(is_alive, pids)), "nobody died of it"
    _end_and_check(load, Lanes())


@pytest.mark.parametrize("mode", ["embedded", "served"])
def test_the_parent_is_killed_while_its_helper_is_stopped(begin: Begin, mode: str) -> None:
    """The next open does not wait for the old helper, which ends when it is continued and does no harm."""
    with _adopting():
        _kill_beside_stopped_helpers(begin(mode))


def _kill_beside_stopped_helpers(load: Load) -> None:
    orphans = load.helpers
    try:
        for pid in orphans:
            kill(pid, signal.SIGSTOP)
        load.victim.kill()
        load.reap()
        lanes = Lanes()
        check_copy(load.directory, lanes, *load.bounds())
        load.recover(lanes.recovered(load.lanes))
        load.start()
        load.wait_until_open()
        load.wait_for_commits(1000)
        assert all(state_of(pid) == "T" for pid in orphans)
    finally:
        for pid in orphans:
            kill(pid, signal.SIGCONT)
    wait_until(lambda: not any(map(is_alive, orphans)), "the old helpers end")
    _collect(orphans)
    load.wait_for_commits(1000)
    _end_and_check(load, lanes)


def test_a_stopped_helper_holds_no_writer_forever_once_it_is_killed(begin: Begin) -> None:
    """Writers that wait for its flush go on when another helper has done it."""
    load = begin("embedded")
    helpers = load.helpers
    for pid in helpers:
        kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    for pid in helpers:
        kill(pid)
    load.wait_for_commits(5000)
    wait_until(lambda: not any(map(is_alive, helpers)), "they end")
    _end_and_check(load, Lanes())
