"""The directories of copies that a node is not to hold any more: each goes when the cluster has enough others.

    NODE/group-03/         the copy; its process has ended
    NODE/group-03.gone/    the same, by a rename, while its files are removed

Whatever ended a node amid this: at its start it looks at what is there, and goes on. What it asks of etcd is answered
by a majority, so a map that it saw long ago removes nothing.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from typing import Final

from flin.cluster.etcd.key_value import Delete, Get, KeyValueStore, ModRevision
from flin.cluster.keys import Keys
from flin.cluster.node.moves import may_be_removed
from flin.cluster.node.presence import Readiness
from flin.cluster.replica.lease import Clock, boot_seconds
from flin.cluster.slot_map import SlotMap, is_leaving, leader_of, map_of
from flin.cluster.workers.groups import Group
from flin.engine.disk.fs import OsFileSystem

logger = logging.getLogger(__name__)

GONE: Final = ".gone"
PARTS: Final = (".taken", ".old", GONE)
"""What is left of a copy that was not made whole, or not removed (checkpoint_transfer.py)."""

TIMEOUT_SECONDS: Final = 3.0


class OldCopies:
    """One node's. Calls come from one thread."""

    def __init__(
        self, store: KeyValueStore, keys: Keys, node: str, groups: Sequence[Group], clock: Clock = boot_seconds
    ) -> None:
        self._store = store
        self._keys = keys
        self._node = node
        self._groups = groups
        self._clock = clock
        self._readiness = Readiness()

    def there(self) -> list[int]:
        """The groups of which something lies in the node's directory."""
        return [
            group.number
            for group in self._groups
            if any(os.path.lexists(f"{group.directory}{part}") for part in ("", *PARTS))
        ]

    def remove(self, idle: Sequence[int]) -> list[int]:
        """Remove what may go of these groups, which nobody here has open or opens meanwhile; which have gone.
        KeyValueError, CorruptionError, OSError."""
        reads = Get(*self._keys.map), Get(*self._keys.all_applied)
        mapped, applied = self._store.txn((), reads, timeout=TIMEOUT_SECONDS).found
        there = self._readiness.note(applied.pairs, self._clock())
        found = map_of(self._keys, mapped.pairs, len(self._groups))
        if found.cluster is None:  # somebody has deleted it: nothing says how many copies there are to be
            return []
        able = [group for group in idle if self._may_go(found, group, there.get(group, set()))]
        return [group for group in able if self._go(found, group)]

    def _may_go(self, found: SlotMap, group: int, there: set[str]) -> bool:
        value = found.replicas.get(group)
        staying = [name for name, node in found.nodes.items() if not is_leaving(node)]
        needed = min(found.wanted, len(staying))
        return value is not None and may_be_removed(value, self._node, leader_of(found, group), there, needed)

    def _go(self, found: SlotMap, group: int) -> bool:
        """Nobody is to believe that this node needs the log, or has a copy; then it has none."""
        keys, directory = self._keys, str(self._groups[group].directory)
        compares = [ModRevision(key, found.revisions.get(key, 0)) for key in (keys.replicas(group), keys.leader(group))]
        gone = [Delete(keys.applied(group, self._node))]
        if not self._store.txn(compares, gone, timeout=TIMEOUT_SECONDS).succeeded:
            return False
        if os.path.lexists(directory):
            shutil.rmtree(directory + GONE, ignore_errors=True)
            os.rename(directory, directory + GONE)
            OsFileSystem().sync_directory(os.path.dirname(directory))
            logger.info("group %d: its copy here is not needed any more, and is removed", group)
        for part in PARTS:
            shutil.rmtree(directory + part, ignore_errors=True)
        return True
