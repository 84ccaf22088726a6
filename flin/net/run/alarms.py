"""The states that a person must act on: judged from the vital signs of a server, and from nothing else.

Each has one line in the log when it begins, with what to do; it stands in INFO while it lasts, and `/ready` is 503.
`watchman.py` takes the signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STALLED_SECONDS: Final = 10.0
"""Writers that wait this long do not wait for a burst: a merge of an eighth of a shard takes some seconds."""

REMEMBERED_SECONDS: Final = 60.0
"""How long a moment counts as a state (a helper that died, a clock that jumped): monitors look each 15 to 30 s."""

FREE_SHARE: Final = 0.1
"""Below a tenth of the disk: what file systems themselves keep back (ext4: 5 %) is near, and they slow down."""

ETCD_SHARE: Final = 0.8
"""From here on leaders slow their writers (cluster/log_bounds.py)."""

SMALL_DISK_PARTS: Final = 10
"""The reserve is at most a tenth of the disk: a volume of 200 MB would take no write at all."""

MERGES: Final = 2
"""A merge writes its output before its inputs go, and two may run."""


ALARMS: Final = (
    "read-only",
    "disk-reserve",
    "background",
    "stalled",
    "corruption",
    "helper",
    "clock",
    "etcd",
    "copies",
)
"""The names of all that there can be."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Sizes in bytes. Seconds since something: None if it never was."""

    read_only_reason: str | None = None
    background_error: str | None = None
    stall_reason: str = ""
    stopped_seconds: float = 0.0
    corruption: str = ""
    free_bytes: int | None = None
    """None: the database is in memory, or the system does not say."""
    total_bytes: int = 0
    reserve_bytes: int = 0
    largest_merge_bytes: int = 0
    helper_failure: str = ""
    seconds_since_helper_death: float | None = None
    clock_jump_ms: int = 0
    seconds_since_clock_jump: float | None = None
    etcd_used_share: float = 0.0
    """A replica's: how much of its quota etcd uses."""
    refusal: str = ""
    """Likewise: why its node is given no copies of groups for now."""


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str
    """Stable, for INFO, alerts and scripts."""
    text: str
    """What is the matter, and what to do."""


def alarms_of(vitals: Vitals, directory: str) -> list[Alarm]:
    """The worst first. It is long: a text for each, one after the other."""
    found = []
    if vitals.read_only_reason is not None:
        found.append(
            Alarm(
                "read-only",
                f"nothing is written any more: {vitals.read_only_reason}. Look at the disk (dmesg), then start the "
                "server again: every answered write that was durable is there",
            )
        )
    if has_no_room(vitals):
        found.append(
            Alarm(
                "disk-reserve",
                f"{_mib(vitals.free_bytes or 0)} of the disk of {directory} are free, less than the reserve of "
                f"{_mib(vitals.reserve_bytes)} (disk-reserve): writes that need room are refused. Make room: delete "
                "keys and send BGREWRITEAOF, which merges them away, delete other files, or enlarge the disk",
            )
        )
    if vitals.background_error is not None:
        found.append(
            Alarm(
                "background",
                f"flushes or merges fail and are tried again: {vitals.background_error}. Writers are stopped once "
                "memory is full: make room on the disk, or look at what the error names",
            )
        )
    if vitals.stopped_seconds >= STALLED_SECONDS:
        found.append(
            Alarm(
                "stalled",
                f"writers have waited for {vitals.stopped_seconds:.0f} s: {vitals.stall_reason}. The disk or the "
                "processors are too slow for what is written, or something else takes them: look at top and iostat",
            )
        )
    if vitals.corruption:
        found.append(
            Alarm(
                "corruption", f"damage was read: {vitals.corruption}. Run: flin check {directory}; see docs/repair.md"
            )
        )
    if _is_recent(vitals.seconds_since_helper_death):
        found.append(
            Alarm(
                "helper",
                f"a helper process died and was replaced: {vitals.helper_failure}. If it happens again, look for the "
                "OOM killer (dmesg | grep -i oom), and set memory-limit lower",
            )
        )
    if _is_recent(vitals.seconds_since_clock_jump):
        found.append(
            Alarm(
                "clock",
                f"the wall clock jumped by {vitals.clock_jump_ms / 1000:+.1f} s: keys expire by it, so much sooner or "
                "later. Look at the time service (chronyc tracking, timedatectl)",
            )
        )
    if vitals.etcd_used_share >= ETCD_SHARE:
        found.append(
            Alarm(
                "etcd",
                f"etcd uses {vitals.etcd_used_share:.0%} of its quota, so writers are slowed. Mostly a replica is "
                "away, and the log is kept for it. Start it, or give it up (flin cluster leave); see docs/etcd.md",
            )
        )
    if vitals.refusal:
        found.append(
            Alarm(
                "copies",
                f"this node is given no copies of groups for now: {vitals.refusal}. Make room on its disk, or let it "
                "leave (flin cluster leave)",
            )
        )
    return found


def reserve_of(disk_reserve: int, total_bytes: int) -> int:
    """How much of a disk is to stay free."""
    return min(disk_reserve, total_bytes // SMALL_DISK_PARTS)


def has_no_room(vitals: Vitals) -> bool:
    return vitals.free_bytes is not None and vitals.free_bytes < vitals.reserve_bytes


def maybe_low_disk(vitals: Vitals, directory: str) -> str | None:
    """What to warn of before an alarm: the disk fills up."""
    free = vitals.free_bytes
    if free is None:
        return None
    if free < FREE_SHARE * vitals.total_bytes:
        return (
            f"{_mib(free)} of {_mib(vitals.total_bytes)} of the disk of {directory} are free, less than a tenth: make "
            "room before writes are refused (disk-reserve)"
        )
    if free < MERGES * vitals.largest_merge_bytes:
        return (
            f"{_mib(free)} of the disk of {directory} are free, less than twice the largest merge "
            f"({_mib(vitals.largest_merge_bytes)}): make room, or merges fail"
        )
    return None


def _is_recent(seconds: float | None) -> bool:
    return seconds is not None and seconds < REMEMBERED_SECONDS


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
