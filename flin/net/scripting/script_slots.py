"""Which keys one run of a script may touch on a node of a cluster: own ones, and of one slot, unless the script may
cross slots: then it says so, or says nothing of itself. In EXEC that is the slot of the whole transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flin.errors import CommandError
from flin.net.cluster.slots import slot_of
from flin.net.run.slot_gate import NO_SLOT, slot_of_all
from flin.net.scripting.shebang import ScriptFlag

if TYPE_CHECKING:
    from flin.net.command.command import Command
    from flin.net.run.slot_gate import SlotGate


class ScriptSlots:
    """keys: those that the request names; they are of one slot, or it would not run here. Raises CommandError if the
    script says that it must not run in a cluster."""

    __slots__ = ("_declared", "_gate", "_may_cross", "_slot")

    def __init__(self, gate: SlotGate, keys: list[bytes], flags: ScriptFlag) -> None:
        if flags & ScriptFlag.NO_CLUSTER:
            raise CommandError("ERR Can not run script on cluster, 'no-cluster' flag is set.")
        self._gate = gate
        self._may_cross = bool(flags & (ScriptFlag.COMPATIBILITY | ScriptFlag.ALLOW_CROSS_SLOT_KEYS))
        if keys:
            self._declared = slot_of(keys[0])
        else:
            self._declared = NO_SLOT if gate.transaction_slot is None else gate.transaction_slot
        self._slot = self._declared

    def begin_again(self) -> None:
        self._slot = self._declared

    def error(self, command: Command, request: list[bytes]) -> str | None:
        """Why the script may not run this; None: it may."""
        if not self._gate.is_open_to(command, request):
            return "ERR Script attempted to access a non local key in a cluster node"
        slot = NO_SLOT if self._may_cross else slot_of_all(command, request)
        if slot not in (NO_SLOT, self._slot):
            if self._slot != NO_SLOT:
                return "ERR Script attempted to access keys that do not hash to the same slot"
            self._slot = slot
            if self._gate.transaction_slot == NO_SLOT:
                self._gate.transaction_slot = slot
        return None
