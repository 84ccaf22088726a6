"""CLUSTER, READONLY, READWRITE and ASKING: what a node of a cluster tells its clients of it.

The nodes and their slots are fixed while a cluster runs, so what changes a cluster of Redis is refused. So is all of it
by a server that is no node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flin.errors import CommandError
from flin.net.cluster.own_slots import keys_in
from flin.net.cluster.slots import SLOTS, slot_of
from flin.net.command.registry import command, container, find_by_path
from flin.net.commands.help import help_lines
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Slices, Value, Verbatim, shown

if TYPE_CHECKING:
    from flin.net.cluster.topology import Node
    from flin.net.run.context import Context
    from flin.net.run.slot_gate import SlotGate

GROUP: Final = "cluster"

_NO_CLUSTER: Final = "ERR This instance has cluster support disabled"
_FIXED: Final = (
    "ERR the nodes of this cluster and their slots are fixed while it runs: stop it, and use `flin resize` to divide "
    "the slots among another number of workers"
)


def _gate(context: Context) -> SlotGate:
    """CommandError if the server is no node of a cluster."""
    gate = context.services.slot_gate
    if gate is None:
        raise CommandError(_NO_CLUSTER)
    return gate


@command("readonly", 1, "loading stale fast", categories="connection")
def readonly(context: Context, args: list[bytes]) -> Value:
    """Is noted, for CLIENT LIST: there are no replicas to read from. Refused outside a cluster."""
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
    gate = _gate(context)
    topology = gate.topology
    lost = sum(node.last - node.first + 1 for number, node in enumerate(topology.nodes) if gate.is_away(number))
    figures = {
        "cluster_state": "ok",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": SLOTS - lost,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": lost,
        "cluster_known_nodes": len(topology.nodes),
        "cluster_size": len(topology.nodes),
        "cluster_current_epoch": len(topology.nodes),
        "cluster_my_epoch": topology.own + 1,
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
    """Returns each range of slots with the address and the id of its node."""
    gate = _gate(context)
    ranges: list[Value] = []
    for node in gate.topology.nodes:
        host, port = gate.endpoint_of(node, context.session)
        ranges.append([node.first, node.last, [host.encode(), port, node.id.encode(), {}]])
    return ranges


@command("cluster|shards", 2, "stale")
def shards(context: Context, args: list[bytes]) -> Value:
    """Returns each range of slots with all that is known of its node."""
    gate = _gate(context)
    return [
        {b"slots": [node.first, node.last], b"nodes": [_described(gate, context, number, node)]}
        for number, node in enumerate(gate.topology.nodes)
    ]


def _described(gate: SlotGate, context: Context, number: int, node: Node) -> dict[bytes, Any]:
    host = gate.endpoint_of(node, context.session)[0].encode()
    return {
        b"id": node.id.encode(),
        b"port": node.port,
        **({b"tls-port": node.tls_port} if node.tls_port else {}),
        b"ip": host,
        b"endpoint": host,
        b"role": b"master",
        b"replication-offset": 0,
        b"health": b"fail" if gate.is_away(number) else b"online",
    }


@command("cluster|nodes", 2, "stale")
def nodes(context: Context, args: list[bytes]) -> Value:
    """Returns a line for each node. There is no port for messages among nodes: 0."""
    gate = _gate(context)
    lines: list[str] = []
    for number, node in enumerate(gate.topology.nodes):
        host, port = gate.endpoint_of(node, context.session)
        flags, state = ("master,fail", "disconnected") if gate.is_away(number) else ("master", "connected")
        flags = "myself,master" if number == gate.topology.own else flags
        lines.append(f"{node.id} {host}:{port}@0 {flags} - 0 0 {number + 1} {state} {node.first}-{node.last}\n")
    return Verbatim("".join(lines).encode())


@command("cluster|links", 2, "stale")
def links(context: Context, args: list[bytes]) -> Value:
    """Returns nothing: there are no links over the network."""
    _gate(context)
    return []


def _check_node(context: Context, name: bytes) -> None:
    if name not in [node.id.encode() for node in _gate(context).topology.nodes]:
        raise CommandError(f"ERR Unknown node {shown(name)}")


@command("cluster|count-failure-reports", 3, "admin stale")
def count_failure_reports(context: Context, args: list[bytes]) -> Value:
    """Returns 0 for each node: nodes do not report each other, their supervisor watches them."""
    _check_node(context, args[2])
    return 0


def _no_replicas(context: Context, args: list[bytes]) -> Value:
    """Returns nothing for each node: there are no replicas."""
    _check_node(context, args[2])
    return []


for _name in ("replicas", "slaves"):
    command(f"cluster|{_name}", 3, "admin stale")(_no_replicas)


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
    """Refused: nodes and slots are fixed while a cluster runs."""
    _gate(context)
    raise CommandError(_FIXED)


_REFUSED: Final = """
addslots -3 admin stale no_async_loading
addslotsrange -4 admin stale no_async_loading
bumpepoch 2 admin stale no_async_loading
delslots -3 admin stale no_async_loading
delslotsrange -4 admin stale no_async_loading
failover -2 admin stale no_async_loading
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
