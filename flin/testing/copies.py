"""Checkpoints and backups in workloads, and what must be left of them after a crash.

One that was answered is there, whole: what is opened, or restored, holds exactly what was committed when it was made.
One that was begun is that, too, or it is refused, also by an open that may create databases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import flin.engine
from flin.engine.engine import Engine, store_of
from flin.errors import CorruptionError, StorageError
from flin.testing.clock import ManualClock
from flin.testing.disk import SimulatedDisk
from flin.testing.rule import Draw, Rule
from flin.testing.run import KEY, CopyMade, WorkloadRun, matched

COPIES = "/data/copies"


@dataclass(frozen=True)
class MakeCheckpoint(Rule):
    """A checkpoint, in a directory of its own."""

    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        path = f"{COPIES}/checkpoint-{len(run.copies)}"
        _make(run, path, 0, lambda engine: engine.checkpoint(path))

    @classmethod
    def drawn(cls, draw: Draw) -> MakeCheckpoint:
        return cls()


@dataclass(frozen=True)
class MakeBackup(Rule):
    """A backup, into the directory of this database's backups."""

    keep: int | None = None
    weight: ClassVar[int] = 1

    def do(self, run: WorkloadRun) -> None:
        path = f"{COPIES}/backups-{store_of(run.engine).manifest.database_id.hex()[:8]}"
        number = 1 + max((copy.number for copy in run.copies if copy.path == path), default=0)
        if self.keep is not None:  # those may be gone as soon as it has begun
            run.copies[:] = [
                replace(copy, is_answered=False) if copy.path == path and copy.number <= number - self.keep else copy
                for copy in run.copies
            ]
        _make(run, path, number, lambda engine: engine.backup(path, keep=self.keep))

    @classmethod
    def drawn(cls, draw: Draw) -> MakeBackup:
        return cls(draw.random.choice((None, None, 1, 2)))


def _make(run: WorkloadRun, path: str, number: int, call: Callable[[Engine], object]) -> None:
    expectation = run.model.expectation()
    made = CopyMade(
        path, number, replace(expectation, states=(run.model.state,), unanswered=(), promised=0), run.setup.encrypted
    )
    run.copies.append(made)
    call(run.engine)
    run.model.promise()
    run.copies[run.copies.index(made)] = replace(made, is_answered=True)


def check_copies(disk: SimulatedDisk, copies: Sequence[CopyMade], now_ms: int) -> None:
    """Check all copies on a disk after a crash; AssertionError if one is not what it should be."""
    for at, copy in enumerate(copies):
        if not copy.number:
            _check_opened(disk, copy, copy.path, now_ms)
            continue
        try:
            numbers = [each.number for each in flin.engine.backups(copy.path, fs=disk)]
        except StorageError:
            assert not copy.is_answered, f"there are no backups in {copy.path}"
            continue
        if copy.number not in numbers:
            assert not copy.is_answered, f"backup {copy.number} of {copy.path} is gone: {numbers}"
            continue
        problems = flin.engine.verify_backup(copy.path, copy.number, fs=disk)
        assert not problems, problems
        path = f"{copy.path}/restored-{at}"
        key = KEY if copy.is_encrypted else None
        flin.engine.restore(copy.path, path, number=copy.number, encryption_key=key, fs=disk)
        _check_opened(disk, replace(copy, is_answered=True), path, now_ms)


def _check_opened(disk: SimulatedDisk, copy: CopyMade, path: str, now_ms: int) -> None:
    if path not in disk.directories or not disk.names(path):
        assert not copy.is_answered, f"there is nothing in {path}"
        return
    try:
        engine = _opened(disk, path, now_ms, KEY if copy.is_encrypted else None)
    except (StorageError, CorruptionError) as error:
        assert not copy.is_answered, f"{path}: {error}"
        return
    with engine:
        state = matched(copy.expectation, engine, now_ms, power_cut=False)
        assert not engine.verify(), "a copy is damaged"
        assert len(engine) <= len(state), "a copy counts too much"
        assert not engine.stats()["wal"]["torn"], "a copy is cut off"
        engine.put(b"written into a copy", b"1")  # its files may be the database's, too
        engine.flush()


def _opened(disk: SimulatedDisk, path: str, now_ms: int, key: bytes | None) -> Engine:
    clock = ManualClock(now_ms)
    return flin.engine.open(path, fs=disk, runner="inline", memory_limit=1 << 20, clock_ms=clock, encryption_key=key)
