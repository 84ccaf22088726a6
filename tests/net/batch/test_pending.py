"""The pending batch: one frame or nothing, its listeners, and how a transaction rolls its writes back."""

from __future__ import annotations

import pytest

from flin.errors import LimitError, StorageError
from flin.net.batch.pending import BATCH_BYTES, BATCH_ENTRIES, Pending
from flin.net.batch.refusal import Refusal
from tests.net.fake_store import FakeStore


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


class Listener:
    """Notes what it is told, and what the batch holds then."""

    def __init__(self, name: str, pending: Pending, told: list[tuple[object, ...]]) -> None:
        self.name, self.pending, self.told = name, pending, told
        pending.listen(self)

    def batch_committed(self) -> None:
        self.told.append((self.name, "committed", len(self.pending.points), self.pending.batches))

    def batch_refused(self, refusal: Refusal) -> None:
        self.told.append((self.name, "refused", len(self.pending.points), sorted(refusal.keys)))


def test_listeners_are_told_in_their_order_once_it_is_empty(store: FakeStore) -> None:
    pending = Pending(store)
    told: list[tuple[object, ...]] = []
    for name in ("first", "second"):
        Listener(name, pending, told)
    pending.commit()
    assert told == [], "an empty batch is no batch"
    pending.points[b"a"] = b"1"
    pending.commit()
    assert told == [("first", "committed", 0, 1), ("second", "committed", 0, 1)]
    told.clear()
    store.failure = StorageError("write", "wal", "no space")
    pending.points[b"b"] = b"1"
    pending.commit()
    assert told == [("first", "refused", 0, [b"b"]), ("second", "refused", 0, [b"b"])]
    assert store.entries == {b"a": b"1"}


def test_a_full_disk_does_not_fill_the_diagnostics(store: FakeStore, caplog: pytest.LogCaptureFixture) -> None:
    """One line in ten seconds says how many batches were refused; another kind of error has a line of its own."""
    pending = Pending(store)

    def refused(failure: Exception, at_ms: int) -> list[str]:
        store.failure = failure
        pending.now_ms = at_ms
        pending.points[b"a"] = b"1"
        caplog.clear()
        pending.commit()
        return caplog.messages

    full = StorageError("write", "wal", "no space")
    first = "a batch of 1 writes was refused: cannot write wal: no space"
    assert refused(full, 1_000_000) == [first]
    assert [refused(full, 1_000_000 + ms) for ms in (0, 1, 9_999)] == [[], [], []]
    assert refused(full, 1_010_000) == [first + " (3 more since the last report)"]
    assert refused(full, 1_010_001) == []
    assert len(refused(LimitError("commit", 2, 1), 1_010_002)) == 1
    assert refused(full, 1_010_003) == [first], "the last report was of another kind"
    assert refused(full, 500_000) == [first], "the clock was set back"
    assert pending.failures == 9


def test_a_listener_may_leave_while_it_is_told(store: FakeStore) -> None:
    pending = Pending(store)
    told: list[tuple[object, ...]] = []

    class Once(Listener):
        def batch_committed(self) -> None:
            super().batch_committed()
            pending.forget(self)

    last = Listener("last", pending, told)
    pending.forget(last)
    pending.listen(last)
    once = Once("once", pending, told)
    pending.forget(once)
    pending.listen(once, first=True)
    for number in range(2):
        pending.points[b"a"] = b"%d" % number
        pending.commit()
    assert [name for name, *_ in told] == ["once", "last", "last"]


def test_full_by_number_or_by_size(store: FakeStore) -> None:
    pending = Pending(store)
    for number in range(BATCH_ENTRIES - 1):
        pending.points[b"%d" % number] = b""
    assert not pending.is_full
    pending.points[b"last"] = b""
    assert pending.is_full
    pending.commit()
    assert not pending.is_full
    pending.large_bytes = BATCH_BYTES
    assert pending.is_full


def test_rolled_back_to_a_savepoint(store: FakeStore) -> None:
    pending = Pending(store)
    points, ranges = pending.points, pending.ranges
    points[b"a"] = b"1"
    pending.delete_range(b"x", b"y")
    savepoint = pending.savepoint()
    points[b"a"] = b"2"
    points[b"b"] = bytes(100)
    pending.large_bytes += 5000
    pending.delete_range(b"a", b"b")
    assert points.keys() == {b"b"}, "what the range covers is gone"
    pending.roll_back(savepoint)
    assert pending.points is points, "others hold it"
    assert pending.ranges is ranges
    assert (points, ranges, pending.large_bytes) == ({b"a": b"1"}, [b"x", b"y"], 0)


def test_the_size_of_all_writes(store: FakeStore) -> None:
    pending = Pending(store)
    pending.points[b"key"] = bytes(1000)
    pending.points[b"gone"] = (bytes(500), 7, 0)
    pending.check_size(1507)
    with pytest.raises(LimitError, match="is 1507, the maximum is 1506"):
        pending.check_size(1506)
