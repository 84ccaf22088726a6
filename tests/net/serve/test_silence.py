"""CLIENT REPLY beside a batch that the engine refuses, and a client that goes."""

from __future__ import annotations

from flin.errors import StorageError
from flin.net.batch.refusal import MISCONF
from flin.net.client.session import Closure, Silence
from tests.net.fake_peer import Clients

FULL = StorageError("write", "wal", "no space left")
REFUSED = f"-{MISCONF}\r\n".encode()


def test_replies_are_matched_with_the_requests_that_have_one() -> None:
    clients = Clients()
    peer = clients.connect()
    peer.say(b"CLIENT REPLY SKIP", b"SET a 1", b"SET b 1", b"PING", b"CLIENT REPLY OFF", b"SET c 1", b"PING")
    peer.say(b"CLIENT REPLY ON", b"SET d 1", b"GET e")
    clients.store.failure = FULL
    clients.loop.run()
    assert peer.read_all() == REFUSED + b"+PONG\r\n+OK\r\n" + REFUSED + b"$-1\r\n"


def test_gates_open_again_with_the_reply_that_is_left_out() -> None:
    peer = Clients().connect()
    session = peer.connection.session
    assert peer.ask(b"CLIENT REPLY SKIP") == b""
    assert (session.silence, session.closed_by, session.skips_gates) == (Silence.NEXT, Closure.REPLY, False)
    assert peer.ask(b"PING") == b""
    assert (session.silence, session.closed_by, session.skips_gates) == (Silence.NONE, Closure.NONE, True)


def test_only_on_is_allowed_in_a_transaction() -> None:
    peer = Clients().connect()
    replies = peer.ask(b"MULTI", b"CLIENT REPLY OFF", b"CLIENT REPLY SKIP", b"CLIENT REPLY ON", b"EXEC")
    refused = b"-ERR CLIENT REPLY OFF and SKIP are not allowed inside a transaction\r\n"
    assert replies == b"+OK\r\n" + b"+QUEUED\r\n" * 3 + b"*3\r\n" + refused * 2 + b"+OK\r\n"


def test_quit_closes_a_silent_client() -> None:
    peer = Clients().connect()
    assert peer.ask(b"CLIENT REPLY OFF", b"QUIT") == b""
    assert peer.is_closed


def test_an_error_of_the_protocol_is_told_to_nobody() -> None:
    peer = Clients().connect()
    peer.ask(b"CLIENT REPLY OFF")
    peer.send_raw(b"*1\r\n!\r\n")
    assert peer.read_all() == b""
    assert peer.is_closed
