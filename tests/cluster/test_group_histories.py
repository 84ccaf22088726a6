"""Random histories of a group find nothing, and find each bug that is put in on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from flin.cluster.etcd.key_value import ModRevision, Put, Unavailable
from flin.cluster.log import leader, log_entry, replicated_log
from flin.cluster.log.leader import INDEX_KEY, GroupLog, encode_index
from flin.cluster.log.log_entry import Assembler, LogEntry
from flin.cluster.log.replicated_log import FIRST, Fence, ReplicatedLog
from flin.engine.background.flush_lane import FlushLane
from flin.engine.entry import Entry
from flin.engine.tree.store import Store
from flin.errors import FencedError
from tests.cluster.group_histories import History

Patch = pytest.MonkeyPatch

SEEDS = 60
"""Histories within which each bug is found; most by the first three."""


@pytest.fixture(autouse=True)
def _small_appends(monkeypatch: Patch) -> None:
    """So that a leader may lose its place in the midst of a long frame."""
    monkeypatch.setattr(leader, "MAX_APPENDED", 2)


def test_histories() -> None:
    for seed in range(8):
        History(seed).run(50)


@pytest.mark.slow
def test_many_histories() -> None:
    for seed in range(1000, 1200):
        History(seed).run(80)


def no_fence(patch: Patch) -> None:
    """An append goes in whoever leads."""

    def compare(key: bytes, equals: int) -> ModRevision:
        return ModRevision(key if b"/log/" in key else b"nothing", 0)

    patch.setattr(replicated_log, "ModRevision", compare)


def reply_before_commit(patch: Patch) -> None:
    """A sync returns when the frames are taken, and the log has them later."""
    waiting: list[tuple[GroupLog, int]] = []
    real = GroupLog.sync

    def sync(self: GroupLog, position: int) -> None:
        for keeper, before in waiting:
            if keeper is self:
                real(self, before)
        waiting[:] = [(self, position)]

    patch.setattr(GroupLog, "sync", sync)


def unknown_is_refused(patch: Patch) -> None:
    """No answer is taken for a refusal."""
    real = ReplicatedLog.append

    def append(self: ReplicatedLog, fence: Fence, number: int, entries: Sequence[bytes], timeout: float) -> None:
        try:
            real(self, fence, number, entries, timeout)
        except Unavailable:
            raise FencedError(self.name, "nobody answers") from None

    patch.setattr(ReplicatedLog, "append", append)


def unknown_is_done(patch: Patch) -> None:
    """No answer is taken for a success."""
    real = ReplicatedLog.append

    def append(self: ReplicatedLog, fence: Fence, number: int, entries: Sequence[bytes], timeout: float) -> None:
        try:
            real(self, fence, number, entries, timeout)
        except Unavailable:
            return

    patch.setattr(ReplicatedLog, "append", append)


def lost_answers_are_fences(patch: Patch) -> None:
    """An entry that is there already is not found to be one's own."""

    def append(self: ReplicatedLog, fence: Fence, number: int, entries: Sequence[bytes], timeout: float) -> None:
        key = self._keys.entry(self.group, number)
        compares = ModRevision(self._keys.leader(self.group), fence.revision), ModRevision(key, 0)
        puts = [Put(self._keys.entry(self.group, number + place), data) for place, data in enumerate(entries)]
        if not self.store.txn(compares, puts, timeout=timeout).succeeded:
            raise FencedError(self.name, "it seems so")

    patch.setattr(ReplicatedLog, "append", append)


def entries_are_put_over_others(patch: Patch) -> None:
    """An append does not look whether its number is free, and the leader does not count on."""
    real = GroupLog.lead

    def lead(self: GroupLog, fence: Fence, number: int) -> None:
        real(self, fence, max(number - 1, FIRST))

    def compare(key: bytes, equals: int) -> ModRevision:
        return ModRevision(b"nothing" if b"/log/" in key else key, equals)

    patch.setattr(GroupLog, "lead", lead)
    patch.setattr(replicated_log, "ModRevision", compare)


def index_too_high(patch: Patch) -> None:
    """The tables tell of one entry more than they hold."""

    def last_words(self: GroupLog) -> Mapping[bytes, Entry]:
        return {INDEX_KEY: encode_index(self.index + 1)}

    patch.setattr(GroupLog, "last_words", last_words)


def flush_that_does_not_wait(patch: Patch) -> None:
    """Tables are named that hold what the log does not have."""
    real = FlushLane._finish

    def finish(self: FlushLane, flush: Any) -> None:
        with Patch.context() as inner:
            inner.setattr(Store, "sync", lambda *_: None)
            real(self, flush)

    patch.setattr(FlushLane, "_finish", finish)


def parts_outlive_their_leader(patch: Patch) -> None:
    """Parts of a frame that was never whole are joined to what the next leader puts."""
    real = Assembler.add

    def add(self: Assembler, entry: LogEntry, path: str) -> LogEntry | None:
        parts = list(self._parts)
        try:
            return real(self, entry, path)
        finally:
            if entry.epoch > (parts[0].epoch if parts else entry.epoch):
                self._parts = parts

    patch.setattr(Assembler, "add", add)


def frames_without_their_end(patch: Patch) -> None:
    """A leader whose place is taken in the midst of a long frame leaves a part that seems to be whole."""
    real = log_entry.cut

    def cut(run: LogEntry) -> list[LogEntry]:
        return [entry._replace(part=0, parts=1) for entry in real(run)]

    patch.setattr(leader, "cut", cut)


def follows_without_proof(patch: Patch) -> None:
    """A leader that has given its place away goes on with what it holds, whatever the log has."""
    real = GroupLog.follow

    def follow(self: GroupLog) -> bool:
        self._frames.forget()
        self._synced = self._frames.position
        return real(self)

    patch.setattr(GroupLog, "follow", follow)


def follows_one_too_far(patch: Patch) -> None:
    """Who has led misses the first entry of the next leader."""
    real = GroupLog.follow

    def follow(self: GroupLog) -> bool:
        is_done = real(self)
        self.index += 1
        return is_done

    patch.setattr(GroupLog, "follow", follow)


BUGS: list[Callable[[Patch], None]] = [
    no_fence,
    reply_before_commit,
    unknown_is_refused,
    unknown_is_done,
    lost_answers_are_fences,
    entries_are_put_over_others,
    index_too_high,
    flush_that_does_not_wait,
    parts_outlive_their_leader,
    frames_without_their_end,
    follows_without_proof,
    follows_one_too_far,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert found_by(SEEDS) is not None


def found_by(seeds: int) -> int | None:
    """The first history that finds something wrong."""
    for seed in range(seeds):
        try:
            History(seed).run(60)
        except Exception:  # whatever escapes
            return seed
    return None
