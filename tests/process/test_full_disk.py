"""A disk of a few MB fills up: writes are refused, reads go on, nothing answered is lost, and service comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import redis

import flin.engine
from flin.engine.engine import Engine
from flin.engine.options import SyncMode
from flin.errors import StorageError
from flin.testing.lane import Lanes
from flin.testing.load import ServedLoad
from flin.testing.process import PATIENCE_SECONDS, wait_until
from flin.testing.survivor import check_copy
from tests.process.small_disk import Ballast, mounted_tmpfs
from tests.process.stubborn_load import StubbornLoad

KEYS = 3000  # of 500 to 1000 bytes: live data always fits, all that is written does not


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """An empty directory on a disk of 24 MB, whose neighbours are on another; test_limits.py covers machines where
    nothing can be mounted."""
    with mounted_tmpfs(tmp_path / "small", 24 << 20) as is_mounted:
        if not is_mounted:
            pytest.skip("a tmpfs cannot be mounted here")
        (tmp_path / "small" / "db").mkdir()
        (tmp_path / "db").symlink_to(tmp_path / "small" / "db")
        yield tmp_path / "db"


@pytest.fixture
def ballast(small: Path) -> Ballast:
    return Ballast(small.parent / "small")


class Clock:
    """The time until which something must happen."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._deadline = time.monotonic() + PATIENCE_SECONDS

    def check(self) -> None:
        assert time.monotonic() < self._deadline, f"not in time: {self._what}"


def _pair(random: Random, size: int) -> tuple[bytes, bytes]:
    return b"%06d" % random.randrange(KEYS), random.randbytes(size)


# Embedded.


def _fill(db: Engine, answered: dict[bytes, bytes], random: Random) -> StorageError:
    clock = Clock("a write is refused")
    while True:
        key, value = _pair(random, 500)
        try:
            db.put(key, value)
        except StorageError as error:
            return error
        answered[key] = value
        clock.check()


def _write_again(db: Engine, answered: dict[bytes, bytes], random: Random) -> None:
    """Service comes back by itself, and stays."""
    clock = Clock("a write is taken again")
    for _ in range(2000):
        key, value = _pair(random, 500)
        while True:
            try:
                db.put(key, value)
                break
            except StorageError:
                clock.check()
                time.sleep(0.01)
        answered[key] = value


@pytest.mark.parametrize("sync", ["never", pytest.param("always", marks=pytest.mark.slow)])
def test_embedded(small: Path, ballast: Ballast, sync: SyncMode) -> None:
    random = Random(sync)
    answered: dict[bytes, bytes] = {}
    ballast.leave(1 << 20)
    with flin.engine.open(small, sync=sync, memory_limit=1 << 20) as db:
        for _ in range(2):
            error = _fill(db, answered, random)
            assert "No space left on device" in str(error)
            assert dict(db.scan()) == answered, "reads go on, and what was refused is not there"
            assert all(db.get(key) == value for key, value in answered.items())
            ballast.remove()
            _write_again(db, answered, random)
            assert dict(db.scan()) == answered
            assert db.verify() == []
            ballast.leave(1 << 20)
        _fill(db, answered, random)
        with suppress(StorageError):  # there is no room for a last flush
            db.close()
    _open_without_room(small, ballast, answered)


def _open_without_room(small: Path, ballast: Ballast, answered: dict[bytes, bytes]) -> None:
    """Open on a full disk: that is refused, or works; nothing is lost."""
    ballast.leave(0)
    try:
        flin.engine.open(small, runner="inline", memory_limit=1 << 20).close()
    except StorageError as error:
        assert "No space left on device" in str(error)
    ballast.remove()
    with flin.engine.open(small) as db:
        assert dict(db.scan()) == answered
        assert len(db) == len(answered)
        db.put(b"again", b"1")
        db.compact()
        assert db.verify() == []


def test_killed_while_full(small: Path, ballast: Ballast) -> None:
    load, lanes = StubbornLoad(small, "interval", 4, 2), Lanes()
    try:
        for _ in range(3):
            load.output.unlink(missing_ok=True)
            load.start()
            load.wait_until_open()
            load.wait_for_commits(1000)
            # The room that a flush or a merge frees would suffice forever: this load's own data is small.
            wait_until(lambda: ballast.fill() and "No space left" in load.printed(), "a write is refused")
            load.victim.kill()
            load.reap()
            check_copy(small, lanes, *load.bounds())
            load.recover(lanes.recovered(load.lanes))
            ballast.remove()
        load.start()
        load.wait_until_open()
        load.wait_for_commits(2000)
        load.end_cleanly()
        check_copy(small, lanes, load.floor, load.floor)
    finally:
        load.stop()


# Served.


class Client:
    """A client that writes one value after the other and remembers the answered ones."""

    def __init__(self, port: int, random: Random) -> None:
        self._redis = redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS)
        self._random = random
        self.answered: dict[bytes, bytes] = {}

    def connect(self, port: int) -> None:
        self._redis.close()
        self._redis = redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS)

    def write(self) -> str:
        """Write. Returns the error's text, or ""."""
        key, value = _pair(self._random, 1000)
        try:
            self._redis.set(key, value)
        except redis.ResponseError as error:
            return str(error)
        self.answered[key] = value
        return ""

    def fill(self) -> str:
        clock = Clock("a write is refused")
        while not (error := self.write()):
            clock.check()
        return error

    def write_again(self) -> None:
        clock = Clock("a write is taken again")
        for _ in range(1000):
            while self.write():
                clock.check()
                time.sleep(0.01)

    def check(self) -> None:
        keys = sorted(self.answered)
        assert self._redis.mget(keys) == [self.answered[key] for key in keys]
        assert self._redis.dbsize() == len(keys)

    def last_write_status(self) -> str:
        return str(self._redis.info("persistence")["aof_last_write_status"])

    def close(self) -> None:
        self._redis.close()


@pytest.mark.parametrize("sync", ["interval", pytest.param("always", marks=pytest.mark.slow)])
def test_served(small: Path, ballast: Ballast, sync: str) -> None:
    load = ServedLoad(small, sync, shards=1, lanes=0)
    ballast.leave(4 << 20)
    load.start()
    try:
        load.wait_until_open()
        client = Client(load.port, Random(sync))
        error = client.fill()
        assert error.startswith("MISCONF ")
        client.check()
        ballast.remove()
        client.write_again()
        client.check()
        wait_until(lambda: client.last_write_status() == "ok", "the background gets on")
        ballast.leave(1 << 20)
        assert client.fill().startswith("MISCONF ")
        _kill_while_full(load, ballast)
        client.connect(load.port)
        client.check()
        client.write_again()
        client.check()
        client.close()
        load.end_cleanly()
    finally:
        load.stop()


def _kill_while_full(load: ServedLoad, ballast: Ballast) -> None:
    """kill -9; a start on the full disk is refused with the reason, or works; with room it works."""
    load.victim.kill()
    load.reap()
    ballast.leave(0)
    load.start()
    clock = Clock("the server opens or ends")
    while load.victim.poll() is None and not load.is_open():
        clock.check()
        time.sleep(0.01)
    if load.victim.poll() is None:
        load.victim.kill()
    else:
        assert "No space left on device" in load.printed()
    load.reap()
    ballast.remove()
    load.start()
    load.wait_until_open()
