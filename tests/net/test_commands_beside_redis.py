"""The table of commands beside redis-server: COMMAND INFO of every command, and the keys of thousands of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

import flin.net.commands.every  # noqa: F401 - declares them
from flin.net.command.categories import CATEGORIES
from flin.net.command.facts import FACTS
from flin.net.command.registry import every_command, find_for, with_subcommands
from flin.net.commands.reference import ABSENT, REFUSED
from tests.net.differential import schedule
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

OF_REDIS_7_2 = {"client|no-touch", "client|setinfo"}
"""See the table of differences."""

NOT_IN_REDIS = OF_REDIS_7_2 | {found.name for found in every_command() if found.group == "flin"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with running_redis(tmp_path_factory.mktemp("redis")) as theirs, ServerThread() as server:
        yield server.port, theirs


def described(port: int, names: list[str]) -> dict[str, dict[str, Any]]:
    """What COMMAND INFO says of each, without what is Redis's alone: tips, and notes of key specifications."""
    connection: Any = redis.Connection(port=port, protocol=3)  # type: ignore[no-untyped-call]
    try:
        connection.send_command("COMMAND", "INFO", *names)
        replies = connection.read_response()
    finally:
        connection.disconnect()
    found = {}
    for name, reply in zip(names, replies, strict=True):
        assert reply is not None, f"{name} is not there"
        specs = [{key: value for key, value in spec.items() if key not in (b"notes", b"flags")} for spec in reply[8]]
        found[name] = {
            "arity": reply[1],
            "flags": set(reply[2]),
            "triple": reply[3:6],
            "categories": list(reply[6]),
            "keys": specs,
            "touches": [sorted(spec[b"flags"]) for spec in reply[8]],
        }
    return found


def test_every_declaration_is_redis_s_own(ports: tuple[int, int]) -> None:
    names = [found.name for found in every_command() if found.name not in NOT_IN_REDIS]
    ours, theirs = (described(port, sorted(names)) for port in ports)
    for name in sorted(names):
        assert ours[name] == theirs[name], name


def test_since_which_version_each_exists(ports: tuple[int, int]) -> None:
    connection: Any = redis.Connection(port=ports[1], protocol=3)  # type: ignore[no-untyped-call]
    try:
        connection.send_command("COMMAND", "DOCS")
        documents = connection.read_response()
    finally:
        connection.disconnect()
    for document in [*documents.values()]:
        documents |= document.get(b"subcommands", {})
    theirs = {name.decode(): document[b"since"].decode() for name, document in documents.items()}
    assert {name: fact.since for name, fact in FACTS.items() if fact.since != theirs.get(name)} == {
        name: "7.2.0" if name in OF_REDIS_7_2 else "0.1.0" for name in NOT_IN_REDIS
    }


def test_the_bytes_of_command_info(ports: tuple[int, int]) -> None:
    """In RESP3, of all commands that have no tips, notes or subcommands."""
    names = sorted(found.name for found in with_subcommands() if found.name not in NOT_IN_REDIS)
    with RawClient(ports[0]) as flin, RawClient(ports[1]) as redis_client:
        for client in (flin, redis_client):
            client.call(b"HELLO", b"3")
        compared = 0
        for name in names:
            ours, theirs = (client.call(b"COMMAND", b"INFO", name.encode()) for client in (flin, redis_client))
            (described,) = theirs.items
            if not described.items[7].items and b"notes" not in theirs.data:
                assert ours.data == theirs.data, name
                compared += 1
    assert compared > 100


def test_every_command_of_redis_is_there_or_listed(ports: tuple[int, int]) -> None:
    """docs/commands.md lists those that are absent or refused, with the reason."""
    connection: Any = redis.Connection(port=ports[1], protocol=3)  # type: ignore[no-untyped-call]
    try:
        connection.send_command("COMMAND", "LIST")
        theirs = {name.decode() for name in connection.read_response()}
    finally:
        connection.disconnect()
    ours = {found.name for found in every_command()}
    missing = theirs - ours
    assert {name.partition("|")[0] for name in missing} == ABSENT.keys()
    assert {name for name in ABSENT if name in ours} <= {"function"}, "it is there now: take it off the list"
    assert ours - theirs == NOT_IN_REDIS


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_arguments_of_every_command(ports: tuple[int, int], protocol: int) -> None:
    ours, theirs = (documented(port, protocol) for port in ports)
    for name in ours.keys() & theirs.keys():
        assert ours[name] == theirs[name], name
    assert len(ours.keys() & theirs.keys()) > 300


def documented(port: int, protocol: int) -> dict[str, Any]:
    """By name the arguments of COMMAND DOCS, without the versions since which they exist."""
    connection: Any = redis.Connection(port=port, protocol=protocol)  # type: ignore[no-untyped-call]
    try:
        connection.send_command("COMMAND", "DOCS")
        docs = connection.read_response()
    finally:
        connection.disconnect()
    found: dict[str, Any] = {}

    def enter(commands: Any) -> None:
        for name, facts in pairs(commands).items():
            found[name.decode()] = [argument_of(argument) for argument in pairs(facts).get(b"arguments", [])]
            enter(pairs(facts).get(b"subcommands", {}))

    enter(docs)
    return found


def pairs(reply: Any) -> dict[Any, Any]:
    """A map of RESP3, or what RESP2 has in its place."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def argument_of(reply: Any) -> dict[bytes, Any]:
    shown = {key: value for key, value in pairs(reply).items() if key not in (b"since", b"deprecated_since")}
    if b"flags" in shown:
        shown[b"flags"] = set(shown[b"flags"])
    if b"arguments" in shown:
        shown[b"arguments"] = [argument_of(inner) for inner in shown[b"arguments"]]
    return shown


def test_what_is_refused_is_refused(ports: tuple[int, int]) -> None:
    with RawClient(ports[0]) as client:
        for name in REFUSED:
            words = name.encode().split()
            found = find_for(words)
            assert found is not None, name
            assert client.call(*words, *[b"1"] * (found.minimum - len(words))).is_error, name


def test_the_commands_of_each_category(ports: tuple[int, int]) -> None:
    declared = {found.name.encode() for found in every_command()}
    requests = [[b"ACL", b"CAT"], *([b"ACL", b"CAT", category.encode()] for category in CATEGORIES)]
    with RawClient(ports[0]) as flin, RawClient(ports[1]) as redis_client:
        ours, theirs = ([[item.payload for item in reply.items] for reply in client.pipeline(requests)]
                        for client in (flin, redis_client))  # fmt: skip
    assert ours[0] == theirs[0] == [category.encode() for category in CATEGORIES]
    for category, mine, other in zip(CATEGORIES, ours[1:], theirs[1:], strict=True):
        assert set(mine) - {name.encode() for name in NOT_IN_REDIS} == set(other) & declared, category


@pytest.mark.parametrize("word", [b"GETKEYS", b"GETKEYSANDFLAGS"])
def test_keys_of_random_requests(ports: tuple[int, int], word: bytes) -> None:
    requests = [
        [b"COMMAND", word, *request.words]
        for request in schedule(20_261_129, 1)
        if request.words[0].lower() not in (b"quit", b"client") and request.words.count(b"STORE") < 2
    ]
    requests += [[b"COMMAND", word, *line.split(b" ")] for line in FURTHER]
    compared = 0
    for ours, theirs, request in zip(*(answers(port, requests) for port in ports), requests, strict=True):
        if ours == INVALID and b"1.5" in request:
            continue  # as a number of keys: Redis falls back to reading it as 1 here, and the command itself refuses it
        assert ours == theirs, request
        compared += 1
    assert compared > 900


INVALID = b"-ERR Invalid arguments specified for command\r\n"

FURTHER = [
    b"set k v ex get",
    b"bitfield k overflow wrap",
    b"bitfield k foo",
    b"bitfield k get u8 0 get u8",
    b"zunionstore d 2 a",
    b"zunion 2 a",
    b"lmpop 0 a left",
    b"xread streams a b c 1 2 3",
    b"xread streams a b",
    b"xreadgroup group g c streams a b 1 2",
    b"georadius k 0 0 1 m store a storedist b",
    b"georadius k 0 0 1 m store",
    b"georadiusbymember k m 1 m store b",
    b"sort k limit 0 1 store",
    b"sort k limit store x",
    b"sort k by nosort get # store to desc",
    b"memory usage a",
    b"object help",
    b"ping a",
    b"nothing a",
]


def answers(port: int, requests: list[list[bytes]]) -> list[bytes]:
    client = RawClient(port)
    try:
        return [reply.data for reply in client.pipeline(requests)]
    finally:
        client.close()
