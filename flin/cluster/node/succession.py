"""Who leads a group after a process that has died: its supervisor knows that at once, and gives its place away.

A lease is waited for because a leader that is not heard may live. One whose end the system has told serves nobody any
more, and what it may have sent to etcd is fenced by the change. If the next one is not there either, the others wait
for the lease that it was given, as they do for any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from flin.cluster.etcd.key_value import KeyValueError, KeyValueStore, ModRevision, Outcome, Put
from flin.cluster.keys import AppliedValue, Keys, name_of
from flin.cluster.replica.lease import Clock, Lease, boot_seconds
from flin.cluster.replica.takeover import Myself, Place, Request, Role, target_of
from flin.errors import CorruptionError

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Succession:
    """Who gets the groups that one node leads."""

    store: KeyValueStore
    keys: Keys
    node: str
    away: Callable[[], Collection[str]]
    """The nodes that do not show themselves."""
    clock: Clock = boot_seconds

    def pass_on(self, group: int, start: str) -> str:
        """This process of the node has ended, so nobody gives it a group any more; if it leads, another replica does
        from now on. Its node; empty: there was nothing to do, or nobody to do it. It waits for etcd."""
        dead = Myself(group, self.node, start)
        try:
            self._tell(dead)
            target = self._given(dead)
        except (KeyValueError, CorruptionError) as error:  # then the lease is waited for
            logger.warning("the place of a leader that has died is not given away: %s", error)
            return ""
        if target:
            logger.info("group %d: %s is to lead it in place of the process that has died", group, target)
        return target

    def _tell(self, dead: Myself) -> None:
        """As it does itself when it ends in order."""
        key = self.keys.applied(dead.group, dead.node)
        for pair in self.store.get(key, timeout=TIMEOUT_SECONDS).pairs:
            value = AppliedValue.of(pair)
            if value.start == dead.start:
                put = Put(key, replace(value, start="").encode())
                self.store.txn([ModRevision(key, pair.mod_revision)], [put], timeout=TIMEOUT_SECONDS)

    def _given(self, dead: Myself) -> str:
        place = Place(self.keys, dead, Lease(self.clock))
        look = place.request(self.clock())
        now = self.clock()
        place.note(look, self._sent(look), now, now)
        if place.role is not Role.LEADING:
            return ""
        pairs = self.store.get(*self.keys.applied_in(dead.group), timeout=TIMEOUT_SECONDS).pairs
        told = {name_of(pair.key): AppliedValue.of(pair) for pair in pairs}
        away = self.away()
        target = target_of(
            dead, place.replicas, {name: value for name, value in told.items() if value.start and name not in away}
        )
        return target[0] if target is not None and self._sent(place.handover(target)).succeeded else ""

    def _sent(self, request: Request) -> Outcome:
        return self.store.txn(request.compares, request.success, request.failure, timeout=TIMEOUT_SECONDS)
