"""The command reference, `docs/commands.md`, made from the declarations: `python -m flin.net.commands.reference`.

A test fails while the document differs from what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Final

import flin.net.commands.every  # declares every command
from flin.net.command.command import Command, Flag
from flin.net.command.facts import FACTS
from flin.net.command.registry import all_commands
from flin.net.command.syntax import arguments_of

_HEAD = """# Commands

This page lists every command of the server. It is generated from the declarations in `flin/net/commands/`:
`python -m flin.net.commands.reference > docs/commands.md`. Arguments are written as
`redis-cli` shows them: [x] may be left out, <x | y> is one of both.
[redis-differences.md](redis-differences.md) lists what differs from Redis 7.0.
"""

_INTERNAL: Final = (
    Flag.UNTIMED
    | Flag.UNQUEUED
    | Flag.ENDS_QUEUE
    | Flag.TIMED
    | Flag.COUNTED
    | Flag.WHILE_SUBSCRIBED
    | Flag.PUBLISHES
    | Flag.SHOWS_MORE
    | Flag.PEEKS
    | Flag.COUNTS_KEYS
)  # for dispatch alone; Redis has no such flags

_TITLES: Final = {
    "string": "Strings",
    "bitmap": "Bits of strings",
    "hash": "Hashes",
    "hyperloglog": "HyperLogLogs",
    "list": "Lists",
    "set": "Sets",
    "sorted-set": "Sorted sets",
    "geo": "Points on the earth",
    "stream": "Streams",
    "generic": "Keys",
    "transactions": "Transactions",
    "connection": "Connections",
    "server": "Server",
    "scripting": "Scripting",
    "pubsub": "Publish and subscribe",
    "cluster": "Clusters",
    "flin": "Flin's own",
}


ABSENT: Final = {
    "migrate": "the server opens no connections: send what DUMP returns to the other server's RESTORE",
    "restore-asking": "for nodes of a cluster among each other",
}
"""Redis's commands that are not declared, and why."""

REFUSED: Final = {
    "asking": "unless the server is a node of a cluster",
    "cluster": "unless the server is a node of a cluster: Redis's error for an instance without cluster support",
    "debug": "unless the server was started with `--enable-debug-command`, as in Redis; then HELP lists what is there",
    "failover": "there are no replicas",
    "module load": "there are no modules, nor LOADEX and UNLOAD; MODULE LIST returns none",
    "psync": "there is no replication",
    "readonly": "unless the server is a node of a cluster",
    "readwrite": "unless the server is a node of a cluster",
    "replconf": "there is no replication",
    "replicaof": "there is no replication; NO ONE is accepted",
    "slaveof": "there is no replication; NO ONE is accepted",
    "sync": "there is no replication",
}
"""Redis's commands that are declared, and only ever answer that they cannot be had here."""

_BESIDE_REDIS = """## Beside Redis 7.0

Every command of Redis 7.0 is in the tables above, but for these, which get Redis's error for an unknown command:

| command | why |
|---|---|
"""

_REFUSED = """
These are there, and are refused:

| command | why |
|---|---|
"""


def render() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *_groups(), _BESIDE_REDIS + _reasons(ABSENT) + _REFUSED + _reasons(REFUSED)])


def _reasons(commands: dict[str, str]) -> str:
    return "".join(f"| `{name.upper()}` | {reason} |\n" for name, reason in commands.items())


def _groups() -> Iterator[str]:
    order = list(_TITLES)
    known = sorted(_declared(), key=lambda command: (order.index(command.group), command.name))
    for group, commands in groupby(known, key=lambda command: command.group):
        yield f"## {_TITLES[group]}\n"
        yield "| command | arguments | what it does | flags | time | since Redis |"
        yield "|---|---|---|---|---|---|"
        yield from map(_row, commands)
        yield ""


def _declared() -> Iterator[Command]:
    """The commands as the reference lists them: subcommands in place of their containers."""
    for command in all_commands():
        if command.subcommands is None:
            yield command
        else:
            yield from command.subcommands.values()


def _row(command: Command) -> str:
    name = command.name.upper().replace("|", " ")
    flags = ", ".join(str(flag.name).lower() for flag in Flag if flag & command.flags & ~_INTERNAL)
    facts = FACTS[command.name]
    since = "not in Redis" if command.group == "flin" else facts.since
    return f"| `{name}` | {_arguments(command)} | {command.summary} | {flags} | {facts.complexity} | {since} |"


def _arguments(command: Command) -> str:
    syntax = " ".join(argument.text() for argument in arguments_of(command.name))
    return f"`{syntax.replace('|', chr(92) + '|')}`" if syntax else ""


if __name__ == "__main__":
    assert flin.net.commands
    sys.stdout.write(render())
