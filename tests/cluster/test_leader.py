"""The log of a group for one replica: what a leader's sync puts there, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flin.cluster.etcd.memory_key_value import Fate
from flin.cluster.log import leader
from flin.cluster.log.follower import Follower, index_in_tables
from flin.cluster.log.leader import INDEX_KEY, decode_index, encode_index
from flin.cluster.log.log_entry import MAX_ENTRY_BYTES
from flin.cluster.log.replicated_log import Numbered
from flin.engine.entry import Entry
from flin.errors import CorruptionError, FencedError, FormatVersionError, ReadOnlyError, StorageError
from flin.testing import ManualClock
from tests.cluster.group_replicas import Replica
from tests.cluster.logs import GROUP, KEYS, TIMEOUT, Etcd, client_of, data


@pytest.fixture
def etcd() -> Etcd:
    return Etcd()


@pytest.fixture
def first(etcd: Etcd) -> Iterator[Replica]:
    """It leads."""
    replica = Replica(etcd)
    replica.lead()
    yield replica
    replica.end()


@pytest.fixture
def second(etcd: Etcd) -> Iterator[Replica]:
    """It follows."""
    replica = Replica(etcd)
    yield replica
    replica.end()


def test_what_is_answered_is_in_the_log(first: Replica, second: Replica) -> None:
    first.engine.put(b"a", b"1")
    first.engine.put_many({b"b": b"2", b"c": b"3"})
    first.engine.put(b"d", b"4", ttl=60)
    first.engine.delete_range(b"a", b"b")
    first.engine.delete(b"b")
    assert first.keeper.synced == first.store.position
    assert first.keeper.figures.appends == first.keeper.figures.entries == 5
    second.catch_up()
    assert second.users() == first.users() == {b"c": b"3", b"d": b"4"}
    assert second.store.read(b"d") == first.store.read(b"d")
    assert second.keeper.index == first.keeper.index == 5
    assert second.digest() == first.digest()


def test_a_digest_sees_all_but_what_is_told_of_oneself(first: Replica, second: Replica) -> None:
    later = first.clock.now_ms + 5000
    given: list[dict[bytes, Entry]] = [
        {b"a": b"1"}, {b"a": b"2"}, {b"a": (b"2", later, 0)}, {b"a": (b"2", later, 9)}, {b"b": b""}
    ]  # fmt: skip
    seen = {first.digest()}
    for points in given:
        first.store.commit(points)
        seen.add(first.digest())
    assert len(seen) == 6
    before = first.digest()
    first.store.commit({INDEX_KEY: encode_index(77)})
    assert first.digest() == before
    first.engine.flush()
    assert first.digest() == before
    second.catch_up()
    assert second.digest() == before
    first.clock.now_ms = later
    assert first.digest() != before
    first.engine.compact()  # drops what has expired
    assert first.digest(later) == second.digest(later)


def test_a_long_frame_is_cut(etcd: Etcd, first: Replica, second: Replica) -> None:
    value = bytes(range(256)) * 10_000
    first.engine.put(b"a", value)
    assert len(etcd.held()) == 40
    assert first.keeper.figures.appends == 3
    pairs = etcd.values.client().get(*KEYS.log(GROUP), timeout=TIMEOUT).pairs
    assert max(len(pair.value) for pair in pairs) == MAX_ENTRY_BYTES
    second.catch_up(39)
    assert (second.users(), second.keeper.index) == ({}, 0), "its end is missing"
    second.catch_up()
    assert second.users() == {b"a": value}
    assert second.keeper.index == first.keeper.index == 40


@pytest.mark.parametrize("fates", [[Fate.REQUEST_LOST], [Fate.ANSWER_LOST], [Fate.LATE, Fate.ANSWER_LOST] * 3])
def test_an_append_is_made_again_until_it_is_known(first: Replica, second: Replica, fates: list[Fate]) -> None:
    client_of(first.log).plan(*fates)
    first.engine.put(b"a", b"1")
    first.engine.put(b"b", b"2")
    client_of(first.log).deliver_late()
    assert first.keeper.figures.retries == len(fates)
    assert first.keeper.uncertain_seconds == 0
    second.catch_up()
    assert second.users() == {b"a": b"1", b"b": b"2"}
    assert second.keeper.index == 2


def test_a_full_store_makes_writers_wait(etcd: Etcd, first: Replica) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append((seconds, first.keeper.uncertain_seconds > 0))
        etcd.values.is_full = len(pauses) < 3

    etcd.values.is_full = True
    first.keeper._pause = pause
    first.engine.put(b"a", b"1")
    assert pauses == [(leader.PAUSE_SECONDS, True)] * 3


def test_writers_are_slowed_before_it_is_full(first: Replica) -> None:
    pauses: list[float] = []
    first.keeper._pause = pauses.append
    first.engine.put(b"a", b"1")
    first.keeper.delay_seconds = 0.5
    first.engine.put(b"b", b"2")
    first.keeper.delay_seconds = 0.0
    first.engine.put(b"c", b"3")
    assert pauses == [0.5]


def test_a_fence_is_final(etcd: Etcd, first: Replica, second: Replica) -> None:
    first.engine.put(b"a", b"1")
    second.lead()
    with pytest.raises(FencedError, match="another node leads the group now"):
        first.engine.put(b"a", b"2")
    with pytest.raises(ReadOnlyError, match="another node leads"):
        first.engine.put(b"a", b"3")
    with pytest.raises(FencedError):
        first.keeper.sync(first.store.position)
    assert isinstance(first.keeper.failed, FencedError)
    second.engine.put(b"b", b"4")
    again = first.restarted()
    again.catch_up()
    assert again.users() == second.users() == {b"a": b"1", b"b": b"4"}
    again.end()


def test_what_was_in_the_log_before_the_fence_is_answered(etcd: Etcd, first: Replica, second: Replica) -> None:
    """The answer to the append is lost, and another one leads by the time that it is made again."""
    client_of(first.log).plan(Fate.ANSWER_LOST)
    first.keeper._pause = lambda _: second.lead()
    first.engine.put(b"a", b"1")
    assert second.users() == {b"a": b"1"}


def test_parts_that_a_fence_cuts_off_count_for_nothing(etcd: Etcd, first: Replica, second: Replica) -> None:
    requests = iter(range(9))

    def judge() -> Fate:
        if next(requests) == 1:
            etcd.claim()
        return Fate.ANSWERED

    client_of(first.log).judge = judge
    with pytest.raises(FencedError):
        first.engine.put(b"a", bytes(2 << 20))
    assert len(etcd.held()) == 16
    second.catch_up()
    second.keeper.lead(etcd.fence, second.follower.next_number)
    second.engine.put(b"b", b"2")
    third = first.restarted()
    third.catch_up()
    assert third.users() == second.users() == {b"b": b"2"}
    assert etcd.held() == list(range(1, 18))
    third.end()


def test_another_ones_entry_ends_it(etcd: Etcd, first: Replica) -> None:
    """That cannot be, so whatever it is: nothing more is written."""
    first.log.append(etcd.fence, 1, [data(b"?")], TIMEOUT)
    with pytest.raises(StorageError, match="its leader has not put it"):
        first.engine.put(b"a", b"1")
    with pytest.raises(ReadOnlyError):
        first.engine.put(b"a", b"1")


def test_it_gives_up_when_it_is_told_to(first: Replica) -> None:
    client_of(first.log).judge = lambda: Fate.REQUEST_LOST
    first.keeper._pause = lambda _: first.keeper.stop()
    with pytest.raises(StorageError, match="the replica ends; there is no answer"):
        first.engine.put(b"a", b"1")
    assert first.keeper.uncertain_seconds > 0


def test_an_interrupt_is_final(first: Replica) -> None:
    """What was taken for the log would be missing there."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    client_of(first.log).plan(Fate.REQUEST_LOST)
    first.keeper._pause = interrupt
    with pytest.raises(KeyboardInterrupt):
        first.keeper.sync(first.store.commit({b"a": b"1"}))
    with pytest.raises(StorageError):
        first.engine.put(b"b", b"2")


def test_many_writers_share_entries(first: Replica, second: Replica) -> None:
    def write(name: int) -> None:
        for number in range(25):
            first.engine.put(b"%d-%d" % (name, number), b"v")

    client_of(first.log).delay = 0.001
    writers = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    second.catch_up()
    assert len(second.users()) == 200
    assert second.digest() == first.digest()
    assert first.keeper.figures.entries < 200


def test_the_log_has_frames_of_many_appends_in_order(
    etcd: Etcd, first: Replica, second: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "MAX_APPENDED", 2)
    synced: list[int] = []
    client_of(first.log).judge = lambda: synced.append(first.keeper.synced) or Fate.ANSWERED  # type: ignore[func-returns-value]
    positions = [first.store.commit({b"%d" % number: bytes(30_000)}) for number in range(9)]
    first.store.sync()
    assert len(etcd.held()) == 5
    assert first.keeper.figures.appends == 3
    assert synced[1:] == [positions[3], positions[7]], "those before are answered, whatever becomes of the rest"
    assert first.keeper.synced == positions[8]
    second.catch_up()
    assert second.digest() == first.digest()


# What the tables say of the log.


def test_a_reopening_goes_on_after_what_the_tables_hold(first: Replica, second: Replica) -> None:
    for number in range(4):
        first.engine.put(b"%d" % number, b"v")
    first.engine.flush()
    assert index_in_tables(first.store) == 4
    first.engine.put(b"x", b"v")
    second.catch_up(3)
    second.engine.flush()
    assert index_in_tables(second.store) == 3
    second.catch_up()
    assert index_in_tables(second.store) == 3, "the rest is in memory"
    for replica in (first, second):
        again = replica.restarted()
        assert again.began_at == again.keeper.index == (4 if replica is first else 3)
        again.catch_up()
        assert len(again.users()) == 5
        assert again.engine.verify() == []
        again.end()


def test_the_index_never_tells_of_what_is_not_in_the_tables(first: Replica) -> None:
    """Committed, and not in the log yet: the index is that of the last entry whose append is known."""
    first.engine.put(b"a", b"1")
    first.store.commit({b"b": b"2"})
    assert first.keeper.last_words() == {INDEX_KEY: encode_index(1)}
    first.store.sync()
    assert first.keeper.last_words() == {INDEX_KEY: encode_index(2)}


def test_the_index_as_bytes() -> None:
    assert decode_index(None) == 0
    assert decode_index(encode_index(2**40)) == 2**40
    for kept in (b"", b"\2" + bytes(8), bytes(9), encode_index(1) + b"x", (encode_index(1), 0, 1)):
        with pytest.raises(FormatVersionError):
            decode_index(kept)


# Following.


def test_entries_in_another_order_are_refused(first: Replica, second: Replica) -> None:
    for number in range(3):
        first.engine.put(b"%d" % number, b"v")
    one, two, three = first.log.read(1).entries
    assert second.follower.take(one) is not None
    for other in (one, three):
        with pytest.raises(CorruptionError, match="where entry 2 should"):
            second.follower.take(other)
    found = second.follower.take(two)
    assert found is not None
    assert (found.number, found.epoch, found.points, found.ranges) == (2, 1, {b"1": b"v"}, ())


def test_entries_that_come_together_are_few_commits(first: Replica, second: Replica) -> None:
    first.engine.put(b"a", b"1")
    first.engine.put(b"a", b"2")
    first.engine.put(b"b", b"3")
    first.engine.delete_range(b"a", b"b")
    first.engine.put(b"c", b"4")
    entries = first.log.read(1).entries
    commits = second.follower.take_all(entries)
    assert [(each.number, each.points, each.ranges) for each in commits] == [
        (3, {b"a": b"2", b"b": b"3"}, ()),
        (5, {b"c": b"4"}, ((b"a", b"b"),)),
    ]
    assert sum(each.size for each in commits) == sum(len(numbered.entry.data) for numbered in entries)


def test_a_commit_of_several_entries_is_no_larger_than_one_may_be(first: Replica, second: Replica) -> None:
    lengths = (MAX_ENTRY_BYTES // 2, MAX_ENTRY_BYTES // 3, MAX_ENTRY_BYTES // 3, 3 * MAX_ENTRY_BYTES, 1)
    for number, length in enumerate(lengths):
        first.engine.put(b"%d" % number, bytes(length))
    commits = second.follower.take_all(first.log.read(1).entries)
    assert [[*each.points] for each in commits] == [[b"0", b"1"], [b"2"], [b"3"], [b"4"]]
    assert commits[-1].number == second.follower.next_number - 1
    assert commits[2].size > 3 * MAX_ENTRY_BYTES, "all parts of it"


def test_frames_that_are_damaged_are_refused(first: Replica, second: Replica) -> None:
    first.engine.put(b"a", b"1")
    (number, entry) = first.log.read(1).entries[0]
    for changed in (entry.data[:-1] + b"2", entry.data[:-1], entry.data + b"\0"):
        with pytest.raises(CorruptionError, match="group 3, entry 1"):
            Follower(second.log, 0).take(Numbered(number, entry._replace(data=changed)))


# Clocks.


def test_a_clock_never_goes_behind_the_log(etcd: Etcd) -> None:
    ahead, behind = Replica(etcd, clock=ManualClock(90_000)), Replica(etcd, clock=ManualClock(50_000))
    ahead.lead()
    ahead.engine.put(b"a", b"1", ttl=5)
    assert behind.keeper.clock_ms() == 50_000
    behind.catch_up()
    assert behind.keeper.clock_ms() == 90_000
    assert behind.store.read(b"a") == (b"1", 95_000, 0)
    behind.clock.now_ms = 91_000
    assert behind.keeper.clock_ms() == 91_000
    behind.lead()
    behind.clock.now_ms = 60_000  # it is set back
    behind.engine.put(b"b", b"1")
    behind.clock.now_ms = 20_000
    behind.engine.put(b"c", b"1")
    assert [entry.clock_ms for _, entry in behind.log.read(1).entries] == [90_000] * 3
    for each in (ahead, behind):
        each.end()


def test_what_has_expired_goes_by_the_leaders_sweep(etcd: Etcd) -> None:
    clock = ManualClock()
    first, second = Replica(etcd, clock=clock), Replica(etcd, clock=clock)
    first.lead()
    first.engine.put(b"a", b"1", ttl=1)
    first.engine.put(b"b", b"1", ttl=100)
    second.catch_up()
    clock.now_ms += 2000
    assert first.store.delete_expired([b"a"], clock.now_ms)
    first.store.sync()
    assert second.store.read(b"a") is not None
    second.catch_up()
    assert second.store.read(b"a") is None
    assert second.digest() == first.digest()
    for each in (first, second):
        each.end()


# Following again.


def test_who_led_follows_and_leads_again(first: Replica, second: Replica) -> None:
    replicas = first, second
    for turn in range(6):
        old, new = replicas[turn % 2], replicas[1 - turn % 2]
        old.engine.put(b"%d" % turn, b"1")
        old.engine.flush()  # its last words are entries of the log, too
        old.store.sync()
        assert old.follow()
        assert old.follow(), "it does"
        assert old.keeper.epoch == 0
        new.lead()
        new.engine.put(b"x", b"%d" % turn)
        old.catch_up()
        assert old.digest() == new.digest()
        assert old.keeper.index == new.keeper.index
        assert len(old.users()) == turn + 2
    assert first.began_at == second.began_at == 0, "neither was opened again"


def test_a_write_that_the_log_lacks_forbids_to_follow(etcd: Etcd, first: Replica, second: Replica) -> None:
    first.engine.put(b"a", b"1")
    first.store.commit({b"b": b"2"})
    assert not first.follow()
    assert first.keeper.epoch
    with pytest.raises(StorageError, match="not all that was written here"):
        first.store.sync()
    assert not first.follow(), "that is final"
    second.lead()
    assert second.users() == {b"a": b"1"}
    again = first.restarted()
    again.catch_up()
    assert again.users() == {b"a": b"1"}
    again.end()


def test_a_fence_or_an_unknown_outcome_forbids_to_follow(etcd: Etcd, first: Replica, second: Replica) -> None:
    second.lead()
    with pytest.raises(FencedError):
        first.engine.put(b"a", b"1")
    assert not first.follow()
    second.keeper.stop()
    client_of(second.log).plan(Fate.ANSWER_LOST)
    with pytest.raises(StorageError, match="the replica ends"):
        second.engine.put(b"a", b"1")
    assert not second.follow()


def test_a_sweep_under_way_deletes_nothing_of_a_follower(first: Replica) -> None:
    first.engine.put(b"a", b"1", ttl=1)
    first.clock.now_ms += 2000
    assert first.follow()
    assert first.store.delete_expired([b"a"], first.clock.now_ms) is None
    assert first.keeper.index == 1
    assert first.store.read(b"a") is not None


def test_who_leads_is_asked_of_the_store(etcd: Etcd, first: Replica, second: Replica) -> None:
    first.keeper.confirm()
    with pytest.raises(FencedError, match="does not lead"):
        second.keeper.confirm()
    second.lead()
    second.keeper.confirm()
    with pytest.raises(FencedError, match="another node leads"):
        first.keeper.confirm()
