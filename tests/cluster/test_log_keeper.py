"""The keeper of the logs: over the twin in memory, and over an etcd that is filled on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from flin.cluster.etcd.etcd_maintenance import Alarm, Member, Status
from flin.cluster.etcd.key_value import Compacted, Delete, KeyValueStore, NoSpace, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AppliedValue, ClusterValue, Keys, LeaseValue, ReplicasValue, entry_number_of
from flin.cluster.log.log_keeper import LogKeeper
from flin.cluster.slot_map import map_of
from flin.testing.process import PATIENCE_SECONDS
from tests.cluster.members import member_options, started

TIMEOUT = PATIENCE_SECONDS
KEYS = Keys("test")
NODES = ("a", "b", "c")


class FakeMaintenance:
    """Members that say what a test tells them to."""

    def __init__(self) -> None:
        self.used = 0
        self.version = "3.6.0"
        self.quota = 4 << 30  # 0: it does not tell it
        self.is_full = False
        self.stays_full = False  # its quota is smaller than what is known of it
        self.defragmented: list[str] = []

    def members(self, timeout: float) -> list[Member]:
        return [Member(1, "a", (), ("http://a:1",), False), Member(2, "new", (), (), True)]

    def status(self, endpoint: str, timeout: float) -> Status:
        return Status(1, self.version, 1, self.used, self.used, 0, False, (), self.quota)

    def alarms(self, timeout: float) -> list[Alarm]:
        return [Alarm(1, "NOSPACE")] if self.is_full else []

    def disarm(self, timeout: float) -> None:
        self.is_full = self.stays_full

    def defragment(self, endpoint: str, timeout: float) -> None:
        self.defragmented.append(endpoint)


def made(store: KeyValueStore, groups: int = 2) -> None:
    """A cluster whose groups have three replicas."""
    put(store, KEYS.cluster, ClusterValue(groups, 3).encode())
    for group in range(groups):
        put(store, KEYS.replicas(group), ReplicasValue(NODES).encode())


def put(store: KeyValueStore, key: bytes, value: bytes) -> int:
    return store.txn((), [Put(key, value)], timeout=TIMEOUT).revision


def fill(store: KeyValueStore, group: int, first: int, last: int, size: int = 10) -> None:
    for number in range(first, last + 1):
        put(store, KEYS.entry(group, number), bytes(size))
    put(store, KEYS.lease(group), LeaseValue(1, 1, last + 1).encode())


def apply(store: KeyValueStore, group: int, *indexes: int) -> None:
    for node, index in zip(NODES, indexes, strict=False):
        put(store, KEYS.applied(group, node), AppliedValue(index, "s").encode())


def fill_up(store: KeyValueStore) -> int:
    """Entries, all of them applied, until etcd takes no more: the number of the last one that is applied."""
    last = 0
    try:
        while True:
            fill(store, 0, last + 1, last + 16, 64 << 10)
            apply(store, 0, last + 16, last + 16, last + 16)  # which may be what finds no room
            last += 16
    except NoSpace:
        return last


def kept(store: KeyValueStore, group: int) -> tuple[int, int]:
    numbers = [entry_number_of(pair.key) for pair in store.get(*KEYS.log(group), timeout=TIMEOUT).pairs]
    return numbers[0], numbers[-1]


def test_what_all_have_goes_and_history_with_it() -> None:
    store = MemoryKeyValues().client()
    keeper = LogKeeper(store, FakeMaintenance(), KEYS)
    keeper.step()  # nobody has made the cluster yet
    made(store)
    fill(store, 0, 1, 120)
    apply(store, 0, 60, 50, 121)
    fill(store, 1, 1, 20)
    apply(store, 1, 21, 21)
    keeper.step()
    assert kept(store, 0) == (50, 120)
    assert kept(store, 1) == (1, 20), "one replica has not said what it has"
    assert keeper.room.groups[0].first == 1
    apply(store, 0, 121, 121, 121)
    apply(store, 1, 21, 21, 21)
    keeper.step()
    assert (kept(store, 0), kept(store, 1)) == ((120, 120), (20, 20))
    with pytest.raises(Compacted):
        store.get(KEYS.cluster, revision=100, timeout=TIMEOUT)


def test_what_nobody_understands_keeps_no_room() -> None:
    """etcd must not fill because somebody has put a key there."""
    store = MemoryKeyValues().client()
    keeper = LogKeeper(store, FakeMaintenance(), KEYS)
    made(store)
    for group in (0, 1):
        fill(store, group, 1, 120)
        apply(store, group, 121, 121, 121)
    put(store, KEYS.all_applied[0] + b"x/a", b"{")
    put(store, KEYS.applied(1, "b"), b"{")
    put(store, KEYS.leases[0] + b"zz", b"{")
    put(store, KEYS.lease(0), b"{")
    keeper.step()
    assert kept(store, 0) == (120, 120)
    assert kept(store, 1) == (1, 120), "one replica has not said what it has"


def test_a_stray_key_of_a_log_stops_the_truncation_of_none() -> None:
    store = MemoryKeyValues().client()
    keeper = LogKeeper(store, FakeMaintenance(), KEYS)
    made(store, 4)
    for group in range(4):
        fill(store, group, 1, 120)
        apply(store, group, 121, 121, 121)
    put(store, KEYS.log(0)[0] + b"zz", b"{")
    put(store, KEYS.log(1)[0] + b"0", b"{")
    for number in range(20):
        put(store, KEYS.log(2)[0] + b"!%02d" % number, b"{")
    keeper.step()
    entries = []
    for group in range(4):
        keys = [pair.key for pair in store.get(*KEYS.log(group), timeout=TIMEOUT).pairs]
        entries.append(sum(len(key.rpartition(b"/")[2]) == 16 for key in keys))
    assert entries == [1, 1, 1, 1]


def test_a_damaged_map_stops_the_truncation_of_that_group_alone() -> None:
    store = MemoryKeyValues().client()
    keeper = LogKeeper(store, FakeMaintenance(), KEYS)
    made(store, 3)
    for group in range(3):
        fill(store, group, 1, 120)
        apply(store, group, 121, 121, 121)
    put(store, KEYS.replicas(1), b"{")
    put(store, KEYS.replica_sets[0] + b"zz", b"{")
    put(store, KEYS.node("a"), b"{")
    keeper.step()
    assert [kept(store, group) for group in range(3)] == [(120, 120), (1, 120), (120, 120)]


def test_who_is_not_the_controller_only_looks() -> None:
    store = MemoryKeyValues().client()
    made(store)
    fill(store, 0, 1, 9)
    apply(store, 0, 9, 9, 9)
    maintenance = FakeMaintenance()
    keeper = LogKeeper(store, maintenance, KEYS, is_mine=lambda: False)
    keeper.step()
    assert kept(store, 0) == (1, 9)
    assert keeper.room.groups[0].entries == 9
    maintenance.is_full = True  # then nobody can be the controller
    keeper.step()
    assert kept(store, 0) == (9, 9)
    assert not maintenance.is_full


def test_a_full_etcd_forgets_what_one_deletion_has_freed() -> None:
    """While it is full, nothing else makes its history longer."""
    store = MemoryKeyValues().client()
    made(store)
    maintenance = FakeMaintenance()
    maintenance.is_full, maintenance.used = True, 4 << 30
    keeper = LogKeeper(store, maintenance, KEYS)
    before = put(store, b"others", b"of somebody else")
    keeper.step()
    store.txn((), [Delete(b"others")], timeout=TIMEOUT)
    keeper.step()
    with pytest.raises(Compacted):
        store.get(b"others", revision=before, timeout=TIMEOUT)
    assert maintenance.is_full, "its file is as large as before"


def test_what_an_operator_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryKeyValues().client()
    made(store)
    maintenance = FakeMaintenance()
    keeper = LogKeeper(store, maintenance, KEYS)
    problems, shares = [], []
    for used in (0, 2 << 30, 3 << 30, 3500 << 20, 0):
        maintenance.used = used
        keeper.step()
        problems.append(keeper.room.problem())
        shares.append(map_of(KEYS, store.get(*KEYS.map, timeout=TIMEOUT).pairs).room.used_share)
    assert [problem.partition(":")[0].partition(". ")[0] for problem in problems] == [
        "",
        "etcd uses 50% of its quota of 4096 MiB",
        "etcd uses 75% of its quota of 4096 MiB",
        "etcd uses 85% of its quota of 4096 MiB",
        "",
    ]
    assert shares == [0, 0.5, 0.75, 0.85, 0]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


def test_the_quota_of_an_etcd_that_does_not_tell_it() -> None:
    store = MemoryKeyValues().client()
    made(store)
    maintenance = FakeMaintenance()
    maintenance.used = 3 << 30
    for told, given, share in ((0, 0, 1.5), (0, 8 << 30, 0.375), (4 << 30, 8 << 30, 0.75)):
        maintenance.quota = told
        keeper = LogKeeper(store, maintenance, KEYS, quota_bytes=given)
        keeper.step()
        assert keeper.room.fullness == share


def test_an_etcd_that_stays_full_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """One with a smaller quota than is known of it takes the alarm back, and is full with the next write."""
    caplog.set_level("INFO")
    store = MemoryKeyValues().client()
    made(store)
    maintenance = FakeMaintenance()
    maintenance.is_full = maintenance.stays_full = True
    keeper = LogKeeper(store, maintenance, KEYS)
    for _ in range(3):
        keeper.step()
    assert [record.getMessage()[:31] for record in caplog.records] == ["etcd takes no writes (NOSPACE). "[:31]]
    maintenance.stays_full = False
    keeper.step()
    assert not maintenance.is_full
    keeper.step()
    assert caplog.records[-1].getMessage() == "etcd is well again"


def test_a_log_that_is_too_large_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryKeyValues().client()
    made(store, 1)
    fill(store, 0, 1, 100)
    apply(store, 0, 3, 101, 101)
    maintenance = FakeMaintenance()
    keeper = LogKeeper(store, maintenance, KEYS)
    maintenance.used = (1 << 30) + 1
    keeper.step()
    assert kept(store, 0) == (51, 100)
    assert "though a replica may need more" in caplog.text


def test_an_etcd_that_may_lose_data_is_named(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryKeyValues().client()
    made(store)
    maintenance = FakeMaintenance()
    keeper = LogKeeper(store, maintenance, KEYS)
    for version, problem in (("3.5.1", "etcd 3.5.1 may lose data"), ("3.5.6", ""), ("unknown", "")):
        maintenance.version = version
        keeper.step()
        assert keeper.room.problem()[:24] == problem
    assert "use 3.4, or 3.5.6 and later" in caplog.text


@pytest.mark.slow
def test_a_full_etcd_takes_writes_again(tmp_path: Path) -> None:
    """NOSPACE is reached, and left: entries that nobody needs go, and etcd's file becomes small."""
    quota = 24 << 20
    member = started(member_options(tmp_path, quota_bytes=quota))
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.cluster.etcd.etcd_maintenance import EtcdMaintenance

    store = EtcdKeyValueStore([member.options.client_endpoint])
    keeper = LogKeeper(store, EtcdMaintenance(store.channels), KEYS, quota_bytes=quota)
    made(store, 1)
    last = fill_up(store)
    assert [alarm.name for alarm in EtcdMaintenance(store.channels).alarms(TIMEOUT)] == ["NOSPACE"]
    keeper.step()
    assert keeper.room.is_full
    put(store, KEYS.lease(0), LeaseValue(1, 2, last + 1).encode())
    assert kept(store, 0)[0] >= last
    keeper.step()
    assert not keeper.room.is_full
    assert keeper.room.problem() == ""
    assert keeper.room.fullness < 0.2
    store.close()
    member.stop()
