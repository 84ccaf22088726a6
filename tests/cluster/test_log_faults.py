"""A group's log in three real members of etcd, whose links to those who append and read it are cut, late and lossy, and
whose leader is killed: what was answered is there once, in order; what was fenced is not there; every reader sees all.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flin.cluster.etcd.key_value import Get, KeyValueError, ModRevision, Put, Unavailable
from flin.cluster.log.log_entry import LogEntry, encode
from flin.cluster.log.replicated_log import Fence, Numbered, ReplicatedLog
from flin.errors import FencedError, FlinError
from flin.testing.cluster.etcds import Etcds
from flin.testing.cluster.link import Link, Links
from flin.testing.cluster.nodes import free_ports
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.cluster.logs import GROUP, KEYS
from tests.tool import needs_tool

pytestmark = pytest.mark.slow

SECONDS = 15.0
"""At least: then until enough has happened."""

ENTRIES = 50
TRY_SECONDS = 1.0
READERS = 2


class Candidate(threading.Thread):
    """Claims to lead, now and then, and appends while it does. `answered` and `fenced` are what it said."""

    def __init__(self, number: int, log: ReplicatedLog) -> None:
        super().__init__(name=f"candidate {number}")
        self.answered: list[bytes] = []
        self.fenced: list[bytes] = []
        self.again = 0
        self.over = threading.Event()
        self.error: Exception | None = None
        self._number = number
        self._log = log
        self._random = random.Random(number)

    def run(self) -> None:
        try:
            while not self.over.wait(self._random.uniform(0.3, 2)):
                try:
                    fence = self._claimed()
                    self._lead(fence)
                except Unavailable:
                    pass  # it is tried again
        except Exception as error:  # the outermost frame of a thread
            self.error = error

    def _claimed(self) -> Fence:
        key = KEYS.leader(GROUP)
        found = self._log.store.get(key, timeout=TRY_SECONDS).pairs
        epoch, revision = (int(found[0].value.split()[0]), found[0].mod_revision) if found else (0, 0)
        value = b"%d by %d" % (epoch + 1, self._number)
        outcome = self._log.store.txn(
            [ModRevision(key, revision)], [Put(key, value)], [Get(key)], timeout=TRY_SECONDS
        )  # fmt: skip
        if outcome.succeeded:
            return Fence(epoch + 1, outcome.revision)
        raise Unavailable("another one was faster")

    def _lead(self, fence: Fence) -> None:
        page = self._log.read(1)
        while not page.is_end:
            page = self._log.read(page.entries[-1].number + 1)
        number = page.entries[-1].number + 1 if page.entries else 1
        until = time.monotonic() + self._random.uniform(1, 4)
        while time.monotonic() < until and not self.over.is_set():
            count = self._random.randrange(1, 4)
            texts = [b"%d:%d:%d" % (self._number, fence.epoch, number + place) for place in range(count)]
            entries = [encode(LogEntry(fence.epoch, 0, 0, 1, b"saltsalt", 88, 1, text)) for text in texts]
            if not self._append(fence, number, entries):
                self.fenced += texts
                return
            self.answered += texts
            number += count

    def _append(self, fence: Fence, number: int, entries: list[bytes]) -> bool:
        """The same again until its outcome is known."""
        while True:
            try:
                self._log.append(fence, number, entries, TRY_SECONDS)
            except Unavailable:
                self.again += 1
                time.sleep(0.02)
            except FencedError:
                return False
            else:
                return True


class Reader:
    """Follows the log."""

    def __init__(self, log: ReplicatedLog) -> None:
        self.texts: list[bytes] = []
        self.errors: list[FlinError] = []
        self.following = log.follow(1, self._take)

    def _take(self, told: list[Numbered] | FlinError) -> None:
        if isinstance(told, FlinError):
            self.errors.append(told)
            return
        assert told[0].number == len(self.texts) + 1
        self.texts += [each.entry.data for each in told]


def test_a_log_whose_links_fail(tmp_path: Path) -> None:
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    from flin.cluster.etcd.etcd import EtcdKeyValueStore

    with ExitStack() as held:
        etcds = Etcds(tmp_path, free_ports(6))
        held.callback(etcds.kill)
        etcds.start()
        links = held.enter_context(Links())

        def logs() -> Iterator[tuple[Link, ReplicatedLog]]:
            while True:
                link = links.add(etcds.targets)
                store = EtcdKeyValueStore([f"127.0.0.1:{port}" for port in link.ports])
                held.callback(store.close)
                yield link, ReplicatedLog(store, KEYS, GROUP)

        makes = logs()
        mine = [next(makes) for _ in range(3)]
        candidates = [Candidate(number, log) for number, (_, log) in enumerate(mine)]
        far = [next(makes) for _ in range(READERS)]
        readers = [Reader(log) for _, log in far]
        for candidate in candidates:
            candidate.start()
        try:
            _break(etcds, [link for link, _ in (*mine, *far)], random.Random(1), lambda: _is_enough(candidates))
        finally:
            for candidate in candidates:
                candidate.over.set()
            for candidate in candidates:
                candidate.join(PATIENCE_SECONDS)
                assert not candidate.is_alive(), "it does not learn the outcome of its last append"
        assert [candidate.error for candidate in candidates if candidate.error] == []
        _, log = next(makes)
        truth = _all_of(log)
        for reader in readers:
            wait_until(lambda reader=reader: len(reader.texts) >= len(truth) or reader.errors, "it has read all")  # type: ignore[misc]
            reader.following.stop()
            assert reader.errors == []
            assert reader.texts == truth
        answered = [text for candidate in candidates for text in candidate.answered]
        fenced = {text for candidate in candidates for text in candidate.fenced}
        assert len(set(truth)) == len(truth), "an entry is there twice"
        assert set(answered) == set(truth), "all that was answered is there, and nothing else"
        assert not fenced & set(truth)
        assert [int(text.split(b":")[2]) for text in truth] == list(range(1, len(truth) + 1))
        epochs = [int(text.split(b":")[1]) for text in truth]
        assert epochs == sorted(epochs)


def _all_of(log: ReplicatedLog) -> list[bytes]:
    texts: list[bytes] = []
    while True:
        try:
            page = log.read(len(texts) + 1)
        except KeyValueError:
            time.sleep(0.1)
            continue
        texts += [each.entry.data for each in page.entries]
        if page.is_end:
            return texts


def _is_enough(candidates: list[Candidate]) -> bool:
    """Whether entries were appended, some outcome was unknown, somebody was fenced; or somebody has failed."""
    appended = sum(len(each.answered) for each in candidates)
    again, fenced = any(each.again for each in candidates), any(each.fenced for each in candidates)
    return (appended > ENTRIES and again and fenced) or any(each.error for each in candidates)


def _break(etcds: Etcds, links: list[Link], chance: random.Random, is_enough: Callable[[], bool]) -> None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < SECONDS or not is_enough():
        assert passed < PATIENCE_SECONDS, "too little happens"
        link = chance.choice((*links[:3], *links))  # those who append, above all
        what = chance.randrange(6)
        if what == 0:
            link.answers.hold()
        elif what == 1:
            link.requests.hold()
        elif what == 2:
            link.cut()
        elif what == 3:
            link.requests.delay_seconds = chance.uniform(0, 0.1)
        elif what == 4:
            number = etcds.leader() or 0
            etcds.kill_member(number)
            time.sleep(chance.uniform(0, 1))
            etcds.restart(number)
        time.sleep(chance.uniform(0, 2))
        if chance.random() < 0.6:
            link.reset()
        link.heal()
        time.sleep(chance.uniform(0, 0.5))
