"""FLIN.WATCH: over a real engine, by real connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import flin.engine
from flin.engine.engine import store_of
from flin.engine.feed import Feed
from flin.errors import FeedGapError
from flin.net.commands.ranges import NO_RANGE
from flin.net.messages import feeding
from tests.net.raw_client import Raw, RawClient
from tests.net.serving import ServerThread


@pytest.fixture
def db(tmp_path: Path) -> Iterator[flin.engine.Engine]:
    with flin.engine.open(tmp_path / "db", sync="never", wal_retention="64mb", memory_limit="64mb") as opened:
        yield opened


@pytest.fixture
def server(db: flin.engine.Engine) -> Iterator[ServerThread]:
    with ServerThread(store_of(db)) as running:
        yield running


@pytest.fixture
def writer(server: ServerThread) -> Iterator[RawClient]:
    with RawClient(server.port) as client:
        yield client


@pytest.fixture
def watcher(server: ServerThread) -> Iterator[RawClient]:
    with RawClient(server.port) as client:
        client.call(b"HELLO", b"3")
        yield client


def talk(client: RawClient, line: str) -> Raw:
    return client.call(*(b"" if word == "''" else word.encode() for word in line.split(" ")))


def shown(message: Raw) -> tuple[object, ...]:
    """Without the name, the expiry and the commit."""
    name, sequence, kind, key, value, _, _, stop = message.items
    assert name.payload == b"flin.watch"
    key_, value_, stop_ = (None if part.is_null else part.payload for part in (key, value, stop))
    return int(sequence.payload), kind.payload.decode(), key_, value_, stop_


def test_changes_come_with_their_values(writer: RawClient, watcher: RawClient) -> None:
    assert talk(watcher, "FLIN.WATCH user:").data == b":0\r\n"
    for line in (
        "SET user:1 Ada",
        "SET other x",
        "DEL user:1",
        "RPUSH user:2 x",
        "FLIN.DELRANGE a z",
        "SET user:3 x PXAT 2000000000000",
    ):
        talk(writer, line)
    messages = [watcher.read() for _ in range(5)]
    assert {message.kind for message in messages} == {b">"}
    assert [shown(message) for message in messages] == [
        (1, "put", b"user:1", b"Ada", None),
        (3, "delete", b"user:1", None, None),
        (4, "collection", b"user:2", None, None),
        (5, "delete_range", b"a", None, b"z"),
        (6, "put", b"user:3", b"x", None),
    ]
    assert messages[4].items[5].payload == b"2000000000000"


def test_in_resp2_messages_are_arrays(server: ServerThread, writer: RawClient) -> None:
    with RawClient(server.port) as old:
        assert talk(old, "FLIN.WATCH ''").data == b":0\r\n"
        talk(writer, "SET a 1")
        message = old.read()
        assert (message.kind, shown(message)) == (b"*", (1, "put", b"a", b"1", None))


def test_since_a_sequence(writer: RawClient, watcher: RawClient) -> None:
    for number in range(5):
        talk(writer, f"SET k{number} {number}")
    assert talk(watcher, "FLIN.WATCH k SINCE 3").data == b":3\r\n"
    assert [shown(watcher.read())[2] for _ in range(2)] == [b"k3", b"k4"]
    talk(watcher, "UNWATCH")
    assert talk(watcher, "FLIN.WATCH k SINCE 9").payload.startswith(b"FEEDGAP ")
    assert talk(watcher, "FLIN.WATCH k SINCE -1").payload == b"ERR SINCE must not be negative"
    assert talk(watcher, "FLIN.WATCH k SINCE x").payload == b"ERR value is not an integer or out of range"


def test_a_transaction_comes_whole(writer: RawClient, watcher: RawClient) -> None:
    talk(watcher, "FLIN.WATCH ''")
    talk(writer, "FLIN.TXN THEN 3 SET a 1 THEN 3 SET b 2")
    messages = [watcher.read() for _ in range(2)]
    assert [int(message.items[6].payload) for message in messages] == [1, 1]


@pytest.mark.parametrize("ending", ["UNWATCH", "RESET"])
def test_it_ends(writer: RawClient, watcher: RawClient, ending: str) -> None:
    talk(watcher, "FLIN.WATCH a b")
    assert b"watches already" in talk(watcher, "FLIN.WATCH c").payload
    talk(watcher, ending)
    talk(writer, "SET a 1")
    talk(watcher, "HELLO 3")
    assert talk(watcher, "FLIN.WATCH b").data == b":1\r\n"
    talk(writer, "SET a 2")
    talk(writer, "SET b 2")
    assert shown(watcher.read())[:3] == (3, "put", b"b")


def test_where_it_is_refused(watcher: RawClient) -> None:
    talk(watcher, "MULTI")
    assert talk(watcher, "FLIN.WATCH a").payload == b"ERR Command not allowed inside a transaction"
    talk(watcher, "DISCARD")
    talk(watcher, "SELECT 1")
    assert b"database 0 alone" in talk(watcher, "FLIN.WATCH a").payload
    assert b"not allowed in FLIN.TXN" in talk(watcher, "FLIN.TXN THEN 2 FLIN.WATCH a").payload


def test_rules(writer: RawClient, watcher: RawClient) -> None:
    """Only what the user may read; if that changes, its connection is closed."""
    talk(writer, "ACL SETUSER ada on nopass +@all %R~user:*")
    talk(watcher, "AUTH ada x")
    assert talk(watcher, "FLIN.WATCH user: other:").payload.decode() == NO_RANGE
    assert talk(watcher, "FLIN.WATCH user:1 user:2").kind == b":"
    talk(writer, "SET user:1 x")
    assert shown(watcher.read())[2] == b"user:1"
    talk(writer, "ACL SETUSER ada resetkeys")
    talk(writer, "SET user:1 y")
    assert watcher.at_end()


def test_who_does_not_read_is_waited_for(writer: RawClient, watcher: RawClient, server: ServerThread) -> None:
    """Nothing is queued: its output stays small, however much is written, and then everything comes in order."""
    talk(watcher, "FLIN.WATCH ''")
    value = b"v" * 100_000
    for number in range(400):
        writer.call(b"SET", b"k%03d" % number, value)
    unread = server.call(lambda: [client.output_bytes() for client in server.server.services.clients.admitted.values()])
    assert max(unread) < 8 * feeding.UNREAD_BYTES
    assert [shown(watcher.read())[2] for _ in range(400)] == [b"k%03d" % number for number in range(400)]


def test_range_deletes_that_meet_a_prefix(writer: RawClient, watcher: RawClient) -> None:
    talk(watcher, "FLIN.WATCH b d")
    for bounds in ("a b", "a bb", "c d", "cc d1", "e f", "dz e", "e ''"):
        talk(writer, f"FLIN.DELRANGE {bounds}")
    talk(writer, "SET c no-prefix")
    talk(writer, "SET d end")
    assert [shown(watcher.read())[2] for _ in range(4)] == [b"a", b"cc", b"dz", b"d"]


def test_progress_is_told(writer: RawClient, watcher: RawClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "PROGRESS_SECONDS", 0.05)
    talk(watcher, "FLIN.WATCH rare:")
    talk(writer, "SET often 1")
    assert shown(watcher.read()) == (1, "progress", None, None, None)


def test_a_watch_that_falls_behind_the_log_says_so(
    db: flin.engine.Engine, writer: RawClient, watcher: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last message is an error; the connection stays, and may watch again."""
    talk(watcher, "FLIN.WATCH ''")

    def gap(*_: object) -> bool:
        raise FeedGapError(1, 5, 9)

    monkeypatch.setattr(Feed, "fetch", gap)
    talk(writer, "SET a 1")
    message = watcher.read()
    assert message.items[2].payload == b"error"
    assert message.items[4].payload.startswith(b"FEEDGAP ")
    monkeypatch.undo()
    assert talk(watcher, "FLIN.WATCH ''").data == b":1\r\n"


def test_a_listener_may_be_silent(writer: RawClient, watcher: RawClient) -> None:
    talk(watcher, "FLIN.WATCH ''")
    assert b"watch" in talk(writer, "CLIENT LIST TYPE PUBSUB").payload


def test_in_the_mode_always_a_change_is_told_once_it_is_synced(tmp_path: Path) -> None:
    with (
        flin.engine.open(tmp_path / "synced", sync="always") as db,
        ServerThread(store_of(db), sync="always") as server,
        RawClient(server.port) as watcher,
        RawClient(server.port) as writer,
    ):
        talk(watcher, "FLIN.WATCH ''")
        talk(writer, "SET a 1")
        assert shown(watcher.read())[2] == b"a"
        assert db.stats()["wal"]["synced_position"] > 0


def test_who_tracks_a_key_is_told_of_its_range_delete(writer: RawClient, watcher: RawClient) -> None:
    talk(writer, "MSET a 1 b 2")
    talk(watcher, "CLIENT TRACKING ON")
    talk(watcher, "GET b")
    talk(writer, "FLIN.DELRANGE b c")
    told = watcher.read()
    assert [item.payload for item in told.items[1].items] == [b"b"]
