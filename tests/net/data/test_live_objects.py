"""Live objects over a real engine, against a plain model: batches, refusals, rollbacks, evictions, reopenings.

After every step memory equals what a plain dict says; after every reopening the disk does.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import flin.engine
from flin.engine.engine import store_of
from flin.errors import CommandError, StorageError
from flin.net.batch.pending import Pending
from flin.net.data.databases import Databases
from flin.net.data.keyspace import Keyspace
from flin.objects import limits
from flin.objects.hash import Hash
from flin.objects.layout import HASH, NEXT_VERSION, SET, parse_anchor, parse_element
from flin.objects.set import Set
from flin.testing import ManualClock, SimulatedDisk

keys = st.sampled_from([b"a", b"b", b"\xffc"])
fields = st.sampled_from([b"%d" % number for number in range(7)] + [b"\xff", b""])
values = st.sampled_from([b"", b"v", b"w" * 9, b"\xff\xff", b"x" * 60])
databases = st.integers(0, 1)
Model = dict[bytes, Any]


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        self.clock = ManualClock()
        self.model: list[Model] = [{}, {}]  # what is committed and what is pending
        self.committed: list[Model] = [{}, {}]
        self.open()

    def open(self) -> None:
        self.engine = flin.engine.open(
            "/db", fs=self.disk, runner="inline", shards=1, memory_limit="1mb", clock_ms=self.clock, sync="never"
        )
        self.store = store_of(self.engine)
        self.pending = Pending(self.store)
        self.databases = Databases(self.store, self.pending, 2, 8000)  # room for three or four objects
        self.databases.block_reads(blocking=True)

    def keyspace(self, number: int) -> Keyspace:
        return self.databases.keyspaces[number]

    def hash_at(self, database: int, key: bytes) -> Hash:
        return self.keyspace(database).objects.find_or_make(key, Hash)

    @rule(database=databases, key=keys, pairs=st.dictionaries(fields, values, min_size=1, max_size=5))
    def put(self, database: int, key: bytes, pairs: dict[bytes, bytes]) -> None:
        held = self.model[database].get(key, {})
        if not isinstance(held, dict):
            with pytest.raises(CommandError, match="WRONGTYPE"):
                self.hash_at(database, key)
            return
        made = self.hash_at(database, key)
        if len(pairs) == 1:
            for field, value in pairs.items():
                assert made.get(field) == held.get(field)
                made.put(field, value, held.get(field))
        else:
            assert made.put_many(dict(pairs)) == len(pairs.keys() - held.keys())
        self.model[database][key] = held | pairs

    @rule(database=databases, key=keys, gone=st.lists(fields, min_size=1, max_size=5))
    def delete_fields(self, database: int, key: bytes, gone: list[bytes]) -> None:
        held = self.model[database].get(key, {})
        if not isinstance(held, dict):
            return
        found = self.keyspace(database).objects.find(key, Hash)
        assert (found is not None) == bool(held)
        if found is not None:
            assert found.delete_many(gone) == len(held.keys() & set(gone))
            left = {field: value for field, value in held.items() if field not in gone}
            if left:
                self.model[database][key] = left
            else:
                del self.model[database][key]

    def set_at(self, database: int, key: bytes) -> Set:
        return self.keyspace(database).objects.find_or_make(key, Set)

    @rule(database=databases, key=keys, members=st.lists(fields, min_size=1, max_size=5))
    def add(self, database: int, key: bytes, members: list[bytes]) -> None:
        held = self.model[database].get(key, set())
        if not isinstance(held, set):
            with pytest.raises(CommandError, match="WRONGTYPE"):
                self.set_at(database, key)
            return
        found = self.set_at(database, key)
        new = found.absent(members)
        assert sorted(new) == sorted(set(members) - held)
        if new:
            found.add_absent(new)
            self.model[database][key] = held | set(members)

    @rule(database=databases, key=keys, members=st.lists(fields, min_size=1, max_size=5))
    def remove(self, database: int, key: bytes, members: list[bytes]) -> None:
        held = self.model[database].get(key)
        if isinstance(held, set):
            found = self.set_at(database, key)
            gone = found.present(members)
            assert sorted(gone) == sorted(held & set(members))
            self._take_out(database, key, found, gone)

    @rule(database=databases, key=keys, data=st.data())
    def pop(self, database: int, key: bytes, data: Any) -> None:
        held = self.model[database].get(key)
        if isinstance(held, set):
            found = self.set_at(database, key)
            member = found.element_at(data.draw(st.integers(0, len(held) - 1)))
            assert member in held
            self._take_out(database, key, found, [member])

    def _take_out(self, database: int, key: bytes, found: Set, gone: list[bytes]) -> None:
        if gone:
            found.remove_present(gone)
            left = self.model[database][key] - set(gone)
            if left:
                self.model[database][key] = left
            else:
                del self.model[database][key]

    @rule(database=databases, key=keys, members=st.lists(fields, min_size=1, max_size=6, unique=True))
    def store_set(self, database: int, key: bytes, members: list[bytes]) -> None:
        """In the place of whatever is there."""
        Set(self.keyspace(database).objects, key).add_absent(members.copy())
        self.model[database][key] = set(members)

    @rule(database=databases, key=keys, value=values)
    def set_string(self, database: int, key: bytes, value: bytes) -> None:
        self.keyspace(database).put_value(key, value)
        self.model[database][key] = value

    @rule(database=databases, key=keys)
    def delete(self, database: int, key: bytes) -> None:
        if self.model[database].pop(key, None) is not None:
            self.keyspace(database).delete(key)

    @rule(database=databases, key=keys)
    def expire(self, database: int, key: bytes) -> None:
        """To a moment that is far, and back."""
        entry = self.keyspace(database).settled(key)
        if type(entry) is tuple:
            self.keyspace(database).put(key, (entry[0], self.clock.now_ms + 10**6, entry[2]))

    @rule(database=databases, key=keys, destination=keys)
    def rename(self, database: int, key: bytes, destination: bytes) -> None:
        entry = self.keyspace(database).settled(key)
        if entry is not None and key != destination:
            self.keyspace(database).rename(key, destination, entry)
            self.model[database][destination] = self.model[database].pop(key)

    @rule(database=databases, other=databases, key=keys, destination=keys)
    def copy(self, database: int, other: int, key: bytes, destination: bytes) -> None:
        entry = self.keyspace(database).settled(key)
        if entry is not None and (database, key) != (other, destination):
            self.keyspace(database).copy_to(entry, self.keyspace(other), destination, 1 << 20)
            self.model[other][destination] = deepcopy(self.model[database][key])

    @rule()
    def forget_all(self) -> None:
        """As SWAPDB does. (Database 0, which is here, is never exchanged.)"""
        self.pending.settle()
        self.databases.forget_objects()

    @rule(database=databases)
    def flush_database(self, database: int) -> None:
        self.keyspace(database).clear()
        self.model[database].clear()

    @rule()
    def flush_all(self) -> None:
        self.databases.clear()
        self.model = [{}, {}]

    @rule()
    def commit(self) -> None:
        self.pending.commit()
        self.committed = deepcopy(self.model)

    @rule()
    def refuse(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.store, "commit", self._fail)
            self.pending.commit()
        self.model = deepcopy(self.committed)

    @staticmethod
    def _fail(*_: Any) -> int:
        raise StorageError("write", "/db", "a test says so")

    @rule(data=st.data())
    def roll_back(self, data: Any) -> None:
        """An EXEC that is taken back."""
        before, savepoint = deepcopy(self.model), self.pending.savepoint()
        self.pending.in_transaction = True
        for _ in range(data.draw(st.integers(1, 3))):
            data.draw(st.sampled_from([self._put_some, self._delete_some]))()
        self.pending.in_transaction = False
        self.pending.roll_back(savepoint)
        self.databases.rolled_back()
        self.model = before

    def _put_some(self) -> None:
        for key in (b"a", b"b"):
            if isinstance(self.model[0].get(key, {}), dict):
                self.put(0, key, {b"%d" % number: b"rolled back" for number in range(5)})

    def _delete_some(self) -> None:
        self.delete(0, b"a")
        self.delete_fields(0, b"b", [b"1", b"2"])

    @rule(work=st.sampled_from(["flush", "compact"]))
    def background(self, work: str) -> None:
        getattr(self.engine, work)()

    @rule(committed=st.booleans())
    def reopen(self, committed: bool) -> None:
        if committed:
            self.commit()
        self.engine.close()
        self.open()
        self.model = deepcopy(self.committed)

    @rule(database=databases, key=keys)
    def read_all(self, database: int, key: bytes) -> None:
        held = self.model[database].get(key)
        if isinstance(held, dict):
            found = self.keyspace(database).objects.find(key, Hash)
            assert found is not None
            assert found.items() == held
        elif isinstance(held, set):
            assert set(self.set_at(database, key).elements()) == held

    @invariant()
    def every_key_is_what_the_model_says(self) -> None:
        for number, model in enumerate(self.model):
            keyspace = self.keyspace(number)
            keyspace.objects._check()
            for key in (b"a", b"b", b"\xffc"):
                held = model.get(key)
                entry = keyspace.entry(key)
                if held is None or isinstance(held, bytes):
                    assert entry == held
                    continue
                assert type(entry) is tuple
                found: Hash | Set | None
                if isinstance(held, dict):
                    assert entry[2] == HASH
                    found = keyspace.objects.find(key, Hash)
                    assert found is not None
                    assert {field: found.get(field) for field in held} == held
                    assert found.get(b"absent") is None
                else:
                    assert entry[2] == SET
                    found = keyspace.objects.find(key, Set)
                    assert found is not None
                    assert all(member in found for member in held)
                    assert b"absent" not in found
                self._is_what_it_holds(found, held)

    def _is_what_it_holds(self, found: Hash | Set, held: dict[bytes, bytes] | set[bytes]) -> None:
        """By ranks and by a scan in steps of two."""
        expected = sorted(held.items() if isinstance(held, dict) else held)
        assert len(found) == len(expected)
        assert sorted(found.element_at(rank) for rank in range(len(held))) == expected
        scanned: list[Any] = []
        after: bytes | None = None
        while True:
            some, after = found.scan(after, 2)
            scanned += some
            if after is None:
                break
        assert sorted(scanned) == expected

    @invariant()
    def no_version_came_twice(self) -> None:
        """Each element in the store has an anchor, which names it."""
        anchors, elements = set(), set()
        for page_keys, _ in self.store.pages(self.store.freeze(), b"\xff\x01\x80\x00", b"\xff\x01\xff\xff"):
            for stored in page_keys:
                if stored < b"\xff\x01\xc0\x00":
                    elements.add(parse_element(stored)[0])
                else:
                    anchors.add(parse_anchor(stored))
        assert elements <= anchors

    def teardown(self) -> None:
        self.pending.commit()
        assert self.engine.verify() == []
        self.engine.close()


LIMITS = [(2, 0), (4, 5), (64, 5)]
"""Fields of a packed hash, and of a spread one that is kept whole."""


def run(examples: int, packed: int, whole: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    patch.setattr(limits, "MIN_REWRITTEN", 2)
    patch.setattr(limits, "MAX_REWRITES", 2)
    patch.setattr(limits, "MAX_WHOLE", whole)
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))


@pytest.mark.parametrize(("packed", "whole"), LIMITS)
def test_objects_over_an_engine(packed: int, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(60, packed, whole, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("packed", "whole"), LIMITS)
def test_many_objects_over_an_engine(packed: int, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(1500, packed, whole, monkeypatch)


# Versions.


def spread(machine: Machine, key: bytes, *some: bytes) -> Hash:
    made = machine.hash_at(0, key)
    made.put_many(dict.fromkeys(some, b"v"))
    assert not made.is_packed
    return made


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 2)
    monkeypatch.setattr(limits, "MAX_WHOLE", 0)
    return Machine()


@pytest.mark.parametrize("how", ["reopen", "refuse", "roll back", "flush all"])
def test_a_dead_collection_shows_nothing_in_a_new_one(machine: Machine, how: str) -> None:
    """Its elements are still there, under a version that never comes again."""
    savepoint = machine.pending.savepoint()
    first = spread(machine, b"a", b"1", b"2", b"3").meta
    if how == "roll back":
        machine.pending.roll_back(savepoint)
        machine.databases.rolled_back()
    elif how == "refuse":
        machine.refuse()
    else:
        machine.pending.commit()
        machine.keyspace(0).delete(b"a")
        if how == "flush all":
            machine.databases.clear()
        machine.pending.commit()
        machine.engine.close()
        machine.open()
    second = spread(machine, b"a", b"7", b"8", b"9")
    machine.pending.commit()
    assert first is not None
    assert second.meta is not None
    assert second.meta.version > first.version
    assert dict.fromkeys(second.items(), b"v") == dict.fromkeys([b"7", b"8", b"9"], b"v")
    machine.engine.close()
    machine.open()
    third = spread(machine, b"b", b"1", b"2", b"3")
    assert third.meta is not None
    assert third.meta.version > second.meta.version, "whatever the batch of a version became"


def test_a_lease_is_written_once_in_a_thousand_versions(machine: Machine) -> None:
    written = []
    for number in range(2500):
        spread(machine, b"%d" % number, b"1", b"2", b"3")
        written.append(NEXT_VERSION in machine.pending.points)
        machine.pending.commit()
    assert sum(written) == 3
    assert machine.store.read(NEXT_VERSION) == (3 * 1024).to_bytes(8, "little")


def test_a_lease_that_was_rolled_back_is_not_taken_as_committed(machine: Machine) -> None:
    """Also if a command of the transaction has read entries as they are, so that the batch was settled within it."""
    savepoint = machine.pending.savepoint()
    spread(machine, b"a", b"1", b"2", b"3")
    machine.pending.settle()
    machine.pending.roll_back(savepoint)
    machine.databases.rolled_back()
    machine.keyspace(0).put_value(b"string", b"v")
    machine.pending.commit()
    first = spread(machine, b"a", b"1", b"2", b"3").meta
    machine.pending.commit()
    assert machine.store.read(NEXT_VERSION) == (1024).to_bytes(8, "little")
    machine.engine.close()
    machine.open()
    second = spread(machine, b"b", b"4", b"5", b"6").meta
    assert first is not None
    assert second is not None
    assert second.version > first.version


def test_room_is_lent_by_the_cached_replies(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 100)
    databases = Databases(machine.store, machine.pending, 1, 1 << 20)
    keyspace = databases.keyspaces[0]
    full = keyspace.hot._half_bytes
    for number in range(400):
        keyspace.objects.find_or_make(b"%d" % number, Hash).put_many({b"field": b"v" * 1000})
    machine.pending.commit()
    objects = keyspace.objects
    objects._check()
    assert objects.memory_bytes() <= 1 << 19
    assert full // 2 <= keyspace.hot._half_bytes < full - objects.memory_bytes() // 3
    databases.clear()
    assert keyspace.hot._half_bytes == full
