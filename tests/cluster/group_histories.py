"""Random histories of a group: one client, three replicas, and everything that happens to them.

Answers of etcd are lost, appends are executed late, leaders are deposed in the midst of one, replicas crash with their
disks, logs are truncated. Checked: what was answered is there, what was refused is not, what is not known is either,
whole; a deposed leader answers nothing; and all replicas are equal.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Final

from flin.cluster.etcd.memory_key_value import Fate
from flin.cluster.log.follower import index_in_tables
from flin.engine.entry import Entry, Range
from flin.errors import FencedError, ReadOnlyError, StorageError
from flin.testing import CrashModel, ManualClock
from tests.cluster.group_replicas import Replica
from tests.cluster.logs import Etcd, client_of

SIZES: Final = (0, 5, 5, 100, 3000, 70_000, 300_000)
"""Of values: some are cut into several entries, and those into several appends."""

Change = dict[bytes, bytes | None]


class History:
    """One of them. `run` raises AssertionError, or whatever escapes, if anything is wrong."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.etcd = Etcd()
        self.clock = ManualClock()
        self.replicas = [Replica(self.etcd, clock=self.clock, value_threshold=1000) for _ in range(3)]
        self.known: dict[bytes, bytes] = {}
        self.writes = 0
        self.leader = self.replicas[0]
        self.take_over(0)

    def run(self, steps: int) -> None:
        choices = [self.write] * 9 + [self.flush, self.follow, self.crash, self.depose, self.truncate, self.late]
        choices += [self.hand_over] * 2
        for _ in range(steps):
            self.chance.choice(choices)()
        self.take_over(self.chance.randrange(3))
        for place, replica in enumerate(self.replicas):
            if replica is not self.leader:
                if replica.keeper.epoch:
                    self.restart(place)
                self.replicas[place].catch_up()
        assert len({replica.digest() for replica in self.replicas}) == 1, "the replicas differ"
        for replica in self.replicas:
            assert replica.users() == self.known, "a replica has not what was answered"
            assert replica.engine.verify() == []
            replica.end()

    # Writes.

    def write(self) -> None:
        """A write of the client, which the leader syncs, or flushes. If it is not answered, another one leads."""
        leader, change = self.leader, self.change()
        client = client_of(leader.log)
        fates = [Fate.ANSWERED] * 6 + [Fate.REQUEST_LOST, Fate.ANSWER_LOST, Fate.LATE]
        client.judge = lambda: self.fate(fates)
        try:
            position = leader.store.commit(*frame_of(change))
            if self.chance.random() < 0.1:
                leader.engine.flush()
            leader.store.sync()
        except ReadOnlyError:
            self.take_over(self.another(leader))  # the fence was met by a flush
        except FencedError:
            if leader.keeper.synced >= position:  # what follows it is not there
                self.apply(change)
            self.take_over(self.another(leader))  # which finds out whether that is right
        except StorageError:
            self.take_over(self.another(leader), maybe=change)
        else:
            self.apply(change)
        finally:
            client.judge = lambda: Fate.ANSWERED

    def fate(self, fates: list[Fate]) -> Fate:
        if self.chance.random() < 0.04:
            self.etcd.claim()  # by whom is decided later
        return self.chance.choice(fates)

    def change(self) -> Change:
        """What a write changes; its values are unlike any other's."""
        change: Change = {}
        if self.chance.random() < 0.1:
            change = dict.fromkeys(sorted(self.known)[:5])
        for _ in range(self.chance.choice((1, 1, 1, 4))):
            self.writes += 1
            value = b"%d " % self.writes + bytes(self.chance.choice(SIZES))
            change[b"%d" % self.chance.randrange(12)] = None if self.chance.random() < 0.2 else value
        return change

    def apply(self, change: Change) -> None:
        for key, value in change.items():
            if value is None:
                self.known.pop(key, None)
            else:
                self.known[key] = value

    # What happens.

    def take_over(self, place: int, maybe: Change | None = None) -> None:
        """Another one leads, or the same. `maybe`: a write of which nobody knows whether it took place."""
        if self.replicas[place].keeper.epoch:  # one that led once begins anew
            self.restart(place)
        self.leader = replica = self.replicas[place]
        replica.lead()
        found = replica.users()
        if maybe is not None and found != self.known:
            self.apply(maybe)
        assert found == self.known, "the new leader has not what was answered"

    def hand_over(self) -> None:
        """The leader follows as it is, or begins anew if it cannot, since nobody has waited for its last write."""
        old, place, is_unsynced = self.leader, self.replicas.index(self.leader), self.chance.random() < 0.2
        if is_unsynced:
            old.store.commit({b"late": b"?"})
        else:
            old.store.sync()
        follows = old.follow()
        assert follows or is_unsynced, "the log has all that it has written"
        if not follows:
            self.restart(place)
        self.take_over(self.another(self.replicas[place]))
        if follows and self.chance.random() < 0.5:
            old.catch_up()

    def depose(self) -> None:
        """The leader does not know that another one leads, and gets a write."""
        old = self.leader
        self.take_over(self.another(old))
        try:
            old.store.commit({b"late": b"?"})
            old.engine.flush() if self.chance.random() < 0.5 else old.store.sync()
        except (FencedError, ReadOnlyError):
            return
        raise AssertionError("a deposed leader has answered a write")

    def another(self, replica: Replica) -> int:
        return (self.replicas.index(replica) + self.chance.choice((1, 2))) % 3

    def flush(self) -> None:
        with suppress(StorageError, ReadOnlyError):
            self.chance.choice(self.replicas).engine.flush()

    def follow(self) -> None:
        replica = self.chance.choice(self.replicas)
        if not replica.keeper.epoch:
            replica.catch_up(self.chance.randrange(1, 9))

    def crash(self) -> None:
        place = self.chance.randrange(3)
        is_leader = self.replicas[place] is self.leader
        self.restart(place)
        if self.chance.random() < 0.3:  # again, amid what the first has left
            self.restart(place)
        if is_leader:
            self.take_over(self.chance.randrange(3))

    def restart(self, place: int) -> None:
        crash = self.chance.choice([*CrashModel])
        self.replicas[place] = self.replicas[place].restarted(crash, self.chance)
        if self.chance.random() < 0.5:
            self.replicas[place].catch_up()

    def truncate(self) -> None:
        floor = min(index_in_tables(replica.store) for replica in self.replicas) + 1
        self.replicas[0].log.truncate(floor)

    def late(self) -> None:
        for log in self.etcd.logs:
            client_of(log).deliver_late()


def frame_of(change: Change) -> tuple[dict[bytes, Entry], list[Range]]:
    """Deletes as range deletes."""
    points: dict[bytes, Entry] = {key: value for key, value in change.items() if value is not None}
    return points, [(key, key + b"\0") for key, value in sorted(change.items()) if value is None]
