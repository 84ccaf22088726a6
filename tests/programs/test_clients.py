"""docs/clients.md: each setting, over a server that restarts, and over a connection that loses a reply."""

from __future__ import annotations

import asyncio
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from flin.testing import ServedServer, served
from flin.testing.process import PATIENCE_SECONDS
from tests.program import Program, running
from tests.source import ROOT
from tests.tool import needs_tool

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
ADDRESS = "redis://127.0.0.1:6380"


def python_blocks() -> list[str]:
    """As they are written, but that nobody gives up after seconds: hundreds of connections may have no turn."""
    return [
        re.sub(r"timeout=\d+", f"timeout={PATIENCE_SECONDS:g}", block)
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    ]


def settings(port: int) -> dict[str, Any]:
    """The names that the page's Python makes; no connection is made yet, but by a cluster."""
    names: dict[str, Any] = {}
    for block in python_blocks():
        if "RedisCluster" not in block:
            exec(block.replace(ADDRESS, f"redis://127.0.0.1:{port}"), names)
    return names


@pytest.fixture(scope="module")
def server() -> Iterator[ServedServer]:
    with served() as running_server:
        yield running_server


@contextmanager
def losing_a_reply(port: int, command: bytes) -> Iterator[int]:
    """A port that leads to another, and breaks the connection instead of passing on the first reply to a command."""
    has_lost = threading.Event()

    def serve(near: socket.socket) -> None:
        is_sent = False
        with suppress(ConnectionError), near, socket.create_connection(("127.0.0.1", port)) as far:
            while True:
                for one in select.select([near, far], [], [])[0]:  # one request may have several replies
                    if not (data := one.recv(1 << 16)):
                        return
                    if one is near:
                        is_sent = is_sent or command in data.lower()
                        far.sendall(data)
                    elif is_sent and not has_lost.is_set():
                        has_lost.set()
                        return
                    else:
                        near.sendall(data)

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            serving.append(threading.Thread(target=serve, args=(near,)))
            serving[-1].start()

    serving: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in serving:
        thread.join()
    assert has_lost.is_set()


def test_256_connections_and_no_more(server: ServedServer) -> None:
    pool = settings(server.port)["pool"]
    taken = [pool.get_connection() for _ in range(256)]
    with redis.Redis.from_url(server.url) as other:
        assert other.info("clients")["connected_clients"] == 257
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(pool.get_connection()))
        waiting.start()
        pool.release(taken.pop())
        waiting.join()
        for connection in taken + got:
            pool.release(connection)
        assert other.info("clients")["connected_clients"] == 257
    pool.disconnect()


def test_a_restart_is_not_noticed(server: ServedServer) -> None:
    names = settings(server.port)
    with closing(names["client"]) as client, closing(names["counting"]) as counting:
        for number in (1, 3):
            assert (client.incr("restarts"), counting.incr("restarts")) == (number, number + 1)
            if number == 1:
                server.kill()
            server.restart()
        assert (client.get("restarts"), counting.incr("restarts")) == (b"4", 5)
        names["pool"].disconnect()


def test_what_counts_twice(server: ServedServer) -> None:
    with losing_a_reply(server.port, b"incr") as port:
        names = settings(port)
        assert names["client"].incr("repeated") == 2
        names["pool"].disconnect()
    with losing_a_reply(server.port, b"incr") as port, closing(settings(port)["counting"]) as counting:
        with pytest.raises(redis.ConnectionError):
            counting.incr("not repeated")
        assert counting.get("not repeated") == b"1"


def test_tasks(server: ServedServer) -> None:
    async def use(port: int) -> None:
        async with settings(port)["tasks"] as tasks:
            assert len(set(await asyncio.gather(*(tasks.incr("tasks") for _ in range(300))))) == 300
            await asyncio.to_thread(server.restart)
            assert await tasks.get("tasks") == b"300"
            await tasks.connection_pool.disconnect()

    asyncio.run(use(server.port))


def test_a_cluster() -> None:
    (block,) = [block for block in python_blocks() if "RedisCluster" in block]
    with served(workers=2) as server:
        names = settings(server.port)
        exec(block.replace("6380", str(server.port)), names)
        with closing(names["cluster"]) as cluster:
            assert [cluster.incr(f"key {number}") for number in range(20)] == [1] * 20
            assert cluster.mget_nonatomic([f"key {number}" for number in range(20)]) == [b"1"] * 20


NODE = """
async function main() {
  %s
  const lines = require("node:readline").createInterface({ input: process.stdin });
  for await (const key of lines) console.log("said", await counter.incr(key).catch(() => "lost"));
}
main();
"""

CLIENTS = {
    "ioredis": ("client", "const counter = client;", "2"),
    "ioredis-counting": ("counting", "const counter = counting;", "lost"),
    "node-redis": ("pool", "await pool.connect(); const counter = pool;", "lost"),
}
"""Which piece of the page, what its user goes on to do, and what comes of an INCR whose reply is lost."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENTS)
def test_node(server: ServedServer, node_modules: Path, tmp_path: Path, name: str) -> None:
    constant, use, lost = CLIENTS[name]
    blocks = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    (block,) = [block for block in blocks if f"const {constant} = " in block]
    if "require(" not in block:
        block = 'const Redis = require("ioredis");\n' + block
    (tmp_path / "program.cjs").write_text(NODE % f"{block}\n{use}")

    @contextmanager
    def program(port: int) -> Iterator[Program]:
        text = (tmp_path / "program.cjs").read_text()
        (tmp_path / f"{port}.cjs").write_text(text.replace("6380", str(port)))
        environment = {"NODE_PATH": str(node_modules), "NODE_NO_WARNINGS": "1"}
        with running(tmp_path, [f"{port}.cjs"], executable=needs_tool("node"), **environment) as started:
            yield started

    with program(server.port) as started:
        for expected in ("1", "2"):
            started.say(f"{name} restarted")
            started.found(f"said {expected}")
            server.restart()
    with losing_a_reply(server.port, b"incr") as port, program(port) as started:
        started.say(f"{name} lost")
        started.found(f"said {lost}")
        with redis.Redis.from_url(server.url) as other:
            assert other.get(f"{name} lost") == (b"1" if lost == "lost" else b"2")
