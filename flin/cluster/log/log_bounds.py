"""How much of the logs is kept, and when a member of etcd needs care: pure.

    kept       from the first entry that a replica of the group does not have in its tables. A group that has not all
               its replicas yet keeps all: one that joins need not take a copy of another's tables.
    cut        once etcd holds MAX_LOG_BYTES, whoever may be behind: half of it goes, the longest logs first. A replica
               that would need what went takes a copy of another one (checkpoint_transfer.py).
    defragment a member whose file is mostly free pages. etcd counts those against its quota, though it uses them again.

What is deleted stays in etcd's file until the history is compacted behind it. Watches that are behind that list again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flin.cluster.etcd.etcd_maintenance import Status

FIRST: Final = 1
"""The number of a log's first entry (as in replicated_log.py)."""

MAX_LOG_BYTES: Final = 1 << 30
"""For all groups: a quarter of the quota, since what was deleted counts until it is compacted."""

KEPT_SHARE: Final = 0.5
"""How many of the entries stay when they are cut: so that it does not come again at once."""

MAX_UNFLUSHED_BYTES: Final = 32 << 20
"""A replica flushes its tables after so much of its group's log."""

FREE_SHARE: Final = 0.5
"""A file of which so much of the quota is free is defragmented: 0.2 s for each 600 MB, while its member stands still.
"""

FULL_SHARE, FULL_FREE_SHARE = 0.8, 0.25
"""One that is so full is, if so much of the quota can be won."""

NOTICE_SHARE: Final = 0.5
ALARM_SHARE: Final = 0.8
"""What is in use, as a share of the quota: an operator is told; writers are slowed."""

MAX_DELAY_SECONDS: Final = 1.0
"""Before each append, when etcd is all but full."""


@dataclass(frozen=True, slots=True)
class GroupLogState:
    """A group's log, and who needs it."""

    first: int
    """The number of the oldest entry that is kept; 0: there is none."""
    last: int
    """The number of the newest."""
    applied: Mapping[str, int] = field(default_factory=dict)
    """By node: entries below this number are in its tables."""
    replicas: Collection[str] = ()
    """The nodes that have a copy, or are to have one."""

    @property
    def entries(self) -> int:
        return self.last - self.first + 1 if self.first else 0


def floor_of(group: GroupLogState, wanted: int) -> int:
    """Entries below this number are needed by nobody. wanted: how many replicas the group is to have."""
    if len(group.replicas) < wanted or any(node not in group.applied for node in group.replicas):
        return FIRST
    return min((group.applied[node] for node in group.replicas), default=FIRST)


def floors(groups: Mapping[int, GroupLogState], wanted: int, used_bytes: int) -> dict[int, int]:
    """The number below which each group's log goes, for those of which anything goes. The newest entry always stays."""
    planned = {number: min(floor_of(group, wanted), group.last) for number, group in groups.items()}
    kept = {number: group.last - max(planned[number], group.first) + 1 for number, group in groups.items()}
    if used_bytes > MAX_LOG_BYTES:
        # Entries differ in size, but etcd's use says only what all take together. What is there by need and what goes
        # anyway count alike: the next step sees what it has brought.
        total = sum(group.entries for group in groups.values())
        bound = _level(list(kept.values()), int(total * KEPT_SHARE))
        for number, group in groups.items():
            planned[number] = max(planned[number], group.last - bound + 1)
    return {number: floor for number, floor in planned.items() if groups[number].first < floor <= groups[number].last}


def _level(lengths: list[int], total: int) -> int:
    """How many entries each log may keep, so that all together keep no more than `total`, and at least one each."""
    rest, left = total, len(lengths)
    for length in sorted(lengths):
        if length * left > rest:
            return max(1, rest // left)
        rest -= length
        left -= 1
    return max([1, *lengths])


def is_cut(groups: Mapping[int, GroupLogState], number: int, floor: int) -> bool:
    """Whether a replica of the group may need what goes below the floor."""
    group = groups[number]
    return any(group.applied.get(node, FIRST) < floor for node in group.replicas)


def should_defragment(status: Status, quota_bytes: int) -> bool:
    free = status.size_bytes - status.used_bytes
    if free >= FREE_SHARE * quota_bytes:
        return True
    return status.size_bytes >= FULL_SHARE * quota_bytes and free >= FULL_FREE_SHARE * quota_bytes


def to_defragment(statuses: Mapping[str, Status], quota_bytes: int) -> list[str]:
    """The members, by their endpoints: those that follow before the one that leads etcd."""
    return _in_turn(statuses, lambda each: should_defragment(each, quota_bytes))


def too_large(statuses: Mapping[str, Status], quota_bytes: int) -> list[str]:
    """The members whose files are too large for the alarm NOSPACE to be taken back. While nothing is written, etcd does
    not say how much of them is free."""
    return _in_turn(statuses, lambda each: each.size_bytes >= ALARM_SHARE * quota_bytes)


def _in_turn(statuses: Mapping[str, Status], is_meant: Callable[[Status], bool]) -> list[str]:
    meant = [endpoint for endpoint, status in statuses.items() if is_meant(status)]
    return sorted(meant, key=lambda each: (statuses[each].leader == statuses[each].member, each))


def fullness(statuses: Mapping[str, Status], quota_bytes: int) -> float:
    """The fullest member's use, as a share of the quota."""
    return max((each.used_bytes / quota_bytes for each in statuses.values()), default=0.0)


def append_delay(share: float) -> float:
    """Seconds that an append waits, by fullness: so that what is written is no more than what goes."""
    return MAX_DELAY_SECONDS * min(1.0, max(0.0, (share - ALARM_SHARE) / (1.0 - ALARM_SHARE)))


class FlushRule:
    """When a replica flushes for its log's sake: asked now and then, it compares how much of the log has gone through
    it with what had when it flushed last."""

    def __init__(self, groups: int) -> None:
        """groups: of the cluster: all of them together must stay within the bound of the logs."""
        self._limit = min(MAX_UNFLUSHED_BYTES, MAX_LOG_BYTES // (2 * max(groups, 1)))
        self._flushed_at = 0

    def is_due(self, log_bytes: int) -> bool:
        """log_bytes: of all entries that the replica has appended or applied since it was opened. If it is, the caller
        flushes."""
        if log_bytes - self._flushed_at < self._limit:
            return False
        self._flushed_at = log_bytes
        return True
