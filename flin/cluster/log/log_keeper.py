"""Keeps etcd within its bounds: deletes what no replica needs, compacts the history, defragments, leaves NOSPACE.

The node that is the controller does it. When etcd is full nobody can say any more that he is the controller: then each
node does it; twice is no harm.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from flin.cluster.etcd.etcd_version import flaw_of, version_of
from flin.cluster.etcd.key_value import Get, KeyValueStore, Pair, Put, Unavailable
from flin.cluster.keys import AppliedValue, Keys, LeaseValue, RoomValue, entry_number_of, group_of, name_of
from flin.cluster.log.log_bounds import (
    ALARM_SHARE,
    NOTICE_SHARE,
    GroupLogState,
    floors,
    fullness,
    is_cut,
    to_defragment,
    too_large,
)
from flin.cluster.log.replicated_log import ReplicatedLog
from flin.cluster.slot_map import SlotMap, understood
from flin.errors import CorruptionError

if TYPE_CHECKING:
    from flin.cluster.etcd.etcd_maintenance import Alarm, Member, Status

logger = logging.getLogger(__name__)

KEEP_SECONDS: Final = 10.0
"""Between two steps: as often as replicas say what they have in their tables."""

DELETED_AT_ONCE: Final = 2000
"""Entries. etcd does nothing else meanwhile: about 10 ms."""

COMPACTED_AT_LEAST: Final = 100
"""Revisions: for fewer it is not worth etcd's while."""

LOOKED_AT: Final = 10
"""Keys of a log that are looked at for its first entry: some that somebody else has put do not hide it."""

TIMEOUT_SECONDS: Final = 5.0
STATUS_SECONDS: Final = 1.0
"""A member that does not answer by then is passed over."""
DEFRAGMENT_SECONDS: Final = 120.0
"""For a file of 4 GiB on a slow disk."""

DEFAULT_QUOTA_BYTES: Final = 2 << 30
"""etcd's own default: what an etcd that others run is taken to have, if neither it nor an option says."""

NOSPACE: Final = "NOSPACE"


class Maintenance(Protocol):
    """EtcdMaintenance, or a test's."""

    def members(self, timeout: float) -> list[Member]: ...

    def status(self, endpoint: str, timeout: float) -> Status: ...

    def alarms(self, timeout: float) -> list[Alarm]: ...

    def disarm(self, timeout: float) -> None: ...

    def defragment(self, endpoint: str, timeout: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Room:
    """What was found by the last step."""

    statuses: Mapping[str, Status] = field(default_factory=dict)
    """By endpoint, of the members that have answered."""
    alarms: tuple[Alarm, ...] = ()
    quota_bytes: int = DEFAULT_QUOTA_BYTES
    groups: Mapping[int, GroupLogState] = field(default_factory=dict)

    @property
    def fullness(self) -> float:
        return fullness(self.statuses, self.quota_bytes)

    @property
    def is_full(self) -> bool:
        return any(alarm.name == NOSPACE for alarm in self.alarms)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "quota_bytes": self.quota_bytes,
            "used_share": round(self.fullness, 4),
            "log_entries": {str(number): group.entries for number, group in self.groups.items()},
            "alarms": [alarm.name for alarm in self.alarms],
            "problem": self.problem(),
        }

    def problem(self) -> str:
        """What an operator must know, and do; empty: nothing."""
        share = f"etcd uses {self.fullness:.0%} of its quota of {self.quota_bytes >> 20} MiB"
        if any(alarm.name != NOSPACE for alarm in self.alarms):
            return f"etcd says {' '.join(sorted({alarm.name for alarm in self.alarms}))}: see its documentation"
        if self.is_full:
            known = f"{share}, and" if self.fullness >= NOTICE_SHARE else "etcd"  # before 3.6 it does not say how much
            return (
                f"{known} takes no writes (NOSPACE). Room is being made; if that does not help, see what it holds, and "
                "defragment it, if it is not Flin's own"
            )
        if self.fullness >= ALARM_SHARE:
            return f"{share}: writers are slowed. Look for a replica that does not follow"
        if self.fullness >= NOTICE_SHARE:
            return f"{share}. Look for a replica that does not follow"
        flaws = {flaw_of(version_of(status.version)) for status in self.statuses.values()}
        return "; ".join(sorted(filter(None, flaws)))


class LogKeeper:
    """Steps come from one thread."""

    def __init__(
        self,
        store: KeyValueStore,
        maintenance: Maintenance,
        keys: Keys,
        *,
        quota_bytes: int = 0,
        is_mine: Callable[[], bool] = lambda: True,
        defragments: bool = True,
    ) -> None:
        """quota_bytes: of an etcd that does not say it; 0: its default. is_mine: whether this node is the controller.
        defragments: not an etcd that others run."""
        self._store = store
        self._maintenance = maintenance
        self._keys = keys
        self._quota_bytes = quota_bytes
        self._is_mine = is_mine
        self._defragments = defragments
        self._seen_revision = 0
        self._compacted = 0
        self._told = ""
        self.room = Room()

    def step(self) -> None:
        """Look, and do what is to be done. Raises KeyValueError, CorruptionError."""
        room, found, revision = self._look()
        self.room = room
        self._tell(room.problem())
        if not (self._is_mine() or room.is_full):
            self._seen_revision = revision
            return
        self._truncate(room, found.wanted)
        self._tell_leaders(room, found)
        if room.is_full:
            self._leave_full(room)
        else:
            # Behind what was there a step ago: whoever has just read a list can still watch from there.
            self._compact(self._seen_revision)
            self._defragment(to_defragment(room.statuses, room.quota_bytes)[:1])
        self._seen_revision = revision

    def _look(self) -> tuple[Room, SlotMap, int]:
        statuses, quota = self._statuses()
        alarms = tuple(self._maintenance.alarms(TIMEOUT_SECONDS))
        keys = self._keys
        reads = (Get(*keys.map), Get(*keys.all_applied), Get(*keys.leases))
        outcome = self._store.txn((), reads, timeout=TIMEOUT_SECONDS)
        mapped, applied, leases = outcome.found
        found, _ = understood(keys, mapped.pairs)
        indexes: dict[int, dict[str, int]] = {}
        newest: dict[int, int] = {}
        # What nobody understands says nothing: of a replica that says nothing, all entries are kept that there is room
        # for. Room must be made whatever somebody has put there: a full etcd takes no writes.
        for pair in applied.pairs:
            with suppress(CorruptionError):
                group = group_of(pair.key.rpartition(b"/")[0])
                indexes.setdefault(group, {})[name_of(pair.key)] = AppliedValue.of(pair).index
        for pair in leases.pairs:
            with suppress(CorruptionError):
                newest[group_of(pair.key)] = LeaseValue.of(pair).index - 1
        first_keys = tuple(Get(*keys.log(group), LOOKED_AT, keys_only=True) for group in range(found.groups))
        firsts = self._store.txn((), first_keys, timeout=TIMEOUT_SECONDS)
        groups = {}
        for group, oldest in enumerate(firsts.found):
            first = next(_entry_numbers(oldest.pairs), 0)
            there = indexes.get(group, {})
            # A leader that has just begun does not say what is next. What is in tables was in the log.
            last = max(newest.get(group, 0), *(index - 1 for index in there.values()), first)
            replicas = found.replicas[group].hosts if group in found.replicas else ()
            groups[group] = GroupLogState(first, last, there, replicas)
        return Room(statuses, alarms, quota, groups), found, outcome.revision

    def _statuses(self) -> tuple[dict[str, Status], int]:
        """Those of the members that answer, and the quota."""
        statuses = {}
        for member in self._maintenance.members(TIMEOUT_SECONDS):
            for endpoint in member.client_urls[:1]:
                try:
                    statuses[endpoint] = self._maintenance.status(endpoint, STATUS_SECONDS)
                except Unavailable as error:
                    logger.debug("no status: %s", error)
        said = [status.quota_bytes for status in statuses.values() if status.quota_bytes]
        return statuses, min(said, default=self._quota_bytes or DEFAULT_QUOTA_BYTES)

    def _tell(self, problem: str) -> None:
        """Once, while it is the same kind of problem."""
        kind = re.sub(r"\d+", "", problem)
        if problem and kind != self._told:
            logger.warning("%s", problem)
        elif self._told and not problem:
            logger.info("etcd is well again")
        self._told = kind

    def _tell_leaders(self, room: Room, found: SlotMap) -> None:
        """How full it is, so that they slow their writers: while that changes anything."""
        share = round(room.fullness, 2) if room.fullness >= NOTICE_SHARE else 0.0
        if share != found.room.used_share and not room.is_full:
            put = Put(self._keys.room, RoomValue(share).encode())
            self._store.txn((), [put], timeout=TIMEOUT_SECONDS)

    def _truncate(self, room: Room, wanted: int) -> None:
        used = max((status.used_bytes for status in room.statuses.values()), default=0)
        for number, floor in floors(room.groups, wanted, used).items():
            if is_cut(room.groups, number, floor):
                logger.warning(
                    "the log of group %d is cut at entry %d, though a replica may need more: etcd holds %d MiB",
                    number, floor, used >> 20,
                )  # fmt: skip
            log = ReplicatedLog(self._store, self._keys, number)
            for below in range(room.groups[number].first + DELETED_AT_ONCE, floor, DELETED_AT_ONCE):
                log.truncate(below, TIMEOUT_SECONDS)
            log.truncate(floor, TIMEOUT_SECONDS)

    def _compact(self, revision: int, at_least: int = COMPACTED_AT_LEAST) -> None:
        if revision - self._compacted >= at_least:
            self._store.compact(revision, timeout=TIMEOUT_SECONDS)
            self._compacted = revision

    def _defragment(self, endpoints: Iterable[str]) -> None:
        """One after the other: each stands still meanwhile."""
        for endpoint in endpoints if self._defragments else ():
            logger.info("defragmenting the etcd at %s", endpoint)
            self._maintenance.defragment(endpoint, DEFRAGMENT_SECONDS)

    def _leave_full(self, room: Room) -> None:
        """Room was made, so that puts may be taken again."""
        # However little that is: a deletion is one revision, and while etcd is full no others follow.
        self._compact(self._store.get(self._keys.cluster, timeout=TIMEOUT_SECONDS).revision, 1)
        self._defragment(too_large(*self._statuses()))
        statuses, quota = self._statuses()
        if statuses and not too_large(statuses, quota):
            # If its quota is smaller than we know, the next write fills it again: only the next look shows that.
            self._maintenance.disarm(TIMEOUT_SECONDS)


def _entry_numbers(pairs: Iterable[Pair]) -> Iterator[int]:
    """Those of the keys that are entries'. One that is not may stop its own group, but no log's truncation."""
    for pair in pairs:
        with suppress(CorruptionError):
            yield entry_number_of(pair.key)
