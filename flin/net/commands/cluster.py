"""CLUSTER, READONLY, READWRITE and ASKING: what a node of a cluster tells its clients of it.

Whoever runs the nodes decides who has which slots, so what changes a cluster of Redis is refused. So is all of it by a
server that is no node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flin.errors import CommandError
from flin.net.cluster.own_slots import keys_in
from flin.net.cluster.slots import SLOTS, slot_of
from flin.net.cluster.topology import NOBODY
from flin.net.command.registry import command, container, find_by_path
from flin.net.commands.help import help_lines, unknown_or_wrong_arity
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Slices, Value, Verbatim, shown

if TYPE_CHECKING:
    from flin.net.cluster.topology import Group, Node
    from flin.net.run.context import Context
    from flin.net.run.slot_gate import SlotGate

GROUP: Final = "cluster"

_NO_CLUSTER: Final = "ERR This instance has cluster support disabled"
_FIXED: Final = (
    "ERR the nodes of this cluster and their slots are fixed while it runs: stop it, and use `flin resize` to divide "
    "the slots among another number of workers"
)

_AGREED: Final = (
    "ERR the nodes of this cluster agree by etcd on who leads which slots: `flin serve --join` adds a node, `flin "
    "cluster leave` removes one"
)


def _gate(context: Context) -> SlotGate:
    """CommandError if the server is no node of a cluster."""
    gate = context.services.slot_gate
    if gate is None:
        raise CommandError(_NO_CLUSTER)
    return gate


@command("readonly", 1, "loading stale fast", categories="connection")
def readonly(context: Context, args: list[bytes]) -> Value:
    """From now on a follower answers reads itself, as old as they may be. Refused outside a cluster."""
    _gate(context)
    context.session.is_readonly = True
    return OK


@command("readwrite", 1, "loading stale fast", categories="connection")
def readwrite(context: Context, args: list[bytes]) -> Value:
    """Ends READONLY. Refused outside a cluster."""
    _gate(context)
    context.session.is_readonly = False
    return OK


@command("asking", 1, "fast", categories="connection")
def asking(context: Context, args: list[bytes]) -> Value:
    """Does nothing: no slot is on its way to another node. Refused outside a cluster."""
    _gate(context)
    return OK


container("cluster", GROUP, "Commands about the cluster that the server is a node of.")


@command("cluster|info", 2, "stale")
def info(context: Context, args: list[bytes]) -> Value:
    """Returns the cluster's state. It is ok while a node is away, too, since the others go on."""
    gate, role = _gate(context), context.services.role
    groups = gate.topology.groups
    led = [group for group in groups if group.leader is not None]
    lost = [group for group in groups if group.leader is None or gate.is_away(group.leader)]
    number_lost = sum(group.last - group.first + 1 for group in lost)
    epoch = None if role is None else role.figures().epoch
    figures = {
        "cluster_state": "ok" if len(led) == len(groups) else "fail",
        "cluster_slots_assigned": sum(group.last - group.first + 1 for group in led),
        "cluster_slots_ok": SLOTS - number_lost,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": number_lost,
        "cluster_known_nodes": len(gate.topology.nodes),
        "cluster_size": len(groups),
        "cluster_current_epoch": len(groups) if epoch is None else epoch,
        "cluster_my_epoch": gate.topology.own + 1 if epoch is None else epoch,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return Verbatim("".join(f"{name}:{value}\r\n" for name, value in figures.items()).encode())


@command("cluster|myid", 2, "stale")
def myid(context: Context, args: list[bytes]) -> Value:
    """Returns the id of this node."""
    return _gate(context).topology.own_node.id.encode()


@command("cluster|slots", 2, "stale")
def slots(context: Context, args: list[bytes]) -> Value:
    """Returns each range of slots with its nodes: first the one that leads, then those that follow and are there.

    A range that nobody leads is left out."""
    gate = _gate(context)
    ranges: list[Value] = []
    for group in gate.topology.groups:
        if group.leader is not None:
            present = [group.leader, *(node for node in group.followers if not gate.is_away(node))]
            ranges.append([group.first, group.last, *(_place(gate, context, node) for node in present)])
    return ranges


def _place(gate: SlotGate, context: Context, node: Node) -> list[Value]:
    host, port = gate.endpoint_of(node, context.session)
    return [host.encode(), port, node.id.encode(), {}]


@command("cluster|shards", 2, "stale")
def shards(context: Context, args: list[bytes]) -> Value:
    """Returns each range of slots with all that is known of its nodes."""
    gate = _gate(context)
    return [
        {
            b"slots": [group.first, group.last],
            b"nodes": [_described(gate, context, node) for node in group.nodes],
        }
        for group in gate.topology.groups
    ]


def _described(gate: SlotGate, context: Context, node: Node) -> dict[bytes, Any]:
    host = gate.endpoint_of(node, context.session)[0].encode()
    return {
        b"id": node.id.encode(),
        b"port": node.port,
        **({b"tls-port": node.tls_port} if node.tls_port else {}),
        b"ip": host,
        b"endpoint": host,
        b"role": b"replica" if node.replica_of else b"master",
        b"replication-offset": _offset_of(context, node),
        b"health": b"fail" if gate.is_away(node) else b"online",
    }


def _offset_of(context: Context, node: Node) -> int:
    """Up to which entry of its group's log a node is known to be, of this node's group."""
    role, gate = context.services.role, context.services.slot_gate
    if role is None or gate is None:
        return 0
    figures = role.figures()
    return figures.index if node.id == gate.topology.own_node.id else figures.followers.get(node.id, 0)


@command("cluster|nodes", 2, "stale")
def nodes(context: Context, args: list[bytes]) -> Value:
    """Returns a line for each node. There is no port for messages among nodes: 0."""
    gate = _gate(context)
    topology = gate.topology
    return Verbatim(
        "".join(
            f"{_line_of(gate, context, node, number + 1)}\n"
            for number, group in enumerate(topology.groups)
            for node in group.nodes
        ).encode()
    )


def _line_of(gate: SlotGate, context: Context, node: Node, epoch: int) -> str:
    host, port = gate.endpoint_of(node, context.session)
    flags = "slave" if node.replica_of else "master"
    state = "connected"
    if gate.is_away(node):
        flags, state = f"{flags},fail", "disconnected"
    if node.id == gate.topology.own_node.id:
        flags = f"myself,{flags}"
    line = f"{node.id} {host}:{port}@0 {flags} {node.replica_of or NOBODY} 0 0 {epoch} {state}"
    return line if node.replica_of else f"{line} {node.first}-{node.last}"


@command("cluster|links", 2, "stale")
def links(context: Context, args: list[bytes]) -> Value:
    """Returns nothing: servers have no links to each other; those of nodes are shown by `GET /cluster/status`."""
    _gate(context)
    return []


def _find_node(context: Context, name: bytes) -> tuple[int, Group, Node]:
    """The number of its group, the group, and the node."""
    for number, group in enumerate(_gate(context).topology.groups):
        for node in group.nodes:
            if node.id.encode() == name:
                return number, group, node
    raise CommandError(f"ERR Unknown node {shown(name)}")


@command("cluster|count-failure-reports", 3, "admin stale")
def count_failure_reports(context: Context, args: list[bytes]) -> Value:
    """Returns 0 for each node: nodes do not report each other, a supervisor or etcd watches them."""
    _find_node(context, args[2])
    return 0


def _replicas(context: Context, args: list[bytes]) -> Value:
    """Returns a line, as of CLUSTER NODES, for each node that follows this one."""
    number, group, node = _find_node(context, args[2])
    if node.replica_of:
        raise CommandError("ERR The specified node is not a master")
    gate = _gate(context)
    return [_line_of(gate, context, follower, number + 1).encode() for follower in group.followers]


for _name in ("replicas", "slaves"):
    command(f"cluster|{_name}", 3, "admin stale")(_replicas)


@command("cluster|keyslot", 3, "stale")
def keyslot(context: Context, args: list[bytes]) -> Value:
    """Returns the slot of a key."""
    _gate(context)
    return slot_of(args[2])


@command("cluster|countkeysinslot", 3, "stale")
def countkeysinslot(context: Context, args: list[bytes]) -> Slices:
    """Returns how many keys of a slot are on this node. It looks at all keys."""
    _gate(context)
    slot = parse_int64(args[2])
    if not 0 <= slot < SLOTS:
        raise CommandError("ERR Invalid slot")
    number = 0
    for found in _keys_in(context, slot):
        number += len(found)
        yield
    return number


@command("cluster|getkeysinslot", 4, "stale")
def getkeysinslot(context: Context, args: list[bytes]) -> Slices:
    """Returns some keys of a slot. It looks at all keys, up to the last of those."""
    _gate(context)
    slot, most = parse_int64(args[2]), parse_int64(args[3])
    if not 0 <= slot < SLOTS or most < 0:
        raise CommandError("ERR Invalid slot or number of keys")
    keys: list[bytes] = []
    for found in _keys_in(context, slot):
        keys += found
        if len(keys) >= most:
            break
        yield
    return keys[:most]


def _keys_in(context: Context, slot: int) -> Iterator[list[bytes]]:
    """The keys of a slot, a page of all keys at a time."""
    return (keys_in(slot, names) for names, _ in context.keyspace.pages())


def _refuse(context: Context, args: list[bytes]) -> Value:
    """Refused: no client decides on nodes and slots."""
    _gate(context)
    raise CommandError(_FIXED if context.services.role is None else _AGREED)


@command("cluster|failover", -2, "admin stale no_async_loading")
def failover(context: Context, args: list[bytes]) -> Value:
    """Asks that this replica lead: the leader hands over to it, in order; with FORCE and TAKEOVER, too."""
    gate, role = _gate(context), context.services.role
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    if len(args) == 3 and args[2].upper() not in (b"FORCE", b"TAKEOVER"):
        raise CommandError("ERR syntax error")
    if role is None or role.is_leading:
        raise CommandError("ERR You should send CLUSTER FAILOVER to a replica")
    topology = gate.topology
    if topology.group_of(topology.own_node.first).leader is None:
        raise CommandError("ERR I'm a replica but my master is unknown to me")
    if len(args) == 2 and not role.sees_leader():
        raise CommandError("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")
    role.take_over()
    return OK


_REFUSED: Final = """
addslots -3 admin stale no_async_loading
addslotsrange -4 admin stale no_async_loading
bumpepoch 2 admin stale no_async_loading
delslots -3 admin stale no_async_loading
delslotsrange -4 admin stale no_async_loading
flushslots 2 admin stale no_async_loading
forget 3 admin stale no_async_loading
meet -4 admin stale no_async_loading
replicate 3 admin stale no_async_loading
reset -2 admin noscript stale
saveconfig 2 admin stale no_async_loading
set-config-epoch 3 admin stale no_async_loading
setslot -4 admin stale no_async_loading
"""
"""One for each line: its name, its arity, its flags."""

for _line in _REFUSED.strip().splitlines():
    _name, _arity, _flags = _line.split(" ", 2)
    command(f"cluster|{_name}", int(_arity), _flags)(_refuse)


@command("cluster|help", 2, "loading stale")
def show_help(context: Context, args: list[bytes]) -> Value:
    """Shows the subcommands."""
    _gate(context)
    found = find_by_path("cluster")
    assert found is not None
    return help_lines(found)
