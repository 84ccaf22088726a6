"""The server's life: start, signals, a clean end, real clients. The last ones run `flin serve` over a real engine."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from flin.net import server as server_module
from flin.net.settings.options import ConfigError
from flin.testing.process import PATIENCE_SECONDS
from tests.net.fake_store import FakeStore
from tests.net.serving import ServerThread


def test_an_address_that_is_taken() -> None:
    with ServerThread() as server, pytest.raises(ConfigError, match=f"127.0.0.1 port {server.port}"):
        ServerThread(port=server.port).__enter__()


def test_stop_answers_what_was_read_and_syncs() -> None:
    store = FakeStore()
    server = ServerThread(store)
    with server:
        sock = server.connect()
        sock.sendall(b"".join(b"SET k%d v\r\n" % number for number in range(2000)))
        assert sock.recv(5) == b"+OK\r\n"
    assert store.synced_position == store.position
    data = b""
    while part := sock.recv(1 << 16):
        data += part
    sock.close()
    answered = (len(data) + 5) // 5
    assert data == b"+OK\r\n" * (answered - 1)
    assert len(store.entries) >= answered, "nothing was answered that is not there"


def test_shutdown() -> None:
    server = ServerThread()
    with server:
        with server.connect() as sock:
            sock.sendall(b"SHUTDOWN\r\nPING\r\n")
            assert sock.recv(100) == b""
        server._thread.join(PATIENCE_SECONDS)
        assert not server._thread.is_alive()


def test_redis_py() -> None:
    with ServerThread() as server:
        for protocol in (2, 3):
            with redis.Redis(port=server.port, protocol=protocol, client_name="tester") as client:
                assert client.set("a", "b", ex=100)
                assert client.get("a") == b"b"
                assert client.client_getname() == "tester" if protocol == 2 else True
                assert client.info()["redis_version"] == "7.0.15"
                assert client.info("persistence")["loading"] == 0
                assert client.config_get("maxclients") == {"maxclients": "10000"}
                with client.pipeline() as pipe:
                    pipe.watch("a")
                    pipe.multi()
                    pipe.incr("n")
                    pipe.get("a")
                    assert pipe.execute() == [protocol - 1, b"b"]
                assert {row["name"] for row in client.client_list()} == {"tester"}
                with pytest.raises(redis.ResponseError, match="unknown command"):
                    client.execute_command("NOSUCH")


def test_redis_cli(needs_tool: Callable[[str], str]) -> None:
    program = needs_tool("redis-cli")
    with ServerThread() as server:
        for options in ([], ["-3"]):
            done = subprocess.run(
                [program, "-p", str(server.port), *options],
                input="SET a b\nGET a\nCOMMAND DOCS get\nINFO server\n",
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=True,
            )
            assert done.stdout.startswith("OK\n")
            assert "Returns the string" in done.stdout
            assert "flin_version" in done.stdout


def test_redis_benchmark(needs_tool: Callable[[str], str]) -> None:
    program = needs_tool("redis-benchmark")
    with ServerThread() as server:
        for tests in ("ping_inline,ping_mbulk,set,get,incr,mset", "set,get"):
            done = subprocess.run(
                [program, "-p", str(server.port), "-n", "2000", "-c", "20", "-P", "4", "-q", "-t", tests],
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=True,
            )
            assert done.stdout.count("requests per second") == len(tests.split(","))
            assert "WARNING" not in done.stdout + done.stderr


class Served:
    """`flin serve` in a process of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flin", "serve", "--port", "0", "--dir", str(directory), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        assert " is ready on " in self.line, (self.line, self.process.stderr and self.process.stderr.read())
        found = re.search(r"port (\d+)", self.line)
        self.port = int(found[1]) if found else 0  # a Unix socket alone

    def end(self, number: int) -> int:
        """Send a signal. Returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*options: str) -> Served:
        started.append(Served(tmp_path / "db", *options))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(serve: Callable[..., Served], number: int) -> None:
    served = serve()
    assert "sync interval, 0 records recovered" in served.line
    stop = threading.Event()
    answered: list[int] = []

    def write() -> None:
        sock = socket.create_connection(("127.0.0.1", served.port))
        with sock, sock.makefile("rb") as file:
            for value in range(1_000_000):
                try:
                    sock.sendall(b"SET k%d v\r\n" % value)
                    if file.readline() != b"+OK\r\n":
                        return
                except OSError:
                    return
                answered.append(value)
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    while len(answered) < 500:
        assert writer.is_alive()
        time.sleep(0.001)
    code = served.end(number)
    stop.set()
    writer.join(PATIENCE_SECONDS)
    assert code == 0
    again = serve()
    assert " 0 records recovered" in again.line, "a clean end leaves nothing to replay"
    with redis.Redis(port=again.port) as client:
        assert client.exists(*[f"k{value}" for value in answered]) == len(answered)
    assert again.end(signal.SIGTERM) == 0


def test_another_value_threshold_holds_for_new_values(serve: Callable[..., Served]) -> None:
    values = {f"{threshold}:{number}": f"{threshold}" * 2000 for threshold in (1, 0) for number in range(200)}
    for threshold in ("1kb", "0"):
        served = serve("--value-threshold", threshold)
        with redis.Redis(port=served.port, decode_responses=True) as client:
            assert client.config_get("value-threshold") == {"value-threshold": "1024" if threshold == "1kb" else "0"}
            client.mset({key: value for key, value in values.items() if key[0] == threshold[0]})
        assert served.end(signal.SIGTERM) == 0  # a clean end flushes
    served = serve()
    with redis.Redis(port=served.port, decode_responses=True) as client:
        assert client.config_get("value-threshold") == {"value-threshold": "4096"}
        assert client.mget(values) == list(values.values())
        found = client.info("persistence")
    assert (found["value_files"], found["value_files_live_bytes"]) == (1, 200 * 2000), "each stays where it is"
    assert served.end(signal.SIGTERM) == 0


def test_a_terminal_that_closes_does_not_end_it(serve: Callable[..., Served]) -> None:
    """Like redis-server; so `flin serve &` needs no nohup."""
    served = serve()
    for number in (signal.SIGHUP, signal.SIGPIPE):
        served.process.send_signal(number)
    with redis.Redis(port=served.port) as client:
        assert client.set("a", "1")
    assert served.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_kill_loses_no_answered_write(serve: Callable[..., Served], sync: str) -> None:
    served = serve("--sync", sync)
    with redis.Redis(port=served.port) as client:
        for batch in range(20):
            pipe = client.pipeline(transaction=False)
            for number in range(50):
                pipe.set(f"k{batch}:{number}", "v" * 100)
            pipe.execute()
        os.kill(served.process.pid, signal.SIGKILL)
    served.end(signal.SIGKILL)
    again = serve("--sync", sync)
    assert " 1000 records recovered" in again.line
    with redis.Redis(port=again.port) as client:
        assert client.dbsize() == 1000
        assert client.info("flin")["engine_wal_replayed_operations"] == 1000
        assert client.get("k19:49") == b"v" * 100
    assert again.end(signal.SIGTERM) == 0


def test_memory_smaller_than_the_data(serve: Callable[..., Served]) -> None:
    served = serve("--memory-limit", "16mb")
    with redis.Redis(port=served.port) as client:
        for start in range(0, 60_000, 1000):
            client.mset({f"key:{number}": b"%d" % number * 40 for number in range(start, start + 1000)})
        assert client.dbsize() == 60_000
        names = [f"key:{number}" for number in range(0, 60_000, 997)]
        assert client.mget(names) == [name[4:].encode() * 40 for name in names]
        assert len(client.keys("key:1*")) == 11_111
    assert served.end(signal.SIGTERM) == 0


def test_a_second_server_of_the_same_directory(serve: Callable[..., Served], tmp_path: Path) -> None:
    serve()
    done = subprocess.run(
        [sys.executable, "-m", "flin", "serve", "--port", "0", "--dir", str(tmp_path / "db")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert "is open in process" in done.stderr


def test_a_server_tunes_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an engine in a program of somebody else."""
    intervals: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", intervals.append)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    thresholds = gc.get_threshold()
    try:
        server_module.tune_interpreter()
        assert gc.get_threshold()[0] == server_module.COLLECT_EVERY
    finally:
        gc.set_threshold(*thresholds)
    assert intervals == [server_module.SWITCH_SECONDS]
