"""Random work on collections over the simulated disk, and a checker of what a crash leaves of it.

The run does what the server's commands do with keys, objects, the batch and the reaper, and follows it in the model of
flin.testing: a collection is one value there, so whatever is found must be whole. What can be done to each kind of
collection stands in tests/objects/kinds. A seed replays a run.
"""

from __future__ import annotations

import errno
from ast import literal_eval
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import pytest

from flin.engine.engine import Engine, store_of
from flin.engine.entry import EXPIRED_MS, make_entry
from flin.engine.key import PIECES_START, PIECES_STOP
from flin.net.batch.pending import Pending
from flin.net.data.databases import Databases
from flin.net.data.keyspace import Keyspace
from flin.objects import limits, stream, stream_group, stream_tail
from flin.objects import reaper as reaper_module
from flin.objects import versions as versions_module
from flin.objects.copying import maybe_spread, read_pieces
from flin.objects.hash import Hash
from flin.objects.layout import NEXT_VERSION, anchor_key, decode_next_version, parse_anchor, parse_element
from flin.objects.owners import Owners
from flin.objects.reaper import Reaper
from flin.testing import CrashModel, Fault, ManualClock, Model, SimulatedDisk, after_crash, killed
from flin.testing.crash_checker import CrashChecker
from flin.testing.crash_model import POWER_CUTS
from flin.testing.model import Delete, Expectation, Put, State, Step
from flin.testing.run import CrashPoint, EngineSetup
from tests.objects.kinds.every import KINDS

KEYS: Final = (b"a", b"b", b"\xffc")
DATABASES: Final = 2
KINDS_OF_A_RUN: Final = 2
"""So many are drawn for a run: if each run had all of them, a key would seldom meet the same one again."""


class Collection(NamedTuple):
    tag: int
    plain: Any  # as its kind says


Value = Collection | bytes
Held = dict[tuple[int, bytes], tuple[Value, int]]
"""(database, key) → (value, expires_at_ms or 0)."""


@contextmanager
def small_limits() -> Iterator[None]:
    """Three elements make a collection spread, eight versions are a lease, six pieces (a group's: two) are deleted one
    by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_PACKED_ELEMENTS", 2)
        patch.setattr(limits, "MAX_WHOLE", 5)
        patch.setattr(stream_tail, "MAX_HELD", 2)
        patch.setattr(stream, "READ_AHEAD", 3)
        patch.setattr(stream_group, "COUNTED_AT_ONCE", 2)
        patch.setattr(stream_group, "MAX_TOMBSTONES", 2)
        patch.setattr(stream, "MAX_TOMBSTONES", 3)
        patch.setattr(versions_module, "LEASED", 8)
        patch.setattr(reaper_module, "PAGE", 3)
        patch.setattr(reaper_module, "MAX_TOMBSTONES", 6)
        yield


class Served:
    """What the server has over an open engine."""

    def __init__(self, engine: Engine, databases: int = DATABASES) -> None:
        self.engine = engine
        self.store = store_of(engine)
        self.pending = Pending(self.store)
        self.databases = Databases(self.store, self.pending, databases, 8000)
        self.databases.block_reads(blocking=True)
        objects = [keyspace.objects for keyspace in self.databases.keyspaces]
        self.reaper = Reaper(objects, self.pending.delete_range, self.pending.commit)

    def keyspace(self, database: int) -> Keyspace:
        return self.databases.keyspaces[database]

    def reap(self, now_ms: int, looks: int) -> None:
        """At most so many looks at an anchor."""
        left = iter(range(looks))
        assert self.reaper.step(now_ms, lambda: next(left, None) is None) is None

    def reap_all(self) -> None:
        for second in range(60):
            self.reap(10**7 + 1000 * second, 1000)

    def found(self) -> State:
        """Every key of the workload, expired ones that are still there included, each collection whole."""
        state: State = {}
        for database in range(DATABASES):
            host = self.keyspace(database).objects.host
            for key in KEYS:
                entry = host.own_entry(key)
                if entry is None:
                    continue
                if type(entry) is bytes:
                    state[named(database, key)] = (as_bytes(entry), 0)
                    continue
                assert type(entry) is tuple
                if entry[1] == EXPIRED_MS:
                    continue
                meta = maybe_spread(entry)
                value: Value = entry[0]
                if entry[2]:
                    kind = KINDS[entry[2]]
                    if meta is not None:
                        plain = kind.of_pieces(meta, read_pieces(host, meta, 1 << 30))
                        assert host.piece(anchor_key(host.namespace, meta.slot, meta.version)) == key
                    else:
                        plain = kind.of_packed(entry[0])
                    live = self.keyspace(database).objects.find(key, kind.made)  # None if it has expired
                    assert live is None or kind.read_all(live) == plain
                    value = Collection(entry[2], plain)
                state[named(database, key)] = (as_bytes(value), entry[1])
        return state

    def versions(self) -> set[int]:
        """Those of all pieces and anchors."""
        found = set()
        for keys, _ in self.store.pages(self.store.freeze(), PIECES_START, PIECES_STOP):
            for stored in keys:
                owner = parse_anchor(stored) if stored[2] >= 0xC0 else parse_element(stored)[0]
                found.add(owner.version)
        return found

    def check_lease(self) -> None:
        """The next process begins above all versions that there are."""
        kept = self.store.read(NEXT_VERSION)
        least = decode_next_version(kept) if type(kept) is bytes else 0
        assert least > max(self.versions(), default=-1), f"versions go on from {least}, and {self.versions()} are there"

    def check_owners(self, *, is_reaped: bool) -> None:
        owners = Owners()
        problems = owners.check(self.store.freeze().pages())
        assert not problems, problems
        assert not (is_reaped and owners.dead), f"{owners.dead} dead collections are left"


def named(database: int, key: bytes) -> bytes:
    return b"%d %b" % (database, key)


def as_bytes(value: Value) -> bytes:
    literal = value if isinstance(value, bytes) else (value.tag, KINDS[value.tag].literal(value.plain))
    return repr(literal).encode()


def from_bytes(value: bytes) -> Value:
    parsed: Any = literal_eval(value.decode())
    return parsed if isinstance(parsed, bytes) else Collection(parsed[0], KINDS[parsed[0]].of_literal(parsed[1]))


class CollectionsRun:
    """One engine and its model, and a crash point after every change of the disk."""

    def __init__(self, setup: EngineSetup, seed: int, every: int = 1, tags: Sequence[int] = tuple(KINDS)) -> None:
        """tags: of the kinds from which a few are drawn."""
        self.setup = setup
        self.random = Random(seed)
        self.tags = self.random.sample(tags, min(KINDS_OF_A_RUN, len(tags)))
        self.every = every
        self.clock = ManualClock()
        self.disk = SimulatedDisk()
        self.disk.window_bytes = setup.window_bytes
        self.model = Model({}, self.clock.now_ms)
        self.held: Held = {}
        self.committed: Held = {}
        self.crash_points: list[CrashPoint] = []
        self.step = -1
        self.opened = 0
        self.taken: set[int] = set()  # versions of batches that were committed
        self._fresh: set[int] = set()  # of the pending one
        self._changes = 0

    def run(self, steps: int) -> CollectionsRun:
        self.open()
        self.disk.on_change = self._remember
        names, weights = zip(*STEPS.items(), strict=True)
        try:
            for step, name in enumerate(self.random.choices(names, weights, k=steps)):
                self.step = step
                getattr(self, name)()
                self.check()
            self.commit()
        finally:
            self.disk.on_change = None
            self.disk.faults.clear()
            self.served.engine.close()
        return self

    def open(self) -> None:
        self.opened += 1
        self.served = Served(self.setup.open(self.disk, self.clock, ("run", self.opened)))
        self.served.store.listeners.on_expired = self._note_expired
        lease = self.served.databases._lease
        take = lease.take

        def noted() -> int:
            version = take()
            assert version not in self.taken | self._fresh, f"version {version} came twice"
            self._fresh.add(version)
            return version

        vars(lease)["take"] = noted

    def _note_expired(self, expired: Any) -> None:
        if self.random.random() < 0.5:  # else a walk finds them
            for entry in expired.values():
                self.served.keyspace(0).note_gone(entry)

    def _remember(self, call: str) -> None:
        self._changes += 1
        if self._changes % self.every == 0:
            expectation = self.model.expectation()
            point = CrashPoint(killed(self.disk), expectation, self.step, call, self.clock.now_ms)
            self.crash_points.append(point)

    # What is held now.

    def live(self, database: int, key: bytes) -> Value | None:
        value, expires_at_ms = self.held.get((database, key), (None, 0))
        return None if expires_at_ms and expires_at_ms <= self.clock.now_ms else value

    def expires(self, database: int, key: bytes) -> int:
        return self.held[database, key][1] if self.live(database, key) is not None else 0

    def check(self) -> None:
        """The run's own memory is right, and no version came twice."""
        for database in range(DATABASES):
            for key in KEYS:
                value = self.live(database, key)
                entry = self.served.keyspace(database).entry(key)
                if value is None or isinstance(value, bytes):
                    found = entry[0] if type(entry) is tuple else entry
                    assert found == value, f"{key!r} in database {database}"
                else:
                    kind = KINDS[value.tag]
                    live = self.served.keyspace(database).objects.find(key, kind.made)
                    assert live is not None
                    kind.compare(live, value.plain)

    def draw(self) -> tuple[int, bytes]:
        return self.random.choice((0, 0, 1)), self.random.choice(KEYS)

    # The steps.

    def grow(self) -> None:
        database, key = self.draw()
        held = self.live(database, key)
        if held is None:
            tag = self.random.choice(self.tags)
            held = Collection(tag, KINDS[tag].empty())
        if isinstance(held, Collection):
            kind = KINDS[held.tag]
            found = self.served.keyspace(database).objects.find_or_make(key, kind.made)
            kind.grow(found, held.plain, self.random)
            self.held[database, key] = (held, self.expires(database, key))

    def change(self) -> None:
        database, key = self.draw()
        held = self.live(database, key)
        if isinstance(held, Collection):
            kind = KINDS[held.tag]
            found = self.served.keyspace(database).objects.find(key, kind.made)
            assert found is not None
            if self.random.random() < 0.2:
                assert kind.read_all(found) == held.plain
            kind.change(found, held.plain, self.random)
            if not held.plain:
                del self.held[database, key]

    def set_string(self) -> None:
        database, key = self.draw()
        self.served.keyspace(database).put_value(key, b"string")
        self.held[database, key] = (b"string", 0)

    def delete(self) -> None:
        database, key = self.draw()
        keyspace = self.served.keyspace(database)
        entry = keyspace.entry(key)
        if entry is not None:
            if self.random.random() < 0.5:
                keyspace.note_gone(entry)
            keyspace.delete(key)
            del self.held[database, key]

    def rename(self) -> None:
        database, key = self.draw()
        destination = self.random.choice(KEYS)
        entry = self.served.keyspace(database).settled(key)
        if entry is not None and key != destination:
            self.served.keyspace(database).rename(key, destination, entry)
            self.held[database, destination] = self.held.pop((database, key))

    def copy(self) -> None:
        (database, key), (other, destination) = self.draw(), self.draw()
        entry = self.served.keyspace(database).settled(key)
        if entry is not None and (database, key) != (other, destination):
            self.served.keyspace(database).copy_to(entry, self.served.keyspace(other), destination, 1 << 20)
            self.held[other, destination] = deepcopy(self.held[database, key])

    def expire(self) -> None:
        database, key = self.draw()
        entry = self.served.keyspace(database).settled(key)
        if entry is not None:
            at_ms = self.clock.now_ms + self.random.choice((1000, 4000, 10**7))
            value, _, tag = entry if type(entry) is tuple else (entry, 0, 0)
            assert type(value) is bytes
            self.served.keyspace(database).put(key, make_entry(value, at_ms, tag))
            self.held[database, key] = (self.held[database, key][0], at_ms)

    def advance(self) -> None:
        self.clock.advance(2)
        self.served.pending.refresh_clock()
        self.model.latest_ms = self.clock.now_ms

    def sweep(self) -> None:
        self.commit()
        len(self.served.engine)

    def flush_database(self) -> None:
        database = self.random.randrange(DATABASES)
        self.served.keyspace(database).clear()
        self.held = {key: entry for key, entry in self.held.items() if key[0] != database}

    def flush_all(self) -> None:
        self.served.databases.clear()
        self.held = {}

    def embedded(self) -> None:
        """A program that opens the database while no server has it."""
        self.reopen()
        key = self.random.choice(KEYS)
        if self.random.random() < 0.5:
            self._do([Put(named(0, key), as_bytes(b"embedded"))], lambda: self.served.engine.put(key, b"embedded"))
            self.held[0, key] = (b"embedded", 0)
        elif (0, key) in self.held:
            self._do([Delete(named(0, key))], lambda: self.served.engine.delete_prefix(key))
            del self.held[0, key]
        self.committed = deepcopy(self.held)

    def commit(self) -> None:
        state = {named(*key): (as_bytes(value), at_ms) for key, (value, at_ms) in self.held.items()}
        before = self.model.state
        steps: list[Step] = [Delete(key) for key in before.keys() - state.keys()]
        steps += [Put(key, *entry) for key, entry in state.items() if before.get(key) != entry]
        if self._do(steps, self.served.pending.commit):
            self.committed = deepcopy(self.held)
        else:
            self.held = deepcopy(self.committed)

    def _do(self, steps: list[Step], call: Any) -> bool:
        """One commit. False: it was refused."""
        failures = self.served.pending.failures
        if steps:
            self.model.begin(steps)
        call()
        fresh, self._fresh = self._fresh, set()
        if self.served.pending.failures > failures:
            return False
        self.taken |= fresh
        if steps:
            self.model.answer()
        if self.setup.sync == "always":
            self.sync()
        self.served.check_owners(is_reaped=False)
        self.served.check_lease()
        return True

    def sync(self) -> None:
        self.served.store.sync()
        self.model.promise()

    def refuse(self) -> None:
        """The disk takes a part of the frame."""
        self.grow()
        self.disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append"}), taken=10))
        self.commit()
        self.disk.faults.clear()

    def roll_back(self) -> None:
        """An EXEC that is taken back; one of its commands has read entries as they are."""
        pending, before = self.served.pending, deepcopy(self.held)
        fresh = set(self._fresh)
        savepoint = pending.savepoint()
        pending.in_transaction = True
        for name in self.random.choices(["grow", "grow", "change", "delete", "copy", "copy"], k=3):
            getattr(self, name)()
        if self.random.random() < 0.5:
            pending.settle()
        pending.in_transaction = False
        self.served.databases.take_back(savepoint)
        self.held = before
        self._fresh = fresh

    def reap(self) -> None:
        self.commit()
        self.served.reap(self.step * 500, self.random.choice((1, 2, 5)))
        self.served.check_owners(is_reaped=False)

    def background(self) -> None:
        self.random.choice((self.served.engine.flush, self.served.engine.compact))()

    def reopen(self) -> None:
        self.commit()
        self.served.engine.close(flush=self.random.random() < 0.5)
        self.model.promise()
        self.open()

    def crash(self) -> None:
        """A crash, and on with what is left."""
        watch, self.disk.on_change = self.disk.on_change, None
        crash_model = self.random.choice(tuple(CrashModel))
        clone = after_crash(self.disk, crash_model, self.random.randrange)
        expectation = self.model.expectation()
        self.served.engine.close()
        self._fresh.clear()
        self.disk = clone
        self.open()
        power_cut = crash_model is not CrashModel.KILLED
        state = expectation.match(self.served.found(), self.clock.now_ms, power_cut=power_cut)
        self.model = Model(state, expectation.latest_ms)
        self.held = {(key[0] - ord("0"), key[2:]): (from_bytes(value), at_ms) for key, (value, at_ms) in state.items()}
        self.committed = deepcopy(self.held)
        self.taken = self.served.versions()
        self.disk.on_change = watch


STEPS: Final = {
    "grow": 30,
    "change": 10,
    "set_string": 3,
    "delete": 6,
    "rename": 6,
    "copy": 6,
    "expire": 4,
    "advance": 4,
    "sweep": 3,
    "flush_database": 1,
    "flush_all": 1,
    "embedded": 1,
    "commit": 20,
    "sync": 4,
    "refuse": 3,
    "roll_back": 4,
    "reap": 8,
    "background": 4,
    "reopen": 2,
    "crash": 2,
}
"""How often each is drawn."""


@dataclass(slots=True)
class CollectionsChecker(CrashChecker):
    """What must hold after a crash, and again after one while the reaper runs."""

    def _check(self, disk: SimulatedDisk, crash_point: CrashPoint, power_cut: bool, seed: int) -> None:
        again = seed % self.second_every == 0
        clock = ManualClock(crash_point.now_ms)
        reaping: list[SimulatedDisk] = []
        if again:
            disk.on_change = lambda _: reaping.append(killed(disk))
        self._open(disk, crash_point.expectation, clock, seed, power_cut=power_cut)
        disk.on_change = None
        random = Random(seed)
        for clone in random.sample(reaping, min(len(reaping), self.second_crashes)):
            clone = after_crash(clone, random.choice(POWER_CUTS), random.randrange)
            self._open(clone, crash_point.expectation, clock, seed + 1, power_cut=True)
            self.during_recovery += 1

    def _open(
        self, disk: SimulatedDisk, expectation: Expectation, clock: ManualClock, seed: int, *, power_cut: bool
    ) -> None:
        engine = self.setup.open(disk, clock, ("checked", seed))
        try:
            served = Served(engine)
            found = served.found()
            expectation.match(found, clock.now_ms, power_cut=power_cut)
            served.check_owners(is_reaped=False)
            given = served.versions()
            made = served.keyspace(0).objects.find_or_make(b"new %d" % seed, Hash)
            made.put_many({b"f%d" % number: b"new" for number in range(3)})
            assert made.meta is not None
            assert made.meta.version > max(given, default=-1), "a version comes twice"
            served.pending.commit()
            served.reap_all()
            assert served.found() == found, "the reaper changed what is there"
            served.check_owners(is_reaped=True)
            assert set(made.items()) == {b"f0", b"f1", b"f2"}
            assert engine.verify() == []
        finally:
            engine.close()


def crash_collections(
    checker: CollectionsChecker, seeds: range, steps: int, crash_points: int, tags: Sequence[int] = tuple(KINDS)
) -> None:
    """Run each seed's work, and crash it at so many points."""
    with small_limits():
        for seed in seeds:
            run = CollectionsRun(checker.setup, seed, tags=tags).run(steps)
            for point in Random(seed).sample(run.crash_points, min(len(run.crash_points), crash_points)):
                checker.check(point, f"{checker.setup} seed {seed}")
