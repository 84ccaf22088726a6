"""Connections over real sockets: order, limits, ends, and that one client's trouble affects no other."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from flin.errors import StorageError
from flin.net.batch.refusal import MISCONF
from flin.net.command.registry import calls_of_all
from flin.net.serve.connection import TURN_COMMANDS, Connection
from flin.net.serve.dispatch import run
from flin.net.serve.peer import TransportPeer
from flin.testing.process import PATIENCE_SECONDS
from tests.net.fake_store import FakeStall, FakeStore
from tests.net.serving import ServerThread


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    with ServerThread(uvloop=request.param) as started:
        yield started


def ask(sock: socket.socket, data: bytes, expected: bytes) -> None:
    sock.sendall(data)
    assert read(sock, len(expected)) == expected


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            break
        data += part
    return data


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def eventually(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def test_inline_arrays_and_pipelines(server: ServerThread) -> None:
    with server.connect() as sock:
        ask(sock, b"PING\r\n", b"+PONG\r\n")
        ask(sock, b"SET a 1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nINCR a\r\n", b"+OK\r\n$1\r\n1\r\n:2\r\n")
        for byte in b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n":
            sock.sendall(bytes((byte,)))
        assert read(sock, 7) == b"$1\r\n2\r\n"


def test_a_long_pipeline_keeps_its_order(server: ServerThread) -> None:
    with server.connect() as sock:
        count = 5000
        writer = threading.Thread(
            target=sock.sendall, args=(b"".join(b"SET k%d %d\r\nGET k%d\r\n" % (n, n, n) for n in range(count)),)
        )
        writer.start()
        expected = b"".join(b"+OK\r\n$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(count))
        assert read(sock, len(expected)) == expected
        writer.join()


def test_the_end_of_the_input_is_answered_before_the_end(server: ServerThread) -> None:
    for data, expected in (
        (b"PING\r\nPING\r\nPI", b"+PONG\r\n+PONG\r\n"),
        (b"PING\r\n" * 600, b"+PONG\r\n" * 600),
        (b"QUIT\r\nPING\r\n", b"+OK\r\n"),
        (b"", b""),
    ):
        with server.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert read_to_end(sock) == expected


def test_a_protocol_error_is_answered_once_and_closes(server: ServerThread) -> None:
    with server.connect() as sock:
        sock.sendall(b"SET a 1\r\n*1\r\n:5\r\nSET a 2\r\n")
        assert read_to_end(sock) == b"+OK\r\n-ERR Protocol error: expected '$', got ':'\r\n"
    with server.connect() as sock:
        ask(sock, b"GET a\r\n", b"$1\r\n1\r\n")


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01\x02\x00", b"Host: x\r\n"])
def test_other_protocols_are_closed_silently(server: ServerThread, data: bytes) -> None:
    with server.connect() as sock:
        sock.sendall(data)
        with suppress(ConnectionResetError):  # closed with bytes unread
            assert read_to_end(sock) == b""


def test_one_client_killed_per_tick_among_fifty_others(server: ServerThread) -> None:
    others = [server.connect() for _ in range(50)]
    try:
        for number in range(30):
            victim = server.connect()
            # RST instead of FIN: the server meets the error while it writes.
            victim.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            victim.sendall(b"SET k v\r\nGET k\r\n" * 100)
            for sock in others:
                sock.sendall(b"SET k%d v\r\nGET k%d\r\n" % (number, number))
            victim.close()
            for sock in others:
                assert read(sock, 12) == b"+OK\r\n$1\r\nv\r\n"
    finally:
        for sock in others:
            sock.close()


def test_a_failed_wal_write_is_told_to_those_it_concerns_and_no_more() -> None:
    store = FakeStore()
    with ServerThread(store) as server, server.connect() as writer, server.connect() as idle:
        ask(idle, b"PING\r\n", b"+PONG\r\n")
        ask(writer, b"SET a 1\r\n", b"+OK\r\n")
        store.failure = StorageError("write", "wal", "no space left")
        ask(writer, b"SET a 2\r\nGET a\r\n", f"-{MISCONF}\r\n$1\r\n1\r\n".encode())
        ask(idle, b"GET a\r\n", b"$1\r\n1\r\n")
        store.failure = None
        ask(writer, b"SET a 3\r\nGET a\r\n", b"+OK\r\n$1\r\n3\r\n")


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
        if self.sync_failure is not None:
            raise self.sync_failure
        self.syncs += 1
        self.synced_position = max(self.synced_position, position)


def test_always_answers_after_the_sync() -> None:
    store, before = SlowSync(), calls_of_all()
    with ServerThread(store, sync="always") as server, server.connect() as writer, server.connect() as reader:
        writer.sendall(b"SET a 1\r\n")
        assert store.begun.wait(PATIENCE_SECONDS)
        reader.sendall(b"GET a\r\n")
        eventually(lambda: calls_of_all() == before + 2)
        for sock in (writer, reader):
            sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(PATIENCE_SECONDS)
        store.gate.set()
        assert read(writer, 5) == b"+OK\r\n"
        assert read(reader, 7) == b"$1\r\n1\r\n"
        for number in range(100):
            ask(writer, b"SET a %d\r\n" % number, b"+OK\r\n")
            assert store.synced_position == store.position
        writer.sendall(b"SET a 1\r\nQUIT\r\n")
        assert read_to_end(writer) == b"+OK\r\n+OK\r\n"


def test_one_sync_answers_everybody_who_wrote_meanwhile() -> None:
    """Group commit: 256 clients write while the first sync is under way; a second one is enough for all of them."""
    store, before = SlowSync(), calls_of_all()
    with ServerThread(store, sync="always") as server, server.connect() as first:
        first.sendall(b"SET first 1\r\n")
        assert store.begun.wait(PATIENCE_SECONDS)
        others = [server.connect() for _ in range(256)]
        for number, sock in enumerate(others):
            sock.sendall(b"SET k%d 1\r\n" % number)
        eventually(lambda: calls_of_all() == before + 257)
        store.gate.set()
        for sock in (first, *others):
            assert read(sock, 5) == b"+OK\r\n"
            sock.close()
        assert store.syncs <= 3, "the first, one for all that came meanwhile, and one for a round that was just ending"


def test_a_failed_sync_is_told() -> None:
    store = SlowSync()
    with ServerThread(store, sync="always") as server, server.connect() as writer:
        writer.sendall(b"SET a 1\r\n")
        store.sync_failure = StorageError("sync", "wal", "input/output error")
        store.gate.set()
        assert read(writer, len(MISCONF) + 3) == f"-{MISCONF}\r\n".encode()
        ask(writer, b"PING\r\n", b"+PONG\r\n")
        store.sync_failure = None


def test_cold_reads_delay_their_own_connection_only() -> None:
    store = FakeStore()
    store.entries.update({b"cold": b"1", b"warm": b"2"})
    released = threading.Event()
    store.make_cold(b"cold")
    warm = store._warm

    def wait_and_warm(key: bytes) -> None:
        assert released.wait(PATIENCE_SECONDS)
        warm(key)

    store._warm = wait_and_warm  # type: ignore[method-assign]
    with ServerThread(store) as server, server.connect() as first, server.connect() as second:
        first.sendall(b"PING\r\nGET cold\r\nGET warm\r\n")
        assert read(first, 7) == b"+PONG\r\n"
        ask(second, b"GET warm\r\n", b"$1\r\n2\r\n")
        released.set()
        assert read(first, 14) == b"$1\r\n1\r\n$1\r\n2\r\n"


def test_a_client_that_leaves_while_it_waits() -> None:
    store = FakeStore()
    store.entries[b"cold"] = b"1"
    store.make_cold(b"cold")
    store.cold_delay_seconds = 0.05
    with ServerThread(store) as server, server.connect() as other:
        leaving = server.connect()
        leaving.sendall(b"GET cold\r\n")
        leaving.close()
        ask(other, b"GET cold\r\n", b"$1\r\n1\r\n")
        eventually(lambda: server.call(lambda: len(server.server.services.clients.sessions)) == 1)


def test_stalled_writers_wait_and_readers_go_on() -> None:
    store = FakeStore()
    with ServerThread(store) as server, server.connect() as writer, server.connect() as reader:
        store.stall_state = FakeStall(stopped=True, reason="flush")
        server.call(lambda: server.server.services.clients.maybe_refresh())
        writer.sendall(b"SET a 1\r\nGET a\r\n")
        ask(reader, b"GET a\r\nPING\r\n", b"$-1\r\n+PONG\r\n")
        assert store.entries == {}
        store.stall_state = FakeStall()
        assert read(writer, 12) == b"+OK\r\n$1\r\n1\r\n"


def test_a_client_that_does_not_read_waits_with_its_requests() -> None:
    store = FakeStore()
    store.entries[b"big"] = b"x" * 4_000_000
    with ServerThread(store) as server, server.connect() as lazy, server.connect() as other:
        lazy.sendall(b"GET big\r\n" * 40)
        eventually(lambda: server.call(lambda: server.server.services.clients.buffered_bytes()) > 0)
        ask(other, b"PING\r\n", b"+PONG\r\n")
        assert server.call(lambda: server.server.services.clients.buffered_bytes()) < 3 * 4_000_000 + (1 << 20)
        reply = b"$4000000\r\n" + b"x" * 4_000_000 + b"\r\n"
        for _ in range(40):
            assert read(lazy, len(reply)) == reply


def test_unread_replies_before_authentication() -> None:
    with ServerThread(requirepass="secret") as server, socket.socket() as sock:
        # Before connecting: if the window shrinks later, the kernel drops bytes that it promised to take, and both ends
        # wait for retransmissions for seconds.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(("127.0.0.1", server.port))
        sender = threading.Thread(target=send_until_closed, args=(sock, b"GET a\r\n" * 1000))
        sender.start()
        sender.join(PATIENCE_SECONDS)
        assert not sender.is_alive(), "the server closed the connection"
        eventually(lambda: server.call(lambda: len(server.server.services.clients.admitted)) == 0)


def send_until_closed(sock: socket.socket, data: bytes) -> None:
    try:
        while True:
            sock.sendall(data)
    except OSError:
        pass


def test_limits_before_authentication() -> None:
    with ServerThread(requirepass="secret") as server:
        with server.connect() as sock:
            sock.sendall(b"*2\r\n$4\r\nECHO\r\n$16385\r\n")
            assert read_to_end(sock) == b"-ERR Protocol error: unauthenticated bulk length\r\n"
        with server.connect() as sock:
            ask(
                sock,
                b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$4\r\nECHO\r\n$20000\r\n" + b"x" * 20_000 + b"\r\n",
                b"+OK\r\n$20000\r\n" + b"x" * 20_000 + b"\r\n",
            )
            ask(sock, b"PING\r\n" * 300, b"+PONG\r\n" * 300)


def test_maxclients() -> None:
    with ServerThread(maxclients=2) as server, server.connect() as first, server.connect() as second:
        ask(first, b"PING\r\n", b"+PONG\r\n")
        ask(second, b"PING\r\n", b"+PONG\r\n")
        with server.connect() as third:
            assert read_to_end(third) == b"-ERR max number of clients reached\r\n"
        first.close()
        eventually(lambda: server.call(lambda: len(server.server.services.clients.admitted)) == 1)
        with server.connect() as third:
            ask(third, b"PING\r\n", b"+PONG\r\n")


def test_protected_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransportPeer, "is_local", False)
    with ServerThread() as server:
        with server.connect() as sock:
            assert read_to_end(sock).startswith(b"-DENIED Flin is running in protected mode")
        server.call(lambda: server.server.services.config.on_password(b"secret"))
        with server.connect() as sock:
            ask(sock, b"AUTH secret\r\n", b"+OK\r\n")


def test_timeouts() -> None:
    with ServerThread(request_timeout=1) as server, server.connect() as incomplete, server.connect() as complete:
        ask(complete, b"PING\r\n", b"+PONG\r\n")
        incomplete.sendall(b"*2\r\n$3\r\nGET\r\n")
        assert read_to_end(incomplete) == b""
        ask(complete, b"PING\r\n", b"+PONG\r\n")
        server.call(lambda: setattr(server.server.services.config, "timeout", 1))
        assert read_to_end(complete) == b""


def test_clients_buffers_together_are_bounded() -> None:
    started = ServerThread(memory_limit=16 << 20, buffers_share=0.1)
    with started as server, server.connect() as greedy, server.connect() as modest:
        modest.sendall(b"*2\r\n$4\r\nECHO\r\n$100\r\n")
        wire = b"*2\r\n$4\r\nECHO\r\n$100000000\r\n" + b"x" * 10_000_000
        sender = threading.Thread(target=send_until_closed, args=(greedy, wire))
        sender.start()
        sender.join(PATIENCE_SECONDS)
        assert not sender.is_alive(), "the largest was closed"
        ask(modest, b"x" * 100 + b"\r\n", b"$100\r\n" + b"x" * 100 + b"\r\n")


@pytest.mark.parametrize("words", [b"WATCH", b"BLPOP"])
def test_keys_that_are_watched_or_awaited_count_as_buffers(words: bytes) -> None:
    keys = [b"%d" % number for number in range(4000)] + [b"0"] * (words == b"BLPOP")
    wire = b"*%d\r\n$5\r\n%b\r\n" % (len(keys) + 1, words) + b"".join(b"$%d\r\n%b\r\n" % (len(k), k) for k in keys)
    with ServerThread(memory_limit=16 << 20, buffers_share=0.05) as server, server.connect() as greedy:
        clients = server.server.services.clients
        with server.connect() as modest:
            greedy.sendall(wire)
            assert read_to_end(greedy) in (b"", b"+OK\r\n")
            ask(modest, b"WATCH k\r\n", b"+OK\r\n")
            assert 0 < server.call(clients.buffered_bytes) < 1000
            ask(modest, b"UNWATCH\r\n", b"+OK\r\n")
            assert server.call(clients.buffered_bytes) == 0


def test_a_tick_serves_everybody_before_a_turn_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    def noted(client: Connection, requests: Iterator[list[bytes]]) -> object:
        turns.append(client.session.id)
        return run(client, requests)

    monkeypatch.setattr(Connection, "_run_requests", staticmethod(noted))
    with ServerThread() as server, server.connect() as long, server.connect() as short:
        ask(short, b"PING\r\n", b"+PONG\r\n")
        turns.clear()
        long.sendall(b"PING\r\n" * 5000)
        short.sendall(b"PING\r\n")
        assert read(short, 7) == b"+PONG\r\n"
        assert read(long, 7 * 5000) == b"+PONG\r\n" * 5000
    assert max(turns.count(number) for number in set(turns)) >= 5000 // TURN_COMMANDS


def test_client_kill() -> None:
    with ServerThread() as server, server.connect() as killer, server.connect() as victim:
        ask(victim, b"CLIENT ID\r\n", b":2\r\n")
        ask(killer, b"CLIENT KILL ID 2\r\n", b":1\r\n")
        assert read_to_end(victim) == b""
        killer.sendall(b"CLIENT KILL ID 1 SKIPME no\r\nPING\r\n")
        assert read_to_end(killer) == b":1\r\n"
