"""How a replica applies its group's log on the loop, which here runs when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from flin.cluster.log.log_entry import LogEntry, encode
from flin.cluster.replica import following
from flin.cluster.replica.following import Applying
from flin.engine.entry import Entry
from flin.engine.wal.frames import encode_commit
from flin.errors import CorruptionError, StorageError
from flin.testing.process import wait_until
from tests.cluster.logs import TIMEOUT, Etcd

SALT = b"saltsalt"


class Loop:
    """Makes the calls that it was given, in the test's thread."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self.calls.put(call)

    def run(self) -> None:
        while True:
            try:
                call = self.calls.get_nowait()
            except Empty:
                return
            call()


class Follower:
    """A replica that applies into a list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.etcd = Etcd()
        self.loop = Loop()
        self.applied: list[bytes] = []
        self.failures: list[Exception] = []
        self.failing = b""
        self.noted: list[int] = []
        group_log: Any = SimpleNamespace(note_applied=lambda number, clock_ms: self.noted.append(number))
        store: Any = SimpleNamespace(stall=lambda: None)
        loop: Any = self.loop
        monkeypatch.setattr(following, "apply_foreign", self._apply)
        monkeypatch.setattr(following, "GATHER_SECONDS", 0.0)
        self.applying = Applying(self.etcd.log(), group_log, store, 0, loop, self.failures.append)
        self._leader = self.etcd.log()
        self._fence = self.etcd.claim()
        self._appended = 0

    def _apply(self, services: object, points: dict[bytes, Entry], ranges: object) -> None:
        if self.failing in points:
            raise StorageError("write", "wal", "no room")
        self.applied += points

    def begin(self) -> None:
        server: Any = SimpleNamespace(services=None)
        self.applying.begin(server)

    def append(self, *keys: bytes) -> None:
        """A key that is empty: an entry whose checksum is right, and whose frame is not."""
        for key in keys:
            self._appended += 1
            frame = bytes(encode_commit(SALT, 88, self._appended, 0, {key: b"value"}))
            if not key:
                frame = frame[:-1] + b"?"
            entry = LogEntry(self._fence.epoch, 0, 0, 1, SALT, 88, self._appended, frame)
            self._leader.append(self._fence, self._appended, [encode(entry)], TIMEOUT)

    def await_read(self, number: int) -> None:
        wait_until(lambda: self.applying.next_number == number + 1, f"entry {number} is read")

    def run_until(self, done: Callable[[], bool], what: str) -> None:
        def has_run() -> bool:
            self.loop.run()
            return done()

        wait_until(has_run, what)

    def end(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(self.applying.end)
            self.run_until(ended.done, "it has ended")
            ended.result()


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    follower = Follower(monkeypatch)
    yield follower
    follower.end()


def test_it_reads_on_while_the_loop_is_busy(follower: Follower) -> None:
    follower.append(b"a", b"b")
    follower.begin()
    follower.await_read(2)
    follower.append(b"c")
    follower.await_read(3)
    assert follower.applied == []
    follower.run_until(lambda: len(follower.applied) == 3, "all are applied")
    assert follower.applied == [b"a", b"b", b"c"]
    assert follower.noted == [2, 3], "what came together is one commit"
    assert follower.applying.log_bytes == follower.applying._read_bytes > 0


def test_it_lets_a_few_more_come(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "GATHER_SECONDS", TIMEOUT * 10)
    follower.append(b"a")
    follower.begin()
    follower.await_read(1)
    follower.append(b"b", b"c")
    follower.run_until(lambda: follower.applied == [b"a"], "what has come is applied")
    assert follower.applying.next_number == 2
    follower.applying.pause()
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(follower.applying.catch_up)
        follower.run_until(caught_up.done, "who takes over does not wait")
        assert caught_up.result()
    assert follower.noted == [1, 3]


def test_it_reads_on_at_once_while_much_comes(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "GATHER_SECONDS", TIMEOUT * 10)
    keys = [b"%d" % number for number in range(following.FEW_ENTRIES)]
    follower.append(*keys)
    follower.begin()
    follower.await_read(len(keys))
    follower.append(b"more")
    follower.await_read(len(keys) + 1)


def test_it_does_not_read_far_ahead(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_BEHIND_BYTES", 0)
    follower.append(b"a")
    follower.begin()
    queue = follower.applying._queue
    wait_until(lambda: any(isinstance(each, Future) for each in [*queue]), "the reader waits")
    follower.append(b"b")
    assert follower.applying.next_number == 2
    follower.run_until(lambda: follower.applied == [b"a", b"b"], "both are applied")


def test_what_is_caught_up_with_is_applied(follower: Follower) -> None:
    follower.append(b"a")
    follower.begin()
    follower.await_read(1)
    follower.applying.pause()
    follower.append(b"b", b"c")
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(follower.applying.catch_up)
        follower.run_until(caught_up.done, "it is abreast")
        assert caught_up.result()
    assert follower.applied == [b"a", b"b", b"c"]


def test_nothing_is_applied_after_the_end(follower: Follower) -> None:
    follower.append(b"a")
    follower.begin()
    follower.await_read(1)
    follower.end()
    follower.loop.run()
    assert follower.applied == []


def test_nothing_is_applied_after_what_cannot_be(follower: Follower) -> None:
    follower.failing = b"b"
    follower.append(b"a")
    follower.begin()
    follower.await_read(1)
    follower.append(b"b", b"c")
    follower.run_until(lambda: bool(follower.failures), "it is told")
    follower.applying.pause()
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(follower.applying.catch_up)
        follower.run_until(caught_up.done, "it knows")
        assert isinstance(caught_up.exception(), StorageError)
    assert follower.applied == [b"a"]
    assert follower.noted == [1]


def test_nobody_takes_over_beyond_what_cannot_be_read(follower: Follower) -> None:
    follower.append(b"a")
    follower.begin()
    follower.await_read(1)
    follower.append(b"", b"c")
    follower.run_until(lambda: bool(follower.failures), "it is told")
    follower.applying.pause()
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(follower.applying.catch_up)
        follower.run_until(caught_up.done, "it knows")
        assert isinstance(caught_up.exception(), CorruptionError)
    assert b"c" not in follower.applied
