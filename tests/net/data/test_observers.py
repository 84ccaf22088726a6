"""Write observers: a keyspace tells them what was written, and only while there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from flin.net.batch.pending import SHORT_BYTES, Pending
from flin.net.data.databases import Databases
from flin.net.data.keyspace import Keyspace
from flin.net.data.observers import Watches, WriteObserver
from tests.net.fake_store import FakeStore

KEYS = [b"a", b"b", b"", b"\xff", b"\xff\x01"]


class Noting:
    """An observer that is not a session: it notes the keys."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.asked: dict[bytes, bool] = {}

    def key_written(self, key: bytes) -> None:
        self.written.append(key)

    def keys_written(self, keys: Sequence[bytes]) -> None:
        self.written += keys

    def all_written(self, has_changed: Callable[[bytes], bool]) -> None:
        self.asked = {key: has_changed(key) for key in KEYS}


class Touched:
    def __init__(self) -> None:
        self.touches = 0

    def touch(self) -> None:
        self.touches += 1


def databases() -> tuple[Keyspace, Keyspace]:
    store = FakeStore()
    pending = Pending(store)
    first, second = Databases(store, pending, 2, 0).keyspaces
    return first, second


@pytest.mark.parametrize("number", [0, 1])
def test_every_way_to_write_is_told(number: int) -> None:
    keyspace = databases()[number]
    observer = Noting()
    keyspace.observers.append(observer)
    for key in KEYS:
        keyspace.put_value(key, b"1")
        keyspace.put(key, (b"1", 1 << 60, 0))
        keyspace.put_value(key, bytes(SHORT_BYTES + 1))
        keyspace.delete(key)
    assert observer.written == [key for key in KEYS for _ in range(4)]
    observer.written.clear()
    keyspace.put_values(KEYS, KEYS)
    keyspace.delete_all(KEYS)
    assert observer.written == KEYS * 2


def test_a_whole_database_is_asked_for_key_by_key() -> None:
    first, second = databases()
    observers = Noting(), Noting()
    first.observers.append(observers[0])
    second.observers.append(observers[1])
    first.put_value(b"a", b"1")
    second.put(b"b", (b"1", 1, 0))  # expired long ago, and still there
    first.exchange(second)
    for observer in observers:
        assert [key for key, changed in observer.asked.items() if changed] == [b"a", b"b"]
    first.clear()
    assert [key for key, changed in observers[0].asked.items() if changed] == [b"b"]


def test_watches_enter_with_the_first_key_and_leave_with_the_last() -> None:
    observers: list[WriteObserver] = []
    watches = Watches(observers)
    one, other = Touched(), Touched()
    assert watches.add(b"a", one)
    assert not watches.add(b"a", one), "it watches it already"
    assert watches.add(b"a", other)
    assert watches.add(b"b", other)
    assert observers == [watches]
    watches.key_written(b"a")
    watches.keys_written([b"b", b"c", b"b"])
    watches.all_written(lambda key: key == b"b")
    assert (one.touches, other.touches) == (1, 3)
    watches.discard(b"a", one)
    watches.discard(b"a", one)
    watches.discard(b"a", other)
    assert observers == [watches]
    watches.discard(b"b", other)
    assert observers == []
