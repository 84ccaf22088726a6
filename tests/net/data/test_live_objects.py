"""Live objects over a real engine, against a plain model: batches, refusals, rollbacks, evictions, reopenings.

After every step memory equals what the plain model says; after every reopening the disk does. What can be done to each
kind of collection stands in tests/objects/kinds.
"""

from __future__ import annotations

from copy import deepcopy
from random import Random
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
from flin.net.data.text import string_at
from flin.objects import limits, stream, stream_tail
from flin.objects.hash import Hash
from flin.objects.layout import NEXT_VERSION, parse_anchor, parse_element
from flin.testing import ManualClock, SimulatedDisk
from tests.net.data.collections_run import Collection
from tests.objects.kinds.every import KINDS

keys = st.sampled_from([b"a", b"b", b"\xffc"])
tags = st.sampled_from(sorted(KINDS))
randoms = st.randoms(use_true_random=False)
databases = st.integers(0, 1)
Model = dict[bytes, Collection | bytes]


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

    @rule(database=databases, key=keys, tag=tags, random=randoms)
    def grow(self, database: int, key: bytes, tag: int, random: Random) -> None:
        """A collection that is there, or a new one of this tag."""
        objects, held = self.keyspace(database).objects, self.model[database].get(key)
        if isinstance(held, bytes):
            self.is_refused(database, key, tag)
            return
        if held is None:
            held = self.model[database][key] = Collection(tag, KINDS[tag].empty())
        kind = KINDS[held.tag]
        kind.grow(objects.find_or_make(key, kind.made), held.plain, random)

    @rule(database=databases, key=keys, random=randoms)
    def change(self, database: int, key: bytes, random: Random) -> None:
        held = self.model[database].get(key)
        if isinstance(held, Collection):
            kind = KINDS[held.tag]
            found = self.keyspace(database).objects.find(key, kind.made)
            assert found is not None
            kind.change(found, held.plain, random)
            if not held.plain:
                del self.model[database][key]

    @rule(database=databases, key=keys, tag=tags, random=randoms)
    def replace(self, database: int, key: bytes, tag: int, random: Random) -> None:
        """A new one in the place of whatever is there, as SUNIONSTORE does."""
        kind = KINDS[tag]
        made, plain = kind.made(self.keyspace(database).objects, key), kind.empty()
        kind.grow(made, plain, random)
        self.model[database][key] = Collection(tag, plain)

    @rule(database=databases, key=keys, tag=tags)
    def wrong_type(self, database: int, key: bytes, tag: int) -> None:
        held = self.model[database].get(key)
        if held is not None and (isinstance(held, bytes) or held.tag != tag):
            self.is_refused(database, key, tag)

    def is_refused(self, database: int, key: bytes, tag: int) -> None:
        """What the key holds is of another type."""
        with pytest.raises(CommandError, match="WRONGTYPE"):
            self.keyspace(database).objects.find(key, KINDS[tag].made)

    @rule(database=databases, key=keys)
    def set_string(self, database: int, key: bytes) -> None:
        self.keyspace(database).put_value(key, b"string")
        self.model[database][key] = b"string"

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
            patch.setattr(self.store, "put", self._fail)
            self.pending.commit()
        self.model = deepcopy(self.committed)

    @staticmethod
    def _fail(*_: Any) -> int:
        raise StorageError("write", "/db", "a test says so")

    @rule(data=st.data(), random=randoms)
    def roll_back(self, data: Any, random: Random) -> None:
        """An EXEC that is taken back."""
        before, savepoint = deepcopy(self.model), self.pending.savepoint()
        self.pending.in_transaction = True
        for _ in range(data.draw(st.integers(1, 3))):
            how, key = data.draw(st.sampled_from(["grow", "change", "delete", "settle"])), data.draw(keys)
            if how == "grow":
                self.grow(0, key, data.draw(tags), random)
            elif how == "change":
                self.change(0, key, random)
            elif how == "delete":
                self.delete(0, key)
            else:  # a command that reads entries as they are
                self.pending.settle()
        self.pending.in_transaction = False
        self.databases.take_back(savepoint)
        self.model = before

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
        if isinstance(held, Collection):
            kind = KINDS[held.tag]
            found = self.keyspace(database).objects.find(key, kind.made)
            assert found is not None
            assert kind.read_all(found) == held.plain

    @invariant()
    def every_key_is_what_the_model_says(self) -> None:
        for number, model in enumerate(self.model):
            keyspace = self.keyspace(number)
            keyspace.objects._check()
            for key in (b"a", b"b", b"\xffc"):
                held = model.get(key)
                entry = keyspace.entry(key)
                if held is None or isinstance(held, bytes):
                    assert string_at(keyspace, key)[0] == held
                    continue
                assert type(entry) is tuple
                assert entry[2] == held.tag
                found = keyspace.objects.find(key, KINDS[held.tag].made)
                assert found is not None
                KINDS[held.tag].compare(found, held.plain)

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
"""Elements of a packed collection, and of a spread one that is kept whole."""


def run(examples: int, packed: int, whole: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    patch.setattr(limits, "MIN_REWRITTEN", 2)
    patch.setattr(limits, "MAX_REWRITES", 2)
    patch.setattr(limits, "MAX_WHOLE", whole)
    patch.setattr(stream_tail, "MAX_HELD", 2)
    patch.setattr(stream, "READ_AHEAD", 3)
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))


@pytest.mark.parametrize(("packed", "whole"), LIMITS)
def test_objects_over_an_engine(packed: int, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(30, packed, whole, monkeypatch)


@pytest.mark.slow
@pytest.mark.long(17)
@pytest.mark.parametrize(("packed", "whole"), LIMITS)
def test_many_objects_over_an_engine(packed: int, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run(700, packed, whole, monkeypatch)


# Versions.


def spread(machine: Machine, key: bytes, *some: bytes) -> Hash:
    made = machine.keyspace(0).objects.find_or_make(key, Hash)
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
        machine.databases.take_back(savepoint)
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
    machine.databases.take_back(savepoint)
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
    full = keyspace.hot._room_bytes
    for number in range(400):
        keyspace.objects.find_or_make(b"%d" % number, Hash).put_many({b"field": b"v" * 1000})
    machine.pending.commit()
    objects = keyspace.objects
    objects._check()
    assert objects.memory_bytes() <= 1 << 19
    assert full // 2 <= keyspace.hot._room_bytes < full - objects.memory_bytes() // 3
    databases.clear()
    assert keyspace.hot._room_bytes == full
