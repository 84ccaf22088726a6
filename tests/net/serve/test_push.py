"""Messages that a connection has not asked for: in order among its replies, never before the writes of their tick, and
gone with them.
"""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from flin.errors import StorageError
from flin.net.batch.pending import BATCH_BYTES
from flin.net.batch.refusal import MISCONF
from flin.net.client.link import NO_LINK
from flin.net.messages.message import message_of
from tests.net.fake_peer import Clients, Peer, PromptExecutor

FULL = StorageError("write", "wal", "no space left")
BROKEN = StorageError("sync", "wal", "input/output error")
REFUSED = f"-{MISCONF}\r\n".encode()


def tell(peer: Peer, data: bytes) -> None:
    peer.connection.session.link.push(data)


def test_a_message_stands_among_the_replies_in_order() -> None:
    clients = Clients()
    peer = clients.connect()
    peer.say(b"SET a 1", b"GET a")
    tell(peer, b">1\r\n:7\r\n")
    tell(peer, b">1\r\n:8\r\n")
    peer.say(b"PING")
    assert peer.transport.unread == b"", "the tick has not ended"
    clients.loop.run()
    assert peer.read_all() == b"+OK\r\n$1\r\n1\r\n>1\r\n:7\r\n>1\r\n:8\r\n+PONG\r\n"


def test_a_message_alone_enters_the_tick() -> None:
    clients = Clients()
    writer, reader = clients.connect(), clients.connect()
    writer.say(b"SET a 1")
    tell(reader, b">1\r\n:7\r\n")
    assert clients.store.entries == {}
    assert reader.transport.unread == b""
    clients.loop.run()
    assert reader.read_all() == b">1\r\n:7\r\n"
    assert clients.store.entries == {b"a": b"1"}


def test_a_failed_tick_drops_messages_and_judges_the_replies_beside_them() -> None:
    clients = Clients()
    writer, reader = clients.connect(), clients.connect()
    reader.say(b"PING")
    writer.say(b"SET a 1")
    tell(reader, b">1\r\n:7\r\n")
    tell(writer, b">1\r\n:8\r\n")
    reader.say(b"GET a", b"SET b 1", b"GET c")
    clients.store.failure = FULL
    clients.loop.run()
    clients.store.failure = None
    assert reader.read_all() == b"+PONG\r\n$-1\r\n" + REFUSED + b"$-1\r\n"
    assert writer.read_all() == REFUSED
    tell(reader, b">1\r\n:9\r\n")
    assert reader.ask(b"PING") == b">1\r\n:9\r\n+PONG\r\n"


def test_messages_of_an_earlier_batch_of_the_tick_stay() -> None:
    clients = Clients()
    writer, reader = clients.connect(), clients.connect()
    tell(reader, b">1\r\n:1\r\n")
    writer.say(b"PING", [b"SET", b"large", b"x" * BATCH_BYTES])
    assert clients.store.entries, "it is committed in the middle of the tick"
    writer.say(b"SET a 1")
    tell(reader, b">1\r\n:2\r\n")
    tell(writer, b">1\r\n:3\r\n")
    clients.store.failure = FULL
    clients.loop.run()
    assert reader.read_all() == b">1\r\n:1\r\n"
    assert writer.read_all() == b"+PONG\r\n+OK\r\n" + REFUSED


def test_two_batches_of_one_tick_may_be_refused() -> None:
    clients = Clients()
    writer = clients.connect()
    tell(writer, b">1\r\n:1\r\n")
    clients.store.failure = FULL
    writer.say(b"PING", [b"SET", b"large", b"x" * BATCH_BYTES])
    tell(writer, b">1\r\n:2\r\n")
    writer.say(b"SET a 1")
    clients.loop.run()
    assert writer.read_all() == b"+PONG\r\n" + REFUSED * 2


class LateExecutor(PromptExecutor):
    """Syncs when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[None], object]] = []

    def submit(self, function: object, /, *args: object, **kwargs: object) -> Future[None]:  # type: ignore[override]
        future: Future[None] = Future()
        self.calls.append((future, function))
        return future

    def run(self) -> None:
        for future, function in self.calls.copy():
            self.calls.remove((future, function))
            done = PromptExecutor.submit(self, function)  # type: ignore[arg-type]
            error = done.exception()
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> tuple[Clients, LateExecutor]:
    executor = LateExecutor()
    monkeypatch.setattr("tests.net.fake_peer.PromptExecutor", lambda: executor)
    return Clients(sync="always"), executor


def test_in_always_a_message_waits_for_the_sync_of_its_tick(always: tuple[Clients, LateExecutor]) -> None:
    clients, executor = always
    writer, reader = clients.connect(), clients.connect()
    writer.say(b"SET a 1")
    tell(reader, b">1\r\n:7\r\n")
    reader.say(b"GET b")
    clients.loop.run()
    assert clients.store.entries == {b"a": b"1"}
    tell(reader, b">1\r\n:8\r\n")
    clients.loop.run()
    assert reader.transport.unread == b""
    executor.run()
    clients.loop.run()
    assert reader.read_all() == b">1\r\n:7\r\n$-1\r\n>1\r\n:8\r\n"
    assert writer.read_all() == b"+OK\r\n"
    tell(reader, b">1\r\n:9\r\n")
    clients.loop.run()
    assert reader.read_all() == b">1\r\n:9\r\n", "nothing is unsynced"


def test_in_always_a_tracked_read_waits_for_its_keys_alone_and_an_invalidation_for_the_write(
    always: tuple[Clients, LateExecutor],
) -> None:
    clients, executor = always
    writer, reader, other = (clients.connect() for _ in range(3))
    for peer in (reader, other):
        peer.ask(b"HELLO 3", b"CLIENT TRACKING ON", b"GET c")
    reader.ask(b"GET a")
    writer.say(b"SET a 1")
    reader.say(b"GET b")
    other.say(b"GET b")
    clients.loop.run()
    other.say(b"GET a")
    clients.loop.run()
    assert other.read_all() == b"_\r\n", "b is durable, a is not"
    assert reader.transport.unread == b"", "its output has a message about a"
    executor.run()
    clients.loop.run()
    assert reader.read_all() == b"_\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
    assert other.read_all() == b"$1\r\n1\r\n"


def test_in_always_a_sync_that_fails_drops_the_messages_that_waited_for_it(
    always: tuple[Clients, LateExecutor],
) -> None:
    clients, executor = always
    writer, reader = clients.connect(), clients.connect()
    reader.say(b"PING")
    tell(reader, b">1\r\n:7\r\n")
    writer.say(b"SET a 1")
    tell(writer, b">1\r\n:8\r\n")
    tell(reader, b">1\r\n:9\r\n")
    reader.say(b"GET b", b"GET a")
    clients.loop.run()
    clients.store.sync_failure = BROKEN
    executor.run()
    clients.loop.run()
    assert reader.read_all() == b"+PONG\r\n$-1\r\n" + REFUSED
    assert writer.read_all() == REFUSED


def test_who_ends_is_told_nothing_more() -> None:
    clients = Clients()
    peer = clients.connect()
    session = peer.connection.session
    assert peer.ask(b"QUIT") == b"+OK\r\n"
    assert session.link is NO_LINK
    session.link.push(b">1\r\n:7\r\n")
    stuck = clients.connect()
    stuck.say(b"PING", b"QUIT")
    clients.loop.run()
    tell(stuck, b">1\r\n:7\r\n")
    clients.loop.run()
    assert stuck.read_all() == b"+PONG\r\n+OK\r\n"


def test_one_object_serves_all_who_get_it() -> None:
    clients = Clients()
    peers = [clients.connect() for _ in range(3)]
    message = message_of(b">1\r\n:7\r\n", clients.pending.batches)
    for peer in peers:
        tell(peer, message)
        assert peer.connection._output.pieces[0] is message
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b">1\r\n:7\r\n"] * 3
