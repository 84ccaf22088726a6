"""Subscribers that do not read are closed by their class's limits; the others do not suffer."""

from __future__ import annotations

from flin.errors import StorageError
from flin.net.run.tick import OUTLETS
from tests.net.fake_peer import Clients, Peer

MEGABYTE = b"x" * (1 << 20)


def subscriber(clients: Clients) -> Peer:
    peer = clients.connect()
    peer.ask(b"SUBSCRIBE c")
    return peer


def publish(publisher: Peer, payload: bytes, times: int = 1) -> None:
    for _ in range(times):
        publisher.say([b"PUBLISH", b"c", payload])
        publisher._loop.run()
        publisher.read_all()


def configure(clients: Clients, limits: bytes) -> None:
    clients.services.config.set({b"client-output-buffer-limit": limits})


def test_beyond_the_hard_limit_a_subscriber_is_closed_and_the_others_get_everything() -> None:
    clients = Clients(memory_limit=1 << 30)
    stuck, reader, publisher = subscriber(clients), subscriber(clients), clients.connect()
    for _ in range(40):
        publish(publisher, MEGABYTE)
        assert len(reader.read_all()) == len(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1048576\r\n\r\n") + len(MEGABYTE)
    assert stuck.is_closed
    assert not reader.is_closed
    assert publisher.ask(b"PUBSUB NUMSUB c") == b"*2\r\n$1\r\nc\r\n:1\r\n"
    assert clients.services.counters.clients_closed_for_output == 1


def test_the_soft_limit_is_for_its_seconds() -> None:
    clients = Clients(memory_limit=1 << 30)
    configure(clients, b"pubsub 0 3mb 5")
    stuck, slow, publisher = subscriber(clients), subscriber(clients), clients.connect()
    publish(publisher, MEGABYTE, 4)
    clients.pass_seconds(4)
    slow.read(3 << 20)
    assert not stuck.is_closed
    clients.pass_seconds(3)
    assert stuck.is_closed
    assert not slow.is_closed, "it has come back below"
    publish(publisher, MEGABYTE, 3)
    clients.pass_seconds(5)
    slow.read(1 << 20)
    publish(publisher, MEGABYTE)
    clients.pass_seconds(2)
    assert slow.is_closed, "it reads, and stays beyond"


def test_each_class_has_its_own_limit() -> None:
    clients = Clients(memory_limit=1 << 30)
    configure(clients, b"normal 2mb 0 0 pubsub 100mb 0 0")
    stuck, listener, publisher = clients.connect(), subscriber(clients), clients.connect()
    clients.store.entries[b"k"] = MEGABYTE * 3
    stuck.send(b"GET k")
    publish(publisher, MEGABYTE, 70)
    clients.pass_seconds(1)
    assert stuck.is_closed
    assert not listener.is_closed, "more than is allowed without a limit"
    configure(clients, b"pubsub 1mb 0 0")
    clients.pass_seconds(1)
    assert listener.is_closed


def test_a_round_sends_to_so_many_and_the_next_to_the_others() -> None:
    clients = Clients()
    peers = [subscriber(clients) for _ in range(OUTLETS + 100)]
    publisher = clients.connect()
    publisher.say(b"PUBLISH c 1")
    clients.loop.soon.pop(0)()
    got = [bool(peer.transport.unread) for peer in peers]
    assert sum(got) == OUTLETS - 1, "and the publisher, who came first"
    late, other = peers[-1], peers[0]
    late.say(b"PING")
    publisher.say(b"SET k v", b"PUBLISH c 2")
    assert not late.transport.unread
    clients.loop.run()
    first, second = (b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n%b\r\n" % mark for mark in (b"1", b"2"))
    assert other.read_all() == first + second
    assert late.read_all() == first + b"*2\r\n$4\r\npong\r\n$0\r\n\r\n" + second
    assert publisher.read_all() == b":612\r\n+OK\r\n:612\r\n"


def test_who_waits_for_the_next_round_keeps_the_messages_of_the_last_one_if_that_fails() -> None:
    clients = Clients()
    peers = [subscriber(clients) for _ in range(OUTLETS + 1)]
    publisher = clients.connect()
    publisher.say(b"SET k v", b"PUBLISH c 1")
    clients.loop.soon.pop(0)()
    clients.store.failure = StorageError("write", "wal", "no space left")
    publisher.say(b"SET k w", b"PUBLISH c 2")
    clients.loop.run()
    first = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n1\r\n"
    assert [peer.read_all() for peer in peers] == [first] * len(peers)


def test_in_always_the_sync_of_many_ends_in_portions() -> None:
    clients = Clients(sync="always")
    peers = [subscriber(clients) for _ in range(OUTLETS + 100)]
    publisher = clients.connect()
    publisher.say(b"SET k v", b"PUBLISH c 1")
    clients.loop.soon.pop(0)()
    assert not any(peer.transport.unread for peer in peers)
    clients.loop.soon.pop(0)()
    assert sum(bool(peer.transport.unread) for peer in peers) == OUTLETS - 1
    clients.loop.run()
    assert all(peer.transport.unread for peer in peers)


def test_the_end_of_the_server_sends_everything() -> None:
    clients = Clients()
    peers = [subscriber(clients) for _ in range(OUTLETS * 2)]
    clients.connect().say(b"PUBLISH c 1")
    clients.services.tick.end_all()
    assert all(peer.transport.unread for peer in peers)
