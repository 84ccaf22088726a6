"""Which states raise an alarm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flin.net.run.alarms import ALARMS, REMEMBERED_SECONDS, STALLED_SECONDS, Vitals, alarms_of, maybe_low_disk

MIB = 1 << 20
WELL = Vitals(free_bytes=500 * MIB, total_bytes=1000 * MIB, reserve_bytes=256 * MIB, largest_merge_bytes=100 * MIB)


def test_nothing_is_the_matter() -> None:
    for vitals in (Vitals(), WELL, replace(WELL, free_bytes=None, reserve_bytes=1 << 40)):
        assert alarms_of(vitals, "data") == []
        assert maybe_low_disk(vitals, "data") is None


@pytest.mark.parametrize(
    ("name", "signs", "says"),
    [
        ("read-only", {"read_only_reason": "the WAL could not be synced"}, "could not be synced. Look at the disk"),
        ("disk-reserve", {"free_bytes": 256 * MIB - 1}, "256 MiB of the disk of data are free, less than the reserve"),
        ("background", {"background_error": "no space left"}, "no space left"),
        ("stalled", {"stopped_seconds": STALLED_SECONDS, "stall_reason": "48 runs wait"}, "10 s: 48 runs wait"),
        ("corruption", {"corruption": "1.sst at offset 4"}, "1.sst at offset 4. Run: flin check data"),
        ("helper", {"seconds_since_helper_death": 0.0, "helper_failure": "signal 9"}, "replaced: signal 9"),
        ("clock", {"seconds_since_clock_jump": 1.0, "clock_jump_ms": -90_500}, "jumped by -90.5 s"),
        ("etcd", {"etcd_used_share": 0.8}, "80% of its quota"),
        ("copies", {"refusal": "its disk is full"}, "no copies of groups for now: its disk is full. Make room"),
    ],
)
def test_each_state(name: str, signs: dict[str, Any], says: str) -> None:
    [alarm] = alarms_of(replace(WELL, **signs), "data")
    assert alarm.name == name
    assert says in alarm.text


def test_all_of_them_the_worst_first() -> None:
    vitals = Vitals("why", "error", "stall", 60.0, "a file", 0, 1, 1, 0, "died", 1.0, 5000, 1.0, 0.9, "full")
    assert tuple(alarm.name for alarm in alarms_of(vitals, "data")) == ALARMS


def test_moments_are_forgotten() -> None:
    over = replace(WELL, seconds_since_helper_death=REMEMBERED_SECONDS, seconds_since_clock_jump=REMEMBERED_SECONDS)
    assert alarms_of(over, "data") == []
    assert alarms_of(replace(WELL, stopped_seconds=STALLED_SECONDS - 0.1), "data") == []


def test_a_disk_that_fills_up() -> None:
    assert "99 MiB of 1,000 MiB" in (maybe_low_disk(replace(WELL, free_bytes=99 * MIB), "data") or "")
    assert maybe_low_disk(replace(WELL, free_bytes=200 * MIB), "data") is None
    assert "twice the largest merge (100 MiB)" in (maybe_low_disk(replace(WELL, free_bytes=199 * MIB), "data") or "")
