"""Workloads on the simulated disk: run one, remember the disk after every call, crash it there and judge what comes up.

An operation is a tuple, its name first, so that a failing workload prints as what replays it:

    ("put", key, value)  ("put", key, value, ttl_s)  ("put_sync", key, value)  ("put_many", ((key, value), …))
    ("delete", key)  ("delete_many", (key, …))  ("delete_range", start, stop)  ("delete_prefix", prefix)
    ("batch", (step, …))  ("incr", key)  ("flush",)  ("compact",)  ("reopen",)  ("advance", seconds)
    ("fill", first, count): so many puts of some 300 bytes each, every one a commit
    ("put_fails", key, value): the disk takes ten bytes of the frame and refuses the rest; the value is larger than a
        window, into which a copy cannot fail
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeAlias

import pytest

import flin.engine
from flin.engine import manifest
from flin.engine.file_name import LOCK, MANIFEST, maybe_parse
from flin.engine.key import prefix_stop
from flin.errors import StorageError
from flin.testing import Fault, ManualClock, Model, Personality, SimulatedDisk, crash, every_crash
from flin.testing.crash import POWER_CUTS
from flin.testing.model import Delete, DeleteRange, Expectation, Put, Step, view

Operation: TypeAlias = tuple[Any, ...]
Workload: TypeAlias = Sequence[Operation]

PATH: Final = "/data/db"
PROBES: Final = (b"a", b"b", b"c", b"d", b"aa", b"ab", b"n", b"zz", b"", b"\xff", b"\xff\x01")
"""Keys that workloads use, and some beside them: each is asked for after a crash."""


@dataclass(frozen=True, slots=True)
class Scene:
    """How the engine of a workload is opened."""

    sync: str = "always"
    shards: int = 1
    memory_limit: int = 1 << 20
    runner: str = "inline"
    window_bytes: int = 512
    """Of a WAL segment that is mapped at once: a sector, so that short workloads fill several. 0: none is mapped."""

    def open(self, disk: SimulatedDisk, clock: ManualClock, seed: object) -> Any:
        # A seed of its own for every opening: two engines that draw equal salts would prove nothing.
        return flin.engine.open(
            PATH,
            fs=disk,
            clock_ms=clock,
            random_bytes=Random(repr(seed)).randbytes,
            runner=self.runner,
            sync=self.sync,
            shards=self.shards,
            memory_limit=self.memory_limit,
        )


@dataclass(slots=True)
class Moment:
    """The disk just after a call, with what it held pending, and what may be found if the power goes now."""

    disk: SimulatedDisk
    expectation: Expectation
    operation: int  # index of the operation that was under way, -1 while the engine opened first
    call: str
    now_ms: int


@dataclass(slots=True)
class Run:
    """One engine that follows a workload beside its model."""

    scene: Scene = field(default_factory=Scene)
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    record: bool = True
    every: int = 1
    """Of so many appends, copies and syncs of files one is remembered; every other change of the disk is."""
    frequent: int = 0
    clock: ManualClock = field(default_factory=ManualClock)
    model: Model = field(default_factory=Model)
    moments: list[Moment] = field(default_factory=list)
    engine: Any = None
    operation: int = -1
    opened: int = 0

    def __post_init__(self) -> None:
        self.disk.window_bytes = self.scene.window_bytes

    def run(self, workload: Workload) -> Run:
        if self.record:
            self.disk.on_change = self._remember
        try:
            self.open()
            for self.operation, operation in enumerate(workload):
                self.step(operation)
        finally:
            self.disk.on_change = None
            if self.engine is not None:
                self.abandon()
        return self

    def open(self) -> None:
        self.opened += 1
        self.engine = self.scene.open(self.disk, self.clock, ("run", self.opened))

    def step(self, operation: Operation) -> None:
        """Do one operation on the engine and on the model."""
        name, *arguments = operation
        if name == "advance":
            self.clock.advance(*arguments)
        elif name == "fill":
            first, count = arguments
            for number in range(first, first + count):
                self.step(("put", b"f%03d" % (number * 37 % 200), b"%d " % number * 60))
        elif name in ("flush", "compact"):
            getattr(self.engine, name)()
            self.model.promise()
        elif name == "reopen":
            self.engine.close()
            self.model.promise()
            self.open()
        else:
            self.model.begin(self._steps(operation))
            if name == "put_fails":
                self._fail(operation)
                return
            self._call(operation)
            self.model.answer()
            if self.scene.sync == "always" or name.endswith("_sync"):
                self.model.promise()

    def abandon(self) -> None:
        """Let go of the engine without a clean end on the disk that counts: the moments are copies."""
        engine, self.engine = self.engine, None
        self.disk.faults.clear()
        engine.close()

    def _steps(self, operation: Operation) -> list[Step]:
        """What the operation means to the model."""
        name, *arguments = operation
        match name, arguments:
            case "put", [key, value, ttl_s]:
                return [Put(key, value, self.clock.now_ms + round(ttl_s * 1000))]
            case (("put" | "put_sync" | "put_fails"), [key, value]):
                return [Put(key, value)]
            case "put_many", [pairs]:
                return [Put(key, value) for key, value in pairs]
            case "delete", [key]:
                return [Delete(key)]
            case "delete_many", [keys]:
                return [Delete(key) for key in keys]
            case "delete_range", [start, stop]:
                return [DeleteRange(start, stop)]
            case "delete_prefix", [prefix]:
                return [DeleteRange(prefix, prefix_stop(prefix))]
            case "batch", [parts]:
                return [step for part in parts for step in self._steps(part)]
            case "incr", [key]:
                old = self.model.state.get(key, (b"0", 0))
                return [Put(key, b"%d" % (int(old[0]) + 1), old[1])]
        raise ValueError(f"no such operation: {operation!r}")

    def _fail(self, operation: Operation) -> None:
        """A put that is refused; the disk is well again behind it."""
        self.disk.faults.append(Fault(0, errno.ENOSPC, taken=10))
        with pytest.raises(StorageError):
            self.engine.put(*operation[1:])
        self.disk.faults.clear()

    def _call(self, operation: Operation) -> None:
        name, *arguments = operation
        if name == "put" and len(arguments) == 3:
            self.engine.put(arguments[0], arguments[1], ttl=arguments[2])
        elif name == "put_sync":
            self.engine.put(*arguments, sync=True)
        elif name == "batch":
            with self.engine.write_batch() as batch:
                for part, *rest in arguments[0]:
                    getattr(batch, part)(*rest)
        else:
            getattr(self.engine, name)(*arguments)

    def _remember(self, call: str) -> None:
        if call in ("append", "copy", "sync"):
            self.frequent += 1
            if self.frequent % self.every:
                return
        copy = crash(self.disk, Personality.KILLED, _no_choice)
        self.moments.append(Moment(copy, self.model.expectation(), self.operation, call, self.clock.now_ms))


@dataclass(slots=True)
class Judge:
    """Crashes moments in every way, opens what is left and checks it. Counts distinct crash states."""

    scene: Scene
    limit: int
    """Crash states per moment and personality."""
    second_crashes: int = 1
    """Crashes during each recovery."""
    seen: set[int] = field(default_factory=set)
    states: int = 0
    during_recovery: int = 0

    def judge(self, moment: Moment, where: str, personalities: Sequence[Personality] = tuple(Personality)) -> None:
        """AssertionError, with what replays the case, if anything is wrong after any crash at this moment."""
        for personality in personalities:
            power_cut = personality is not Personality.KILLED
            for number, clone in enumerate(every_crash(moment.disk, personality, self.limit)):
                if not self._is_new(clone, moment.expectation, power_cut):
                    continue
                case = f"{where}, after {moment.call} in operation {moment.operation}, {personality.value} #{number}"
                try:
                    self._check(clone, moment, power_cut, number)
                except Exception as error:
                    raise AssertionError(f"{case}: {error!r}") from error

    def _is_new(self, disk: SimulatedDisk, expectation: Expectation, power_cut: bool) -> bool:
        # Equal files have an equal history: what may be found depends on nothing else but how far that was promised.
        far = (len(expectation.states), len(expectation.unanswered), expectation.promised)
        key = hash((tuple(disk.files().items()), power_cut, far))
        new = key not in self.seen
        self.seen.add(key)
        self.states += new
        return new

    def _check(self, disk: SimulatedDisk, moment: Moment, power_cut: bool, seed: int) -> None:
        clock = ManualClock(moment.now_ms)
        recoveries: list[SimulatedDisk] = []
        if self.second_crashes:
            disk.on_change = lambda _: recoveries.append(crash(disk, Personality.KILLED, _no_choice))
        engine = self.scene.open(disk, clock, ("first", seed))
        disk.on_change = None
        after_open = crash(disk, Personality.KILLED, _no_choice)
        try:
            state = moment.expectation.match(dict(engine.scan()), clock.now_ms, power_cut=power_cut)
            check_whole(engine, state, clock.now_ms)
            assert_no_orphans(disk)
            written = check_writable(engine, state, clock.now_ms)
            least = crash(disk, Personality.PREFIXES, lambda _: 0)  # a power cut that leaves nothing pending
        finally:
            engine.close()
        assert_no_orphans(disk)
        self._is_there(least, written, clock)
        if self.second_crashes:
            random = Random(f"{seed} {moment.call} {moment.operation}")
            for disk in random.sample(recoveries, min(len(recoveries), self.second_crashes)):
                self._crash_again(disk, moment.expectation, moment.now_ms, random)
            # What a reader may have seen once the database was open must not go back.
            self._crash_again(after_open, Expectation((state,), (), 0), moment.now_ms, random)

    def _is_there(self, disk: SimulatedDisk, expected: dict[bytes, bytes], clock: ManualClock) -> None:
        """What was written and synced after the recovery outlives the next power cut."""
        engine = self.scene.open(disk, clock, "after")
        try:
            assert dict(engine.scan()) == expected
        finally:
            engine.close()

    def _crash_again(self, disk: SimulatedDisk, expectation: Expectation, now_ms: int, random: Random) -> None:
        """The power goes during the recovery, or when it has just ended."""
        clone = crash(disk, random.choice(POWER_CUTS), random.randrange)
        clock = ManualClock(now_ms)
        engine = self.scene.open(clone, clock, ("second", random.random()))
        try:
            state = expectation.match(dict(engine.scan()), now_ms, power_cut=True)
            check_whole(engine, state, now_ms)
        finally:
            engine.close()
        assert_no_orphans(clone)
        self.during_recovery += 1


def check_whole(engine: Any, state: dict[bytes, tuple[bytes, int]], now_ms: int) -> None:
    """Scans, gets and the count agree with the state, and verify() finds nothing."""
    expected = dict(sorted(view(state, now_ms).items()))
    assert list(engine.scan()) == list(expected.items())
    assert list(engine.scan(reverse=True)) == list(expected.items())[::-1]
    assert list(engine.scan_keys()) == list(expected)
    for key in {*PROBES, *expected, *state}:
        assert engine.get(key) == expected.get(key), f"get({key!r})"
    assert len(engine) == len(expected)
    problems = list(engine.verify())
    assert not problems, problems


def check_writable(engine: Any, state: dict[bytes, tuple[bytes, int]], now_ms: int) -> dict[bytes, bytes]:
    """Every kind of write still works, and a flush of it; what is there then, all of it synced."""
    expected = view(state, now_ms)
    engine.put(b"after", b"1", sync=True)
    engine.delete_range(b"b", b"c")
    engine.put_many([(b"bb", b"2"), (b"n", b"3")])
    expected = {key: value for key, value in expected.items() if not b"b" <= key < b"c"}
    expected |= {b"after": b"1", b"bb": b"2", b"n": b"3"}
    assert dict(engine.scan()) == expected
    engine.flush()
    engine.put(b"behind", b"4", sync=True)
    expected[b"behind"] = b"4"
    assert list(engine.scan()) == sorted(expected.items())
    assert list(engine.verify()) == []
    return expected


def assert_no_orphans(disk: SimulatedDisk) -> None:
    """Every file is one that the manifest names, a live WAL segment, the manifest itself or the lock."""
    found = manifest.read(disk, PATH)
    assert found is not None
    tables = found.version.files()
    for name in disk.names(PATH):
        parsed = maybe_parse(name)
        live = parsed is not None and parsed.role == "wal" and parsed.number >= found.wal_floor
        assert name in (LOCK, MANIFEST) or name in tables or live, f"nobody names the file {name}"
    missing = tables - set(disk.names(PATH))
    assert not missing, f"the manifest names {missing}"


def every_workload(alphabet: Sequence[Operation], length: int) -> Iterator[tuple[Operation, ...]]:
    """All sequences of up to so many operations, short ones first."""
    layer: list[tuple[Operation, ...]] = [()]
    for _ in range(length + 1):
        yield from layer
        layer = [(*workload, operation) for workload in layer for operation in alphabet]


def crash_every_workload(
    judge: Judge, workloads: Iterator[tuple[Operation, ...]], say: Callable[[str], None] = lambda _: None
) -> None:
    """Each workload, crashed at every call of its last operation: what came before is a shorter workload's."""
    for workload in workloads:
        run = Run(judge.scene).run(workload)
        for moment in run.moments:
            if moment.operation == len(workload) - 1:
                judge.judge(moment, f"{judge.scene} {workload!r}")
        say(f"{workload!r}: {judge.states} states")


def _no_choice(_: int) -> int:
    raise AssertionError("a killed process leaves no choice")
