"""Rounds: what many connections send at once is run together, and nobody can tell."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from itertools import pairwise, permutations
from typing import Any

import pytest

from flin.errors import StorageError
from flin.net.batch import pending
from flin.net.batch.refusal import MISCONF
from flin.net.command.registry import find
from flin.net.run import tick
from flin.net.serve import round as rounds
from flin.net.serve.round import MAX_CHUNK_BYTES
from flin.net.wire.columns import columns_of_chunks
from flin.net.wire.requests import RequestParser
from flin.net.wire.resp import encode_requests, split_replies
from flin.net.wire.resp_python import TRUSTED, PythonParser
from tests.net.fake_peer import Clients, Peer, PromptExecutor

NUMBER = 6
NO_ROOM = StorageError("write", "wal", "no space left on device")


@pytest.fixture(autouse=True)
def always_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "CROWD", 0)


@pytest.fixture
def clients() -> Clients:
    clients = Clients(databases=3)
    clients.connect().ask(b"PING")  # the round before
    return clients


@pytest.fixture
def peers(clients: Clients) -> list[Peer]:
    return [clients.connect() for _ in range(NUMBER)]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests of GET, SET and INCR ran at once, each time that some did."""
    done: list[int] = []
    for name in (b"GET", b"SET", b"INCR", b"LPUSH"):
        command = find(name)
        assert command is not None
        monkeypatch.setattr(command, "batch", _counted(command.batch, done))
    return done


def _counted(batch: Any, done: list[int]) -> Any:
    def counted(*arguments: Any) -> Sequence[bytes]:
        replies: Sequence[bytes] = batch(*arguments)
        done.append(len(replies))
        return replies

    return counted


def say_all(clients: Clients, peers: Sequence[Peer], *requests: bytes) -> list[bytes]:
    """Each says its request in one round. Returns the replies."""
    for peer, request in zip(peers, requests, strict=True):
        peer.say(request)
    clients.loop.run()
    return [peer.read_all() for peer in peers]


def test_requests_of_one_command_run_together(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    assert say_all(clients, peers, *[b"SET %d v%d" % (number, number) for number in range(NUMBER)]) == [b"+OK\r\n"] * 6
    assert clients.store.commits == [6]
    clients.store.entries.clear()
    clients.store.entries.update({b"%d" % number: b"x" * number for number in range(4)})
    said = say_all(clients, peers, *[b"GET %d" % number for number in range(NUMBER)])
    assert said == [b"$%d\r\n%b\r\n" % (number, b"x" * number) for number in range(4)] + [b"$-1\r\n"] * 2
    assert batches == [6, 6]


def test_many_requests_run_in_groups_of_one_size(
    clients: Clients, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cut at once is bounded, and no few are left over, which would run alone."""
    peers = [clients.connect() for _ in range(4 * NUMBER + 1)]
    monkeypatch.setattr(rounds, "FEWEST", 1)
    monkeypatch.setattr(rounds, "CACHED_BYTES", 12 * len(encode_requests([[b"SET", b"10", b"v10"]])) + 1)
    requests = [b"SET %d v%d" % (number, number) for number in range(10, 10 + len(peers))]
    assert say_all(clients, peers, *requests) == [b"+OK\r\n"] * len(peers)
    assert clients.store.entries == {b"%d" % number: b"v%d" % number for number in range(10, 10 + len(peers))}
    assert batches == [9, 9, 7]


def test_requests_of_several_commands_and_lengths(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    requests = [b"GET k", b"INCR n", b"SET k 1", b"GET longer", b"INCR %b" % (b"n" * 9), b"SET k %b" % (b"1" * 9)]
    everybody = [*peers, *(clients.connect() for _ in range(3 * NUMBER))]
    said = say_all(clients, everybody, *requests * 4)
    assert said[2::6] + said[5::6] == [b"+OK\r\n"] * 8
    assert [*said[1::6], *said[4::6]] == [b":%d\r\n" % number for number in (1, 2, 3, 4)] * 2
    assert said[3::6] == [b"$-1\r\n"] * 4
    assert batches == [8, 8, 8]


def test_values_that_hold_line_ends(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    values = [b"a\r\nb" * number + b"\r\n$3\r\nGET\r\n"[: number * 3] for number in range(NUMBER)]
    for peer, value in zip(peers, values, strict=True):
        peer.connection.data_received(encode_requests([[b"SET", b"k" * (1 + len(value) % 5), value]]))
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b"+OK\r\n"] * NUMBER
    assert clients.store.entries == {b"k" * (1 + len(value) % 5): value for value in values}
    assert batches == [NUMBER]


def test_pipelines_of_several_connections(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    for number, peer in enumerate(peers):
        peer.say(*[b"INCR %d" % (key + 10 * number) for key in range(10, 18)])
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b":1\r\n" * 8] * NUMBER
    assert batches == [8 * NUMBER]


def test_a_pipeline_that_stops_in_the_middle(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    """The key with an expiry runs by itself; those before and behind it, and other connections', together."""
    clients.connect().ask(b"SET 37 5 EX 100", b"SET 38 five")
    del batches[:]
    for number, peer in enumerate(peers):
        peer.say(*[b"INCR %d" % (key + 10 * number) for key in range(10, 18)])
        peer.say(b"GET 10")  # a second chunk
    clients.loop.run()
    said = [peer.read_all() for peer in peers]
    others = [b":1\r\n" * 8 + b"$1\r\n1\r\n"] * NUMBER
    assert said[:2] == others[:2]
    assert said[2] == b":1\r\n" * 7 + b":6\r\n" + b"$1\r\n1\r\n"
    assert said[3:] == others[3:]
    assert batches == []


def test_a_second_chunk_waits_for_the_first(clients: Clients, peers: list[Peer]) -> None:
    for peer in peers:
        peer.say(b"SET k 1")
        peer.say(b"APPEND k 2")
        peer.say(b"GET k")
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b"+OK\r\n:2\r\n$2\r\n12\r\n"] * NUMBER


def test_a_request_and_the_end_in_one_round(clients: Clients, peers: list[Peer]) -> None:
    for number, peer in enumerate(peers):
        peer.say(b"SET %d v" % number)
        peer.connection.eof_received()
    clients.loop.run()
    assert len(clients.store.entries) == NUMBER
    assert [(peer.read_all(), peer.is_closed) for peer in peers] == [(b"+OK\r\n", True)] * NUMBER


def test_a_request_and_a_lost_connection_in_one_round(clients: Clients, peers: list[Peer]) -> None:
    for number, peer in enumerate(peers):
        peer.say(b"SET %d v" % number)
        peer.connection.connection_lost(None)
    clients.loop.run()
    assert len(clients.store.entries) == NUMBER
    assert not any(peer.transport.unread for peer in peers)


def test_a_client_that_is_killed_is_not_answered(clients: Clients, peers: list[Peer]) -> None:
    victim = peers[0].connection.session.id
    for peer in peers[:-1]:
        peer.say(b"SET k v")
    peers[-1].say(b"PING")
    peers[-1].say(b"CLIENT KILL ID %d" % victim)
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b"", *[b"+OK\r\n"] * 4, b"+PONG\r\n:1\r\n"]
    assert peers[0].is_closed


def test_a_server_that_ends_answers_what_is_put_aside(clients: Clients, peers: list[Peer]) -> None:
    for peer in peers:
        peer.say(b"SET k v")
        assert not peer.connection.finish()
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b"+OK\r\n"] * NUMBER
    assert all(peer.connection.finish() for peer in peers)


def test_gates_that_close_in_the_round(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    """They are put aside before writes are paused: as if they had arrived after it."""
    for peer in peers[:-1]:
        peer.say(b"SET k v")
    peers[-1].say(b"PING")
    peers[-1].say(b"CLIENT PAUSE 1000 WRITE")  # a second chunk is not put aside
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b""] * 5 + [b"+PONG\r\n+OK\r\n"]
    assert peers[-1].ask(b"CLIENT UNPAUSE") == b"+OK\r\n"
    assert [peer.read_all() for peer in peers] == [b"+OK\r\n"] * 5 + [b""]
    assert batches == []


def test_sessions_that_are_not_ordinary(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    clients.connect().ask(b"SET k 0")
    say_all(clients, peers, b"MULTI", b"SELECT 1", b"SUBSCRIBE c", b"CLIENT REPLY OFF", b"PING", b"PING")
    del batches[:]
    said = say_all(clients, peers, *[b"GET k"] * NUMBER)
    assert said[:2] == [b"+QUEUED\r\n", b"$-1\r\n"]
    assert said[2].startswith(b"-ERR Can't execute 'get'")
    assert said[3:] == [b"", b"$1\r\n0\r\n", b"$1\r\n0\r\n"]
    assert batches == []


def test_both_protocols(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    others = [clients.connect() for _ in range(NUMBER)]
    for other in others:
        other.ask(b"HELLO 3")
    said = say_all(clients, [*peers, *others], *[b"GET k"] * 2 * NUMBER)
    assert said == [b"$-1\r\n"] * NUMBER + [b"_\r\n"] * NUMBER
    assert batches == [NUMBER, NUMBER]


def test_waiters_are_served(clients: Clients, peers: list[Peer]) -> None:
    waiting = [clients.connect() for _ in range(NUMBER)]
    for peer in waiting:
        peer.send(b"BLPOP l 0")
    assert say_all(clients, peers, *[b"LPUSH l %d" % number for number in range(NUMBER)]) == [b":1\r\n"] * NUMBER
    assert [peer.read_all() for peer in waiting] == [
        b"*2\r\n$1\r\nl\r\n$1\r\n%d\r\n" % number for number in range(NUMBER)
    ]


def test_keys_that_wait_for_the_disk(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    clients.store.entries.update({b"%d" % number: b"v" for number in range(NUMBER)})
    clients.store.make_cold(b"2", b"3")
    assert say_all(clients, peers, *[b"GET %d" % number for number in range(NUMBER)]) == [b"$1\r\nv\r\n"] * NUMBER
    assert batches == [2, 0, 2]


def test_a_refused_batch(clients: Clients, peers: list[Peer], batches: list[int]) -> None:
    """Writers fail, and who was shown what they wrote reads again."""
    clients.store.entries[b"k"] = b"old"
    clients.store.failure = NO_ROOM
    others = [clients.connect() for _ in range(NUMBER)]
    said = say_all(clients, [*peers, *others], *[b"SET k new"] * NUMBER, *[b"GET k"] * NUMBER)
    assert said == [f"-{MISCONF}\r\n".encode()] * NUMBER + [b"$3\r\nold\r\n"] * NUMBER
    assert batches == [NUMBER, NUMBER]


def test_a_batch_that_is_full_in_the_round(
    clients: Clients, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed before is final, though the next batch is refused."""
    monkeypatch.setattr(rounds, "FEWEST", 150)
    peers = [clients.connect() for _ in range(450)]
    value = b"v" * (MAX_CHUNK_BYTES - 100)
    for number, peer in enumerate(peers):
        peer.say(b"SET %03d %b" % (number, value))

    def refuse_from_now_on() -> None:
        clients.store.failure = NO_ROOM

    clients.pending.listen(Refusing(refuse_from_now_on))
    clients.loop.run()
    said = [peer.read_all() for peer in peers]
    assert said == [b"+OK\r\n"] * 300 + [f"-{MISCONF}\r\n".encode()] * 150
    assert len(clients.store.entries) == 300
    assert batches == [150, 150, 150]


class Refusing:
    def __init__(self, refuse: Any, take: Any = lambda: None) -> None:
        self._refuse = refuse
        self._take = take

    def batch_committed(self) -> None:
        self._refuse()

    def batch_refused(self, refusal: object) -> None:
        self._take()


def test_few_connections_put_nothing_aside(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "CROWD", 4)
    peers = [clients.connect() for _ in range(4)]
    say_all(clients, peers[:3], *[b"PING"] * 3)
    assert not clients.services.tick.is_crowded
    say_all(clients, peers, *[b"PING"] * 4)
    assert clients.services.tick.is_crowded
    say_all(clients, peers, *[b"GET k"] * 4)
    assert clients.services.tick.is_crowded, "those whose chunks were put aside count"
    say_all(clients, peers[:1], b"PING")
    assert not clients.services.tick.is_crowded


class LateExecutor(PromptExecutor):
    """Runs calls when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Any]] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, partial(function, *args, **kwargs)))
        return future

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for future, call in calls:
            future.set_result(call())


def test_replies_in_the_mode_always_wait_for_the_sync_in_order(batches: list[int]) -> None:
    clients, late = Clients(sync="always"), LateExecutor()
    clients.services.tick._executor = late
    peers = [clients.connect() for _ in range(NUMBER)]

    def say(speakers: list[Peer], *requests: bytes) -> None:
        for peer, request in zip(speakers, requests, strict=True):
            peer.say(request)
        clients.loop.run()

    say(peers, *[b"GET k"] * NUMBER)
    say(peers, *[b"GET k"] * NUMBER)
    assert {peer.read_all() for peer in peers} == {b"$-1\r\n" * 2}, "all is durable: they leave at once"
    say(peers, *[b"SET k v"] * NUMBER)
    ran = batches.copy()
    assert ran[-1] == NUMBER
    say(peers[:5], b"GET k", b"GET other", b"INCR n", b"MGET k n", b"EXISTS other")
    assert batches == ran, "who has held replies runs alone"
    others = [clients.connect() for _ in range(NUMBER)]
    say(others, *[b"GET k"] * NUMBER)
    assert batches == [*ran, NUMBER]
    assert {peer.read_all() for peer in [*peers, *others]} == {b""}
    late.run()
    clients.loop.run()
    late.run()
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [
        b"+OK\r\n$1\r\nv\r\n",
        b"+OK\r\n$-1\r\n",
        b"+OK\r\n:1\r\n",
        b"+OK\r\n*2\r\n$1\r\nv\r\n$1\r\n1\r\n",
        b"+OK\r\n:0\r\n",
        b"+OK\r\n",
    ]
    assert {peer.read_all() for peer in others} == {b"$1\r\nv\r\n"}


# What must not join a round, or not so.


def test_a_request_that_is_cut_is_not_completed_by_another_client(clients: Clients, peers: list[Peer]) -> None:
    """The second's bytes are no request, but would end the first's; their number would fit, too."""
    cut = b"*4\r\n$3\r\nSET\r\n$2\r\n"
    rest = b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n" + encode_requests([[b"SET", b"x", b"y", b"NX"]])
    chunks = [cut, rest, *[encode_requests([[b"SET", b"key", b"value", b"NX"]])] * 4]
    for peer, chunk in zip(peers, chunks, strict=True):
        peer.connection.data_received(chunk)
    clients.loop.run()
    peers[0].connection.data_received(b"k1\r\n$1\r\nv\r\n$2\r\nNX\r\n")
    clients.loop.run()
    said = [peer.read_all() for peer in peers]
    assert said[0] == b"+OK\r\n"
    assert said[1].startswith(b"-ERR Protocol error")
    assert clients.store.entries == {b"k1": b"v", b"key": b"value"}


def test_clients_that_are_killed_in_the_round_write_nothing_behind_it(clients: Clients, peers: list[Peer]) -> None:
    """Whoever has killed them may look at once, and must not be overtaken."""
    killed = b" ".join(b"%d" % peer.connection.session.id for peer in peers[1:])
    peers[0].say(*[b"CLIENT KILL ID %b" % number for number in killed.split()], b"GET k")
    for peer in peers[1:]:
        peer.say(b"SET k v")
    clients.loop.run()
    assert peers[0].read_all() == b":1\r\n" * 5 + b"$-1\r\n"
    assert not clients.store.entries
    assert all(peer.is_closed for peer in peers[1:])


def test_a_user_who_is_deleted_in_the_round_writes_nothing_behind_it(clients: Clients, peers: list[Peer]) -> None:
    peers[0].ask(b"ACL SETUSER all on nopass ~* &* +@all")
    for peer in peers[1:]:
        peer.ask(b"AUTH all x")
    assert all(peer.connection.session.skips_gates for peer in peers[1:])
    said = say_all(clients, peers, b"ACL DELUSER all", *[b"SET k v"] * 5)
    assert said == [b":1\r\n", *[b""] * 5]
    assert not clients.store.entries


@pytest.mark.parametrize("request_", [b"SELECT 0", b"EVAL s 1 k", b"EVAL r 1 k"])
def test_what_a_transcript_must_know_of_is_forgotten_with_the_round(
    clients: Clients, peers: list[Peer], request_: bytes
) -> None:
    scripts = {b"s": b"return redis.call('set', KEYS[1], '1')", b"r": b"return redis.call('get', KEYS[1])"}
    words = [scripts.get(word, word) for word in request_.split()]
    for _ in range(5):
        for peer in peers:
            peer.say(words)
        clients.loop.run()
        assert len({peer.read_all() for peer in peers}) == 1
        assert not any(peer.connection.session.remarks for peer in peers)


def test_scripts_of_a_batch_that_is_refused_fail(clients: Clients, peers: list[Peer]) -> None:
    clients.store.failure = NO_ROOM
    script = b"return redis.call('set', KEYS[1], '1')"
    for number, peer in enumerate(peers):
        peer.say([b"EVAL", script, b"1", b"k%d" % number])
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [f"-{MISCONF}\r\n".encode()] * NUMBER
    assert not clients.store.entries


def fill_a_batch(clients: Clients) -> tuple[list[Peer], Peer]:
    """Pipelines that fill a batch, and one more that stops in the middle, at a key with an expiry."""
    others = [clients.connect() for _ in range(16)]
    last = clients.connect()
    last.ask(b"SET n0003 5 EX 100")
    for number, peer in enumerate(others):
        peer.say(*[b"INCR m%02d%02d" % (number, key) for key in range(64)])
    last.say(*[b"INCR n%04d" % key for key in range(64)])
    return others, last


def test_a_pipeline_that_stops_in_a_full_batch_that_is_refused(clients: Clients) -> None:
    """What it has written before it stopped was in that batch."""
    others, last = fill_a_batch(clients)
    clients.store.failure = NO_ROOM

    def take_from_now_on() -> None:
        clients.store.failure = None

    clients.pending.listen(Refusing(lambda: None, take_from_now_on))
    clients.loop.run()
    assert [peer.read_all() for peer in others] == [f"-{MISCONF}\r\n".encode() * 64] * 16
    assert last.read_all() == f"-{MISCONF}\r\n".encode() * 3 + b":6\r\n" + b":1\r\n" * 60
    assert len(clients.store.entries) == 61


def test_a_pipeline_that_stops_in_a_full_batch_that_is_committed(clients: Clients) -> None:
    """If the next batch is refused, what was in the one before is answered as it is."""
    others, last = fill_a_batch(clients)

    def refuse_from_now_on() -> None:
        clients.store.failure = NO_ROOM

    clients.pending.listen(Refusing(refuse_from_now_on))
    clients.loop.run()
    assert [peer.read_all() for peer in others] == [b":1\r\n" * 64] * 16
    assert last.read_all() == b":1\r\n" * 3 + f"-{MISCONF}\r\n".encode() * 61
    assert len(clients.store.entries) == 16 * 64 + 4


def test_a_connection_that_fails_unexpectedly_is_closed_alone(
    clients: Clients, peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def feed(parser: RequestParser, data: bytes) -> list[list[bytes]]:
        if b"BUG" in data:
            raise RuntimeError("a bug")
        return original(parser, data)

    original = RequestParser.feed
    monkeypatch.setattr(RequestParser, "feed", feed)
    assert say_all(clients, peers, *[b"TIME"] * 3, b"TIME BUG", *[b"TIME"] * 2)[3] == b""
    assert peers.pop(3).is_closed
    assert say_all(clients, peers, *[b"GET k"] * 5) == [b"$-1\r\n"] * 5


def test_many_mgets_of_long_values_take_turns(clients: Clients, peers: list[Peer]) -> None:
    """Their replies would be a thousand times as long as the requests."""
    clients.store.entries.update({b"%02d" % number: b"v" * 4000 for number in range(60)})
    command = find(b"MGET")
    assert command is not None
    assert command.batch is not None
    keys = [b"%02d" % number for number in range(60)]
    replies = command.batch(peers[0].connection.context, *[(key,) * 600 for key in keys])
    assert 1 <= len(replies) < 10
    assert len(set(replies)) == 1


def test_a_batch_ends_in_the_middle_of_a_round(clients: Clients) -> None:
    """Else one frame had all that a megabyte of requests names."""
    peers = [clients.connect() for _ in range(20)]
    keys = [[b"%d:%d" % (number, key) for key in range(400)] for number in range(20)]
    clients.store.entries.update({key: b"" for own in keys for key in own})
    for peer, own in zip(peers, keys, strict=True):
        peer.say(*[[b"DEL", *own[start : start + 50]] for start in range(0, 400, 50)])
    clients.loop.run()
    assert [peer.read_all() for peer in peers] == [b":50\r\n" * 8] * 20
    assert max(clients.store.commits) < 1024 + 400
    assert not clients.store.entries


def test_queues_of_many_clients(clients: Clients) -> None:
    """Producers and those who wait for them, in the same rounds: every job is taken once."""
    source = random.Random(1)
    producers, workers = ([clients.connect() for _ in range(8)] for _ in range(2))
    taken: list[bytes] = []
    made = 0
    for worker in workers:
        worker.send(b"BLPOP q r 0")
    for _ in range(60):
        for peer in producers:
            jobs = [b"%04d" % (made + each) for each in range(source.choice((1, 1, 2, 3)))]
            made += len(jobs)
            peer.say([source.choice((b"RPUSH", b"LPUSH")), source.choice((b"q", b"r")), *jobs])
        for worker in workers:
            if worker.transport.unread:
                taken += worker.read_all().split(b"\r\n")[4::5]
                worker.say(b"BLPOP q r 0")
        clients.loop.run()
    for peer in producers:
        peer.read_all()
    for worker in workers:
        taken += worker.read_all().split(b"\r\n")[4::5]
    for key in (b"q", b"r"):
        taken += producers[0].ask(b"LRANGE %b 0 -1" % key).split(b"\r\n")[2::2]
    assert sorted(taken) == [b"%04d" % number for number in range(made)]


def test_requests_that_stop_many_times_are_not_looked_at_again_and_again(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second client's pipeline names a key of another type."""
    seen: list[int] = []
    command = find(b"GET")
    assert command is not None
    original: Any = command.batch

    def batch(context: Any, keys: tuple[bytes, ...]) -> Sequence[bytes]:
        seen.append(len(keys))
        replies: Sequence[bytes] = original(context, keys)
        return replies

    monkeypatch.setattr(command, "batch", batch)
    peers = [clients.connect() for _ in range(64)]
    for number, peer in enumerate(peers):
        if number % 2:
            peer.ask(b"LPUSH %d:5 x" % number)
        peer.ask(b"PING")
    for number, peer in enumerate(peers):
        peer.say(*[b"GET %d:%d" % (number + 10, key) for key in range(10)])
    clients.loop.run()
    del seen[:]
    for number, peer in enumerate(peers):
        peer.read_all()
        peer.say(*[b"GET %02d:%d" % (number, key) for key in range(10)])
    clients.loop.run()
    assert {len(peer.read_all()) for peer in peers} == {50, 45 + 68}
    assert sum(seen) < 4 * 640


def test_look_ups_that_run_again_are_counted_once(clients: Clients, peers: list[Peer]) -> None:
    say_all(clients, peers, b"SET a 1", b"LPUSH l 1", b"PING", b"PING", b"PING", b"PING")
    keyspace = clients.services.databases.keyspaces[0]
    say_all(clients, peers, b"MGET a l", b"MGET a b", b"MGET a a", b"MGET l a", b"MGET b b", b"MGET a a")
    assert (keyspace.hits + keyspace.hot.hits, keyspace.misses) == (9, 3)
    say_all(clients, peers, *[b"GET a", b"GET l"] * 3)
    assert (keyspace.hits + keyspace.hot.hits, keyspace.misses) == (15, 3)


def test_layouts_of_large_rounds_are_small() -> None:
    """A hundred of them are kept."""
    chunk = encode_requests([[b"GET", b"1234567"]] * 150)
    tracemalloc.start()
    assert columns_of_chunks([chunk] * 256) is not None
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 200_000


# What is answered is there, and what is refused is not, wherever the batches end.


@pytest.mark.parametrize("seed", range(8))
def test_batches_that_are_refused_in_the_middle_of_rounds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(seed)
    for module in (pending, rounds):
        monkeypatch.setattr(module, "BATCH_ENTRIES", source.choice((3, 8, 40)))
    clients = Clients()
    peers = [clients.connect() for _ in range(9)]
    commit = clients.store.commit

    def often_refused(*arguments: Any) -> Any:
        clients.store.failure = NO_ROOM if source.random() < 0.4 else None
        return commit(*arguments)

    monkeypatch.setattr(clients.store, "commit", often_refused)
    expected: dict[bytes, bool] = {}
    for number in range(60):
        chunks = [_writes(source, b"%03d:%d" % (number, client)) for client in range(9)]
        shape = chunks[0][0]
        if source.random() < 0.7:
            chunks = [(shape, b"%03d:%d" % (number, client)) for client in range(9)]
        stops = [key for kind, own in chunks for key in _keys(kind, own) if source.random() < 0.1]
        clients.store.make_cold(*stops)
        for peer, (kind, own) in zip(peers, chunks, strict=True):
            peer.connection.data_received(encode_requests(_requests(kind, own)))
        clients.loop.run()
        for peer, (kind, own) in zip(peers, chunks, strict=True):
            replies = split_replies(peer.read_all())
            if kind == "transaction":
                replies = [replies[-1]] * 2
            keys = _keys(kind, own)
            if kind == "mset":
                replies = replies * 3
            assert len(replies) == len(keys), (kind, replies)
            expected |= {key: reply[:1] != b"-" for key, reply in zip(keys, replies, strict=True)}
    assert {key for key, is_there in expected.items() if is_there} == clients.store.entries.keys()
    assert len(set(expected.values())) == 2


def _writes(source: random.Random, own: bytes) -> tuple[str, bytes]:
    return source.choice(("set", "sets", "incrs", "setex", "mset", "hset", "script", "transaction", "mixed")), own


def _keys(kind: str, own: bytes) -> list[bytes]:
    number = {"sets": 5, "incrs": 7, "mset": 3, "transaction": 2, "mixed": 4}.get(kind, 1)
    return [b"%b:%d" % (own, each) for each in range(number)]


def _requests(kind: str, own: bytes) -> list[list[bytes]]:
    keys = _keys(kind, own)
    if kind == "mset":
        return [[b"MSET", *[word for key in keys for word in (key, b"1")]]]
    if kind == "transaction":
        return [[b"MULTI"], *[[b"SET", key, b"1"] for key in keys], [b"EXEC"]]
    if kind == "mixed":
        return [[b"SET", keys[0], b"1"], [b"INCR", keys[1]], [b"LPUSH", keys[2], b"x"], [b"APPEND", keys[3], b"x"]]
    script = b"return redis.call('set', KEYS[1], '1')"
    of: dict[str, list[list[bytes]]] = {
        "incrs": [[b"INCR", key] for key in keys],
        "setex": [[b"SETEX", keys[0], b"100", b"1"]],
        "hset": [[b"HSET", keys[0], b"f", b"v"]],
        "script": [[b"EVAL", script, b"1", keys[0]]],
    }
    return of.get(kind) or [[b"SET", key, b"1"] for key in keys]


# Against all orders in which the chunks could have run.

_KEYS = (b"a", b"b", b"list", b"hash")


def _request(source: random.Random) -> list[bytes]:
    key = source.choice(_KEYS)
    number = b"%d" % source.randrange(20)
    return source.choice(
        (
            [b"GET", key],
            [b"SET", key, number],
            [b"INCR", key],
            [b"get", key],
            [b"DEL", key],
            [b"EXISTS", key],
            [b"MGET", b"a", b"b"],
            [b"MSET", b"a", number, b"b", number],
            [b"LPUSH", b"list", number],
            [b"RPOP", b"list"],
            [b"HSET", b"hash", number, number],
            [b"HGET", b"hash", number],
            [b"SADD", key, number],
            [b"ZADD", key, number, number],
            [b"EXPIRE", key, b"100"],
            [b"APPEND", key, number],
            [b"SETNX", key, number],
            [b"NOTHING"],
        )
    )


def _request_of_texts(source: random.Random) -> list[bytes]:
    key = source.choice((b"x", b"y"))
    return [source.choice((b"GET", b"INCR", b"DEL", b"EXISTS", b"MGET")), key]


def _chunk(source: random.Random) -> list[list[bytes]]:
    kind = source.random()
    if kind < 0.6:
        return [_request(source)]
    if kind < 0.8:  # of one command
        return [_request(source)] * source.randrange(1, 6)
    if kind < 0.9:
        return [[b"MULTI"], _request(source), _request(source), [b"EXEC"]]
    return [_request(source) for _ in range(source.randrange(1, 4))]


@pytest.mark.parametrize("seed", range(15))
def test_some_order_of_the_chunks_explains_each_round(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the engine refuses the batch: those that fail have never been."""
    source = random.Random(seed)
    monkeypatch.setattr(rounds, "MIN_REQUESTS", source.choice((1, 2)))
    clients = Clients()
    peers = [clients.connect() for _ in range(5)]
    alike = 0.5 * source.random()
    for _ in range(12):
        before = dict(clients.store.entries)
        fails = source.random() < 0.2
        clients.store.failure = NO_ROOM if fails else None
        # An error says nothing of a batch that is refused, so in such a round nothing answers with one but a refusal.
        chunks = [[_request_of_texts(source)] if fails else _chunk(source) for _ in peers]
        for number in range(1, 5):
            if source.random() < alike:
                chunks[number] = chunks[0]
        if source.random() < 0.3:
            clients.store.make_cold(*source.choices(_KEYS, k=2))
        for peer, chunk in zip(peers, chunks, strict=True):
            peer.connection.data_received(encode_requests(chunk))
        clients.loop.run()
        said = [peer.read_all() for peer in peers]
        left = [number for number in range(5) if not said[number].startswith(b"-MISCONF")]
        after = dict(clients.store.entries)
        orders = permutations(left)
        assert any(_explains(before, chunks, order, said, after) for order in orders), (chunks, said)


def _explains(
    before: dict[bytes, Any],
    chunks: list[list[list[bytes]]],
    order: Sequence[int],
    said: list[bytes],
    after: dict[bytes, Any],
) -> bool:
    """Whether the chunks, run in this order by themselves, get these replies and leave this state."""
    plain = Clients()
    plain.store.entries.update(before)
    for number in order:
        peer = plain.connect()
        peer.connection.data_received(encode_requests(chunks[number]))
        plain.loop.run()
        if peer.read_all() != said[number]:
            return False
    return bool(plain.store.entries == after)


# The joined chunks as columns.


@pytest.mark.parametrize("seed", range(60))
def test_chunks_that_are_taken_for_columns_are_whole_requests(seed: int) -> None:
    source = random.Random(seed)
    name = source.choice((b"GET", b"SET", b"HSET", b"XX"))
    taken = 0
    for _ in range(60):
        rows = [_row(source, name) for _ in range(source.randrange(2, 7))]
        wire = encode_requests(rows)
        if source.random() < 0.5:
            chunks = [encode_requests([row]) for row in rows]
        else:  # cut anywhere, as long as each piece begins as a request does
            places = [place for place in range(1, len(wire)) if wire[place : place + 11] == wire[:11]]
            cuts = [0, *sorted(source.sample(places, source.randrange(len(places) + 1))), len(wire)]
            chunks = [wire[begin:end] for begin, end in pairwise(cuts)]
        if source.random() < 0.3:
            at = source.randrange(len(chunks))
            chunk = chunks[at]
            place = source.randrange(11, len(chunk)) if len(chunk) > 11 else len(chunk)
            chunks[at] = chunk[:place] + bytes(source.choices(b"*$123\r\n", k=source.randrange(3))) + chunk[place + 1 :]
        found = columns_of_chunks(chunks)
        if found is None:
            continue
        taken += 1
        each = len(found[1][0]) // len(chunks)
        requests = [[found[0], *row] for row in zip(*found[1], strict=True)]
        for number, chunk in enumerate(chunks):
            parser = PythonParser(TRUSTED, TRUSTED)
            assert parser.feed(chunk) == requests[number * each : (number + 1) * each]
            assert parser.is_empty
    assert taken > 2


def _row(source: random.Random, name: bytes) -> list[bytes]:
    """A request whose arguments hold what requests are made of."""
    pieces = (b"*2", b"$3", b"GET", b"\r\n", b"a", b"*3\r\n$3\r\nSET\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"bb")
    weights = (2, 2, 2, 1, 60, 1, 1, 30)
    number = {b"GET": 1, b"SET": 2, b"HSET": 3, b"XX": 2}[name]
    return [name, *(b"".join(source.choices(pieces, weights, k=source.randrange(4))) for _ in range(number))]
