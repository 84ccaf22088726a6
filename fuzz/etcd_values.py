"""What stands in etcd of a cluster, written over by somebody else: values, and keys that no Flin has put.

Invariant: any bytes are a value, which is read again as the same, or CorruptionError; so is the end of any key. Of a
cluster whose keys and values were changed in any way, each reader (controller, keeper of the logs, pulse, map, status,
successor, whoever admits a node, the log) does its work or raises CorruptionError, and what it puts can be read. What
keys are sound of a batch is known afterwards, whatever else came with it.

The first byte chooses: a value, a key, or changes of a good cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from flin.cluster.etcd.key_value import Delete, Event, KeyValueStore, Pair, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import (
    AliveValue,
    AppliedValue,
    ClusterValue,
    ControllerValue,
    JoiningValue,
    Keys,
    LeaderValue,
    LeaseValue,
    MembersValue,
    NodeValue,
    RefusedValue,
    ReplicasValue,
    RoomValue,
    entry_number_of,
    group_of,
    name_of,
)
from flin.cluster.log.log_entry import LogEntry, encode
from flin.cluster.log.log_keeper import LogKeeper
from flin.cluster.log.replicated_log import Fence, ReplicatedLog, Truncated
from flin.cluster.node.controller import Controller
from flin.cluster.node.old_copies import OldCopies
from flin.cluster.node.succession import Succession
from flin.cluster.replica.choosing import choose_leader
from flin.cluster.replica.lease import Lease
from flin.cluster.replica.takeover import Myself, Place
from flin.cluster.slot_map import SlotMap, changed, client_id, endpoints_of, map_of, topology_of
from flin.errors import CorruptionError, FencedError, FormatVersionError, StorageError
from fuzz.byte_source import ByteSource

KINDS: Final = (
    AliveValue, AppliedValue, ClusterValue, ControllerValue, JoiningValue, LeaderValue, LeaseValue, MembersValue,
    NodeValue, RefusedValue, ReplicasValue, RoomValue,
)  # fmt: skip
KEYS: Final = Keys("c")
GROUPS: Final = 2
NODE: Final = NodeValue(
    "h", ((0, 6380, 0), (1, 6381, 7381)), "h:8080", "http://h:9180", "h:9080", "1", (("rack", "a"),)
)
GOOD: Final[dict[bytes, bytes]] = {
    KEYS.cluster: ClusterValue(GROUPS, 3).encode(),
    KEYS.members: MembersValue(("a", "b"), ("c",)).encode(),
    KEYS.room: RoomValue(0.5).encode(),
    KEYS.controller: ControllerValue("a", "1", 7).encode(),
    KEYS.refused("c"): RefusedValue(1, "its disk is full", 7).encode(),
    KEYS.joining_node("d"): JoiningValue("http://h:9080").encode(),
    **{KEYS.node(name): NODE.encode() for name in "abc"},
    **{KEYS.alive(name): AliveValue(3, "1", 1 << 40).encode() for name in "abc"},
    KEYS.replicas(0): ReplicasValue(("a", "b", "c"), "a").encode(),
    KEYS.replicas(1): ReplicasValue(("a", "b"), "a", "c", "b").encode(),
    **{KEYS.leader(group): LeaderValue(2, "a", "1").encode() for group in range(GROUPS)},
    **{KEYS.lease(group): LeaseValue(2, 9, 3).encode() for group in range(GROUPS)},
    **{KEYS.applied(group, name): AppliedValue(2, "1", True).encode() for group in range(GROUPS) for name in "abc"},
    **{KEYS.entry(0, number): encode(LogEntry(2, 17, 0, 1, b"saltsalt", 9, 9, b"x")) for number in range(1, 4)},
}
HOSTILE: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1, 1 << 62, 1 << 64, -(1 << 70), 10**40, 0.5, -0.5, float("inf"), float("nan"), "", "a", "d",
    "\ud800", "a b", "a/b", "\r\n", "x" * 99, [], ["a"], ["a", "a"], ["a", "d"], ["\ud800"], [[0, 1, 2]],
    [[-1, 99999, 0]], [["leaving", "yes"]], {}, {"a": 1},
)  # fmt: skip
ENDS: Final = (
    b"", b"a", b"d", b"00", b"01", b"02", b"63", b"64", b"99", b"-1", b"+1", b"1", b" 1", b"1_", b"\xff", b"a/b",
    b"01/a",
    b"%016x" % 2, b"%016x" % 9, b"%016X" % 10, b"f" * 16, b"0x00000000000002", b"_" * 16,
)  # fmt: skip


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x50":
        for value in KINDS:
            _decode(value, rest)
    elif kind < b"\x70":
        for part in (group_of, name_of, entry_number_of):
            with suppress(CorruptionError):
                part(KEYS.map[0] + rest)
    else:
        _cluster(ByteSource(rest))


def _decode(kind: type[Any], data: bytes) -> None:
    try:
        value = kind.of(Pair(KEYS.cluster, data, 1, 1, 1))
    except CorruptionError:
        return
    assert kind.decode(value.encode()) == value


def _cluster(source: ByteSource) -> None:
    """Some of its keys are changed, and somebody looks at it; then again, when all is well."""
    read = source.choice(READERS)
    pairs = dict(GOOD)
    for _ in range(1 + source.randrange(3)):
        key, value = _changed(source)
        if value is None:
            pairs.pop(key, None)
        else:
            pairs[key] = value
    store = MemoryKeyValues().client()
    store.txn((), [Put(key, value) for key, value in pairs.items()], timeout=1)
    before = {pair.key: pair.mod_revision for pair in store.get(*KEYS.map, timeout=1).pairs}
    with suppress(CorruptionError):
        read(store)
    for pair in store.get(*KEYS.map, timeout=1).pairs:
        if before.get(pair.key) != pair.mod_revision:
            changed(SlotMap(), KEYS, (Event(pair),))
    store.txn((), [Delete(key) for key in pairs], timeout=1)
    store.txn((), [Put(key, value) for key, value in GOOD.items()], timeout=1)
    read(store)


def _changed(source: ByteSource) -> tuple[bytes, bytes | None]:
    """A key and its other value; None: it is deleted."""
    key = source.choice(list(GOOD))
    value = GOOD[key]
    how = source.randrange(6)
    if how == 0:
        return key, None
    if how == 1:
        return key, source.randbytes(source.randrange(20))
    if how == 2:
        return key, source.choice(list(GOOD.values()))
    if how == 3:
        return key[: key.rindex(b"/") + 1] + source.choice(ENDS), value
    if how == 4 or not value.startswith(b"{"):
        place = source.randrange(len(value))
        return key, value[:place] + source.randbytes(source.randrange(3)) + value[place + source.randrange(3) :]
    content = json.loads(value)
    content[source.choice(list(content))] = source.choice(HOSTILE)
    return key, json.dumps(content).encode()


def _know(store: KeyValueStore) -> None:
    """What comes with a damaged key."""
    found = map_of(KEYS, ())
    for pair in store.get(*KEYS.map, timeout=1).pairs:
        with suppress(CorruptionError):
            found = changed(found, KEYS, (Event(pair),))
            assert pair.key in found.revisions
    assert all(0 <= group < (found.groups or 16384) for group in (*found.replicas, *found.leaders))
    for name in found.nodes:
        assert client_id("c", name, 0)
        assert len(endpoints_of(found, name)) <= len(found.nodes)
        for group in range(found.groups):
            with suppress(ValueError):  # nobody has a group, as it says
                topology_of(found, "c", name, group)


class _Maintenance:
    """An etcd that is well, of no members."""

    def members(self, timeout: float) -> list[Any]:
        return []

    alarms = members


def _step(store: KeyValueStore) -> None:
    """Until nodes that nobody sees are lost. Two show themselves, and so do their copies and that which is to come."""
    now = 100.0
    controller = Controller(store, KEYS, "a", "1", clock=lambda: now, replace_seconds=12.0, groups=GROUPS)
    signs = [KEYS.alive("a"), KEYS.alive("b")]
    copies = [KEYS.applied(group, name) for group in range(GROUPS) for name in "abc"]
    for count in range(20):
        controller.step()
        assert controller.map.groups in (0, GROUPS)
        now += 1
        shown = [Put(key, AliveValue(count, "1", 1 << 40).encode()) for key in signs]
        shown += [Put(key, AppliedValue(count, "1", True).encode()) for key in copies]
        store.txn((), shown, timeout=1)


def _keep(store: KeyValueStore) -> None:
    maintenance: Any = _Maintenance()
    LogKeeper(store, maintenance, KEYS).step()


def _pulse(store: KeyValueStore) -> None:
    """A follower that claims, and leads."""
    place = Place(KEYS, Myself(0, "b", "1"), Lease(lambda: 0.0))
    for now in range(0, 30, 6):
        request = place.request(now)
        place.note(request, store.txn(request.compares, request.success, request.failure, timeout=1), now, now)
        place.maybe_target(now)
    target = place.target(40)
    if target is not None and place.leader is not None:
        place.handover(target)


def _look(store: KeyValueStore) -> None:
    from flin.cluster.node.node_page import NodePage

    page: Any = object.__new__(NodePage)
    page._keys, page._store, page._controller = KEYS, store, _Away()
    page._record, page._room, page._waiting, page._etcd = _Record(), lambda: _Told(), dict, None
    page._etcd_status = lambda nodes: []
    json.dumps(page._status())
    with suppress(ValueError):  # why not
        page._move(0, "a", "d")
    with suppress(ValueError):
        page._cancel(1)


class _Away:
    is_acting = False

    def away(self) -> list[str]:
        return []


class _Record:
    cluster, node, groups, replicas = "c", "a", GROUPS, 3


class _Told:
    def told(self) -> dict[str, Any]:
        return {}


def _succeed(store: KeyValueStore) -> None:
    Succession(store, KEYS, "a", lambda: ()).pass_on(0, "1")
    choose_leader(store, KEYS, 0, "b")


def _admit(store: KeyValueStore) -> None:
    from flin.cluster.node.own_etcd import OwnMembership

    maintenance, record = _Maintenance(), _Record()
    OwnMembership(maintenance, record, store, KEYS)._joining()  # type: ignore[arg-type]


def _remove(store: KeyValueStore) -> None:
    OldCopies(store, KEYS, "d", ()).remove(())


def _log(store: KeyValueStore) -> None:
    log = ReplicatedLog(store, KEYS, 0)
    with suppress(Truncated, FormatVersionError):  # a newer Flin's entry
        log.read(2)
    log.has(2)
    with suppress(FencedError, StorageError):
        log.append(Fence(2, 1), 3, [b"entry"], 1)


READERS: Final[tuple[Callable[[KeyValueStore], None], ...]] = (
    _know, _step, _keep, _pulse, _look, _succeed, _admit, _remove, _log,
)  # fmt: skip
