"""One engine per directory. Other processes: test_process.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import flin.engine
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.lock import lock_directory
from flin.errors import CorruptionError, LockedError, StorageError
from flin.testing import SimulatedDisk


def test_the_holder_is_named(tmp_path: Path) -> None:
    lock = lock_directory(OsFileSystem(), str(tmp_path), 1_700_000_000_000)
    with pytest.raises(LockedError) as raised:
        lock_directory(OsFileSystem(), str(tmp_path), 0)
    assert (raised.value.pid, raised.value.started_at) == (os.getpid(), "2023-11-14T22:13:20+00:00")
    assert str(raised.value).startswith(f"{tmp_path} is already open in this process since 2023-11-14T22:13:20+00:00")
    assert raised.value.in_this_process
    lock.release()
    lock.release()
    lock_directory(OsFileSystem(), str(tmp_path), 0).release()


def test_an_equal_number_in_another_container_is_another_process() -> None:
    """Each container begins its own process numbers with 1; the machine's name distinguishes them."""
    disk = SimulatedDisk()
    disk.make_directory("/db")
    there = {"pid": os.getpid(), "started_at": "2023-11-14T22:13:20+00:00", "host": "another", "directory": "/db"}
    disk.lock("/db/LOCK", json.dumps(there).encode())
    with pytest.raises(LockedError, match=f"/db is open in process {os.getpid()} since .*; close it there") as raised:
        lock_directory(disk, "/db", 0)
    assert not raised.value.in_this_process


@pytest.mark.parametrize("now_ms", [-(10**16), -1, 0, 253_402_300_800_000, 10**18])
def test_whatever_the_clock_says(now_ms: int) -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    lock_directory(disk, "/db", now_ms)
    with pytest.raises(LockedError) as raised:
        lock_directory(disk, "/db", now_ms)
    assert raised.value.started_at


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"pid": "x", "started_at": ""}', b"\xff\xfe", b"null",
                                  json.dumps({"pid": 5}).encode()])  # fmt: skip
def test_a_holder_that_says_nothing_readable(text: bytes) -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    disk.lock("/db/LOCK", text)
    with pytest.raises(LockedError, match="/db is open in another process; close it there first") as raised:
        lock_directory(disk, "/db", 0)
    assert (raised.value.pid, raised.value.started_at) == (None, None)


def test_a_directory_that_is_not_there() -> None:
    with pytest.raises(StorageError, match="cannot lock /absent"):
        lock_directory(SimulatedDisk(), "/absent", 0)


def test_an_open_that_fails_lets_go(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST").write_bytes(b"not a manifest at all, but long enough")
    for _ in range(2):
        with pytest.raises(CorruptionError):
            flin.engine.open(tmp_path)
    (tmp_path / "MANIFEST").unlink()
    flin.engine.open(tmp_path, runner="inline").close()
