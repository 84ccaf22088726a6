"""LATENCY, MEMORY, SAVE and their kin, DEBUG: what is Flin's own in them."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

import flin.engine
from flin.net.client.pause import PauseKind
from flin.net.client.session import KnownPeer
from flin.net.commands.latency import _age
from flin.testing.process import wait_until
from tests.net.fake_store import FakeStore
from tests.net.serving import HandlerClient, ServerThread


def text(client: HandlerClient, line: str) -> str:
    return client.call(*line.encode().split(b" ")).decode()


def test_latency_of_slow_commands() -> None:
    client = HandlerClient(enable_debug_command="yes", latency_monitor_threshold=1)
    assert "No command has taken 1 milliseconds" in text(client, "LATENCY DOCTOR")
    text(client, "DEBUG SLEEP 0.002")
    text(client, "DEBUG SLEEP 0.004")
    event = client.services.latency.events[b"command"]
    assert event.longest >= 4
    assert text(client, "LATENCY LATEST").startswith("*1\r\n*4\r\n$7\r\ncommand\r\n")
    assert f"all time high {event.longest} ms" in text(client, "LATENCY GRAPH command")
    assert "command: " in text(client, "LATENCY DOCTOR")
    assert text(client, "LATENCY RESET") == ":1\r\n"
    text(client, "CONFIG SET latency-monitor-threshold 0")
    text(client, "DEBUG SLEEP 0.002")
    assert client.services.latency.events == {}
    assert "Latency monitoring is off" in text(client, "LATENCY DOCTOR")


@pytest.mark.parametrize(("seconds", "shown"), [(-3, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (200_000, "2d")])
def test_ages(seconds: int, shown: str) -> None:
    assert _age(seconds) == shown


def test_histograms_add_up() -> None:
    client = HandlerClient()
    text(client, "CONFIG RESETSTAT")
    for _ in range(5):
        text(client, "SET a 1")
    text(client, "CONFIG GET maxclients")
    words = text(client, "LATENCY HISTOGRAM set nosuch").split("\r\n")
    assert words[:6] == ["*2", "$3", "set", "*4", "$5", "calls"]
    assert words[6] == words[-2] == ":5", "the last bucket holds all"
    container = text(client, "LATENCY HISTOGRAM config")
    assert "config|get" in container
    assert "config|resetstat" in container, "its own time came after the reset"
    for line in text(client, "INFO latencystats").split("\r\n"):
        if line.startswith("latency_percentiles_usec_set:"):
            figures = [float(part.partition("=")[2]) for part in line.partition(":")[2].split(",")]
            assert figures == sorted(figures)
            return
    raise AssertionError("SET has no percentiles")


def test_memory_doctor_names_what_is_unusual(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests of this process may have taken far more memory than it has now.
    monkeypatch.setattr("flin.net.commands.info.resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=0))
    client = HandlerClient()
    assert "Nothing is unusual" in text(client, "MEMORY DOCTOR")
    client.services.process.peak_memory_bytes = 1 << 50
    assert "It took 1024.00T once" in text(client, "MEMORY DOCTOR")


def test_memory_stats_counts_keys() -> None:
    client = HandlerClient()
    text(client, "MSET a 1 b 2")
    reply = text(client, "MEMORY STATS")
    assert "keys.count\r\n:2\r\n" in reply
    assert "db.0" in reply


def test_debug_object() -> None:
    client = HandlerClient(enable_debug_command="yes")
    text(client, "HSET hash a b")
    reply = text(client, "DEBUG OBJECT hash")
    assert reply.startswith("+Value at:0x0 refcount:1 encoding:listpack serializedlength:")


def test_debug_set_active_expire_and_a_pause() -> None:
    client = HandlerClient(enable_debug_command="yes")
    store: FakeStore = client.store
    text(client, "DEBUG SET-ACTIVE-EXPIRE 0")
    assert store.holds_sweep
    client.services.pause.begin(PauseKind.WRITE, 1000)
    client.services.pause.end()
    assert store.holds_sweep, "the end of a pause changes nothing"
    client.services.pause.begin(PauseKind.WRITE, 1000)
    text(client, "DEBUG SET-ACTIVE-EXPIRE 1")
    assert store.holds_sweep, "while it is paused nothing expires"
    client.services.pause.end()
    assert not store.holds_sweep


def test_debug_local_is_for_local_clients() -> None:
    client = HandlerClient(enable_debug_command="local")
    assert text(client, "DEBUG SLEEP 0") == "+OK\r\n"
    client.context.session.peer = KnownPeer("10.0.0.1:5", "127.0.0.1:2")
    assert text(client, "DEBUG SLEEP 0").startswith("-ERR DEBUG command not allowed.")


class Noting(FakeStore):
    """Notes what had been committed at each sync."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[int] = []

    def sync(self) -> None:
        self.synced.append(len(self.entries))
        super().sync()


@pytest.mark.parametrize("command", ["SAVE", "BGSAVE", "DEBUG RELOAD"])
def test_what_came_before_in_the_same_pipeline_is_saved(command: str) -> None:
    store = Noting()
    with ServerThread(store, enable_debug_command="yes") as server, server.connect() as sock:
        sock.sendall(f"SET a 1\r\nSET b 2\r\n{command}\r\nPING\r\n".encode())
        data = b""
        while not data.endswith(b"+PONG\r\n"):
            data += sock.recv(1000)
        wait_until(lambda: store.synced == [2], "both are committed, then synced")


def test_save_in_a_thread_lets_others_go_on() -> None:
    may_go_on = threading.Event()

    class Held(FakeStore):
        def sync(self) -> None:
            may_go_on.wait(60)
            super().sync()

    with ServerThread(Held()) as server, server.connect() as first, server.connect() as second:
        first.sendall(b"SAVE\r\n")
        second.sendall(b"PING\r\n")
        assert second.recv(100) == b"+PONG\r\n"
        may_go_on.set()
        assert first.recv(100) == b"+OK\r\n"


def test_bgrewriteaof_compacts(tmp_path: Path) -> None:
    with (
        flin.engine.open(tmp_path / "db", runner="inline") as engine,
        ServerThread(engine._store, compact=engine.compact) as server,
        redis.Redis(port=server.port) as client,
    ):
        for number in range(50):
            client.set("key", f"{number}" * 1000)
            if number % 10 == 0:
                engine.flush()
        assert engine.stats()["tables"]["files"] > 1
        assert client.bgrewriteaof()
        wait_until(lambda: client.info("persistence")["aof_rewrites"] == 1, "it ends")
        assert client.info("persistence")["aof_rewrite_in_progress"] == 0
        assert client.get("key") == b"49" * 1000
        assert engine.stats()["tables"]["files"] == 1
