"""Evictions: which keys go, and that they go by an ordinary commit."""

from __future__ import annotations

from typing import Any

from flin.engine.entry import TOMBSTONE
from flin.engine.tree.store import Store
from tests.engine.hunts import running_workloads
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(running_workloads)
def used_keys_are_evicted(patch: Patch) -> None:
    """a key that was used since it was chosen is not evicted"""
    original = Store.evict
    patch.setattr(Store, "evict", lambda self, keys, _: original(self, keys, lambda key, entry: True))


@caught_by(running_workloads)
def evictions_are_not_logged(patch: Patch) -> None:
    """an eviction is in the WAL before it is in memory"""

    def evict(self: Any, keys: Any, may_go: Any) -> Any:
        held = {key: self.read(key) for key in keys}
        evicted = {key: entry for key, entry in held.items() if entry is not None and may_go(key, entry)}
        for key in evicted:
            self.state.active[self.state.shard_of(key)].entries[key] = TOMBSTONE
        return evicted

    patch.setattr(Store, "evict", evict)
