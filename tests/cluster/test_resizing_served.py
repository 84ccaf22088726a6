"""A resize between servers: what one wrote before it was killed, several serve, and one again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import redis

from flin.cluster.workers.groups import Group, read_groups
from flin.net.cluster.slots import slot_of
from flin.testing.process import kill
from tests.cluster.served import Served
from tests.net.data.commands_run import HAS_LUA
from tests.test_cli import Capture, run

Ask: TypeAlias = Callable[..., Any]
"""A command, asked of the server that has its first key."""

Contents: TypeAlias = dict[bytes, tuple[Any, ...]]

LIBRARY = "#!lua name=mine\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)"


@contextmanager
def served(folder: Path, workers: int) -> Iterator[tuple[Served, list[Any], Ask]]:
    """Started in the folder, over its `db`; killed at the end."""
    with ExitStack() as stack:
        started = Served(folder, workers=workers)
        stack.callback(started.program.kill)
        clients = [
            stack.enter_context(redis.Redis(port=port, socket_timeout=60, decode_responses=False))
            for port in started.ports
        ]
        groups: tuple[Group, ...] = read_groups(folder / "db")

        def ask(command: str, key: str, *more: Any) -> Any:
            slot = slot_of(key.encode())
            number = next((group.number for group in groups if group.first <= slot <= group.last), 0)
            return clients[number].execute_command(command, key, *more)

        yield started, clients, ask


def fill(ask: Ask) -> None:
    """Ten keys of each type; half of them are packed, half spread, and some expire."""
    for number in range(10):
        count = 3 if number % 2 else 500
        elements = [f"element {each}" for each in range(count)]
        ask("SET", f"string:{number}", "x" * count)
        ask("SETRANGE", f"long:{number}", 9 * count, "the end")
        ask("HSET", f"hash:{number}", *(word for each in elements for word in (each, each)))
        ask("RPUSH", f"list:{number}", *elements)
        ask("SADD", f"set:{number}", *elements)
        ask("ZADD", f"zset:{number}", *(word for at, each in enumerate(elements) for word in (at / 7, each)))
        stream = f"stream:{number}"
        for entry in range(count):
            ask("XADD", stream, f"{entry + 1}-1", "field", entry)
        ask("XGROUP CREATE", stream, "group", "0")
        ask("XGROUP CREATECONSUMER", stream, "group", "idle")
        for kind in ("string", "hash", "zset", "stream"):
            ask("PEXPIREAT", f"{kind}:{number}", 4_000_000_000_000 + number)


def read(clients: list[Any], ask: Ask) -> Contents:
    found: Contents = {}
    for client in clients:
        for key in client.keys("*"):
            assert key not in found
            name = key.decode()
            value: Any
            if name.startswith(("set", "new set")):  # in no order
                value = sorted(ask("SMEMBERS", name))
            elif name.startswith("hash"):
                value = ask("HGETALL", name)
            elif name.startswith("stream"):
                value = ask("XRANGE", name, "-", "+"), ask("XINFO GROUPS", name), ask("XPENDING", name, "group")
            else:
                value = ask("DUMP", name)
            found[key] = (value, ask("PEXPIRETIME", name), ask("OBJECT ENCODING", name))
    return found


def test_one_server_three_and_one(tmp_path: Path, capsys: Capture) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with served(tmp_path / "a", 1) as (server, clients, ask):
        fill(ask)
        for number in range(10):
            group = ("GROUP", "group", "consumer", "COUNT", 2, "STREAMS", f"stream:{number}", ">")
            clients[0].execute_command("XREADGROUP", *group)
        if HAS_LUA:
            clients[0].function_load(LIBRARY)
        before = read(clients, ask)
        kill(server.pid)
    assert len(before) == 70
    assert run(capsys, "resize", tmp_path / "a" / "db", tmp_path / "b" / "db", "--workers", 3)[0] == 0
    with served(tmp_path / "b", 3) as (server, clients, ask):
        assert read(clients, ask) == before
        assert min(len(client.keys()) for client in clients) > 10
        for number in range(10):
            assert ask("RPUSH", f"list:{number}", "one more") == (4 if number % 2 else 501)
            assert ask("SADD", f"new set:{number}", *range(500)) == 500
            assert ask("XLEN", f"stream:{number}") == (3 if number % 2 else 500)
        for client in clients if HAS_LUA else ():
            assert client.fcall("twice", 0, 21) == 42
        middle = read(clients, ask)
        assert len(middle) == 80
        assert server.end() == 0
    code, output, errors = run(capsys, "resize", tmp_path / "b" / "db", tmp_path / "c" / "db", "--workers", 1)
    assert (code, errors) == (0, ""), output
    with served(tmp_path / "c", 1) as (server, clients, ask):
        assert read(clients, ask) == middle
        if HAS_LUA:
            assert clients[0].fcall("twice", 0, 21) == 42
        assert server.end() == 0
    for name in ("b", "c"):
        assert run(capsys, "check", tmp_path / name / "db")[0] == 0
