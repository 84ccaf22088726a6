"""Redis's thresholds: up to which size it would keep a collection packed. OBJECT ENCODING answers by them alone.

As in Redis a collection that was once large stays so, and a change of CONFIG counts for the next write.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Thresholds:
    """The defaults are Redis 7.0's. One for all databases; CONFIG SET changes it."""

    hash_entries: int = 512  # hash-max-listpack-entries
    hash_value_bytes: int = 64  # hash-max-listpack-value: of a field, too
    set_integers: int = 512  # set-max-intset-entries: of a set of integers
    sorted_set_members: int = 128  # zset-max-listpack-entries
    sorted_set_member_bytes: int = 64  # zset-max-listpack-value
    stream_node_entries: int = 100  # stream-node-max-entries: what XTRIM ~ deletes together; 0: without a bound
