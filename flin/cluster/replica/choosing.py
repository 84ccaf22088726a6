"""Somebody chooses who leads a group (CLUSTER FAILOVER): that is written down, and the leader itself hands over.

It does so once both have been there for some seconds, as to any other that is preferred (takeover.py). The controller
prefers nobody else while that node is there.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from flin.cluster.etcd.key_value import KeyValueError, KeyValueStore, ModRevision, Put
from flin.cluster.keys import Keys, ReplicasValue
from flin.errors import CorruptionError

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 2.0

TRIES: Final = 5
"""The controller may change the same key meanwhile."""


def choose_leader(store: KeyValueStore, keys: Keys, group: int, node: str) -> bool:
    """Write down that this node is to lead; whether that was done. It waits for etcd."""
    try:
        is_chosen = any(_is_written(store, keys.replicas(group), node) for _ in range(TRIES))
    except (KeyValueError, CorruptionError) as error:
        logger.warning("CLUSTER FAILOVER changes nothing: %s", error)
        return False
    if is_chosen:
        logger.info("CLUSTER FAILOVER: %s should lead", node)
    else:
        logger.warning("CLUSTER FAILOVER changes nothing: %s has no copy that counts", node)
    return is_chosen


def _is_written(store: KeyValueStore, key: bytes, node: str) -> bool:
    pairs = store.get(key, timeout=TIMEOUT_SECONDS).pairs
    value = ReplicasValue.of(pairs[0]) if pairs else ReplicasValue(())
    if node not in value.nodes:
        return False
    put = Put(key, replace(value, preferred=node, chosen=node).encode())
    return store.txn([ModRevision(key, pairs[0].mod_revision)], [put], timeout=TIMEOUT_SECONDS).succeeded
