"""Blocked clients over real connections: who is served, when, and who is not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.net.blocking import Clients, bulk_pair, eventually, say
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread

NULL = b"*-1\r\n"


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    with ServerThread(uvloop=request.param) as server, Clients(server) as started:
        yield started


def test_first_come_first_served(clients: Clients) -> None:
    workers = [clients.waiting("BLPOP q 0") for _ in range(20)]
    pusher = clients.new()
    for number in range(20):
        assert say(pusher, f"RPUSH q job-{number}", "LLEN q") == [b":1\r\n", b":0\r\n"]
    for number, worker in enumerate(workers):
        assert worker.read().data == bulk_pair(b"q", b"job-%d" % number)
    assert clients.blocked() == 0


def test_several_elements_at_once_go_to_several_clients(clients: Clients) -> None:
    workers = [clients.waiting("BLPOP q 0") for _ in range(3)]
    assert say(clients.new(), "RPUSH q a b c d", "LRANGE q 0 -1") == [b":4\r\n", b"*1\r\n$1\r\nd\r\n"]
    assert [worker.read().data for worker in workers] == [bulk_pair(b"q", name) for name in (b"a", b"b", b"c")]


def test_the_keys_of_one_client(clients: Clients) -> None:
    worker = clients.waiting("BLPOP a b a 0")
    pusher = clients.new()
    say(pusher, "RPUSH b 1")
    assert worker.read().data == bulk_pair(b"b", b"1")
    assert say(pusher, "RPUSH a 2", "LLEN a") == [b":1\r\n", b":1\r\n"], "it does not wait for the other key any more"
    assert say(worker, "BLPOP a b 0") == [bulk_pair(b"a", b"2")]


def test_keys_are_served_as_they_became_ready(clients: Clients) -> None:
    worker = clients.waiting("BLPOP a b 0")
    say(clients.new(), "MULTI", "RPUSH b 1", "RPUSH a 2", "EXEC")
    assert worker.read().data == bulk_pair(b"b", b"1"), "not by the order in its request, as in Redis 7.0"


def test_a_transaction_is_seen_at_its_end(clients: Clients) -> None:
    worker = clients.waiting("BLPOP q 0")
    pusher = clients.new()
    assert say(pusher, "MULTI", "RPUSH q a", "LLEN q", "DEL q", "EXEC")[-1] == b"*3\r\n:1\r\n:1\r\n:1\r\n"
    assert clients.blocked() == 1
    say(pusher, "MULTI", "RPUSH q a b", "LPOP q", "EXEC")
    assert worker.read().data == bulk_pair(b"q", b"b")


def test_a_chain_of_moves(clients: Clients) -> None:
    third = clients.waiting("BLPOP c 0")
    second = clients.waiting("BLMOVE b c LEFT RIGHT 0")
    first = clients.waiting("BLMOVE a b LEFT RIGHT 0")
    assert say(clients.new(), "RPUSH a x", "EXISTS a b c") == [b":1\r\n", b":0\r\n"]
    assert first.read().data == second.read().data == b"$1\r\nx\r\n"
    assert third.read().data == bulk_pair(b"c", b"x")


def test_a_ring_of_moves_ends(clients: Clients) -> None:
    movers = [clients.waiting(f"BLMOVE {source} {target} LEFT RIGHT 0") for source, target in ("ab", "ba", "ab", "aa")]
    assert say(clients.new(), "RPUSH a x", "LLEN a", "LLEN b") == [b":1\r\n", b":0\r\n", b":1\r\n"]
    assert [mover.read().data for mover in movers[:3]] == [b"$1\r\nx\r\n"] * 3
    assert clients.blocked() == 1
    say(clients.new(), "RPUSH a y")
    assert movers[3].read().data == b"$1\r\ny\r\n"


def test_a_destination_of_another_type(clients: Clients) -> None:
    mover = clients.waiting("BLMOVE a s LEFT RIGHT 0")
    other = clients.waiting("BLPOP a 0")
    say(clients.new(), "SET s 1", "RPUSH a x")
    assert mover.read().data.startswith(b"-WRONGTYPE")
    assert other.read().data == bulk_pair(b"a", b"x"), "the element stays where it was"


def test_another_type_wakes_nobody(clients: Clients) -> None:
    worker = clients.waiting("BLPOP a b 0")
    pusher = clients.new()
    say(pusher, "SET a 1", "HSET b f v", "DEL b", "SADD b m", "RENAME b a", "RPUSH b x")
    assert worker.read().data == bulk_pair(b"b", b"x"), "though its other key now has a type that it refuses"


def test_the_number_of_keys_in_the_request(clients: Clients) -> None:
    worker = clients.waiting("BLMPOP 0 3 a b c LEFT")
    say(clients.new(), "SET a 1", "RPUSH c x")
    assert worker.read().data == b"*2\r\n$1\r\nc\r\n*1\r\n$1\r\nx\r\n"


@pytest.mark.parametrize(
    "requests",
    [
        ["RPUSH other x", "RENAME other q"],
        ["RPUSH other x", "RENAMENX other q"],
        ["RPUSH other x", "COPY other q"],
        ["SELECT 1", "RPUSH q x", "MOVE q 2"],
        ["SELECT 1", "RPUSH q x", "COPY q q DB 2"],
        ["SELECT 1", "RPUSH q x", "SWAPDB 1 2"],
        ["SELECT 1", "RPUSH q x", "SWAPDB 2 1"],
        ["MULTI", "RPUSH q y", "FLUSHDB", "RPUSH q x", "EXEC"],
        ["MULTI", "FLUSHALL", "SELECT 1", "RPUSH q x", "SWAPDB 1 2", "EXEC"],
    ],
)
def test_ways_for_a_key_to_become_ready(clients: Clients, requests: list[str]) -> None:
    worker = clients.new()
    say(worker, "SELECT 2")
    worker.send([[b"BLPOP", b"q", b"0"]])
    clients.until_blocked(1)
    pusher = clients.new()
    assert not any(reply.startswith(b"-") for reply in say(pusher, "SELECT 2", *requests))
    assert worker.read().data == bulk_pair(b"q", b"x")
    assert say(worker, "EXISTS q") == [b":0\r\n"]


def test_databases_are_apart(clients: Clients) -> None:
    clients.waiting("BLPOP q 0")
    assert say(clients.new(), "SELECT 3", "RPUSH q x", "LLEN q") == [b"+OK\r\n", b":1\r\n", b":1\r\n"]
    assert clients.blocked() == 1


def test_what_a_blocked_client_sends_waits(clients: Clients) -> None:
    worker = clients.new()
    worker.send(
        [[b"SET", b"a", b"1"], [b"BLPOP", b"q", b"0"], [b"INCR", b"a"], [b"BLPOP", b"q", b"0"], [b"INCR", b"a"]]
    )
    assert worker.read().data == b"+OK\r\n"
    clients.until_blocked(1)
    worker.send_raw(b"*2\r\n$3\r\nGET\r\n$1")
    worker.send_raw(b"\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
    pusher = clients.new()
    assert say(pusher, "GET a", "RPUSH q x", "GET a") == [b"$1\r\n1\r\n", b":1\r\n", b"$1\r\n1\r\n"]
    assert [worker.read().data for _ in range(2)] == [bulk_pair(b"q", b"x"), b":2\r\n"]
    say(pusher, "RPUSH q y")
    assert [worker.read().data for _ in range(4)] == [bulk_pair(b"q", b"y"), b":3\r\n", *[b"$1\r\n3\r\n"] * 2]


def test_a_blocked_client_may_send_its_share_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    with ServerThread(memory_limit=64 << 20, buffers_share=0.1) as server, Clients(server) as clients:
        share = server.server.services.config.client_bytes
        worker, talker = clients.waiting("BLPOP q 0"), clients.waiting("BLPOP q 0")
        with suppress(ConnectionError):
            talker.send_raw(b"x" * 2 * share)
        clients.until_blocked(1)
        value = b"x" * (share // 2)
        worker.send([[b"SET", b"large", value], [b"STRLEN", b"large"]])
        eventually(lambda: server.call(lambda: _buffered(clients)) >= len(value))
        say(clients.new(), "RPUSH q x")
        assert [worker.read().data for _ in range(3)] == [bulk_pair(b"q", b"x"), b"+OK\r\n", b":%d\r\n" % len(value)]
    assert "behind one that waits" in caplog.text


def _buffered(clients: Clients) -> int:
    services = clients.server.server.services
    return sum(session.link.input_bytes() for session in services.clients.sessions.values())


def test_timeouts(clients: Clients) -> None:
    client = clients.new()
    assert say(client, "BLPOP q 0.001", "PING", "BLPOP a b 0.0001", "BLMOVE a b LEFT RIGHT 0.01") == [
        NULL,
        b"+PONG\r\n",
        NULL,
        NULL,
    ]
    assert say(client, "HELLO 3", "BLPOP q 0.001")[1] == b"_\r\n"
    late = clients.new()
    late.send([b"BLPOP q 0.05".split()])  # on a busy machine it may be over before anybody could see it
    forever = clients.new()
    forever.send([b"BLPOP q 9e15".split()])
    assert late.read().data == NULL
    clients.until_blocked(1)
    say(client, "RPUSH q x")
    assert forever.read().data == bulk_pair(b"q", b"x")


def test_a_wait_lasts_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    with ServerThread(uvloop=False) as server, Clients(server) as clients:
        call_later = server.loop.call_later

        def noted(delay: float, *rest: Any) -> Any:
            asked.append(delay)
            return call_later(delay, *rest)

        monkeypatch.setattr(server.loop, "call_later", noted)
        assert say(clients.new(), "BLPOP q 0.0301", "BLPOP q 0.007") == [NULL, NULL]
    assert [delay for delay in asked if delay != 0.1] == [0.031, 0.007], "the housekeeping's step aside"


class TestEnds:
    def test_fin(self, clients: Clients) -> None:
        self._check(clients, lambda worker: worker.close())

    def test_half_closed(self, clients: Clients) -> None:
        self._check(clients, lambda worker: worker._socket.shutdown(socket.SHUT_WR))

    def test_rst(self, clients: Clients) -> None:
        def reset(worker: RawClient) -> None:
            worker._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            worker.close()

        self._check(clients, reset)

    def test_before_the_loop_is_told(self, clients: Clients) -> None:
        """The end of a worker and a job arrive in the same round, and the job is looked at first."""
        doomed = clients.waiting("BLPOP q 0")
        alive = clients.waiting("BLPOP q 0")
        services = clients.server.server.services
        pusher = clients.new()
        number = int(say(pusher, "CLIENT ID")[0][1:])

        def end_and_push() -> None:
            doomed.close()
            services.clients.admitted[number].data_received(b"RPUSH q job\r\n")  # type: ignore[attr-defined]

        clients.server.call(end_and_push)
        assert pusher.read().data == b":1\r\n"
        assert alive.read().data == bulk_pair(b"q", b"job")

    def _check(self, clients: Clients, end: Callable[[RawClient], object]) -> None:
        """The first two of three workers die; the third gets the job."""
        doomed = [clients.waiting("BLPOP q 0") for _ in range(2)]
        alive = clients.waiting("BLPOP q 0")
        pusher = clients.new()
        for worker in doomed:
            end(worker)
        assert say(pusher, "RPUSH q job") == [b":1\r\n"]
        assert alive.read().data == bulk_pair(b"q", b"job")
        clients.until_blocked(0)
