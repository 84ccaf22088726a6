"""A message never arrives before the write that it tells of is durable, over real sockets."""

from __future__ import annotations

import socket
import threading

import pytest

from flin.errors import StorageError
from flin.net.batch.refusal import MISCONF
from flin.testing.process import PATIENCE_SECONDS
from tests.net.fake_store import FakeStore
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread


class SlowSync(FakeStore):
    """A store that syncs when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun = threading.Event()

    def sync(self) -> None:
        position = self.position
        self.begun.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        super().sync()
        self.synced_position = position


def test_in_always_it_arrives_after_the_sync() -> None:
    store = SlowSync()
    with ServerThread(store, sync="always") as server, RawClient(server.port) as listener:
        listener.call(b"PSUBSCRIBE", b"c", b"__key*")
        listener.read()
        with RawClient(server.port) as writer:
            writer.send([[b"CONFIG", b"SET", b"notify-keyspace-events", b"KA"], [b"SET", b"k", b"v"]])
            writer.send([[b"PUBLISH", b"c", b"told"]])
            assert store.begun.wait(PATIENCE_SECONDS)
            listener._socket.settimeout(0.1)
            with pytest.raises(TimeoutError):
                listener._socket.recv(1, socket.MSG_PEEK)
            listener._socket.settimeout(PATIENCE_SECONDS)
            store.gate.set()
            told = [listener.read().items[-1].payload for _ in range(2)]
            assert told == [b"set", b"told"]
            assert store.synced_position == store.position
            for number in range(50):
                writer.call(b"SET", b"k", b"%d" % number)
                assert listener.read().items[-1].payload == b"set"
                assert store.synced_position == store.position


def test_in_always_a_sync_that_fails_tells_nobody_but_the_writer() -> None:
    store = SlowSync()
    store.sync_failure = StorageError("sync", "wal", "input/output error")
    with (
        ServerThread(store, sync="always") as server,
        RawClient(server.port) as listener,
        RawClient(server.port) as writer,
    ):
        listener.call(b"SUBSCRIBE", b"c")
        writer.send([[b"SET", b"k", b"v"], [b"PUBLISH", b"c", b"told"]])
        assert store.begun.wait(PATIENCE_SECONDS)
        store.gate.set()
        assert [writer.read().payload for _ in range(2)] == [MISCONF.encode()] * 2
        assert listener.call(b"PING").items[0].payload == b"pong", "and nothing before it"
        store.sync_failure = None
