"""Replicas of one group: real engines on simulated disks, over the twin of etcd in memory."""

from __future__ import annotations

import random
from typing import Any, Final

from flin.cluster.log.digest import digest
from flin.cluster.log.follower import Follower, index_in_tables
from flin.cluster.log.leader import GroupLog
from flin.engine.engine import Engine, store_of
from flin.engine.key import USER_END
from flin.engine.replica import open_replica
from flin.errors import ReadOnlyError, StorageError
from flin.testing import CrashModel, ManualClock, SimulatedDisk, after_crash
from tests.cluster.logs import Etcd

PATH: Final = "/replica"


class Replica:
    """One process that holds a replica."""

    def __init__(self, etcd: Etcd, disk: SimulatedDisk | None = None, clock: ManualClock | None = None, **options: Any):
        self.etcd = etcd
        self.options = options
        self.disk = disk or SimulatedDisk()
        self.clock = clock or ManualClock()
        self.log = etcd.log()
        self.keeper = GroupLog(self.log, self.clock, pause=lambda _: None)
        given: dict[str, Any] = {"runner": "inline", **options}
        self.engine: Engine = open_replica(PATH, self.keeper, fs=self.disk, clock_ms=self.keeper.clock_ms, **given)
        self.store = store_of(self.engine)
        self.began_at = index_in_tables(self.store)
        self.keeper.note_applied(self.began_at, 0)
        self.follower = Follower(self.log, self.began_at)

    def catch_up(self, limit: int | None = None) -> None:
        """Apply what the log has by now, at most so many entries."""
        is_end = False
        while not is_end and limit != 0:
            page = self.log.read(self.follower.next_number)
            for commit in self.follower.take_all(page.entries[:limit]):
                self.store.commit(commit.points, commit.ranges)
                self.keeper.note_applied(commit.number, commit.clock_ms)
            is_end = page.is_end or limit is not None

    def lead(self) -> None:
        fence = self.etcd.claim()
        self.catch_up()
        self.keeper.lead(fence, self.follower.next_number)
        self.store.holds_sweep = False

    def follow(self) -> bool:
        """It has led, and follows as it is; False: it must begin anew."""
        self.store.hold_sweep()
        if not self.keeper.follow():
            return False
        self.follower = Follower(self.log, self.keeper.index)
        return True

    def users(self) -> dict[bytes, bytes]:
        return dict(self.engine.scan(stop=USER_END))

    def digest(self, now_ms: int | None = None) -> str:
        return digest(self.store.freeze(), self.clock.now_ms if now_ms is None else now_ms)

    def end(self) -> None:
        """The process ends without a word: the engine's files are left as they are."""
        self.keeper.stop()
        try:
            self.engine.close(flush=False)
        except (ReadOnlyError, StorageError):
            assert self.keeper.failed is not None

    def restarted(self, crash: CrashModel | None = None, chance: random.Random | None = None) -> Replica:
        """Another process opens the directory, after a crash if there is one."""
        disk = self.disk
        if crash is not None:
            assert chance is not None
            disk = after_crash(disk, crash, lambda count: chance.randrange(count))
        self.end()
        return Replica(self.etcd, disk, self.clock, **self.options)
