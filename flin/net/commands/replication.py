"""Replication, which there is not: what clients ask of a server that is alone, and clear errors."""

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
