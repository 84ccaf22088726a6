"""Replication and clusters, which there are not: what clients ask of a server that is alone, and clear errors."""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.command.arguments import timeout_seconds_of_ms
from flin.net.command.registry import command, container
from flin.net.commands.help import declare_help
from flin.net.run.context import Context
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import OK, Value, syntax_error

GROUP: Final = "server"

_ADMIN: Final = "admin noscript"
_NO_REPLICAS: Final = "ERR Flin does not replicate"
_NO_CLUSTER: Final = "ERR This instance has cluster support disabled"

_MAX_PORT: Final = 65_535


@command("role", 1, "noscript loading stale fast", categories="admin dangerous")
def role(context: Context, args: list[bytes]) -> Value:
    """Returns that the server is a master without replicas."""
    return [b"master", 0, []]


@command("wait", 3, "noscript", categories="connection", group="generic")
def wait(context: Context, args: list[bytes]) -> Value:
    """Returns 0 at once: no replica will ever have received a write."""
    parse_int64(args[1])
    timeout_seconds_of_ms(args[2])
    return 0


def _replica_of(context: Context, args: list[bytes]) -> Value:
    if [word.lower() for word in args[1:]] == [b"no", b"one"]:
        return OK
    port = maybe_int64(args[2])
    if port is None or not 0 <= port <= _MAX_PORT:
        raise CommandError("ERR Invalid master port")
    raise CommandError(_NO_REPLICAS)


@command("replicaof", 3, f"{_ADMIN} stale no_async_loading")
def replicaof(context: Context, args: list[bytes]) -> Value:
    """With NO ONE does nothing; refuses every master."""
    return _replica_of(context, args)


@command("slaveof", 3, f"{_ADMIN} stale no_async_loading")
def slaveof(context: Context, args: list[bytes]) -> Value:
    """The older name of REPLICAOF."""
    return _replica_of(context, args)


@command("failover", -1, f"{_ADMIN} stale")
def failover(context: Context, args: list[bytes]) -> Value:
    """Refused: there is no replica."""
    words = [word.lower() for word in args[1:]]
    if words == [b"abort"]:
        raise CommandError("ERR No failover in progress.")
    position = 0
    while position < len(words):
        if words[position] == b"timeout" and position + 1 < len(words):
            if parse_int64(words[position + 1]) <= 0:
                raise CommandError("ERR FAILOVER timeout must be greater than 0")
            position += 2
        elif words[position] == b"to" and position + 2 < len(words):
            parse_int64(words[position + 2])
            position += 3
        elif words[position] == b"force":
            position += 1
        else:
            raise syntax_error()
    raise CommandError("ERR FAILOVER requires connected replicas.")


@command("replconf", -1, f"{_ADMIN} loading stale allow_busy")
def replconf(context: Context, args: list[bytes]) -> Value:
    """Refused: there is no replication."""
    raise CommandError(_NO_REPLICAS)


@command("psync", -3, f"{_ADMIN} no_async_loading no_multi")
def psync(context: Context, args: list[bytes]) -> Value:
    """Refused: there is no replication."""
    raise CommandError(_NO_REPLICAS)


@command("sync", 1, f"{_ADMIN} no_async_loading no_multi")
def sync(context: Context, args: list[bytes]) -> Value:
    """Refused: there is no replication."""
    raise CommandError(_NO_REPLICAS)


def _no_cluster(context: Context, args: list[bytes]) -> Value:
    """Refused: there is no cluster."""
    raise CommandError(_NO_CLUSTER)


for _name, _flags in (
    ("readonly", "loading stale fast"),
    ("readwrite", "loading stale fast"),
    ("asking", "fast"),
):
    command(_name, 1, _flags, categories="connection", group="cluster")(_no_cluster)

container("cluster", "cluster", "Commands about a cluster.")

_SUBCOMMANDS: Final = """
addslots -3 admin stale no_async_loading
addslotsrange -4 admin stale no_async_loading
bumpepoch 2 admin stale no_async_loading
count-failure-reports 3 admin stale
countkeysinslot 3 stale
delslots -3 admin stale no_async_loading
delslotsrange -4 admin stale no_async_loading
failover -2 admin stale no_async_loading
flushslots 2 admin stale no_async_loading
forget 3 admin stale no_async_loading
getkeysinslot 4 stale
info 2 stale
keyslot 3 stale
links 2 stale
meet -4 admin stale no_async_loading
myid 2 stale
nodes 2 stale
replicas 3 admin stale
replicate 3 admin stale no_async_loading
reset -2 admin noscript stale
saveconfig 2 admin stale no_async_loading
set-config-epoch 3 admin stale no_async_loading
setslot -4 admin stale no_async_loading
shards 2 stale
slaves 3 admin stale
slots 2 stale
help 2 loading stale
"""
"""One for each line: its name, its arity, its flags."""

for _line in _SUBCOMMANDS.strip().splitlines():
    _name, _arity, _flags = _line.split(" ", 2)
    command(f"cluster|{_name}", int(_arity), _flags, group="cluster")(_no_cluster)

container("module", GROUP, "Commands about modules, which there are not.")


@command("module|list", 2, _ADMIN)
def module_list(context: Context, args: list[bytes]) -> Value:
    """Returns nothing: there are no modules."""
    return []


def _no_module(context: Context, args: list[bytes]) -> Value:
    """Refused: there are no modules."""
    raise CommandError(
        'ERR MODULE command not allowed. If the enable-module-command option is set to "local", you can run it from a '
        "local connection, otherwise you need to set this option in the configuration file, and then restart the "
        "server."
    )


for _name, _arity in (("load", "-3"), ("loadex", "-3"), ("unload", "3")):
    command(f"module|{_name}", int(_arity), f"{_ADMIN} no_async_loading")(_no_module)

declare_help("module", GROUP)
