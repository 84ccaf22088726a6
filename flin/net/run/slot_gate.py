"""The gate of a node of a cluster: it answers requests that name own keys, all of one slot, or none. It sends clients
elsewhere with the others: `-MOVED slot host:port`, or `-CROSSSLOT`.

Where the keys of a request stand, its command says (command.py: `Keys`). EXEC is held to the keys of all that it runs.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.cluster.own_slots import OwnSlots
from flin.net.cluster.slots import BRACE, hash_tag, slot_of
from flin.net.command.command import FIRST_KEY, Command, Flag

if TYPE_CHECKING:
    from collections.abc import Container

    from flin.net.client.session import Session
    from flin.net.cluster.board import Board
    from flin.net.cluster.role import ReplicaRole
    from flin.net.cluster.topology import Node, Topology

CROSS_SLOT: Final = "CROSSSLOT Keys in request don't hash to the same slot"

NOBODY_LEADS: Final = "CLUSTERDOWN Hash slot not served: nobody leads its group yet"

NO_SLOT: Final = -1
SEVERAL_SLOTS: Final = -2

_ANY_ADDRESS: Final = ("", "0.0.0.0", "::", "*")
_LOOPBACK: Final = "127.0.0.1"


class Redirection(CommandError):
    """The request belongs elsewhere. EXEC answers with this as it is, and ends its transaction."""


class SlotGate:
    """`own` are the slots of this server. bind: its addresses."""

    __slots__ = ("_bind", "_has", "_role", "_topology", "board", "own", "queued_slot", "transaction_slot")

    def __init__(self, topology: Topology, bind: Sequence[str], role: ReplicaRole | None = None) -> None:
        """role: of a replica; it has newer topologies, in which its own slots stay the same."""
        self._topology = topology
        self._role = role
        self.board: Board | None = None  # set where a supervisor watches the nodes
        self.queued_slot = NO_SLOT  # of the EXEC that was checked last
        self.transaction_slot: int | None = None  # of the EXEC that runs, or of what its scripts have touched
        self.own = OwnSlots(topology.own_node.first, topology.own_node.last)
        self._has = self.own.by_checksum
        self._bind = bind[0] if bind[0] not in _ANY_ADDRESS else _LOOPBACK

    @property
    def topology(self) -> Topology:
        return self._topology if self._role is None else self._role.topology

    def is_open_to(self, command: Command, request: list[bytes]) -> int:
        """Whether a request that is not EXEC may run here; 0: no."""
        if command.keys is FIRST_KEY:
            key = request[1]
            return self._has[crc_hqx(hash_tag(key) if BRACE in key else key, 0)]
        slot = slot_of_all(command, request)
        return slot == NO_SLOT or (slot >= 0 and self.own.has_slot(slot))

    def leading(self, command: Command, columns: Sequence[Sequence[bytes]], known: Container[bytes]) -> int:
        """How many of the first requests may run here together. columns: their arguments after the name. known: keys
        that have been read here, and so are own ones: to find a key there takes a quarter of the time."""
        keys = command.keys
        if keys is FIRST_KEY:
            if not command.is_write:  # which leaves no key known
                unknown = [*filterfalse(known.__contains__, columns[0])]
                if not unknown or self.own.leading([unknown]) == len(unknown):
                    return len(columns[0])
            return self.own.leading(columns[:1])
        if keys.find is not None:
            return 0  # one by one
        named = [columns[position - 1] for position in keys.fixed_positions(len(columns) + 1)]
        return self.own.leading(named) if named else len(columns[0])

    def check(self, session: Session, command: Command, request: list[bytes]) -> None:
        """Raises Redirection."""
        slot = self._slot_of(session, command, request)
        if slot != NO_SLOT and not self.own.has_slot(slot):
            raise self._moved(slot, session)

    def _slot_of(self, session: Session, command: Command, request: list[bytes]) -> int:
        """The slot of the request, or of all that EXEC runs; NO_SLOT. Raises Redirection for several."""
        slot = NO_SLOT
        if not command.flags & Flag.ENDS_QUEUE:
            slot = slot_of_all(command, request)
        elif session.queue is not None:
            slot = self.queued_slot = _joined(slot_of_all(each, of) for each, of in session.queue)
        if slot == SEVERAL_SLOTS:
            raise Redirection(CROSS_SLOT)
        return slot

    def _moved(self, slot: int, session: Session) -> Redirection:
        topology = self.topology
        node = topology.node_of(slot)
        if node is None or node is topology.own_node:  # the latter: this one follows no more, and does not lead yet
            return Redirection(NOBODY_LEADS)
        host, port = self.endpoint_of(node, session)
        return Redirection(f"MOVED {slot} {host}:{port}")

    def is_away(self, node: Node) -> bool:
        """Whether the node does not answer its clients."""
        if self.board is not None:  # of workers, whose topology does not change
            number = self.topology.nodes.index(node)
            return number != self.topology.own and self.board.is_away(number)
        return node.is_away and node.id != self.topology.own_node.id

    def address_of(self, node: Node) -> tuple[str, int]:
        """Where it is, for whoever is no client."""
        return node.host or self._bind, node.port

    def endpoint_of(self, node: Node, session: Session) -> tuple[str, int]:
        """Where this client reaches the node. A node without a host is on this machine: the client reaches it by the
        address by which it has reached us."""
        host, _, port = session.local_address.rpartition(":")
        own_tls_port = self.topology.own_node.tls_port
        speaks_tls = own_tls_port and port == str(own_tls_port)
        own_host = self._bind if host.startswith("/") or not host else host.strip("[]")
        return node.host or own_host, (node.tls_port if speaks_tls else 0) or node.port


def slot_of_all(command: Command, request: list[bytes]) -> int:
    """The slot of the keys that a request names, NO_SLOT where it names none, or SEVERAL_SLOTS."""
    return _joined(slot_of(request[position]) for position in command.keys.slotted(request))


def _joined(slots: Iterable[int]) -> int:
    """One slot of those, which may be NO_SLOT or SEVERAL_SLOTS themselves."""
    found = {*slots} - {NO_SLOT}
    return SEVERAL_SLOTS if len(found) > 1 else found.pop() if found else NO_SLOT


def check_alone(gate: SlotGate | None, what: str) -> None:
    """CommandError on a node of a cluster, which has one database."""
    if gate is not None:
        raise CommandError(f"ERR {what} is not allowed in cluster mode")
