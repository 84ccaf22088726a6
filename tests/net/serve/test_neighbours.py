"""PUBLISH reaches the subscribers of all workers, over real sockets."""

from __future__ import annotations

import logging
import os
import random
import socket

import pytest

from flin.errors import StorageError
from flin.net.batch.refusal import MISCONF
from flin.net.cluster.board import Board, new_board
from flin.net.messages.line import Frames
from flin.net.serve import neighbours
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.fake_store import FakeStore
from tests.net.linked_servers import LinkedServers
from tests.net.raw_client import RawClient
from tests.net.serve.test_durable_messages import SlowSync


def told(client: RawClient) -> bytes:
    return client.read().items[-1].payload


def test_channels_and_patterns_of_all_workers() -> None:
    with (
        LinkedServers(None, None, None) as linked,
        RawClient(linked.servers[0].port) as publisher,
        RawClient(linked.servers[1].port) as one,
        RawClient(linked.servers[2].port) as other,
    ):
        one.call(b"SUBSCRIBE", b"news")
        other.call(b"HELLO", b"3")
        other.call(b"PSUBSCRIBE", b"n*")
        assert publisher.call(b"PUBLISH", b"news", b"first").payload == b"0", "only its own are counted"
        assert one.read().data == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nfirst\r\n"
        assert other.read().data == b">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nfirst\r\n"
        publisher.call(b"SUBSCRIBE", b"news")
        with RawClient(linked.servers[1].port) as another:
            assert another.call(b"PUBLISH", b"news", b"second").payload == b"1"
            assert [told(each) for each in (publisher, one, other)] == [b"second"] * 3
            assert another.call(b"PUBSUB", b"NUMPAT").payload == b"0", "each tells of its own"
            one.call(b"UNSUBSCRIBE", b"news")
            another.call(b"PUBLISH", b"nothing", b"third")
            assert told(other) == b"third"
        assert one.call(b"PING").payload == b"PONG"


def test_pipelines_transactions_and_scripts_in_order() -> None:
    with (
        LinkedServers(None, None) as linked,
        RawClient(linked.servers[0].port) as publisher,
        RawClient(linked.servers[1].port) as listener,
    ):
        listener.call(b"SUBSCRIBE", b"c")
        publisher.send([[b"PUBLISH", b"c", b"%03d" % number] for number in range(300)])
        publisher.send([[b"MULTI"], [b"PUBLISH", b"c", b"in"], [b"PUBLISH", b"d", b"x"], [b"EXEC"]])
        publisher.send([[b"EVAL", b"redis.call('publish', 'c', 'script') return redis.call('set', 'b', 1)", b"0"]])
        publisher.send([[b"EVAL", b"redis.call('publish', 'c', 'kept') error('no')", b"0"]])
        publisher.send([[b"PUBLISH", b"c", b"x" * 3_000_000], [b"PUBLISH", b"c", b"last"]])
        payloads = [told(listener) for _ in range(305)]
    assert payloads[:300] == [b"%03d" % number for number in range(300)]
    assert payloads[300:303] == [b"in", b"script", b"kept"]
    assert [*map(len, payloads[303:])] == [3_000_000, 4]


def test_keyspace_events_and_sharded_channels_stay_where_they_are() -> None:
    """As in Redis Cluster."""
    with (
        LinkedServers(None, None, notify_keyspace_events="KEA") as linked,
        RawClient(linked.servers[0].port) as client,
        RawClient(linked.servers[0].port) as near,
        RawClient(linked.servers[1].port) as far,
    ):
        near.call(b"PSUBSCRIBE", b"*")
        far.call(b"PSUBSCRIBE", b"*")
        client.call(b"SET", b"b", b"1")
        client.call(b"SPUBLISH", b"b", b"x")
        client.call(b"PUBLISH", b"c", b"all")
        assert [told(near) for _ in range(3)] == [b"set", b"b", b"all"]
        assert told(far) == b"all"


def test_in_always_they_arrive_after_the_sync() -> None:
    store = SlowSync()
    with (
        LinkedServers(store, None, sync="always") as linked,
        RawClient(linked.servers[1].port) as listener,
        RawClient(linked.servers[0].port) as writer,
    ):
        listener.call(b"SUBSCRIBE", b"c")
        writer.send([[b"SET", b"b", b"v"], [b"PUBLISH", b"c", b"told"]])
        assert store.begun.wait(PATIENCE_SECONDS)
        assert listener.call(b"PING").items[0].payload == b"pong", "and nothing before it"
        store.gate.set()
        assert told(listener) == b"told"
        assert store.synced_position == store.position
        for number in range(50):
            writer.send([[b"SET", b"b", b"%d" % number], [b"PUBLISH", b"c", b"%d" % number]])
            assert told(listener) == b"%d" % number
            assert store.synced_position == store.position


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_those_of_writes_that_fail_do_not_leave(sync: str) -> None:
    store = SlowSync() if sync == "always" else FakeStore()
    error = StorageError("write", "wal", "no space left")
    with (
        LinkedServers(store, None, sync=sync) as linked,
        RawClient(linked.servers[1].port) as listener,
        RawClient(linked.servers[0].port) as writer,
    ):
        listener.call(b"SUBSCRIBE", b"c")
        if isinstance(store, SlowSync):
            store.sync_failure = error
            store.gate.set()
        else:
            store.failure = error
        writer.send([[b"SET", b"b", b"v"], [b"PUBLISH", b"c", b"lost"]])
        assert [writer.read().payload for _ in range(2)] == [MISCONF.encode()] * 2
        store.failure = store.sync_failure = None
        if sync == "interval":
            writer.call(b"PUBLISH", b"c", b"told")
            assert told(listener) == b"told"
        else:
            assert listener.call(b"PING").items[0].payload == b"pong", "and nothing before it"


def test_a_refused_batch_of_the_listeners_worker_takes_no_message_along() -> None:
    """They tell of what another worker has written."""
    store = FakeStore()
    with (
        LinkedServers(None, store) as linked,
        RawClient(linked.servers[0].port) as publisher,
        RawClient(linked.servers[1].port) as listener,
        RawClient(linked.servers[1].port) as writer,
    ):
        listener.call(b"SUBSCRIBE", b"c")
        store.failure = StorageError("write", "wal", "no space left")
        server = linked.servers[1]

        def both() -> None:  # in one round of the loop
            server.server.services.pubsub.deliver([(b"c", b"of another")])
            server.server.services.pubsub.publish(b"c", b"own")
            server.server.services.databases.keyspaces[0].put_value(b"foo", b"1")
            server.server.services.tick.schedule_end()

        server.call(both)
        assert told(listener) == b"of another"
        store.failure = None
        publisher.call(b"PUBLISH", b"c", b"next")
        assert told(listener) == b"next"
        assert writer.call(b"GET", b"foo").is_null


def test_while_a_long_script_runs_messages_of_others_arrive() -> None:
    with (
        LinkedServers(None, None) as linked,
        RawClient(linked.servers[0].port) as publisher,
        RawClient(linked.servers[1].port) as listener,
        RawClient(linked.servers[1].port) as busy,
    ):
        listener.call(b"SUBSCRIBE", b"c")
        busy.send([[b"EVAL", b"redis.call('publish', 'c', 'own') while true do end", b"0"]])
        wait_until(
            lambda: linked.servers[1].server.services.long_script.job is not None, "the script has left the loop"
        )
        publisher.call(b"PUBLISH", b"c", b"of another")
        assert told(listener) == b"of another"
        with RawClient(linked.servers[1].port) as killer:
            killer.call(b"SCRIPT", b"KILL")
        assert busy.read().kind == b"-"
        assert listener.call(b"PING").items[0].payload == b"pong", "what it did is taken back"


def test_a_worker_that_starts_again_is_heard_again() -> None:
    with (
        LinkedServers(None, None, None) as linked,
        RawClient(linked.servers[0].port) as publisher,
    ):
        for _ in range(3):
            linked.board.clear(1)
            server = linked.start(1)
            with RawClient(server.port) as listener:
                listener.call(b"SUBSCRIBE", b"c")
                publisher.call(b"PUBLISH", b"c", b"told")
                assert told(listener) == b"told"
                with RawClient(linked.servers[2].port) as other:
                    other.call(b"PUBLISH", b"c", b"by another")
                    assert told(listener) == b"by another"
            publisher.call(b"PUBLISH", b"c", b"nobody")


def test_one_that_does_not_read_misses_messages_and_then_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(neighbours, "MAX_UNSENT_BYTES", 1 << 20)
    with LinkedServers(None, None) as linked, RawClient(linked.servers[0].port) as publisher:
        ours, theirs = socket.socketpair()
        first = linked.servers[0]
        first.call(lambda: first.server._neighbours._attach(1, ours))  # type: ignore[union-attr]
        linked.board.set_listening(1, True)
        payload = b"x" * 100_000
        with caplog.at_level(logging.WARNING):
            for number in range(40):
                publisher.call(b"PUBLISH", b"c", b"%02d" % number + payload)
        assert [record.message for record in caplog.records] == [
            "worker 1 does not read what is published here: more than 1048576 bytes wait, so its subscribers miss "
            "messages (1 since the last report)"
        ]
        frames = Frames()
        seen: list[bytes] = []
        theirs.settimeout(PATIENCE_SECONDS)

        def read_until(number: bytes) -> None:
            while not seen or seen[-1] != number:
                seen.extend(message[:2] for _, message in frames.feed(theirs.recv(1 << 20)))

        wait_until(lambda: first.call(lambda: first.server._neighbours._ends[1].unsent_bytes) > 1 << 20, "it is full")  # type: ignore[union-attr]
        kept = 0
        while kept < 10:
            seen.extend(message[:2] for _, message in frames.feed(theirs.recv(1 << 20)))
            kept = len(seen)
        publisher.call(b"PUBLISH", b"c", b"zz" + payload)
        read_until(b"zz")
        theirs.close()
    numbers = seen[:-1]
    assert numbers == [b"%02d" % number for number in range(len(numbers))]
    assert 10 <= len(numbers) < 20


def test_random_publications_of_many() -> None:
    """What each subscriber gets of each publisher is what that has published, in order."""
    chance = random.Random(7)
    with LinkedServers(None, None, None) as linked:
        ports = [server.port for server in linked.servers]
        publishers = [RawClient(port) for port in ports]
        listeners = [RawClient(chance.choice(ports)) for _ in range(6)]
        for listener in listeners:
            listener.call(b"SUBSCRIBE", b"c")
        said: list[list[bytes]] = [[], [], []]
        for number in range(200):
            which = chance.randrange(3)
            payloads = [b"%d %d %d" % (which, number, each) for each in range(chance.choice((1, 1, 2, 16)))]
            publishers[which].send([[b"PUBLISH", b"c", payload] for payload in payloads])
            said[which] += payloads
        total = sum(map(len, said))
        for listener in listeners:
            got = [told(listener) for _ in range(total)]
            for which in range(3):
                assert [each for each in got if each[:1] == b"%d" % which] == said[which]
        for client in (*publishers, *listeners):
            client.close()


def test_one_that_ends_before_it_serves() -> None:
    descriptor = new_board(1)
    board = Board(descriptor, 1)
    os.close(descriptor)
    control, other = socket.socketpair()
    with other:
        own = neighbours.Neighbours(board, control, 0)
        own.close()
        own.close()
        assert other.recv(1) == b""
