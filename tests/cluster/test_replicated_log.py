"""A group's log over a store of keys: the fence, lost answers, reading and following, truncation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flin.cluster.etcd.key_value import NoSpace, Put, Unavailable
from flin.cluster.etcd.memory_key_value import Fate
from flin.cluster.log import replicated_log
from flin.cluster.log.log_entry import MAX_DATA_BYTES
from flin.cluster.log.replicated_log import FIRST, MAX_APPENDED, Fence, Following, Numbered, ReplicatedLog, Truncated
from flin.errors import CorruptionError, FencedError, FlinError, StorageError
from tests.cluster.logs import GROUP, KEYS, TIMEOUT, Etcd, Reader, client_of, data
from tests.cluster.members import member_options, started


@pytest.fixture
def etcd() -> Etcd:
    return Etcd()


@pytest.fixture(autouse=True)
def followings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that began end with the test."""
    begun: list[Following] = []
    real = ReplicatedLog.follow

    def follow(self: ReplicatedLog, *arguments: object) -> Following:
        begun.append(real(self, *arguments))  # type: ignore[arg-type]
        return begun[-1]

    monkeypatch.setattr(ReplicatedLog, "follow", follow)
    monkeypatch.setattr(replicated_log, "RETRY_SECONDS", 0.001)
    yield
    for each in begun:
        each.stop()


def texts(log: ReplicatedLog, first: int = FIRST) -> list[tuple[int, bytes]]:
    return [(number, entry.data) for number, entry in log.read(first).entries]


# Appending.


def test_what_is_appended_is_read(etcd: Etcd) -> None:
    log, fence = etcd.log(), etcd.claim()
    assert log.read(FIRST).entries == []
    log.append(fence, 1, [data(b"a")], TIMEOUT)
    log.append(fence, 2, [data(b"b"), data(b"c")], TIMEOUT)
    assert texts(etcd.log()) == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert texts(etcd.log(), 3) == [(3, b"c")]
    assert texts(etcd.log(), 4) == []


def test_the_largest_append_is_taken(etcd: Etcd) -> None:
    log, fence = etcd.log(), etcd.claim()
    log.append(fence, 1, [data(bytes(MAX_DATA_BYTES))] * MAX_APPENDED, TIMEOUT)
    assert etcd.held() == list(range(1, MAX_APPENDED + 1))


def test_the_deposed_append_nothing(etcd: Etcd) -> None:
    log, old = etcd.log(), etcd.claim()
    log.append(old, 1, [data(b"a")], TIMEOUT)
    new = etcd.claim()
    with pytest.raises(FencedError, match="group 3: another node leads the group now"):
        log.append(old, 2, [data(b"late")], TIMEOUT)
    etcd.log().append(new, 2, [data(b"b", 2)], TIMEOUT)
    with pytest.raises(FencedError):
        log.append(old, 2, [data(b"late")], TIMEOUT)
    assert texts(log) == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.ANSWER_LOST, Fate.LATE])
def test_the_same_again_until_it_is_known(etcd: Etcd, fate: Fate) -> None:
    log, fence = etcd.log(), etcd.claim()
    client_of(log).plan(fate, fate)
    for _ in range(2):
        with pytest.raises(Unavailable):
            log.append(fence, 1, [data(b"a"), data(b"b")], TIMEOUT)
    log.append(fence, 1, [data(b"a"), data(b"b")], TIMEOUT)
    client_of(log).deliver_late()
    log.append(fence, 3, [data(b"c")], TIMEOUT)
    assert texts(log) == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert {pair.version for pair in log.store.get(*KEYS.log(GROUP), timeout=TIMEOUT).pairs} == {1}


def test_an_answer_lost_before_the_fence_was_a_success(etcd: Etcd) -> None:
    log, old = etcd.log(), etcd.claim()
    client_of(log).plan(Fate.ANSWER_LOST)
    with pytest.raises(Unavailable):
        log.append(old, 1, [data(b"a")], TIMEOUT)
    new = etcd.claim()
    etcd.log().append(new, 2, [data(b"b", 2)], TIMEOUT)
    log.append(old, 1, [data(b"a")], TIMEOUT)
    with pytest.raises(FencedError):
        log.append(old, 2, [data(b"c")], TIMEOUT)


def test_a_late_append_of_the_deposed_is_none(etcd: Etcd) -> None:
    log, old = etcd.log(), etcd.claim()
    client_of(log).plan(Fate.LATE)
    with pytest.raises(Unavailable):
        log.append(old, 1, [data(b"a")], TIMEOUT)
    etcd.claim()
    client_of(log).deliver_late()
    assert etcd.held() == []
    with pytest.raises(FencedError):
        log.append(old, 1, [data(b"a")], TIMEOUT)


def test_what_cannot_be_known_is_not_told_as_known(etcd: Etcd) -> None:
    """A new leader has truncated the log: whether the entry was in it, nothing tells."""
    log, old = etcd.log(), etcd.claim()
    client_of(log).plan(Fate.ANSWER_LOST)
    with pytest.raises(Unavailable):
        log.append(old, 1, [data(b"a")], TIMEOUT)
    other, new = etcd.log(), etcd.claim()
    other.append(new, 2, [data(b"b", 2)], TIMEOUT)
    assert other.truncate(2)
    with pytest.raises(StorageError, match="truncated") as error:
        log.append(old, 1, [data(b"a")], TIMEOUT)
    assert not isinstance(error.value, FencedError)


def test_a_leader_finds_nothing_that_it_has_not_put(etcd: Etcd) -> None:
    log, fence = etcd.log(), etcd.claim()
    log.append(fence, 1, [data(b"a")], TIMEOUT)
    with pytest.raises(CorruptionError, match=r"entry 1: .*its leader has not put it"):
        log.append(fence, 1, [data(b"b")], TIMEOUT)


def test_a_full_store(etcd: Etcd) -> None:
    log, fence = etcd.log(), etcd.claim()
    etcd.values.is_full = True
    with pytest.raises(NoSpace):
        log.append(fence, 1, [data(b"a")], TIMEOUT)
    etcd.values.is_full = False
    log.append(fence, 1, [data(b"a")], TIMEOUT)
    assert texts(log) == [(1, b"a")]


# Reading.


def test_a_long_log_is_read_in_pages(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicated_log, "PAGE_ENTRIES", 3)
    log = etcd.filled(7)
    first, second, third = log.read(1), log.read(4), log.read(7)
    assert [each.number for each in first.entries] == [1, 2, 3, 4]
    assert [each.number for each in second.entries] == [4, 5, 6]
    assert [each.number for each in third.entries] == [7]
    assert (first.is_end, second.is_end, third.is_end) == (False, False, True)


def test_what_was_truncated_is_not_taken_for_the_end(etcd: Etcd) -> None:
    log = etcd.filled(5)
    assert log.truncate(3)
    assert [number for number, _ in texts(log, 3)] == [3, 4, 5]
    assert [number for number, _ in texts(log, 4)] == [4, 5]
    assert log.truncate(5)
    assert [number for number, _ in texts(log, 5)] == [5]
    assert texts(log, 6) == []
    for first in (1, 2, 4):
        with pytest.raises(Truncated, match=f"kept from entry 5 on, and entry {first} is needed"):
            log.read(first)


def test_a_log_that_ends_too_early(etcd: Etcd) -> None:
    log = etcd.filled(2)
    with pytest.raises(CorruptionError, match=r"entry 3: .*another cluster's etcd"):
        log.read(4)


def test_a_log_with_a_hole(etcd: Etcd) -> None:
    log = etcd.filled(2)
    log.store.txn((), (Put(KEYS.entry(GROUP, 4), data(b"4")),), timeout=TIMEOUT)
    with pytest.raises(CorruptionError, match=r"entry 3: .*entry 4 stands where it should"):
        log.read(1)


def test_the_newest_entry_is_never_truncated(etcd: Etcd) -> None:
    log = etcd.filled(3)
    assert not log.truncate(4)
    assert not log.truncate(100)
    assert etcd.held() == [1, 2, 3]
    assert log.truncate(1)
    assert log.truncate(3)
    assert log.truncate(3)
    assert not log.truncate(2)  # it is gone: whoever asks so is late
    assert etcd.held() == [3]


# Following.


def test_what_is_there_and_what_comes(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicated_log, "PAGE_ENTRIES", 2)
    log, reader = etcd.filled(5), Reader()
    following = etcd.log().follow(2, reader)
    assert reader.numbers(4) == [2, 3, 4, 5]
    for number in range(6, 10):
        log.append(etcd.fence, number, [data(b"x")], TIMEOUT)
    log.append(etcd.fence, 10, [data(b"x")] * 3, TIMEOUT)
    assert reader.numbers(7) == [6, 7, 8, 9, 10, 11, 12]
    following.stop()
    assert following.next_number == 13


def test_truncation_is_no_news(etcd: Etcd) -> None:
    log, reader = etcd.filled(3), Reader()
    etcd.log().follow(1, reader)
    assert reader.numbers(3) == [1, 2, 3]
    log.truncate(3)
    log.append(etcd.fence, 4, [data(b"x")], TIMEOUT)
    assert reader.numbers(1) == [4]


def test_unanswered_reads_are_made_again(etcd: Etcd) -> None:
    etcd.filled(2)
    log, reader = etcd.log(), Reader()
    client_of(log).plan(Fate.REQUEST_LOST, Fate.ANSWER_LOST)
    log.follow(1, reader)
    assert reader.numbers(2) == [1, 2]


def test_a_compacted_watch_lists_again(etcd: Etcd) -> None:
    log, other, reader = etcd.filled(1), etcd.log(), Reader()
    other.follow(1, reader)
    assert reader.numbers(1) == [1]
    client_of(other).cut()
    for number in range(2, 6):
        log.append(etcd.fence, number, [data(b"x")], TIMEOUT)
    log.store.compact(etcd.values.revision, timeout=TIMEOUT)
    client_of(other).mend()
    assert reader.numbers(4) == [2, 3, 4, 5]
    log.append(etcd.fence, 6, [data(b"x")], TIMEOUT)
    assert reader.numbers(1) == [6]


def test_a_follower_that_is_too_far_behind(etcd: Etcd) -> None:
    log, other, reader = etcd.filled(1), etcd.log(), Reader()
    other.follow(1, reader)
    assert reader.numbers(1) == [1]
    client_of(other).cut()
    for number in range(2, 6):
        log.append(etcd.fence, number, [data(b"x")], TIMEOUT)
    log.truncate(5)
    log.store.compact(etcd.values.revision, timeout=TIMEOUT)
    client_of(other).mend()
    assert isinstance(reader.error(), Truncated)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_damaged_entry_ends_it(etcd: Etcd, is_there: bool) -> None:
    log, reader = etcd.filled(1), Reader()
    damaged = Put(KEYS.entry(GROUP, 2), data(b"x")[:-1])
    if is_there:
        log.store.txn((), (damaged,), timeout=TIMEOUT)
        etcd.log().follow(2, reader)
    else:
        etcd.log().follow(1, reader)
        assert reader.numbers(1) == [1]
        log.store.txn((), (damaged,), timeout=TIMEOUT)
    assert isinstance(reader.error(), CorruptionError)
    log.store.txn((), (Put(KEYS.entry(GROUP, 3), data(b"x")),), timeout=TIMEOUT)
    assert reader.told.empty()


def test_nothing_is_told_after_the_stop(etcd: Etcd) -> None:
    log = etcd.filled(1)
    told: list[int] = []
    is_told, may_return = threading.Event(), threading.Event()

    def receive(entries: list[Numbered] | FlinError) -> None:
        assert isinstance(entries, list)
        told.extend(each.number for each in entries)
        is_told.set()
        assert may_return.wait(TIMEOUT)

    following = log.follow(1, receive)
    assert is_told.wait(TIMEOUT)
    log.append(etcd.fence, 2, [data(b"x")], TIMEOUT)
    stopping = threading.Thread(target=following.stop)
    stopping.start()
    may_return.set()
    stopping.join()
    log.append(etcd.fence, 3, [data(b"x")], TIMEOUT)
    assert told == [1]


def test_it_may_be_stopped_from_within(etcd: Etcd) -> None:
    log = etcd.filled(1)
    has_begun, is_stopped = threading.Event(), threading.Event()

    def receive(_: object) -> None:
        assert has_begun.wait(TIMEOUT)
        following.stop()
        is_stopped.set()

    following = log.follow(1, receive)
    has_begun.set()
    assert is_stopped.wait(TIMEOUT)


def test_without_threads(etcd: Etcd) -> None:
    """As in a simulation: whoever keeps the time makes the calls."""
    etcd.filled(2)
    log, reader = etcd.log(), Reader()
    calls: list[tuple[float, object]] = []
    client_of(log).plan(Fate.REQUEST_LOST)
    following = log.follow(1, reader, lambda seconds, call: calls.append((seconds, call)))
    assert [seconds for seconds, _ in calls] == [0]
    for _, call in calls:  # it grows meanwhile
        call()  # type: ignore[operator]
    assert [seconds for seconds, _ in calls] == [0, replicated_log.RETRY_SECONDS]
    assert reader.numbers(2) == [1, 2]
    assert following.next_number == 3


# etcd.


def test_the_largest_entries_in_etcd(tmp_path: Path) -> None:
    """Appends and pages of the most bytes that there may be, by gRPC, past etcd's own limits."""
    member = started(member_options(tmp_path))
    try:
        from flin.cluster.etcd.etcd import EtcdKeyValueStore

        store = EtcdKeyValueStore([member.options.client_endpoint])
        log, reader, leader = ReplicatedLog(store, KEYS, GROUP), Reader(), KEYS.leader(GROUP)
        fence = Fence(1, store.txn((), (Put(leader, b"1"),), timeout=TIMEOUT).revision)
        log.follow(1, reader)
        entries = [data(bytes(MAX_DATA_BYTES))] * MAX_APPENDED
        for number in range(5):
            log.append(fence, 1 + number * MAX_APPENDED, entries, TIMEOUT)
        log.append(fence, 1 + 4 * MAX_APPENDED, entries, TIMEOUT)  # as if its answer had been lost
        assert reader.numbers(80) == list(range(1, 81))
        assert [len(log.read(first).entries) for first in (1, 2, 66, 81)] == [65, 64, 15, 0]
        assert log.truncate(70)
        with pytest.raises(Truncated):
            log.read(69)
        store.txn((), (Put(leader, b"2"),), timeout=TIMEOUT)
        with pytest.raises(FencedError):
            log.append(fence, 81, entries, TIMEOUT)
        assert [number for number, _ in log.read(70).entries] == list(range(70, 81))
        store.close()
    finally:
        member.stop()
