"""A batch that the engine refuses: which requests fail, which do not, and that each gets one reply, in order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from flin.engine.entry import Entry, Range
from flin.errors import LimitError, StorageError
from flin.net.batch.pending import BATCH_BYTES, BATCH_ENTRIES
from flin.net.batch.refusal import MISCONF
from flin.net.client.transcript import Transcript
from flin.net.wire.resp import split_replies
from tests.net.fake_peer import Clients, Peer

REFUSED = f"-{MISCONF}\r\n".encode()
ABORTED = f"-EXECABORT Transaction discarded because of: {MISCONF}\r\n".encode()
NO_ROOM = StorageError("write", "wal", "no space left on device")


def replies_of(peer: Peer) -> list[bytes]:
    return split_replies(peer.read_all())


def round_of(clients: Clients, *said: tuple[Peer, list[bytes]]) -> list[list[bytes]]:
    """All send in one round. Returns each one's replies."""
    for peer, requests in said:
        peer.say(*requests)
    clients.loop.run()
    return [replies_of(peer) for peer, _ in said]


@pytest.fixture
def clients() -> Clients:
    """The disk is full; the keys a, b and c are there."""
    clients = Clients(databases=3)
    clients.store.entries.update({b"a": b"1", b"b": b"2", b"c": b"3"})
    clients.store.failure = NO_ROOM
    return clients


def test_only_writers_fail(clients: Clients) -> None:
    writer, reader, idle = clients.connect(), clients.connect(), clients.connect()
    assert round_of(
        clients,
        (writer, [b"GET b", b"SET a 2", b"GET a", b"PING", b"INCR c", b"DEL b", b"MGET a b c"]),
        (reader, [b"GET a", b"GET b", b"EXISTS new", b"DBSIZE", b"SET", b"NOTHING"]),
    ) == [
        [
            b"$1\r\n2\r\n",
            REFUSED,
            b"$1\r\n1\r\n",
            b"+PONG\r\n",
            REFUSED,
            REFUSED,
            b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n",
        ],
        [
            b"$1\r\n1\r\n",
            b"$1\r\n2\r\n",
            b":0\r\n",
            b":3\r\n",
            b"-ERR wrong number of arguments for 'set' command\r\n",
            b"-ERR unknown command 'NOTHING', with args beginning with: \r\n",
        ],
    ]
    clients.store.failure = None
    for peer in (writer, reader, idle):
        assert peer.ask(b"SET a 5", b"GET a") == b"+OK\r\n$1\r\n5\r\n", "nobody was closed, and writes go on"


def test_its_readers_are_shown_what_is_there(clients: Clients) -> None:
    writer, reader = clients.connect(), clients.connect()
    assert round_of(
        clients, (writer, [b"SET a 2", b"GET a", b"FLUSHDB", b"GET b"]), (reader, [b"GET a", b"MGET a b c", b"TTL a"])
    ) == [
        [REFUSED, b"$1\r\n1\r\n", REFUSED, b"$1\r\n2\r\n"],
        [b"$1\r\n1\r\n", b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n", b":-1\r\n"],
    ]


def test_other_databases(clients: Clients) -> None:
    peers = [clients.connect() for _ in range(3)]
    clients.store.failure = None
    for number, peer in enumerate(peers):
        assert peer.ask(b"SELECT %d" % number, b"SET a %d" % number) == b"+OK\r\n" * 2
    clients.store.failure = NO_ROOM
    assert round_of(
        clients, (peers[1], [b"SET a new"]), (peers[0], [b"GET a"]), (peers[1], []), (peers[2], [b"SELECT 1", b"GET b"])
    ) == [[REFUSED], [b"$1\r\n0\r\n"], [], [b"+OK\r\n", b"$-1\r\n"]]
    assert round_of(clients, (peers[1], [b"SWAPDB 1 2"]), (peers[2], [b"GET a"])) == [[REFUSED], [b"$1\r\n1\r\n"]]
    assert peers[1].ask(b"GET a") == b"$1\r\n1\r\n"


def test_transactions(clients: Clients) -> None:
    writer, reader, bystander = clients.connect(), clients.connect(), clients.connect()
    assert round_of(
        clients,
        (writer, [b"MULTI", b"SET a 2", b"GET a", b"EXEC", b"MULTI", b"SET b 1", b"DISCARD"]),
        (reader, [b"MULTI", b"GET a", b"EXEC"]),
        (bystander, [b"MULTI", b"GET b", b"PING", b"EXEC", b"MULTI", b"DBSIZE", b"EXEC"]),
    ) == [
        [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n", ABORTED, b"+OK\r\n", b"+QUEUED\r\n", b"+OK\r\n"],
        [b"+OK\r\n", b"+QUEUED\r\n", ABORTED],
        [
            b"+OK\r\n",
            b"+QUEUED\r\n",
            b"+QUEUED\r\n",
            b"*2\r\n$1\r\n2\r\n+PONG\r\n",
            b"+OK\r\n",
            b"+QUEUED\r\n",
            ABORTED,  # it counted pending keys
        ],
    ]
    assert clients.store.entries == {b"a": b"1", b"b": b"2", b"c": b"3"}


def test_a_key_that_was_watched_as_it_never_became(clients: Clients) -> None:
    writer, watcher = clients.connect(), clients.connect()
    round_of(clients, (writer, [b"SET a 2"]), (watcher, [b"WATCH a"]))
    clients.store.failure = None
    assert watcher.ask(b"MULTI", b"SET b 1", b"EXEC").endswith(b"*-1\r\n")


def test_what_was_committed_before_in_the_same_round_stays_answered(clients: Clients) -> None:
    clients.store.failure = None
    writer, reader = clients.connect(), clients.connect()
    early = [b"SET k%d 1" % number for number in range(200)]
    large = [b"SET", b"large", b"x" * (BATCH_BYTES + 1)]
    writer.say(b"GET a", *early, large)  # committed after the large one
    assert len(clients.store.commits) == 1
    clients.store.failure = NO_ROOM
    writer.say(b"SET a 2", b"GET k1", b"GET a")
    reader.say(b"GET k1", b"GET a", b"GET large")
    clients.loop.run()
    assert replies_of(writer) == [b"$1\r\n1\r\n"] + [b"+OK\r\n"] * 201 + [REFUSED, b"$1\r\n1\r\n", b"$1\r\n1\r\n"]
    assert replies_of(reader)[:2] == [b"$1\r\n1\r\n", b"$1\r\n1\r\n"]


def test_the_middle_of_a_turn(clients: Clients) -> None:
    """Committed, refused and refused again, in one pipeline."""
    clients.store.failure = None
    writer = clients.connect()
    large = [b"SET", b"large", b"x" * (BATCH_BYTES + 1)]
    commit = clients.store.commit

    def commit_once(batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        clients.store.failure = NO_ROOM if clients.store.commits else None
        return commit(batch, ranges)

    clients.store.commit = commit_once  # type: ignore[method-assign]
    writer.say(
        b"SET a 2", large, b"SET b 9", b"GET a", b"GET b", large, b"GET a", b"SET c 9", b"GET c", b"STRLEN large"
    )
    clients.loop.run()
    two = b"$1\r\n2\r\n"
    assert replies_of(writer) == [
        b"+OK\r\n",
        b"+OK\r\n",
        REFUSED,
        two,
        two,
        REFUSED,
        two,
        REFUSED,
        b"$1\r\n3\r\n",
        b":%d\r\n" % (BATCH_BYTES + 1),
    ]


def test_pipelines_as_columns(clients: Clients) -> None:
    writer, reader = clients.connect(), clients.connect()
    for peer in (writer, reader):
        peer.say(*[b"GET a"] * 8)
    clients.loop.run()
    for peer in (writer, reader):
        assert replies_of(peer) == [b"$1\r\n1\r\n"] * 8
    writer.say(*[b"SET a %d" % number for number in range(8)])
    reader.say(*[b"GET a"] * 4, *[b"GET b"] * 4)
    clients.loop.run()
    assert replies_of(writer) == [REFUSED] * 8
    assert replies_of(reader) == [b"$1\r\n1\r\n"] * 4 + [b"$1\r\n2\r\n"] * 4


def test_more_writes_than_a_batch_holds(clients: Clients) -> None:
    writer = clients.connect()
    writer.say(*[b"SET k%d v" % number for number in range(2 * BATCH_ENTRIES + 10)])
    clients.loop.run()
    assert replies_of(writer) == [REFUSED] * (2 * BATCH_ENTRIES + 10)
    assert clients.store.entries == {b"a": b"1", b"b": b"2", b"c": b"3"}


def test_a_cold_read_with_a_refused_write(clients: Clients) -> None:
    clients.store.make_cold(b"b")
    peer = clients.connect()
    peer.say(b"SET a 2", b"GET b", b"SET a 3", b"GET a")
    clients.loop.run()
    assert replies_of(peer) == [REFUSED, b"$1\r\n2\r\n", REFUSED, b"$1\r\n1\r\n"]


# Too large.


def test_too_large_a_transaction_is_its_own_error(clients: Clients) -> None:
    clients.store.failure = None
    clients.services.config.largest_commit_bytes = 300_000
    clients.store.entries[b"long"] = b"x" * 100_000
    large, other = clients.connect(), clients.connect()
    copies = [b"COPY long copy%d" % number for number in range(4)]
    said = round_of(
        clients,
        (other, [b"SET a 2"]),
        (large, [b"SET b 3", b"MULTI", b"SET a 9", b"DEL c", *copies, b"EXEC", b"GET a", b"GET copy1"]),
        (other, [b"SET c 4", b"GET a", b"EXISTS long"]),
    )
    assert said[1][-3:] == [
        b"-EXECABORT Transaction discarded because of: the size of its writes in bytes is 400025, "
        b"the maximum is 300000\r\n",
        b"$1\r\n2\r\n",
        b"$-1\r\n",
    ]
    assert said[0] == [b"+OK\r\n", b"+OK\r\n", b"$1\r\n2\r\n", b":1\r\n"]
    assert clients.pending.failures == 0
    assert clients.store.entries == {b"a": b"2", b"b": b"3", b"c": b"4", b"long": b"x" * 100_000}
    assert large.ask(b"MULTI", *copies[:2], b"EXEC").endswith(b"*2\r\n:1\r\n:1\r\n")


def test_what_the_engine_finds_too_large(clients: Clients) -> None:
    clients.store.failure = LimitError("a commit's bytes", 5, 4)
    peer = clients.connect()
    assert peer.ask(b"SET a 2") == b"-ERR a commit's bytes is 5, the maximum is 4\r\n"


# A sync that fails.


def test_a_failed_sync_fails_readers_of_what_is_not_durable() -> None:
    clients = Clients(sync="always")
    clients.store.entries.update({b"a": b"1", b"b": b"2"})
    writer, reader = clients.connect(), clients.connect()
    clients.store.sync_failure = StorageError("sync", "wal", "input/output error")
    writer.say(b"SET a 2", b"GET b", b"PING")
    reader.say(b"GET a", b"GET b", b"CLIENT ID", b"MULTI", b"GET a", b"EXEC")
    clients.loop.run()
    assert replies_of(writer) == [REFUSED, b"$1\r\n2\r\n", b"+PONG\r\n"]
    assert replies_of(reader) == [REFUSED, b"$1\r\n2\r\n", b":2\r\n", b"+OK\r\n", b"+QUEUED\r\n", ABORTED]
    clients.store.read_only_reason = "a sync failed"
    clients.services.clients.maybe_refresh()
    assert writer.ask(b"SET b 2").startswith(b"-MISCONF")
    assert reader.ask(b"GET b") == b"$1\r\n2\r\n"
    assert reader.ask(b"GET a") == REFUSED, "it will never be durable"


# Random rounds, against a server that never gets the refused requests.

KEYS = [b"k%d" % number for number in range(5)]


def random_unit(source: random.Random) -> list[bytes]:
    key, other = source.choice(KEYS), source.choice(KEYS)
    write = source.choice((b"SET %b %d" % (key, source.randrange(100)), b"INCR %b" % key, b"DEL %b" % key))
    read = source.choice((b"GET %b" % key, b"MGET %b %b" % (key, other), b"EXISTS %b" % other, b"TTL %b" % key))
    kind = source.random()
    if kind < 0.35:
        return [write]
    if kind < 0.8:
        return [read]
    if kind < 0.85:
        return [b"MULTI", read, write, b"EXEC"]
    return [source.choice((b"DBSIZE", b"SET", b"LLEN", b"SETRANGE %b 1073741824 x" % key))]


def is_write(unit: list[bytes]) -> bool:
    return len(unit) > 1 or unit[0].split()[0] in (b"SET", b"INCR", b"DEL", b"SETRANGE")


@pytest.mark.parametrize("seed", range(60))
def test_refused_rounds_have_never_been(seed: int) -> None:
    source = random.Random(seed)
    clients, oracle = Clients(), Clients()
    peers = [clients.connect() for _ in range(3)]
    plain = oracle.connect()
    for _ in range(30):
        fails = source.random() < 0.4
        clients.store.failure = NO_ROOM if fails else None
        rounds = [[random_unit(source) for _ in range(source.randrange(6))] for _ in peers]
        for peer, units in zip(peers, rounds, strict=True):
            peer.say(*[request for unit in units for request in unit])
        clients.loop.run()
        for peer, units in zip(peers, rounds, strict=True):
            said = iter(replies_of(peer))
            for unit in units:
                replies = [next(said) for _ in unit]
                if fails and is_write(unit) and replies[-1][:1] == b"-":
                    continue
                before = dict(oracle.store.entries)
                assert replies == split_replies(plain.ask(*unit)), unit
                assert not fails or oracle.store.entries == before, "a write that was answered has changed nothing"
            assert list(said) == []
        assert clients.store.entries == oracle.store.entries


# The parts.


@pytest.mark.parametrize(
    "replies",
    [
        [b"+OK\r\n", b":1\r\n", b"$3\r\na\r\n\r\n", b"$-1\r\n", b"*-1\r\n", b"-ERR x\r\n"],
        [b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$0\r\n\r\n", b"*0\r\n", b"$0\r\n\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n"],
        [b"%1\r\n$1\r\na\r\n~2\r\n:1\r\n*1\r\n+x\r\n", b"=8\r\ntxt:ab\r\n\r\n", b">1\r\n:1\r\n"],
    ],
)
def test_replies_are_taken_apart(replies: list[bytes]) -> None:
    assert split_replies(b"".join(replies)) == replies


def test_a_transcript() -> None:
    transcript = Transcript()
    transcript.turns.append((1, [[b"A"], [b"B"]]))
    transcript.turns.append((2, (b"GET", [(b"x", b"y", b"z")], 2)))
    transcript.turns.append((2, [[b"C"], [b"D"], [b"E"]]))
    transcript.mark(3, 5)
    transcript.cut_last_turn(2)
    requests = [request for _, request in transcript.requests()]
    assert requests == [[b"A"], [b"B"], [b"GET", b"x"], [b"GET", b"y"], [b"C"], [b"D"]]
    pieces = [b":%d\r\n" % number for number in range(6)]

    def seen(batch: int | None) -> Iterator[bytes]:
        asked: list[list[bytes]] = []

        def keep(request: list[bytes], reply: bytes) -> bytes:
            asked.append(request)
            return reply

        assert transcript.judged(pieces, keep, batch) == pieces
        return iter(b" ".join(request) for request in asked)

    assert list(seen(1)) == [b"A", b"B"]
    assert list(seen(2)) == [b"GET x", b"GET y", b"C", b"D"]
    assert list(seen(3)) == [b"D"]
    assert list(seen(4)) == []
    assert len(list(seen(None))) == 6


def test_scripts(clients: Clients) -> None:
    """One that wrote fails, and one that read what the batch wrote; a script that showed nothing of it does not."""
    pytest.importorskip("lupa.luajit21", exc_type=ImportError)
    first, other = clients.connect(), clients.connect()
    assert round_of(
        clients,
        (first, [b"EVAL return(redis.call('GET','a')) 0", b"EVAL return(redis.call('SET','a',2)) 0"]),
        (
            other,
            [
                b"EVAL return(redis.call('GET','a')) 0",
                b"EVAL_RO return(redis.call('GET','a')) 0",
                b"EVAL return(redis.call('GET','b')) 0",
                b"EVAL return(redis.call('DBSIZE')) 0",
                b"EVAL return(7) 0",
                b"MULTI",
                b"EVAL return(redis.call('GET','b')) 0",
                b"EXEC",
            ],
        ),
    ) == [
        [b"$1\r\n1\r\n", REFUSED],
        [REFUSED, REFUSED, b"$1\r\n2\r\n", REFUSED, b":7\r\n", b"+OK\r\n", b"+QUEUED\r\n", ABORTED],
    ]
    clients.store.failure = None
    assert first.ask(b"GET a") == b"$1\r\n1\r\n"
