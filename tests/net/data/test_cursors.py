"""The table of SCAN positions: found again, bounded, never a number twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.key import KEYS_END, USER_END
from flin.errors import StorageError
from flin.net.data.cursors import STORED_KEY, Cursors, keep_cursors, recall_cursors
from tests.net.fake_store import FakeStore
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread

NOW_MS = 1_800_000_000_000


def test_found_again_as_often_as_asked() -> None:
    cursors = Cursors(NOW_MS)
    cursor = cursors.save(0, b"k", 0)
    assert cursors.find(cursor, 0) == b"k"
    assert cursors.find(cursor, 0) == b"k"
    assert cursors.find(cursor, 1) is None
    assert cursors.find(cursor + 1, 0) is None


def test_a_scan_keeps_two_cursors_at_most() -> None:
    cursors = Cursors(NOW_MS)
    cursor = 0
    for number in range(100):
        cursor = cursors.save(0, b"%d" % number, cursor)
        assert cursors.find(cursor, 0) == b"%d" % number
        assert len(cursors) <= 2


def test_the_oldest_go_first() -> None:
    cursors = Cursors(NOW_MS, max_cursors=3)
    given = [cursors.save(0, b"%d" % number, 0) for number in range(5)]
    assert [cursors.find(cursor, 0) for cursor in given] == [None, None, b"2", b"3", b"4"]


def test_bounded_in_bytes() -> None:
    cursors = Cursors(NOW_MS, max_bytes=1000)
    given = [cursors.save(0, bytes(400), 0) for _ in range(4)]
    assert [cursors.find(cursor, 0) is None for cursor in given] == [True, True, False, False]
    too_large = cursors.save(0, bytes(2000), 0)
    assert cursors.find(too_large, 0) is None
    assert len(cursors) == 0


def test_carried_over_a_restart() -> None:
    store = FakeStore()
    old = Cursors(NOW_MS)
    first, second, third = old.save(0, b"a", 0), old.save(3, b"b" * 300, 0), old.save(65535, b"", 0)
    keep_cursors(old, store)
    new = Cursors(NOW_MS)  # the clock may stand still, or go back
    recall_cursors(new, store)
    assert new.find(first, 0) == b"a"
    assert new.find(second, 3) == b"b" * 300
    assert new.find(third, 65535) == b""
    assert new.save(0, b"c", 0) > third
    keep_cursors(Cursors(NOW_MS), store)
    assert store.entries == {}


def test_the_kept_table_is_no_user_key() -> None:
    assert USER_END < STORED_KEY < KEYS_END


def test_a_server_keeps_its_cursors() -> None:
    store = FakeStore()
    store.entries.update({b"%03d" % number: b"v" for number in range(100)})
    with ServerThread(store) as server, RawClient(server.port) as client:
        cursor = client.call(b"SCAN", b"0", b"COUNT", b"40").items[0].payload
    with ServerThread(store) as server, RawClient(server.port) as client:
        reply = client.call(b"SCAN", cursor, b"COUNT", b"100")
        assert [item.payload for item in reply.items[1].items] == [b"%03d" % number for number in range(40, 100)]
        assert client.call(b"DBSIZE").payload == b"100"
    assert len(store.entries) == 101  # the cursor may be used again


def test_a_damaged_table_is_reported_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    for damaged in (b"", b"\x02", b"\x01x", Cursors(NOW_MS).to_bytes() + bytes(13), b"\x01" + bytes(13) + b"\x05abcd"):
        store.entries[STORED_KEY] = damaged
        cursors = Cursors(NOW_MS)
        recall_cursors(cursors, store)
        assert len(cursors) == 0
    assert caplog.messages.count("running SCANs begin again: an unknown format of cursors") == 2


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b"\x01".__add__))
def test_any_bytes_are_a_table_or_a_value_error(data: bytes) -> None:
    cursors = Cursors(NOW_MS)
    try:
        cursors.restore(data)
    except ValueError:
        return
    assert len(data) == 1 or len(cursors)


def test_a_refusing_store_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    store.failure = StorageError("write", "x", "no room")
    cursors = Cursors(NOW_MS)
    cursors.save(0, b"k", 0)
    keep_cursors(cursors, store)
    assert "were not saved" in caplog.text


def test_numbers_fit_a_double() -> None:
    """Clients in JavaScript read a cursor as a number of 53 bits."""
    assert Cursors(NOW_MS).save(0, b"k", 0) < 1 << 53
