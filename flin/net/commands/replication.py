"""Replication: what clients ask of a server that is alone, and of a replica of a cluster; clear errors of what is
Redis's own way of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.cluster.role import forming
from flin.net.command.arguments import timeout_seconds_of_ms
from flin.net.command.registry import command, container
from flin.net.commands.help import declare_help
from flin.net.run.context import Context
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import OK, Value, syntax_error

if TYPE_CHECKING:
    from flin.net.cluster.role import ReplicaRole
    from flin.net.cluster.topology import Group
    from flin.net.run.slot_gate import SlotGate

GROUP: Final = "server"

_ADMIN: Final = "admin noscript"
_NO_REPLICAS: Final = "ERR Flin does not replicate"

_MAX_PORT: Final = 65_535


@command("role", 1, "noscript loading stale fast", categories="admin dangerous")
def role(context: Context, args: list[bytes]) -> Value:
    """Returns the role: of a master with its replicas, of a replica with its master. Alone it is a master."""
    role, gate = context.services.role, context.services.slot_gate
    if role is None or gate is None:
        return [b"master", 0, []]
    figures, group = role.figures(), _own_group(gate)
    if role.is_leading:
        return [
            b"master",
            figures.index,
            [
                [host.encode(), b"%d" % port, b"%d" % figures.followers.get(node.id, 0)]
                for node in group.followers
                for host, port in [gate.endpoint_of(node, context.session)]
            ],
        ]
    if group.leader is None:
        return [b"slave", b"", 0, b"connect", figures.index]
    host, port = gate.endpoint_of(group.leader, context.session)
    return [b"slave", host.encode(), port, b"connected", figures.index]


def _own_group(gate: SlotGate) -> Group:
    topology = gate.topology
    return topology.group_of(topology.own_node.first)


def replica_figures(role: ReplicaRole, gate: SlotGate) -> dict[str, object]:
    """INFO replication of a replica."""
    figures, group = role.figures(), _own_group(gate)
    found: dict[str, object] = {"role": "master" if role.is_leading else "slave"}
    if role.is_leading:
        found["connected_slaves"] = sum(not gate.is_away(node) for node in group.followers)
        for number, node in enumerate(group.followers):
            host, port = gate.address_of(node)
            state, offset = "wait_bgsave" if gate.is_away(node) else "online", figures.followers.get(node.id, 0)
            found[f"slave{number}"] = f"ip={host},port={port},state={state},offset={offset},lag=0"
    else:
        if group.leader is not None:
            found["master_host"], found["master_port"] = gate.address_of(group.leader)
        found["master_link_status"] = "down" if group.leader is None else "up"
        found["slave_repl_offset"], found["slave_read_only"] = figures.index, 1
    return found | {
        "master_repl_offset": figures.index,
        "cluster_nodes_voting": figures.voting_nodes,
        "cluster_replication": forming(figures.voting_nodes) or "replicated",
        "cluster_epoch": figures.epoch,
        "cluster_log_index": figures.index,
        "cluster_lag_ms": figures.lag_ms,
        "cluster_clock_skew_ms": figures.skew_ms,
        "cluster_etcd_used_share": figures.etcd_used_share,
        "cluster_has_lease": int(role.is_leading and role.has_lease()),
        "cluster_has_room": int(figures.has_room),
    }


@command("wait", 3, "noscript", categories="connection", group="generic")
def wait(context: Context, args: list[bytes]) -> Value:
    """Returns at once how many other nodes have every write that was answered: in a cluster a majority, else none."""
    parse_int64(args[1])
    timeout_seconds_of_ms(args[2])
    role = context.services.role
    return 0 if role is None else role.figures().voting_nodes // 2


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
