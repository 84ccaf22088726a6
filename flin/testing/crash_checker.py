"""The checker: crashes the disk of a crash point in every way, opens what is left, and checks the promise.

After each crash these must hold:

- The database opens by itself. It holds a prefix of the accepted commits, at least the promised ones.
- Batches are there completely or not at all. Nothing deleted or expired comes back.
- Scans in both directions, gets and the count agree; verify() finds nothing; no unknown file is left.

In a share of the crash states also:

- Every kind of write works, and writes that are synced then survive the next power cut.
- A crash during the recovery, and one directly after it, change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from random import Random
from typing import Final
from zlib import crc32

from flin.engine.catalog import manifest
from flin.engine.disk import file_name
from flin.engine.disk.file_name import LOCK, MANIFEST, maybe_parse
from flin.engine.disk.sealed_files import unlocked
from flin.engine.engine import Engine
from flin.engine.wal.retention import kept_segments
from flin.testing.clock import ManualClock
from flin.testing.copies import check_copies
from flin.testing.crash_model import POWER_CUTS, CrashModel, after_crash, every_crash, killed
from flin.testing.disk import SimulatedDisk
from flin.testing.model import Expectation, State
from flin.testing.operation import COUNTER, KEYS
from flin.testing.run import (
    KEY,
    PATH,
    CrashPoint,
    EngineSetup,
    Operation,
    WorkloadRun,
    described,
    matched,
    what_is_there,
)

PROBES: Final = (*KEYS, COUNTER, b"aa", b"zz", b"\xff\x01")
"""Keys that workloads use, and some that they do not: each is looked up after a crash."""

CLOCK_JUMPS: Final = (0, 0, 0, 0, -2, -3600, 2, 3600)
"""Seconds by which the clock is wrong, or was wrong before, when the database is opened after a crash; used in turn."""


@dataclass(slots=True)
class CrashChecker:
    """A checker for one setup. It counts the distinct crash states that it has seen."""

    setup: EngineSetup
    limit: int
    """Crash states per crash point and crash model."""
    second_crashes: int = 1
    """Crashes during each recovery that is crashed."""
    second_every: int = 1
    """In every n-th crash state, new data is written and the disk crashes again."""
    seen: set[int] = field(default_factory=set)
    """Digests of crash states that need not be checked again; checkers may share it."""
    found: list[int] = field(default_factory=list)
    """Digests of the crash states that this checker was the first to see."""
    during_recovery: int = 0

    @property
    def states(self) -> int:
        return len(self.found)

    def check(
        self, crash_point: CrashPoint, where: str, crash_models: Sequence[CrashModel] = tuple(CrashModel)
    ) -> None:
        """Crash the disk at this point in every way. AssertionError, with how to replay it, if anything is wrong."""
        for crash_model in crash_models:
            power_cut = self.setup.is_replica or crash_model is not CrashModel.KILLED
            # A seed for every crash point: else the random choices would always be the same few.
            seed = crc32(f"{where} {crash_point.operation} {crash_point.disk.changes}".encode())
            for number, clone in enumerate(every_crash(crash_point.disk, crash_model, self.limit, seed)):
                digest = self._digest(clone, crash_point, power_cut)
                if digest in self.seen:
                    continue
                self.seen.add(digest)
                self.found.append(digest)
                at = f"after {crash_point.call} in operation {crash_point.operation}"
                try:
                    self._check(clone, crash_point, power_cut, digest)
                except Exception as error:
                    raise AssertionError(f"{where}, {at}, {crash_model.value} #{number}: {error!r}") from error

    judge = check  # its old name, until the next release

    def _digest(self, disk: SimulatedDisk, crash_point: CrashPoint, power_cut: bool) -> int:
        # Equal files have an equal history: what may be found depends only on how much of it was promised.
        expectation = crash_point.expectation
        far: tuple[object, ...] = (len(expectation.states), len(expectation.unanswered), expectation.promised)
        if crash_point.copies:
            far = (*far, *(copy.is_answered for copy in crash_point.copies))
        if crash_point.watched is not None:
            far = (*far, crash_point.watched.sequence)
        digest = blake2b(f"{self.setup} {power_cut} {far}".encode(), digest_size=8)  # equal in every process
        if disk.elsewhere:
            digest.update(repr(disk.elsewhere).encode())
        for path, content in disk.files().items():
            if path.endswith(LOCK):
                continue  # it names this process
            digest.update(b"%b %d " % (path.encode(), len(content)))
            digest.update(content)
        return int.from_bytes(digest.digest(), "little")

    def _check(self, disk: SimulatedDisk, crash_point: CrashPoint, power_cut: bool, seed: int) -> None:
        again = seed % self.second_every == 0
        clock = ManualClock(crash_point.now_ms + 1000 * CLOCK_JUMPS[seed // self.second_every % len(CLOCK_JUMPS)])
        recoveries: list[SimulatedDisk] = []
        if again:
            self.setup.check_files(disk)
        if again and self.second_crashes:
            disk.on_change = lambda _: recoveries.append(killed(disk))
        engine = self.setup.open(disk, clock, ("first", seed))
        disk.on_change = None
        try:
            state = matched(crash_point.expectation, engine, clock.now_ms, power_cut=power_cut)
            if again:
                after_open = killed(disk)
            self.setup.check(engine, disk)
            check_whole(engine, state, clock.now_ms)
            if crash_point.watched is not None:
                mirror = crash_point.watched.copy()
                mirror.follow(engine, keeps_all=self.setup.wal_retention > 0)
                mirror.check(engine, crash_point.expectation.latest_ms)
                mirror.close()
            self._assert_no_orphans(disk)
            if again:
                written = check_writable(engine, what_is_there(state, clock.now_ms))
                least = after_crash(disk, CrashModel.PREFIXES, lambda _: 0)  # a power cut that leaves nothing pending
        finally:
            engine.close(flush=again)
        if not again:
            return
        self._assert_no_orphans(disk)
        if crash_point.copies:
            self._check_copies(disk, crash_point, clock.now_ms)
        self._is_there(least, written, clock)
        if self.second_crashes:
            random = Random(seed)
            for disk in random.sample(recoveries, min(len(recoveries), self.second_crashes)):
                self._crash_again(disk, crash_point.expectation, clock.now_ms, random)
                self.during_recovery += 1
            # A reader may have seen this once the database was open: it must not disappear.
            after = replace(crash_point.expectation, states=(state,), unanswered=(), promised=0)
            self._crash_again(after_open, after, clock.now_ms, random)

    def _check_copies(self, disk: SimulatedDisk, crash_point: CrashPoint, now_ms: int) -> None:
        """Checkpoints and backups are whole or refused, and what is written into them changes nothing of the database,
        which was written to before."""
        files = {path: data for path, data in disk.files().items() if path.startswith(f"{PATH}/")}
        check_copies(disk, crash_point.copies, now_ms)
        _equal("files", {path: data for path, data in disk.files().items() if path.startswith(f"{PATH}/")}, files)

    def _is_there(self, disk: SimulatedDisk, expected: dict[bytes, bytes], clock: ManualClock) -> None:
        """Writes synced after the recovery survive the next power cut."""
        engine = self.setup.open(disk, clock, "after")
        try:
            assert dict(engine.scan()) == expected, "what was synced after the recovery is not there"
        finally:
            engine.close()

    def _crash_again(self, disk: SimulatedDisk, expectation: Expectation, now_ms: int, random: Random) -> None:
        """The power fails during the recovery, or directly after it."""
        clone = after_crash(disk, random.choice(POWER_CUTS), random.randrange)
        clock = ManualClock(now_ms)
        engine = self.setup.open(clone, clock, ("second", random.random()))
        try:
            state = matched(expectation, engine, now_ms, power_cut=True)
            self.setup.check(engine, clone)
            check_whole(engine, state, now_ms)
        finally:
            engine.close()
        self._assert_no_orphans(clone)

    def _assert_no_orphans(self, disk: SimulatedDisk) -> None:
        assert_no_orphans(disk, self.setup.wal_retention)


def check_whole(engine: Engine, state: State, now_ms: int) -> None:
    """Check that scans, gets and the count agree with the state, and that verify() finds nothing."""
    expected = what_is_there(state, now_ms)
    _equal("scan", list(engine.scan()), list(expected.items()))
    _equal("reverse scan", list(engine.scan(reverse=True)), list(expected.items())[::-1])
    _equal("scan of keys", list(engine.scan_keys()), list(expected))
    for key in {*PROBES, *expected, *state}:
        _equal(f"get({key!r})", engine.get(key), expected.get(key))
    _equal("count", len(engine), len(expected))
    _equal("verify", engine.verify(), [])


def check_writable(engine: Engine, expected: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Check that every kind of write still works, and a flush. Returns the contents then, all of them synced."""
    engine.put(b"after", b"1", sync=True)
    engine.delete_range(b"b", b"c")
    engine.put_many([(b"bb", b"2"), (b"n", b"3")])
    expected = {key: value for key, value in expected.items() if not b"b" <= key < b"c"}
    expected |= {b"after": b"1", b"bb": b"2", b"n": b"3"}
    _equal("scan after writes", dict(engine.scan()), expected)
    engine.flush()
    engine.put(b"behind", b"4", sync=True)
    expected[b"behind"] = b"4"
    _equal("scan after a flush", list(engine.scan()), sorted(expected.items()))
    _equal("verify after a flush", engine.verify(), [])
    return expected


def assert_no_orphans(disk: SimulatedDisk, wal_retention: int = 0) -> None:
    """Check that every file is named by the manifest, or is a live WAL segment or one that is kept, the manifest, the
    keys or the lock."""
    found = manifest.read(unlocked(disk, PATH, KEY) if file_name.KEYS in disk.names(PATH) else disk, PATH)
    assert found is not None, "there is no manifest"
    tables = found.version.files()
    kept = kept_segments(disk, PATH, found.database_id, found.wal_floor, found.wal_position, wal_retention)
    for name in disk.names(PATH):
        parsed = maybe_parse(name)
        live = parsed is not None and parsed.role == "wal" and parsed.number >= found.wal_floor
        live = live or name in [each.name for each in kept]
        assert name in (LOCK, MANIFEST, file_name.KEYS, file_name.REPLICA) or name in tables or live, (
            f"nobody names the file {name}"
        )
    missing = tables - set(disk.names(PATH))
    assert not missing, f"the manifest names {missing}"


def every_workload(alphabet: Sequence[Operation], length: int) -> Iterator[tuple[Operation, ...]]:
    """All sequences up to a number of operations, short ones first."""
    layer: list[tuple[Operation, ...]] = [()]
    for _ in range(length + 1):
        yield from layer
        layer = [(*workload, operation) for workload in layer for operation in alphabet]


def crash_every_workload(
    checker: CrashChecker, workloads: Iterable[Sequence[Operation]], say: Callable[[str], None] = lambda _: None
) -> None:
    """Crash each workload at every call of its last operation: earlier calls belong to a shorter workload."""
    for workload in workloads:
        run = WorkloadRun(checker.setup).run(workload)
        for crash_point in run.crash_points:
            if crash_point.operation == len(workload) - 1:
                checker.check(crash_point, f"{checker.setup} {described(workload)}")
        say(f"{described(workload)}: {checker.states} states")


def _equal(what: str, found: object, expected: object) -> None:
    """Like assert, which python -O would leave out, with both sides in the message."""
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, expected {expected!r}")
