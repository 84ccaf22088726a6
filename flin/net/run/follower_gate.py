"""The gate of a follower: it sends clients to the leader of its group, with all that names keys.

A client that has said READONLY may read here, as in Redis Cluster: what it sees is as old as `INFO replication` shows.
If that is more than `max-lag`, it is sent to the leader, too. Scripts are, whatever they do: a long one would run in a
thread of its own, and the log of the group could not be applied meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.command import Command, Flag
from flin.net.run.slot_gate import NO_SLOT, SlotGate

if TYPE_CHECKING:
    from flin.net.client.clients import Clients
    from flin.net.client.session import Session
    from flin.net.cluster.role import ReplicaRole
    from flin.net.cluster.topology import Topology

READ_ONLY: Final = "READONLY You can't write against a read only replica."

_SCRIPT: Final = Flag.NO_MANDATORY_KEYS
"""What runs commands within it."""


_READS_ALONE: Final = Flag.READONLY | Flag.NO_MANDATORY_KEYS


class FollowerGate(SlotGate):
    __slots__ = ("_max_lag_ms", "is_stale")

    def __init__(self, topology: Topology, bind: Sequence[str], role: ReplicaRole, max_lag_ms: int) -> None:
        super().__init__(topology, bind, role)
        self._max_lag_ms = max_lag_ms
        self.look_at_lag()

    def look_at_lag(self) -> None:
        """Ten times a second."""
        assert self._role is not None
        self.is_stale = self._role.figures().lag_ms > self._max_lag_ms

    def lets_read(self, session: Session, clients: Clients) -> bool:
        """Whether no gate is closed to this client but that of writes."""
        return (
            session.is_readonly
            and not self.is_stale
            and session.is_authenticated
            and session.queue is None
            and not session.closed_by
            and clients.is_usual
        )

    def runs_brief(self, command: Command) -> bool:
        """Whether the command only reads, and runs no others."""
        return command.flags & _READS_ALONE == Flag.READONLY

    def check(self, session: Session, command: Command, request: list[bytes]) -> None:
        slot = self._slot_of(session, command, request)
        if slot == NO_SLOT:
            if command.is_write or command.flags & _SCRIPT:
                raise CommandError(READ_ONLY)
            return
        if not (self.own.has_slot(slot) and session.is_readonly and not self.is_stale and _reads(session, command)):
            raise self._moved(slot, session)


def _reads(session: Session, command: Command) -> bool:
    queue = session.queue if command.flags & Flag.ENDS_QUEUE else None
    commands = [command] if queue is None else [each for each, _ in queue]
    return not any(each.is_write or each.flags & _SCRIPT or each.keys.are_channels for each in commands)
