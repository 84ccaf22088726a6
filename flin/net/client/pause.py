"""CLIENT PAUSE: until its deadline requests wait, those that may write or all, and nothing expires.

Two pauses become one: the stronger kind, and the later deadline, as in Redis. The deadline is a duration, so it goes by
the monotonic clock; whoever waits wakes by itself, and looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from flin.net.client.clients import ServerClosure

if TYPE_CHECKING:
    from flin.net.batch.store import StoreLike
    from flin.net.client.clients import Clients


class PauseKind(IntEnum):
    NONE = 0
    WRITE = 1
    ALL = 2


class Pause:
    """The pause of a server. `held` has those who wait for its end, each with what wakes it."""

    def __init__(self, clients: Clients, store: StoreLike, steady_clock: Callable[[], int]) -> None:
        self.kind = PauseKind.NONE
        self.held: dict[object, Callable[[], None]] = {}
        self._clients = clients
        self._store = store
        self._steady_clock = steady_clock
        self._until_ms = 0
        self._is_active_expire = True

    def set_active_expire(self, active: bool) -> None:
        """DEBUG SET-ACTIVE-EXPIRE: whether expired keys are deleted while there is no pause."""
        self._is_active_expire = active
        self.fit_sweep()

    def fit_sweep(self) -> None:
        """Nothing is swept while there is a pause, or a long script, or where DEBUG has forbidden it."""
        is_script = bool(self._clients.closed_by & ServerClosure.SCRIPT)
        self._store.holds_sweep = is_script or not self._is_active_expire or self.kind is not PauseKind.NONE

    def begin(self, kind: PauseKind, milliseconds: int) -> None:
        """Pause for so long, or strengthen and lengthen the pause that there is."""
        self.maybe_end()
        self.kind = max(self.kind, kind)
        self._until_ms = max(self._until_ms, self._steady_clock() + milliseconds)
        self._store.holds_sweep = True  # what has expired is not shown, but it stays
        self._clients.close_gates(ServerClosure.PAUSE)

    def end(self) -> None:
        """Let everybody go on at once."""
        self.kind = PauseKind.NONE
        self._until_ms = 0
        self.fit_sweep()
        self._clients.open_gates(ServerClosure.PAUSE)
        for wake in [*self.held.values()]:
            wake()

    def maybe_end(self) -> None:
        """End it if its time is over."""
        if self.kind and self._steady_clock() >= self._until_ms:
            self.end()

    def seconds_for(self, *, may_write: bool) -> float:
        """How long such a request must wait; 0: it may run."""
        self.maybe_end()
        if self.kind is PauseKind.NONE or (self.kind is PauseKind.WRITE and not may_write):
            return 0.0
        return (self._until_ms - self._steady_clock()) / 1000
