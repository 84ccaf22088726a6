"""Clients that send before they read, read slowly, or never: what waits where, and which are closed."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading

import pytest
import redis
import redis.asyncio

from flin.net.command.registry import calls_of_all
from flin.net.serve.housekeeping import LARGE_OUTPUT_MS, STUCK_MS
from flin.net.serve.way_out import PAUSE_BYTES
from flin.net.wire.resp import encode_requests
from tests.net.fake_peer import Clients, Peer
from tests.net.fake_store import FakeStall, FakeStore
from tests.net.serve.test_connection import eventually
from tests.net.serving import ServerThread

VALUE = b"v" * 1000
REPLY = b"$1000\r\n" + VALUE + b"\r\n"
GET = encode_requests([[b"GET", b"k"]])


def clients_with_a_value(**options: int) -> Clients:
    clients = Clients(**options)
    clients.store.entries[b"k"] = VALUE
    return clients


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Clients that send everything before they read anything.


def test_all_is_read_while_nothing_is_taken() -> None:
    clients = clients_with_a_value()
    peer = clients.connect()
    count = 20_000
    assert peer.send_raw(GET * count) == 0, "a client that sends everything first is never stopped"
    unread = peer.connection.output_bytes()
    assert PAUSE_BYTES < unread < 2 * PAUSE_BYTES + (1 << 18), "and what is said is bounded"
    waiting = peer.connection.input_bytes()
    assert waiting > len(GET) * (count - unread // len(REPLY)) - (1 << 18)
    assert waiting < 1.2 * len(GET) * count, "what waits takes the memory of its bytes"
    assert clients.services.clients.buffered_bytes() == unread + waiting
    assert peer.read_all() == REPLY * count
    assert peer.connection.input_bytes() == 0
    assert peer.transport.is_reading
    assert peer.ask(b"PING") == b"+PONG\r\n"


@pytest.mark.parametrize("seed", range(8))
def test_order_and_number_for_any_cutting(seed: int) -> None:
    """Requests of many sizes, cut at random, by a client that reads now and then."""
    source = random.Random(seed)
    clients = clients_with_a_value()
    peer = clients.connect()
    expected, wire, said = [], [], []
    large = b"L" * source.choice((10_000, 100_000))
    for number in range(500):
        kind = source.random()
        if kind < 0.5:
            wire.append([b"GET", b"k"])
            expected.append(REPLY)
        elif kind < 0.9:
            wire.append([b"ECHO", b"%d" % number])
            expected.append(b"$%d\r\n%d\r\n" % (len(str(number)), number))
        else:
            wire.append([b"ECHO", large])
            expected.append(b"$%d\r\n%b\r\n" % (len(large), large))
    data = encode_requests(wire)
    while data:
        cut = source.randrange(1, source.choice((2000, 50_000, 1_000_000)))
        assert peer.send_raw(data[:cut], source.choice((1000, 65_536, 250_000))) == 0
        data = data[cut:]
        if source.random() < 0.2:
            said.append(peer.read(source.randrange(500_000)))
    assert b"".join(said) + peer.read_all() == b"".join(expected)


def test_the_input_ends_while_requests_wait() -> None:
    """Half closed: requests that were sent before are answered first."""
    clients = clients_with_a_value()
    peer = clients.connect()
    peer.send_raw(GET * 5000)
    peer.connection.eof_received()
    assert peer.read_all() == REPLY * 5000
    assert peer.is_closed


@pytest.mark.parametrize("last", [b"QUIT", b"*1\r\n:5\r\n"])
def test_nothing_runs_after_an_end(last: bytes) -> None:
    clients = clients_with_a_value()
    peer = clients.connect()
    end = b"QUIT\r\n" if last == b"QUIT" else last
    peer.send_raw(GET * 3000 + end + b"SET k changed\r\n" * 10)
    answer = b"+OK\r\n" if last == b"QUIT" else b"-ERR Protocol error: expected '$', got ':'\r\n"
    assert peer.read_all() == REPLY * 3000 + answer
    assert peer.is_closed
    assert clients.store.entries == {b"k": VALUE}


def test_a_protocol_error_ends_the_connection_whatever_waits_after_it() -> None:
    """In chunks of their own, which are not parsed any more."""
    clients = clients_with_a_value()
    peer = clients.connect()
    for data in (GET * 3000, b"*1\r\n:5\r\n", GET * 30):
        peer.send_raw(data)
    assert peer.read_all() == REPLY * 3000 + b"-ERR Protocol error: expected '$', got ':'\r\n"
    assert peer.is_closed
    assert clients.services.clients.buffered_bytes() == 0


def test_requests_are_counted_once_however_many_turns_they_take() -> None:
    clients = clients_with_a_value()
    clients.store.entries[b"large"] = b"x" * 1_000_000
    peer = clients.connect()
    before = calls_of_all()
    peer.send(*[b"GET large"] * 100)
    assert len(peer.read_all()) == 100 * 1_000_012
    assert calls_of_all() == before + 100


# Clients that exceed their share.


def test_beyond_its_share_it_is_no_longer_read_and_goes_on_when_it_reads() -> None:
    """Back-pressure on a client that reads more slowly than it sends."""
    clients = clients_with_a_value(memory_limit=16 << 20)
    peer = clients.connect()
    count = (6 << 20) // len(GET)
    unsent = peer.send_raw(GET * count)
    assert unsent > 0
    buffered = clients.services.clients.buffered_bytes()
    assert buffered <= clients.services.config.buffers_bytes
    assert buffered > 0.8 * clients.services.config.buffers_bytes
    clients.pass_seconds(STUCK_MS // 1000 - 2)
    assert peer.read(1000)
    clients.pass_seconds(STUCK_MS // 1000 - 2)
    assert not peer.is_closed, "its time begins anew with what it takes"
    received = 1000 + len(peer.read_all())
    assert received == len(REPLY) * count


def test_a_client_that_sends_beyond_its_share_and_takes_nothing_is_closed_with_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients = clients_with_a_value(memory_limit=16 << 20)
    peer, other = clients.connect(), clients.connect()
    assert peer.send_raw(GET * ((6 << 20) // len(GET))) > 0
    clients.pass_seconds(STUCK_MS // 1000 - 1)
    assert not peer.is_closed
    clients.pass_seconds(3)
    assert peer.is_closed
    assert any("bytes of requests wait behind replies that it does not read" in text for text in warnings(caplog))
    assert clients.services.counters.clients_closed_for_output == 1
    assert clients.services.clients.buffered_bytes() == 0
    assert other.ask(b"PING") == b"+PONG\r\n"


def test_the_share_is_held_while_bytes_arrive(caplog: pytest.LogCaptureFixture) -> None:
    """Without the housekeeping: many clients that each stay within their own bound."""
    clients = clients_with_a_value(memory_limit=64 << 20)
    share = clients.services.config.buffers_bytes
    peers = [clients.connect() for _ in range(8)]
    for _ in range(40):
        for peer in peers:
            if not peer.is_closed:
                peer.send_raw(GET * 3000)
            assert clients.services.clients.buffered_bytes() < share + share // 8
    closed = [peer for peer in peers if peer.is_closed]
    assert closed
    assert len(closed) < len(peers)
    assert all("exceed their share" in text for text in warnings(caplog))
    assert len(warnings(caplog)) == len(closed)


def test_requests_that_wait_for_the_engine_count_in_the_share(caplog: pytest.LogCaptureFixture) -> None:
    """Writers are stopped, and many clients have sent a large value."""
    clients = Clients(memory_limit=64 << 20)
    clients.store.stall_state = FakeStall(stopped=True)
    clients.services.clients.refresh()
    peers = [clients.connect() for _ in range(10)]
    for peer in peers:
        peer.send_raw(encode_requests([[b"SET", b"k", bytes(7 << 20)]]))
    assert peers[-1].connection.input_bytes() > 7 << 20
    clients.pass_seconds(1)
    assert clients.services.clients.buffered_bytes() <= clients.services.config.buffers_bytes
    assert 0 < len([peer for peer in peers if not peer.is_closed]) < 10
    assert any("exceed their share" in text for text in warnings(caplog))


def large_replies(clients: Clients) -> dict[bytes, bytes]:
    """Requests whose replies are too large, and the errors that they get."""
    most_bytes = clients.services.config.largest_reply_bytes
    size = 7 << 20
    clients.store.entries[b"v"] = bytes(size)
    clients.store.entries.update({b"%d" % number * (1 << 19): b"" for number in range(30)})
    length = len(b"$%d\r\n" % size) + size + 2
    too_large = b"the size of the reply in bytes is %d, the maximum is %d\r\n"
    return {
        b"MGET v v v": b"-ERR " + too_large % (2 * size, most_bytes),
        b"KEYS *": b"-ERR " + too_large % (len(b"*31\r\n") + 7 + sum(
            len(b"$%d\r\n" % len(key)) + len(key) + 2 for key in clients.store.entries if key != b"v"
        ), most_bytes),
        b"MULTI SET a 1 GET v GET v EXEC": b"-EXECABORT Transaction discarded because of: "
        + too_large % (len(b"+OK\r\n") + 2 * length, most_bytes),
    }  # fmt: skip


@pytest.mark.parametrize("request_", [b"MGET v v v", b"KEYS *", b"MULTI SET a 1 GET v GET v EXEC"])
def test_a_reply_beyond_the_share_is_refused_however_fast_the_client_reads(
    caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    clients = Clients(memory_limit=64 << 20)
    expected = large_replies(clients)[request_]
    peer = clients.connect()
    if request_.startswith(b"MULTI"):
        peer.ask(b"MULTI", b"SET a 1", b"GET v", b"GET v")
        assert peer.ask(b"EXEC") == expected
        assert b"a" not in clients.store.entries, "nothing of it has happened"
    else:
        assert peer.ask(request_) == expected
    assert any(b"the size of the reply" in record.getMessage().encode() for record in caplog.records)
    clients.pass_seconds(1)
    assert peer.ask(b"PING") == b"+PONG\r\n"


def test_a_reply_within_the_share_always_passes() -> None:
    """However long the client takes, and whatever else is in the pipeline."""
    clients = Clients(memory_limit=64 << 20)
    most_bytes = clients.services.config.largest_reply_bytes
    clients.store.entries[b"v"] = value = bytes(most_bytes // 2 - 100)
    clients.store.entries[b"k"] = b"x" * 4000
    peer = clients.connect()
    peer.send(*[b"GET k"] * 250, b"MGET v v", *[b"GET k"] * 250)
    for _ in range(10):
        clients.pass_seconds(1)
        assert peer.read(1 << 18)
    rest = peer.read_all()
    assert rest.endswith(value + b"\r\n" + b"$4000\r\n%b\r\n" % (b"x" * 4000) * 250)
    assert not peer.is_closed


def test_a_value_from_a_time_of_more_memory_closes_a_client_that_asks_for_it(caplog: pytest.LogCaptureFixture) -> None:
    clients = Clients(memory_limit=16 << 20)
    clients.store.entries[b"huge"] = bytes(100 << 20)
    peer = clients.connect()
    assert peer.ask(b"GET huge") == b""
    assert peer.is_closed
    assert any("exceeds its share" in text for text in warnings(caplog))


@pytest.mark.parametrize("line", [b"GETDEL huge", b"GETSET huge x", b"SET huge x GET", b"GETEX huge PERSIST"])
def test_a_value_that_cannot_be_shown_is_not_replaced(line: bytes) -> None:
    clients = Clients(memory_limit=16 << 20)
    clients.store.entries[b"huge"] = before = (bytes(8 << 20), 1_900_000_000_000, 0)
    peer = clients.connect()
    assert peer.ask(line, b"PING").startswith(b"-ERR the size of the reply in bytes is 8388608, the maximum is 3145728")
    assert clients.store.entries[b"huge"] is before
    assert peer.ask(b"PING") == b"+PONG\r\n"


# Slow readers.


def test_a_steady_slow_reader_is_never_closed() -> None:
    clients = Clients()
    clients.store.entries[b"large"] = b"x" * (90 << 20)
    peer = clients.connect()
    peer.send(b"GET large")
    for _ in range(85):
        clients.pass_seconds(1)
        assert peer.read(1 << 20)
    assert not peer.is_closed


def test_a_client_that_stops_reading_a_large_reply_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    clients = Clients()
    clients.store.entries[b"large"] = b"x" * (90 << 20)
    peer = clients.connect()
    peer.send(b"GET large")
    clients.pass_seconds(30)
    peer.read(1)
    clients.pass_seconds(LARGE_OUTPUT_MS // 1000 - 1)
    assert not peer.is_closed
    clients.pass_seconds(3)
    assert peer.is_closed
    assert any("bytes of replies unread for 60 s" in text for text in warnings(caplog))


def test_a_connection_that_ends_waits_for_its_reader_but_not_forever(caplog: pytest.LogCaptureFixture) -> None:
    clients = clients_with_a_value()
    reader, sleeper = clients.connect(), clients.connect()
    for peer in (reader, sleeper):
        peer.send_raw(GET * 3000)
        peer.connection.eof_received()
    for _ in range(60):
        clients.pass_seconds(1)
        reader.read(1000)
    assert sleeper.is_closed
    assert not reader.is_closed
    assert any("it does not take its last replies" in text for text in warnings(caplog))
    reader.read_all()
    assert reader.is_closed


# Over real sockets, like client libraries.


def store_of_thousand() -> FakeStore:
    store = FakeStore()
    store.entries.update({b"k%d" % number: b"%d" % number * 100 for number in range(1000)})
    return store


COUNT = 40_000  # replies of some 12 MB: more than kernels buffer for one connection


@pytest.mark.parametrize("uvloop", [True, False], ids=["uvloop", "asyncio"])
def test_redis_py(uvloop: bool) -> None:
    with ServerThread(store_of_thousand(), uvloop=uvloop) as server:
        client = redis.Redis(port=server.port, socket_timeout=60)
        pipeline = client.pipeline(transaction=False)
        for number in range(COUNT):
            pipeline.get(f"k{number % 1000}")
        assert pipeline.execute() == [b"%d" % (number % 1000) * 100 for number in range(COUNT)]
        client.close()


def test_redis_py_asyncio() -> None:
    async def run(port: int) -> list[bytes]:
        async with redis.asyncio.Redis(port=port, socket_timeout=60) as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(COUNT):
                pipeline.get(f"k{number % 1000}")
            return await pipeline.execute()

    with ServerThread(store_of_thousand()) as server:
        assert asyncio.run(run(server.port)) == [b"%d" % (number % 1000) * 100 for number in range(COUNT)]


def test_values_that_come_and_go_in_one_pipeline() -> None:
    """The requests are as long as the replies."""
    with ServerThread() as server:
        client = redis.Redis(port=server.port, socket_timeout=60)
        pipeline = client.pipeline(transaction=False)
        values = [b"%d" % number * 2500 for number in range(3000)]
        for value in values:
            pipeline.set("k", value, get=True)
        assert pipeline.execute() == [None, *values[:-1]]
        client.close()


def test_a_client_that_never_reads_harms_no_other() -> None:
    """It exceeds the kernels' buffers: the others are answered, and its end frees what it held."""
    with ServerThread(store_of_thousand()) as server, server.connect() as sleeper, server.connect() as other:
        sender = threading.Thread(target=send_quietly, args=(sleeper, encode_requests([[b"GET", b"k999"]]) * 200_000))
        sender.start()
        sender.join(60)
        assert not sender.is_alive(), "it is read, whatever it does not read"
        other.sendall(b"PING\r\n")
        assert other.recv(7) == b"+PONG\r\n"
        services = server.server.services
        eventually(lambda: server.call(services.clients.buffered_bytes) > 1 << 20)
        sleeper.close()
        eventually(lambda: server.call(services.clients.buffered_bytes) < 1 << 16)
        other.sendall(b"PING\r\n")
        assert other.recv(7) == b"+PONG\r\n"


def send_quietly(sock: socket.socket, data: bytes) -> None:
    sock.settimeout(60)
    sock.sendall(data)


def test_clients_are_judged_one_by_one() -> None:
    """A peer that reads everything goes on while another one is stuck."""
    clients = clients_with_a_value()
    stuck, lively = clients.connect(), clients.connect()
    stuck.send_raw(GET * 5000)
    for _ in range(20):
        assert ask_many(lively, 500) == REPLY * 500
    assert stuck.read_all() == REPLY * 5000


def ask_many(peer: Peer, count: int) -> bytes:
    peer.send_raw(GET * count)
    return peer.read_all()
