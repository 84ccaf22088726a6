"""COMMAND, and that every declaration is complete."""

from __future__ import annotations

from typing import Any

import pytest

from flin.net.command.categories import categories
from flin.net.command.command import Flag, Keys, flags_of
from flin.net.command.facts import FACTS
from flin.net.command.registry import (
    BY_NAME,
    UNTIMED,
    all_commands,
    command,
    container,
    every_command,
    find,
    find_by_path,
    with_subcommands,
)
from flin.net.commands.introspection import describe
from flin.net.wire.replies import Map
from tests.net.serving import HandlerClient

GROUPS = {
    "flin",
    "bitmap",
    "geo",
    "string",
    "hash",
    "hyperloglog",
    "list",
    "set",
    "sorted-set",
    "stream",
    "generic",
    "transactions",
    "connection",
    "server",
    "scripting",
    "pubsub",
    "cluster",
}


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


def ask(client: HandlerClient, line: str) -> str:
    return client.call(*line.encode().split(b" ")).decode().replace("\r\n", "|")


def test_every_declaration_is_whole() -> None:
    for found in with_subcommands():
        assert found.group in GROUPS, found
        assert found.summary.endswith("."), found
        assert FACTS[found.name].complexity, found
        assert FACTS[found.name].since.count(".") == 2, found
        assert found.minimum >= 1 + found.name.count("|"), found
        assert found.name == found.name.lower(), found
        if found.keys.first:
            assert found.flags & (Flag.WRITE | Flag.READONLY) or found.group in ("transactions", "pubsub"), found


def test_every_fact_is_about_a_command() -> None:
    assert FACTS.keys() == {found.name for found in every_command()}


@pytest.mark.parametrize(
    ("names", "flags"),
    [("", Flag.NONE), ("write denyoom fast", Flag.WRITE | Flag.DENYOOM | Flag.FAST), ("fast  fast", Flag.FAST)],
)
def test_flags_by_their_names(names: str, flags: Flag) -> None:
    assert flags_of(names) == flags


def test_a_flag_that_does_not_exist_cannot_be_declared() -> None:
    with pytest.raises(KeyError, match="QUICK"):
        flags_of("write quick")


def test_lookup_in_any_case() -> None:
    assert find(b"get") is find(b"GET") is find(b"gEt") is not None
    assert find(b"nothing") is None
    assert find_by_path("client|id") is not None
    assert UNTIMED[b"GET"] is BY_NAME[b"get"]
    for name in (b"DBSIZE", b"EXEC", b"MULTI", b"CLIENT", b"AUTH", b"QUIT"):
        assert name not in UNTIMED, "these need the gates or a clock"


@pytest.mark.parametrize(
    ("keys", "request_", "positions"),
    [
        (Keys(), "PING", []),
        (Keys(1, 1, 1), "GET a", [1]),
        (Keys(1, 1, 1), "GET", []),
        (Keys(1, -1, 1), "DEL a b c", [1, 2, 3]),
        (Keys(1, -1, 2), "MSET a 1 b 2", [1, 3]),
        (Keys(1, -2, 1), "X a b 5", [1, 2]),
        (Keys(0, 0, 0, lambda args: [2]), "X 1 a", [2]),
    ],
)
def test_key_positions(keys: Keys, request_: str, positions: list[int]) -> None:
    assert keys.positions([word.encode() for word in request_.split()]) == positions


def test_a_name_is_declared_once() -> None:
    declare = command("get", 2, group="string")
    with pytest.raises(ValueError, match="declared twice"):
        declare(lambda context, args: None)
    with pytest.raises(ValueError, match="declared twice"):
        container("client", "connection", "")


def elements(found: Map) -> list[Any]:
    assert found.is_set
    return [element for element, _ in found.pairs]


def test_describe_as_redis_does() -> None:
    get = find(b"get")
    assert get is not None
    described = [elements(part) if isinstance(part, Map) else part for part in describe(get)]
    assert described[:7] == [b"get", 2, ["readonly", "fast"], 1, 1, 1, ["@read", "@string", "@fast"]]
    assert described[8][0][b"begin_search"] == {b"type": b"index", b"spec": {b"index": 1}}
    assert described[9] == []
    client = find(b"client")
    assert client is not None
    assert describe(client)[:2] == [b"client", -2]
    assert {sub[0] for sub in elements(describe(client)[9])} >= {b"client|id", b"client|list", b"client|help"}
    flushall = find(b"flushall")
    assert flushall is not None
    assert set(categories(flushall)) == {"write", "slow", "keyspace", "dangerous"}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("COMMAND COUNT", f":{len(list(all_commands()))}|"),
        ("COMMAND INFO nothing", "*1|$-1|"),
        ("COMMAND DOCS nothing", "*0|"),
        ("COMMAND GETKEYS MSET a 1 b 2", "*2|$1|a|$1|b|"),
        ("COMMAND GETKEYS MEMORY USAGE a", "*1|$1|a|"),
        ("COMMAND GETKEYS BZMPOP 1 2 a b MIN", "*2|$1|a|$1|b|"),
        ("COMMAND GETKEYS BLMPOP 1 1 a LEFT", "*1|$1|a|"),
        ("COMMAND GETKEYS ZUNIONSTORE to 1 a", "*2|$2|to|$1|a|"),
        ("COMMAND GETKEYS SINTERCARD 2 a b LIMIT 1", "*2|$1|a|$1|b|"),
        ("COMMAND GETKEYS nothing a", "-ERR Invalid command specified|"),
        ("COMMAND GETKEYS PING a", "-ERR The command has no key arguments|"),
        ("COMMAND GETKEYS SET a", "-ERR Invalid number of arguments specified for command|"),
        ("COMMAND GETKEYS", "-ERR wrong number of arguments for 'command|getkeys' command|"),
        ("COMMAND LIST FILTERBY MODULE x", "*0|"),
        ("COMMAND LIST FILTERBY PATTERN getr*", "*1|$8|getrange|"),
        ("COMMAND LIST FILTERBY foo x", "-ERR syntax error|"),
        ("COMMAND LIST x", "-ERR syntax error|"),
    ],
)
def test_replies(client: HandlerClient, line: str, reply: str) -> None:
    assert ask(client, line) == reply


def test_all_of_them(client: HandlerClient) -> None:
    count = len(list(all_commands()))
    for line in ("COMMAND", "COMMAND INFO"):
        assert ask(client, line).startswith(f"*{count}|"), line
    names = ask(client, "COMMAND LIST").split("|$")[1:]
    assert len(names) == len(list(every_command())) > count, "subcommands stand in the list, as in Redis"
    assert ask(client, "COMMAND DOCS").startswith(f"*{2 * count}|")
    ask(client, "HELLO 3")
    assert ask(client, "COMMAND DOCS").startswith(f"%{count}|")
    assert "subcommands" in ask(client, "COMMAND DOCS client")
    assert ask(client, "COMMAND LIST FILTERBY ACLCAT transaction").count("$") == 5
