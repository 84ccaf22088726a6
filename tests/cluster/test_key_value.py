"""What etcd.py and its twin in memory both are: one set of tests, run with each."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from queue import Queue

import pytest

from flin.cluster.etcd.key_value import (
    Compacted,
    Delete,
    Event,
    Found,
    Get,
    KeyValueError,
    KeyValueStore,
    ModRevision,
    Operation,
    Outcome,
    Pair,
    Put,
    Refused,
    Unavailable,
    WatchBatch,
    prefix_end,
)
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.testing.process import PATIENCE_SECONDS
from tests.cluster.members import member_options, started

TIMEOUT = PATIENCE_SECONDS


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A client address of etcd."""
    member = started(member_options(tmp_path_factory.mktemp("etcd")))
    yield member.options.client_endpoint
    member.stop()


@pytest.fixture(params=["memory", "etcd"])
def store(request: pytest.FixtureRequest) -> Iterator[KeyValueStore]:
    """A client of an empty store: no key is left of the test before."""
    client = MemoryKeyValues().client() if request.param == "memory" else _of_etcd(request)
    yield client
    client.close()


def _of_etcd(request: pytest.FixtureRequest) -> KeyValueStore:
    endpoint = request.getfixturevalue("endpoint")
    from flin.cluster.etcd.etcd import EtcdKeyValueStore

    client = EtcdKeyValueStore([endpoint])
    client.txn((), [Delete(b"\0", b"\xff")], timeout=TIMEOUT)
    return client


def put(store: KeyValueStore, key: bytes, value: bytes = b"v") -> int:
    outcome = store.txn((), [Put(key, value)], timeout=TIMEOUT)
    assert outcome.succeeded
    return outcome.revision


def keys(store: KeyValueStore, key: bytes, end: bytes = b"", *, revision: int = 0, limit: int = 0) -> list[bytes]:
    return [pair.key for pair in store.get(key, end, revision=revision, limit=limit, timeout=TIMEOUT).pairs]


def events_until(told: Queue[WatchBatch | KeyValueError], revision: int) -> list[Event]:
    """All that is told up to a revision; every batch must be whole and in order."""
    events: list[Event] = []
    while not events or events[-1].pair.mod_revision < revision:
        batch = told.get(timeout=TIMEOUT)
        assert isinstance(batch, WatchBatch), batch
        assert batch.events
        assert not events or batch.events[0].pair.mod_revision > events[-1].pair.mod_revision
        assert batch.revision >= batch.events[-1].pair.mod_revision
        events += batch.events
    return events


def test_a_put_is_a_revision(store: KeyValueStore) -> None:
    first = put(store, b"a", b"one")
    second = put(store, b"a", b"two")
    assert second == first + 1
    found = store.get(b"a", timeout=TIMEOUT)
    assert found == Found((Pair(b"a", b"two", first, second, 2),), second, False)
    assert store.get(b"a", revision=first, timeout=TIMEOUT).pairs == (Pair(b"a", b"one", first, first, 1),)
    assert store.get(b"a", serializable=True, timeout=TIMEOUT).pairs == found.pairs


def test_ranges_are_in_order_and_cut_at_the_limit(store: KeyValueStore) -> None:
    for key in (b"log/b", b"log/a", b"lof", b"log0", b"log/c\xff"):
        put(store, key)
    assert keys(store, b"log/", prefix_end(b"log/")) == [b"log/a", b"log/b", b"log/c\xff"]
    cut = store.get(b"log/", b"log0", limit=2, timeout=TIMEOUT)
    assert [pair.key for pair in cut.pairs] == [b"log/a", b"log/b"]
    assert cut.more
    assert not store.get(b"log/", b"log0", limit=3, timeout=TIMEOUT).more
    (keys_only,) = store.txn((), [Get(b"log/", b"log0", 1, keys_only=True)], timeout=TIMEOUT).found
    assert keys_only == Found((cut.pairs[0]._replace(value=b""),), cut.revision, True)
    assert keys(store, b"log/", b"log/") == []


def test_the_end_of_a_prefix() -> None:
    assert prefix_end(b"log/") == b"log0"
    assert prefix_end(b"a\xff\xff") == b"b"
    with pytest.raises(ValueError, match="no key after"):
        prefix_end(b"\xff")


def test_comparisons_choose_the_branch(store: KeyValueStore) -> None:
    absent = ModRevision(b"k", 0)
    outcome = store.txn([absent], [Put(b"k", b"1")], [Get(b"k")], timeout=TIMEOUT)
    assert outcome == Outcome(True, outcome.revision, ())
    again = store.txn([absent], [Put(b"k", b"2")], [Get(b"k"), Get(b"none")], timeout=TIMEOUT)
    assert not again.succeeded
    assert again.revision == outcome.revision
    assert [found.pairs for found in again.found] == [
        (Pair(b"k", b"1", outcome.revision, outcome.revision, 1),),
        (),
    ]
    mine = [ModRevision(b"k", outcome.revision), ModRevision(b"other", 0)]
    assert store.txn(mine, [Put(b"k", b"3")], timeout=TIMEOUT).succeeded
    assert not store.txn(mine, [Put(b"k", b"4")], timeout=TIMEOUT).succeeded


def test_a_transaction_is_one_revision_and_sees_itself(store: KeyValueStore) -> None:
    put(store, b"c")
    outcome = store.txn(
        (), [Get(b"a", b"z"), Put(b"a", b"1"), Get(b"a", b"z"), Delete(b"c"), Put(b"b", b"2"), Get(b"a", b"z")],
        timeout=TIMEOUT,
    )  # fmt: skip
    assert [[pair.key for pair in found.pairs] for found in outcome.found] == [[b"c"], [b"a", b"c"], [b"a", b"b"]]
    assert {pair.mod_revision for pair in outcome.found[2].pairs} == {outcome.revision}


def test_what_changes_nothing_is_no_revision(store: KeyValueStore) -> None:
    revision = put(store, b"a")
    assert store.txn((), [Delete(b"none"), Get(b"a")], timeout=TIMEOUT).revision == revision
    assert store.txn((), [Delete(b"b", b"z")], timeout=TIMEOUT).revision == revision
    assert store.txn((), [Delete(b"a", b"z")], timeout=TIMEOUT).revision == revision + 1
    assert put(store, b"a") == revision + 2
    (pair,) = store.get(b"a", timeout=TIMEOUT).pairs
    assert (pair.create_revision, pair.version) == (revision + 2, 1)


def test_what_is_refused(store: KeyValueStore) -> None:
    branches: list[list[Operation]] = [
        [Put(b"a", b"1"), Put(b"a", b"2")],
        [Put(b"a", b"1"), Delete(b"a")],
        [Delete(b"a", b"c"), Put(b"b", b"1")],
        [Put(b"%d" % number, b"") for number in range(129)],
        [Put(b"a", bytes(1600 << 10))],
    ]
    for branch in branches:
        with pytest.raises(Refused):
            store.txn((), branch, timeout=TIMEOUT)
    assert keys(store, b"\0", b"\xff") == []


def test_a_revision_that_is_yet_to_come(store: KeyValueStore) -> None:
    revision = put(store, b"a")
    with pytest.raises(Unavailable):
        store.get(b"a", revision=revision + 1, timeout=TIMEOUT)
    with pytest.raises(Unavailable):
        store.compact(revision + 1, timeout=TIMEOUT)


def test_compacting_forgets(store: KeyValueStore) -> None:
    first = put(store, b"a", b"old")
    put(store, b"b")
    kept = put(store, b"a", b"new")
    last = put(store, b"a", b"newest")
    store.compact(kept, timeout=TIMEOUT)
    store.compact(kept, timeout=TIMEOUT)
    store.compact(first, timeout=TIMEOUT)
    with pytest.raises(Compacted) as caught:
        store.get(b"a", revision=first, timeout=TIMEOUT)
    assert caught.value.revision in (kept, 0)
    assert store.get(b"a", revision=kept, timeout=TIMEOUT).pairs[0].value == b"new"
    assert keys(store, b"a", b"z", revision=kept) == keys(store, b"a", b"z", revision=last) == [b"a", b"b"]


def test_a_watch_tells_all_from_a_revision_on(store: KeyValueStore) -> None:
    before = put(store, b"w/1", b"one")
    first = put(store, b"w/1", b"two")
    put(store, b"x")
    told: Queue[WatchBatch | KeyValueError] = Queue()
    watch = store.watch(b"w/", b"w0", first, told.put)
    deleted = store.txn((), [Delete(b"w/1"), Put(b"w/2", b""), Put(b"y", b"")], timeout=TIMEOUT).revision
    last = put(store, b"w/1", b"three")
    assert events_until(told, last) == [
        Event(Pair(b"w/1", b"two", before, first, 2)),
        Event(Pair(b"w/1", b"", 0, deleted, 0), is_delete=True),
        Event(Pair(b"w/2", b"", deleted, deleted, 1)),
        Event(Pair(b"w/1", b"three", last, last, 1)),
    ]
    watch.cancel()
    watch.cancel()
    put(store, b"w/1")
    put(store, b"w/1")
    assert told.empty()


def test_a_watch_of_one_key_from_now_on(store: KeyValueStore) -> None:
    put(store, b"k", b"before")
    told: Queue[WatchBatch | KeyValueError] = Queue()
    with pytest.raises(ValueError, match="begins at a revision"):
        store.watch(b"k", b"", 0, told.put)
    store.watch(b"k", b"", store.get(b"k", timeout=TIMEOUT).revision + 1, told.put)
    put(store, b"k2")
    last = put(store, b"k", b"after")
    assert [event.pair.value for event in events_until(told, last)] == [b"after"]


def test_many_changes_come_whole(store: KeyValueStore) -> None:
    """Cut by etcd, into messages of at most 2 MiB: revisions are put together again."""
    first = put(store, b"m/")
    for number in range(12):
        put(store, b"m/%d" % number, bytes(256 << 10))
    last = store.txn((), [Put(b"m/%d" % number, bytes(100 << 10)) for number in range(12)], timeout=TIMEOUT).revision
    told: Queue[WatchBatch | KeyValueError] = Queue()
    store.watch(b"m/", b"m0", first, told.put)
    events = events_until(told, last)
    assert [event.pair.mod_revision for event in events] == [*range(first, last), *[last] * 12]
    assert all(len(event.pair.value) in (1, 256 << 10, 100 << 10) for event in events)


def test_a_watch_behind_the_compaction_ends(store: KeyValueStore) -> None:
    first = put(store, b"a")
    put(store, b"a")
    last = put(store, b"a")
    store.compact(last, timeout=TIMEOUT)
    told: Queue[WatchBatch | KeyValueError] = Queue()
    store.watch(b"a", b"", first, told.put)
    error = told.get(timeout=TIMEOUT)
    assert isinstance(error, Compacted)
    assert last <= error.revision <= last + 1
    put(store, b"a")
    later: Queue[WatchBatch | KeyValueError] = Queue()
    store.watch(b"a", b"", last + 1, later.put)
    assert events_until(later, last + 1)
    assert told.empty()


def test_a_receiver_that_fails_ends_its_watch(store: KeyValueStore, caplog: pytest.LogCaptureFixture) -> None:
    told: Queue[WatchBatch | KeyValueError] = Queue()

    def fail(batch: WatchBatch | KeyValueError) -> None:
        told.put(batch)
        raise RuntimeError("a receiver that fails")

    watch = store.watch(b"a", b"", put(store, b"a"), fail)
    assert told.get(timeout=TIMEOUT)
    put(store, b"a")
    watch.cancel()
    assert told.empty()
    assert "a receiver that fails" in caplog.text


def test_a_receiver_may_cancel_its_watch(store: KeyValueStore) -> None:
    told: Queue[WatchBatch | KeyValueError] = Queue()
    is_there = threading.Event()

    def receive(batch: WatchBatch | KeyValueError) -> None:
        assert is_there.wait(TIMEOUT)
        watch.cancel()
        told.put(batch)

    watch = store.watch(b"a", b"", put(store, b"a"), receive)
    is_there.set()
    assert told.get(timeout=TIMEOUT)
    put(store, b"a")
    assert told.empty()


def test_after_the_end_nothing_answers(store: KeyValueStore) -> None:
    told: Queue[WatchBatch | KeyValueError] = Queue()
    store.watch(b"a", b"", put(store, b"a"), told.put)
    told.get(timeout=TIMEOUT)
    store.close()
    with pytest.raises(Unavailable):
        put(store, b"a")
    assert told.empty()


KEYS = (b"a", b"ab", b"b", b"c")
ENDS = (b"", b"b", b"d")


def random_branch(chance: random.Random) -> list[Operation]:
    """Puts of different keys, deletions of others, and reads."""
    keys = chance.sample(KEYS, len(KEYS))
    branch: list[Operation] = [Put(keys.pop(), bytes([chance.randrange(256)])) for _ in range(chance.randrange(3))]
    branch += [Delete(key) for key in keys[: chance.randrange(2)]]
    if not any(isinstance(each, Put) for each in branch) and chance.random() < 0.3:
        branch.append(Delete(chance.choice(KEYS), chance.choice(ENDS)))
    branch += [
        Get(chance.choice(KEYS), chance.choice(ENDS), chance.randrange(3), chance.random() < 0.3)
        for _ in range(chance.randrange(3))
    ]
    chance.shuffle(branch)
    return branch


def test_the_twin_does_what_etcd_does(request: pytest.FixtureRequest) -> None:
    """The same random transactions, reads of the past, and a watch of it all."""
    etcd, twin = _of_etcd(request), MemoryKeyValues().client()
    offset = etcd.get(b"a", timeout=TIMEOUT).revision - twin.get(b"a", timeout=TIMEOUT).revision
    first = twin.get(b"a", timeout=TIMEOUT).revision + 1
    chance = random.Random(7)

    def moved(found: Found) -> Found:
        """As etcd would say it."""
        pairs = [
            pair._replace(create_revision=pair.create_revision + offset, mod_revision=pair.mod_revision + offset)
            for pair in found.pairs
        ]
        return Found(tuple(pairs), found.revision + offset, found.more)

    for _ in range(100):
        revision = twin.get(b"a", timeout=TIMEOUT).revision
        guess = [(key, chance.choice((0, revision, max(first, revision - 1)))) for key in KEYS[: chance.randrange(3)]]
        success, failure = random_branch(chance), random_branch(chance)
        here = twin.txn([ModRevision(*each) for each in guess], success, failure, timeout=TIMEOUT)
        there = etcd.txn(
            [ModRevision(key, number + offset if number else 0) for key, number in guess], success, failure,
            timeout=TIMEOUT,
        )  # fmt: skip
        assert there == Outcome(here.succeeded, here.revision + offset, tuple(map(moved, here.found)))
        past = chance.randrange(first - 1, here.revision) + 1
        key, end, limit = chance.choice(KEYS), chance.choice(ENDS), chance.randrange(3)
        before = twin.get(key, end, limit=limit, revision=past, timeout=TIMEOUT)
        assert etcd.get(key, end, limit=limit, revision=past + offset, timeout=TIMEOUT) == moved(before)
    last = put(twin, b"a")
    assert put(etcd, b"a") == last + offset
    told: tuple[Queue[WatchBatch | KeyValueError], Queue[WatchBatch | KeyValueError]] = Queue(), Queue()
    twin.watch(b"a", b"z", first, told[0].put)
    etcd.watch(b"a", b"z", first + offset, told[1].put)
    events = events_until(told[0], last)
    shifted = [event._replace(pair=moved(Found((event.pair,), 0, False)).pairs[0]) for event in events]
    expected = [
        event._replace(pair=event.pair._replace(create_revision=0)) if event.is_delete else event for event in shifted
    ]
    assert events_until(told[1], last + offset) == expected
    etcd.close()
    twin.close()
