"""Commands that write whole keys anew, by their handlers over the simulated disk, and a checker of what a crash leaves.

SORT … STORE, RESTORE, COPY, MOVE, SWAPDB, the other … STORE commands, and libraries of functions, among the commands of
the kill -9 load. The same
handlers over a store in memory say what each unit makes; a unit is one commit. A seed replays a run.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from typing import Final

from flin.engine.engine import Engine, store_of
from flin.net.data.savepoint import Step as Taken
from flin.net.scripting.functions import Functions
from flin.testing import Fault, ManualClock, Model, SimulatedDisk, killed
from flin.testing.model import Delete, Expectation, Put, State, Step
from flin.testing.run import CrashPoint, EngineSetup
from tests.net.commands.handling import START_MS, Handling
from tests.net.data.collections_run import CollectionsChecker, Served, small_limits
from tests.net.fake_store import FakeStore
from tests.net.script_of_requests import EACH
from tests.process.collections_load import MAKERS, WHOLE, Unit, parsed, shown

HAS_LUA: Final = find_spec("lupa") is not None and find_spec("lupa.luajit21") is not None

DATABASES: Final = (b"0", b"1", b"2")
"""SWAPDB exchanges the last two."""


def drawn(random: Random) -> Unit:
    """A commit's commands, each with the database before it."""
    unit: Unit = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if random.random() < 0.08:
            unit.append([b"swapdb", b"1", b"2"])
            continue
        if HAS_LUA and random.random() < 0.08:
            unit.append(_of_library(random))
            continue
        name = random.choice(WHOLE if random.random() < 0.5 else list(MAKERS))
        request = MAKERS[name](random)
        if name == "copy" and random.random() < 0.5:
            request += [b"db", random.choice(DATABASES)]
        unit += [[b"select", random.choice(DATABASES)], request]
        if name != "move" and random.random() < 0.1:
            unit.append([b"move", request[1], random.choice(DATABASES)])
    return unit


def _of_library(random: Random) -> list[bytes]:
    name = b"L%d" % random.randrange(3)
    if random.random() < 0.3:
        return [b"function", b"delete", name]
    if random.random() < 0.1:
        return [b"function", b"flush"]
    source = b"#!lua name=%b\nredis.register_function('f%b', function() return %d end)"
    return [b"function", b"load", b"replace", source % (name, name, random.randrange(1000))]


def all_shown(handling: Handling) -> State:
    """Every key of every database, and every library, for the model of flin.testing: a collection is one value."""
    state: State = {}
    for database in DATABASES:
        handling.call(b"select", database)
        for key, (kind, value, at_ms) in shown(lambda *words: parsed(handling.wire(*words))).items():
            state[b"%b %b" % (database, key)] = (repr((kind, value)).encode(), max(0, at_ms))
    for name, library in handling.services.part(Functions).libraries.items():
        state[b"function %b" % name] = (library.source, 0)
    return state


def over(engine: Engine) -> Handling:
    handling = Handling(store_of(engine))
    handling.services.databases.block_reads(blocking=True)
    return handling


class CommandsRun:
    """One engine, its model, and a crash point after every change of the disk."""

    def __init__(self, setup: EngineSetup, seed: int) -> None:
        self.setup, self.random = setup, Random(seed)
        self._as_script = Random(-seed)
        self.clock = ManualClock(START_MS)
        self.disk = SimulatedDisk(window_bytes=setup.window_bytes)
        self.model = Model({}, START_MS)
        self.crash_points: list[CrashPoint] = []
        self._plain = Handling()
        self._step = self._opened = 0

    def run(self, units: int) -> CommandsRun:
        self._open()
        self.disk.on_change = self._remember
        try:
            for self._step in range(units):
                self._do(drawn(self.random), is_refused=self.random.random() < 0.05)
                self._between()
        finally:
            self.disk.on_change = None
            self.disk.faults.clear()
            self._engine.close()
        return self

    def _open(self) -> None:
        self._opened += 1
        self._engine = self.setup.open(self.disk, self.clock, ("run", self._opened))
        self._handling = over(self._engine)

    def _remember(self, call: str) -> None:
        expectation = self.model.expectation()
        self.crash_points.append(CrashPoint(killed(self.disk), expectation, self._step, call, START_MS))

    def _do(self, unit: Unit, *, is_refused: bool) -> None:
        pending, plain = self._handling.pending, self._plain
        entries, failures = dict(plain.store.entries), pending.failures
        replies = [plain.call(*request) for request in unit]
        may_be_script = HAS_LUA and all(request[0] != b"function" for request in unit)  # which scripts may not call
        if may_be_script and self._as_script.random() < 0.4:
            self._run_script(unit)
        else:
            assert [self._handling.call(*request) for request in unit] == replies, unit
        plain.pending.commit()
        state, before = all_shown(plain), self.model.state
        steps: list[Step] = [Delete(key) for key in before.keys() - state.keys()]
        steps += [Put(key, *entry) for key, entry in state.items() if before.get(key) != entry]
        if steps:
            self.model.begin(steps)
        if is_refused:
            self.disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append"}), taken=10))
        pending.commit()
        self.disk.faults.clear()
        if pending.failures > failures:
            store = FakeStore(clock=self.clock)
            store.entries.update(entries)
            self._plain = Handling(store)
            assert all_shown(self._handling) == self.model.state
            return
        if steps:
            self.model.answer()
        if self.setup.sync == "always":
            self._engine.sync()
            self.model.promise()

    def _run_script(self, unit: Unit) -> None:
        """As one script, perhaps after one that was taken back."""
        words = [word for request in unit for word in (b"%d" % len(request), *request)]
        if self._as_script.random() < 0.5:
            step = Taken(self._handling.services.databases)
            step.will_write()
            self._handling.call(b"EVAL", EACH, b"0", *words)
            step.take_back()
        found = self._handling.wire(b"EVAL", EACH, b"0", *words)
        assert found.startswith(b"*%d\r\n" % len(unit)), found

    def _between(self) -> None:
        chance = self.random.random()
        if chance < 0.1:
            assert all_shown(self._handling) == self.model.state
        elif chance < 0.14:
            self.random.choice((self._engine.flush, self._engine.compact))()
        elif chance < 0.18:
            self._engine.sync()
            self.model.promise()
        elif chance < 0.21:
            self._engine.close(flush=self.random.random() < 0.5)
            self.model.promise()
            self._open()


@dataclass(slots=True)
class CommandsChecker(CollectionsChecker):
    """After a crash: a prefix of the units, each whole; and once the reaper has run, every piece has an owner."""

    def _open(
        self, disk: SimulatedDisk, expectation: Expectation, clock: ManualClock, seed: int, *, power_cut: bool
    ) -> None:
        engine = self.setup.open(disk, clock, ("checked", seed))
        try:
            found = all_shown(over(engine))
            expectation.match(found, clock.now_ms, power_cut=power_cut)
            served = Served(engine, databases=len(DATABASES))
            served.check_owners(is_reaped=False)
            served.check_lease()
            served.reap_all()
            served.check_owners(is_reaped=True)
            assert all_shown(over(engine)) == found, "the reaper changed what is there"
            assert engine.verify() == []
        finally:
            engine.close()


def crash_commands(checker: CommandsChecker, seeds: range, units: int, crash_points: int) -> None:
    """Run each seed's commands, and crash them at so many points."""
    with small_limits():
        for seed in seeds:
            run = CommandsRun(checker.setup, seed).run(units)
            for point in Random(seed).sample(run.crash_points, min(len(run.crash_points), crash_points)):
                checker.check(point, f"{checker.setup} seed {seed}")
