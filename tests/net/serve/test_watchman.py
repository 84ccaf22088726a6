"""The watchman: what it refuses while the disk is nearly full, and what it tells of, once."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

import flin.engine
from flin.errors import CorruptionError
from flin.net.serve.watchman import JUMP_MS, STEPS_PER_LOOK, Watchman
from flin.testing import served
from flin.testing.process import wait_until
from tests.net.serving import HandlerClient

MIB = 1 << 20


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class AtOnce:
    """Runs what reader threads would run."""

    def submit(self, load: Any, then: Any) -> None:
        load()
        then()


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: str = "") -> None:
        self.free = 1000 * MIB
        self.total = 5000 * MIB
        self.wall_ms = 1_000_000
        self.steady_ns = 0
        self.figures: dict[str, Any] = {}
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(self.total, 0, self.free))
        monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: self.steady_ns)
        monkeypatch.setattr(time, "monotonic", lambda: self.steady_ns / 1e9)
        self.client = HandlerClient(clock=lambda: self.wall_ms)
        object.__setattr__(self.client.services, "engine_statistics", lambda: self.figures)
        self.store = self.client.store
        if directory:
            config = self.client.services.config
            monkeypatch.setattr(config, "options", replace(config.options, dir=directory))
        self.watchman = Watchman(self.client.services, AtOnce())  # type: ignore[arg-type]

    def look(self, seconds: int = 1) -> None:
        """Let so many seconds pass."""
        for _ in range(seconds * STEPS_PER_LOOK):
            self.steady_ns += 100_000_000
            self.wall_ms += 100
            self.watchman.step()

    def alarms(self) -> list[str]:
        return [alarm.name for alarm in self.client.services.health.alarms]

    def field(self, name: bytes) -> bytes | None:
        lines = self.client.call(b"INFO", b"flin").split(b"\r\n")
        return next((line.partition(b":")[2] for line in lines if line.startswith(name + b":")), None)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def told(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_the_reserve(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = scene.client
    client.call(b"RPUSH", b"list", b"a", b"b")
    client.call(b"SET", b"string", b"value")
    scene.look()
    assert client.services.clients.gates_open
    assert scene.field(b"disk_free_bytes") == b"%d" % (1000 * MIB)
    scene.free = 256 * MIB - 1
    scene.look(3)
    assert not client.services.clients.gates_open
    for request in ([b"SET", b"k", b"v"], [b"LPUSH", b"list", b"c"], [b"EVAL", b"redis.call('SET','k','v')", b"0"]):
        assert b"MISCONF Flin refuses writes that need room" in client.call(*request), request
    assert client.call(b"GET", b"string") == b"$5\r\nvalue\r\n"
    assert client.call(b"LPOP", b"list") == b"$1\r\na\r\n", "what takes away goes on"
    assert client.call(b"EVAL", b"return redis.call('DEL','string')", b"0") == b":1\r\n"
    assert client.call(b"DEL", b"list") == b":1\r\n"
    client.call(b"MULTI")
    assert client.call(b"SET", b"k", b"v").startswith(b"-MISCONF")
    assert client.call(b"EXEC").startswith(b"-EXECABORT")
    assert scene.field(b"alarms") == b"disk-reserve"
    assert b"Make room" in (scene.field(b"alarm_disk_reserve") or b"")
    [error] = told(caplog, logging.ERROR)
    assert error.startswith("disk-reserve: 256 MiB of the disk")
    scene.free = 256 * MIB
    scene.look()
    assert client.call(b"SET", b"k", b"v") == b"+OK\r\n"
    assert client.services.clients.gates_open
    assert scene.field(b"alarms") == b""
    assert told(caplog, logging.INFO) == ["disk-reserve: over after 3 s"]


def test_the_reserve_may_change(scene: Scene) -> None:
    scene.free = 400 * MIB
    scene.look()
    assert scene.alarms() == []
    scene.client.call(b"CONFIG", b"SET", b"disk-reserve", b"500mb")
    scene.look()
    assert scene.client.call(b"SET", b"k", b"v").startswith(b"-MISCONF")
    scene.client.call(b"CONFIG", b"SET", b"disk-reserve", b"0")
    scene.look()
    assert scene.client.call(b"SET", b"k", b"v") == b"+OK\r\n"


def test_of_a_small_disk_a_tenth_is_enough(scene: Scene) -> None:
    scene.total, scene.free = 200 * MIB, 20 * MIB
    scene.look()
    assert scene.client.call(b"SET", b"k", b"v") == b"+OK\r\n"
    assert scene.field(b"disk_reserve_bytes") == b"%d" % (20 * MIB)
    scene.free -= 1
    scene.look()
    assert scene.client.call(b"SET", b"k", b"v").startswith(b"-MISCONF")


def test_a_disk_that_fills_up_is_said_once_an_hour(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.free = 199 * MIB
    scene.client.call(b"CONFIG", b"SET", b"disk-reserve", b"0")
    scene.look(3599)
    assert len(told(caplog, logging.WARNING)) == 1
    scene.look(3)
    assert len(told(caplog, logging.WARNING)) == 2


@pytest.mark.parametrize("jump_ms", [JUMP_MS, -3_600_000])
def test_the_clock(scene: Scene, caplog: pytest.LogCaptureFixture, jump_ms: int) -> None:
    scene.look(3)
    for _ in range(100):  # slewing
        scene.wall_ms += 50
        scene.look()
    assert scene.alarms() == []
    scene.wall_ms += jump_ms
    scene.look()
    assert scene.alarms() == ["clock"]
    assert scene.field(b"clock_jumps") == b"1"
    scene.look(61)
    assert scene.alarms() == []
    assert [text.partition(":")[0] for text in told(caplog, logging.ERROR)] == ["clock"]


def test_helpers_that_die(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.figures = {"background": {"runner": {"deaths": 0}, "last_failure": "", "largest_job_bytes": 10}}
    scene.look(6)
    scene.figures = {"background": {"runner": {"deaths": 1}, "last_failure": "killed by signal 9"}}
    scene.look(6)
    assert scene.alarms() == ["helper"]
    [error] = told(caplog, logging.ERROR)
    assert "killed by signal 9" in error
    scene.look(60)
    assert scene.alarms() == []


def test_what_the_engine_says(scene: Scene) -> None:
    scene.store.stall_state.stopped = True
    scene.store.stall_state.reason = "48 runs wait for compaction"
    scene.look(10)
    assert scene.alarms() == []
    scene.look(2)
    assert scene.alarms() == ["stalled"]
    scene.store.background_error = OSError(28, "No space left on device")
    scene.store.read_only_reason = "a sync failed"
    scene.look()
    assert scene.alarms() == ["read-only", "background", "stalled"]


def test_damage_that_a_merge_has_met(scene: Scene) -> None:
    scene.store.background_error = CorruptionError("1.sst", 4, "the checksum of a data block is wrong")
    scene.look()
    [alarm] = scene.client.services.health.alarms
    assert alarm.name == "corruption"
    assert "1.sst at offset 4. Run: flin check" in alarm.text


def test_a_directory_that_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: str) -> Usage:
        raise FileNotFoundError(path)

    monkeypatch.setattr(shutil, "disk_usage", gone)
    scene.look(2)
    assert scene.alarms() == []
    assert scene.field(b"disk_free_bytes") is None


def test_a_directory_that_is_moved_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its path leads nowhere, or elsewhere: what is written would not be found there."""
    path = tmp_path / "data"
    for is_replaced in (False, True):
        path.mkdir(exist_ok=True)
        scene = Scene(monkeypatch, str(path))
        scene.look()
        assert scene.client.call(b"SET", b"key", b"value") == b"+OK\r\n"
        path.rename(tmp_path / f"elsewhere-{is_replaced}")
        if is_replaced:
            path.mkdir()
        scene.look()
        assert scene.alarms() == ["read-only"]
        assert f"{path} was moved away, removed or replaced" in caplog.text
        assert scene.client.call(b"GET", b"key") == b"$5\r\nvalue\r\n"


def test_a_server_whose_directory_is_moved_away_takes_no_write(tmp_path: Path) -> None:
    path = tmp_path / "data"
    answered = 0
    with served(path, sync="always") as server, redis.Redis(port=server.port) as client:
        client.set("key", "value")
        path.rename(tmp_path / "elsewhere")

        def is_refused() -> bool:
            nonlocal answered
            try:
                client.set("later", answered)
            except redis.ResponseError as error:
                return "was moved away, removed or replaced" in str(error)
            answered += 1
            return False

        wait_until(is_refused, "writes are refused")
        assert client.get("key") == b"value"
        assert "read-only" in client.info("flin")["alarms"]
    with flin.engine.open(tmp_path / "elsewhere") as db:
        assert (db.get(b"key"), db.get(b"later")) == (b"value", b"%d" % (answered - 1) if answered else None)
    assert not path.exists(), "nothing else is begun there"
