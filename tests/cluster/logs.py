"""Logs of groups over the twin of etcd in memory, and who claims to lead them."""

from __future__ import annotations

from queue import Queue

from flin.cluster.etcd.key_value import ModRevision, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues, MemoryKeyValueStore
from flin.cluster.keys import Keys
from flin.cluster.log.log_entry import LogEntry, encode
from flin.cluster.log.replicated_log import Fence, Numbered, ReplicatedLog
from flin.errors import FlinError
from flin.testing.process import PATIENCE_SECONDS

TIMEOUT = PATIENCE_SECONDS
GROUP = 3
KEYS = Keys("test")


class Etcd:
    """The store, and the leaders of one group in it."""

    def __init__(self) -> None:
        self.values = MemoryKeyValues()
        self.fence = Fence(0, 0)
        self.logs: list[ReplicatedLog] = []

    def log(self) -> ReplicatedLog:
        """With a client of its own."""
        self.logs.append(ReplicatedLog(self.values.client(), KEYS, GROUP))
        return self.logs[-1]

    def claim(self) -> Fence:
        """Another leader."""
        key, epoch = KEYS.leader(GROUP), self.fence.epoch + 1
        compare = ModRevision(key, self.fence.revision)
        outcome = self.values.client().txn((compare,), (Put(key, b"%d" % epoch),), timeout=TIMEOUT)
        assert outcome.succeeded
        self.fence = Fence(epoch, outcome.revision)
        return self.fence

    def held(self) -> list[int]:
        """The numbers of the entries that are kept."""
        pairs = self.values.client().get(*KEYS.log(GROUP), timeout=TIMEOUT).pairs
        return [int(pair.key[-16:], 16) for pair in pairs]

    def filled(self, count: int) -> ReplicatedLog:
        """A log with so many entries."""
        log, fence = self.log(), self.claim()
        for number in range(1, count + 1):
            log.append(fence, number, [data(b"%d" % number, fence.epoch)], TIMEOUT)
        return log


def client_of(log: ReplicatedLog) -> MemoryKeyValueStore:
    assert isinstance(log.store, MemoryKeyValueStore)
    return log.store


def data(text: bytes, epoch: int = 1) -> bytes:
    return encode(LogEntry(epoch, 0, 0, 1, b"saltsalt", 88, 1, text))


class Reader:
    """Takes what a follower of a log is told."""

    def __init__(self) -> None:
        self.told: Queue[Numbered | FlinError] = Queue()

    def __call__(self, told: list[Numbered] | FlinError) -> None:
        for each in told if isinstance(told, list) else [told]:
            self.told.put(each)

    def numbers(self, count: int) -> list[int]:
        """Of the next entries."""
        return [each.number for _ in range(count) if isinstance(each := self.told.get(timeout=TIMEOUT), Numbered)]

    def error(self) -> FlinError:
        found = self.told.get(timeout=TIMEOUT)
        assert isinstance(found, FlinError)
        return found
