"""Publish and subscribe: what the differential sequences do not reach: ends, failures, limits, figures."""

from __future__ import annotations

import pytest

from flin.errors import StorageError
from flin.net.batch.refusal import MISCONF
from flin.net.messages.pubsub import Kind
from tests.net.fake_peer import Clients, Peer

REFUSED = f"-{MISCONF}\r\n".encode()
FULL = StorageError("write", "wal", "no space left")


def subscribed(clients: Clients, *names: bytes, protocol: bytes = b"2") -> Peer:
    peer = clients.connect()
    peer.ask(b"HELLO " + protocol)
    for name in names:
        peer.ask(b"SUBSCRIBE " + name)
    return peer


def message(channel: bytes, payload: bytes, mark: bytes = b"*") -> bytes:
    return mark + b"3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(payload), payload)


def test_a_message_is_one_object_for_all_of_a_protocol() -> None:
    clients = Clients()
    peers = [subscribed(clients, b"a") for _ in range(3)]
    newer = [subscribed(clients, b"a", protocol=b"3") for _ in range(2)]
    clients.connect().say(b"PUBLISH a hello")
    assert len({id(peer.connection._output.pieces[0]) for peer in peers}) == 1
    assert len({id(peer.connection._output.pieces[0]) for peer in newer}) == 1
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [message(b"a", b"hello")] * 3
    assert [peer.read_all() for peer in newer] == [message(b"a", b"hello", b">")] * 2


@pytest.mark.parametrize("end", ["close", "reset", "quit"])
def test_who_is_gone_is_subscribed_to_nothing(end: str) -> None:
    clients = Clients()
    pubsub = clients.services.pubsub
    peer = subscribed(clients, b"a", b"b")
    peer.ask(b"PSUBSCRIBE a* *")
    peer.ask(b"SSUBSCRIBE s")
    assert [len(registry) for registry in pubsub.registries] == [2, 2, 1]
    if end == "close":
        peer.transport.abort()
    else:
        peer.ask(end.upper().encode())
    assert [len(registry) for registry in pubsub.registries] == [0, 0, 0]
    assert clients.connect().ask(b"PUBLISH a x") == b":0\r\n"
    assert not pubsub._index


def test_who_has_quit_gets_no_message_of_the_same_round() -> None:
    clients = Clients()
    peer = subscribed(clients, b"a", protocol=b"3")
    peer.say(b"PING", b"QUIT")
    clients.connect().say(b"PUBLISH a x")
    clients.loop.run()
    assert peer.read_all() == b"+PONG\r\n+OK\r\n"


def test_a_refused_batch_drops_messages_and_tells_the_publisher() -> None:
    clients = Clients()
    listener, publisher = subscribed(clients, b"a"), clients.connect()
    clients.store.failure = FULL
    publisher.say(b"PUBLISH none x", b"SET k v", b"PUBLISH a told", b"PUBSUB NUMPAT")
    clients.loop.run()
    assert publisher.read_all() == b":0\r\n" + REFUSED * 2 + b":0\r\n"
    assert listener.read_all() == b""
    publisher.say(b"MULTI", b"SET k v", b"PUBLISH a told", b"EXEC")
    clients.loop.run()
    assert publisher.read_all().endswith(b"-EXECABORT Transaction discarded because of: " + REFUSED[1:])
    assert listener.read_all() == b""
    clients.store.failure = None
    publisher.ask(b"SET k v", b"PUBLISH a told")
    assert listener.read_all() == message(b"a", b"told")


def test_without_a_write_nothing_fails() -> None:
    clients = Clients()
    listener = subscribed(clients, b"a")
    clients.store.failure = FULL
    assert clients.connect().ask(b"PUBLISH a x") == b":1\r\n"
    assert listener.read_all() == message(b"a", b"x")


def test_replies_of_several_frames_are_judged_as_one() -> None:
    clients = Clients()
    peer = clients.connect()
    peer.ask(b"HELLO 3")
    clients.store.failure = FULL
    peer.say(b"SUBSCRIBE a b", b"SET k v", b"MULTI", b"SUBSCRIBE c d", b"PUBSUB NUMPAT", b"EXEC", b"SET l v", b"PING")
    clients.loop.run()
    told = peer.read_all()
    assert told.count(b">3\r\n$9\r\nsubscribe\r\n") == 4
    assert told.endswith(b":4\r\n:0\r\n" + REFUSED + b"+PONG\r\n")
    assert told.count(REFUSED) == 2


def test_a_transaction_that_is_taken_back_publishes_nothing() -> None:
    clients = Clients(memory_limit=16 << 20)
    listener, publisher = subscribed(clients, b"a"), clients.connect()
    publisher.send(b"MULTI", b"PUBLISH a told", b"PUBLISH a again", b"EXEC")
    assert listener.read_all() == message(b"a", b"told") + message(b"a", b"again")
    limit = clients.services.config.largest_reply_bytes
    publisher.send(b"SETRANGE big %d x" % (limit // 2), b"MULTI", b"PUBLISH a told", b"GET big", b"GET big", b"EXEC")
    assert b"-EXECABORT" in publisher.read_all()
    assert listener.read_all() == b""


def test_a_message_to_oneself_stands_before_the_reply_of_exec() -> None:
    """Redis puts it into the array, which then has one element too many."""
    clients = Clients()
    peer = subscribed(clients, b"a", protocol=b"3")
    told = peer.ask(b"MULTI", b"PUBLISH a x", b"EXEC")
    assert told == b"+OK\r\n+QUEUED\r\n" + message(b"a", b"x", b">") + b"*1\r\n:1\r\n"


def test_subscriptions_count_as_the_client_s_buffers() -> None:
    clients = Clients(memory_limit=16 << 20)
    peer = clients.connect()
    peer.ask(b"HELLO 3")
    session = peer.connection.session
    before = session.kept_bytes()
    peer.ask(b"SUBSCRIBE " + b"x" * 1000)
    assert 1000 < session.kept_bytes() - before < 3000
    peer.ask(b"UNSUBSCRIBE")
    assert session.kept_bytes() == before
    for start in range(0, 12_000, 400):
        peer.ask(b"PSUBSCRIBE " + b" ".join(b"%d*" % number for number in range(start, start + 400)))
    assert not peer.is_closed
    clients.services.clients.bound_buffers()
    assert peer.is_closed
    assert [len(registry) for registry in clients.services.pubsub.registries] == [0, 0, 0]


def test_who_listens_may_be_silent_for_longer_than_the_timeout() -> None:
    clients = Clients(timeout=5)
    listener, other = subscribed(clients, b"a"), clients.connect()
    clients.pass_seconds(10)
    assert (listener.is_closed, other.is_closed) == (False, True)


def test_client_list_and_info_count() -> None:
    clients = Clients()
    peer = subscribed(clients, b"a", b"b", protocol=b"3")
    peer.ask(b"PSUBSCRIBE a* *")
    peer.ask(b"SSUBSCRIBE s")
    told = peer.ask(b"CLIENT INFO")
    assert b" flags=P " in told
    assert b" sub=2 psub=2 ssub=1 " in told
    subscribed(clients, b"a")
    info = peer.ask(b"INFO stats")
    assert b"pubsub_channels:2\r\npubsub_patterns:2\r\npubsubshard_channels:1\r\n" in info
    assert clients.services.pubsub.number_of(Kind.CHANNEL, b"a") == 2


def test_hello_changes_what_a_subscribed_client_may_send() -> None:
    clients = Clients()
    peer = subscribed(clients, b"a", protocol=b"3")
    assert peer.ask(b"GET x") == b"_\r\n"
    peer.ask(b"HELLO 2")
    assert peer.ask(b"GET x").startswith(b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE")
    assert peer.ask(b"PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    peer.ask(b"UNSUBSCRIBE")
    assert peer.ask(b"GET x") == b"$-1\r\n"


def test_patterns_that_cannot_be_read_subscribe_to_nothing() -> None:
    clients = Clients()
    peer = clients.connect()
    assert peer.ask(b"PSUBSCRIBE a* " + b"[ab]" * 1000).startswith(b"-ERR")
    assert peer.ask(b"PUBSUB NUMPAT") == b":0\r\n"


def expecting(clients: Clients) -> Peer:
    """A client whose next pipeline is recognised as one by its bytes: it has sent one like it."""
    peer = clients.connect()
    peer.ask(*[b"PUBLISH z %d" % number for number in range(8)])
    return peer


def test_a_pipeline_of_messages_is_one_piece_of_each_output() -> None:
    clients = Clients()
    older, newer = subscribed(clients, b"a"), subscribed(clients, b"a", protocol=b"3")
    publisher = expecting(clients)
    publisher.say(*[b"PUBLISH a %d" % number for number in range(8)])
    assert len(older.connection._output.pieces) == len(newer.connection._output.pieces) == 1
    clients.loop.run()
    assert publisher.read_all() == b":2\r\n" * 8
    assert older.read_all() == b"".join(message(b"a", b"%d" % number) for number in range(8))
    assert newer.read_all() == b"".join(message(b"a", b"%d" % number, b">") for number in range(8))
    assert publisher.ask(*[b"PUBLISH b %d" % number for number in range(8)]) == b":0\r\n" * 8


def test_a_pipeline_to_several_channels_and_patterns_keeps_its_order() -> None:
    clients = Clients()
    listener = subscribed(clients, b"a", b"b")
    publisher = expecting(clients)
    requests = [b"PUBLISH %c %d" % (b"abc"[number % 3], number) for number in range(9)]
    assert publisher.ask(*requests) == b":1\r\n:1\r\n:0\r\n" * 3
    expected = [message(b"%c" % b"abc"[number % 3], b"%d" % number) for number in range(9) if number % 3 < 2]
    assert listener.read_all() == b"".join(expected)
    listener.ask(b"PSUBSCRIBE *")
    assert publisher.ask(*[b"PUBLISH a %d" % number for number in range(4)]) == b":2\r\n" * 4
    assert listener.read_all().count(b"pmessage") == 4


def test_a_pipeline_to_oneself_has_each_message_before_its_reply() -> None:
    clients = Clients()
    peer = subscribed(clients, b"a", protocol=b"3")
    peer.ask(*[b"PUBLISH z %d" % number for number in range(8)])
    told = peer.ask(*[b"PUBLISH a %d" % number for number in range(4)])
    assert told == b"".join(message(b"a", b"%d" % number, b">") + b":1\r\n" for number in range(4))


def test_a_pipeline_in_a_refused_batch_tells_nobody() -> None:
    clients = Clients()
    listener, publisher, writer = subscribed(clients, b"a"), expecting(clients), clients.connect()
    clients.store.failure = FULL
    writer.say(b"SET k v")
    publisher.say(*[b"PUBLISH a %d" % number for number in range(4)])
    clients.loop.run()
    assert publisher.read_all() == REFUSED * 4
    assert listener.read_all() == b""


def test_messages_reach_a_client_that_waits_for_a_key_or_the_disk() -> None:
    clients = Clients()
    peer, publisher = subscribed(clients, b"a", protocol=b"3"), clients.connect()
    peer.send(b"BLPOP l 0")
    publisher.ask(b"PUBLISH a one")
    assert peer.read_all() == message(b"a", b"one", b">")
    publisher.send(b"RPUSH l x", b"PUBLISH a two")
    assert peer.read_all() == b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n" + message(b"a", b"two", b">")
    clients.store.entries[b"k"] = b"v"
    clients.store.make_cold(b"k")
    peer.say(b"GET k", b"PING")
    publisher.say(b"PUBLISH a three")
    clients.loop.run()
    assert sorted(peer.read_all().splitlines()) == sorted(
        (message(b"a", b"three", b">") + b"$1\r\nv\r\n+PONG\r\n").splitlines()
    )


def test_a_client_that_does_not_read_is_still_sent_what_comes_first() -> None:
    """Messages wait behind its unread replies, in order, and its requests do not run meanwhile."""
    clients = Clients(memory_limit=1 << 30)
    clients.store.entries[b"big"] = b"x" * (2 << 20)
    peer, publisher = subscribed(clients, b"a", protocol=b"3"), clients.connect()
    peer.send(b"GET big")
    publisher.ask(b"PUBLISH a one")
    peer.send(b"PING")
    publisher.ask(b"PUBLISH a two")
    told = peer.read_all()
    assert told.endswith(message(b"a", b"one", b">") + message(b"a", b"two", b">") + b"+PONG\r\n")
