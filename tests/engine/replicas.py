"""Replicas in tests: a log in memory, and those who lead and follow by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flin.engine.engine import Engine, store_of
from flin.engine.entry import Entry
from flin.engine.key import namespace_prefix
from flin.engine.replica import open_replica
from flin.engine.replication import FrameQueue, FrameRun
from flin.engine.wal.frame_run import decode_run
from flin.errors import FencedError

INDEX: Final = namespace_prefix(0x7F00) + b"index"
PATH: Final = "/replica"


@dataclass
class MemoryLog:
    """What a majority has: entries, each of some runs of frames. `leader`: the only one that may append."""

    entries: list[list[FrameRun]] = field(default_factory=list)
    leader: LogReplication | None = None


class LogReplication:
    """The Replication of one open of a replica."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.applied = 0  # the entries that are in the store, for certain
        self.synced = 0
        self.frames: FrameQueue

    def attach(self, frames: FrameQueue) -> None:
        self.frames = frames
        self.synced = frames.position

    def sync(self, position: int) -> None:
        reached, runs = self.frames.position, self.frames.take()
        if runs:
            if self.log.leader is not self:
                raise FencedError(PATH, "another one leads")
            self.log.entries.append(runs)
            self.applied = len(self.log.entries)
        self.synced = reached

    def last_words(self) -> Mapping[bytes, Entry]:
        return {INDEX: str(self.applied).encode()}


def open_on(log: MemoryLog, replication: LogReplication | None = None, path: str = PATH, **options: Any) -> Engine:
    """Open the replica, and apply the log after what its tables hold."""
    keeper = replication or LogReplication(log)
    engine = open_replica(path, keeper, **{"runner": "inline", **options})
    keeper.applied = index_of(engine)
    follow(engine, keeper)
    return engine


def index_of(engine: Engine) -> int:
    """How many entries of the log the tables hold for certain."""
    found = store_of(engine).read(INDEX)
    assert found is None or type(found) is bytes
    return int(found or b"0")


def follow(engine: Engine, replication: LogReplication) -> None:
    """Apply what it has not applied yet."""
    store = store_of(engine)
    while replication.applied < len(replication.log.entries):
        for run in replication.log.entries[replication.applied]:
            store.commit(*decode_run(run))
        replication.applied += 1


def lead(engine: Engine, replication: LogReplication) -> None:
    """Let it lead. It must have applied all."""
    assert replication.applied == len(replication.log.entries)
    replication.log.leader = replication
    replication.frames.keeps = True
    store_of(engine).holds_sweep = False
