"""FLIN.TXN: its compares, its words, and that it does what EXEC does."""

from __future__ import annotations

import pytest

from flin.errors import StorageError
from flin.net.command.command import Flag
from flin.net.command.registry import find
from tests.net.commands.handling import START_MS
from tests.net.commands.test_ranges import ask, talk
from tests.net.differential import focused
from tests.net.fake_peer import Clients
from tests.net.run.test_slot_gate import TOPOLOGY
from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


def test_then_and_else(client: HandlerClient) -> None:
    talk(client, "SET stock 1")
    line = "FLIN.TXN IF VALUE stock = 1 IF EXISTS order 0 THEN 2 DEL stock THEN 3 SET order ada ELSE 2 GET order"
    assert talk(client, line) == [1, [1, b"OK"]]
    assert talk(client, line) == [0, [b"ada"]]
    assert talk(client, "FLIN.TXN THEN 2 GET order") == [1, [b"ada"]]
    assert not client.context.keyspace.is_blocking
    assert talk(client, "FLIN.TXN IF EXISTS order 1") == [1, []]
    assert talk(client, "FLIN.TXN IF EXISTS order 0") == [0, []]


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        ("VALUE k = b", 1),
        ("VALUE k != b", 0),
        ("VALUE k != a", 1),
        ("VALUE k < c", 1),
        ("VALUE k < b", 0),
        ("VALUE k <= b", 1),
        ("VALUE k > a", 1),
        ("VALUE k >= c", 0),
        ("value none = ''", 0),
        ("VALUE none != b", 0),
        ("EXISTS k 1", 1),
        ("EXISTS none 1", 0),
        ("EXISTS list 1", 1),
        ("EXPIRES k = 0", 1),
        ("EXPIRES soon > 1900000000000", 1),
        ("EXPIRES soon < 1900000000000", 0),
        ("EXPIRES none = 0", 0),
    ],
)
def test_compares(client: HandlerClient, compare: str, holds: int) -> None:
    talk(client, "SET k b")
    talk(client, "RPUSH list a")
    talk(client, "SET soon x PXAT 2000000000000")
    assert talk(client, f"FLIN.TXN IF {compare} THEN 1 PING") == [holds, [b"PONG"] * holds]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("IF VALUE list = a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("IF VALUE k", "ERR FLIN.TXN ends within a compare, or a request"),
        ("IF VALUE k =", "ERR FLIN.TXN ends within a compare, or a request"),
        ("IF VALUE k ~ b", "ERR a relation is one of = != < <= > >=, not '~'"),
        ("IF SIZE k = 1", "ERR FLIN.TXN compares VALUE, EXISTS or EXPIRES, not 'SIZE'"),
        ("IF EXISTS k 2", "ERR EXISTS is followed by a key and 0 or 1, not '2'"),
        ("IF EXPIRES k = x", "ERR value is not an integer or out of range"),
        ("THEN 0 PING", "ERR a request of FLIN.TXN has at least one word"),
        ("THEN x PING", "ERR value is not an integer or out of range"),
        ("THEN 3 GET k", "ERR FLIN.TXN ends within a compare, or a request"),
        ("THEN 99999999999999999 GET k", "ERR FLIN.TXN ends within a compare, or a request"),
        ("THEN 2 SET k", "ERR wrong number of arguments for 'set' command"),
        ("THEN 2 FOO k", "ERR unknown command 'FOO', with args beginning with: 'k' "),
        ("THEN 2 GET k IF EXISTS k 1", "ERR FLIN.TXN takes IF, then THEN, then ELSE, not 'IF' there"),
        ("ELSE 2 GET k THEN 2 GET k", "ERR FLIN.TXN takes IF, then THEN, then ELSE, not 'THEN' there"),
        ("THEN 1 MULTI ELSE 2 GET k", "ERR MULTI is not allowed in FLIN.TXN, as in scripts"),
        ("THEN 3 BLPOP k 0", "ERR BLPOP is not allowed in FLIN.TXN, as in scripts"),
        ("THEN 2 SUBSCRIBE k", "ERR SUBSCRIBE is not allowed in FLIN.TXN, as in scripts"),
        ("THEN 4 FLIN.TXN THEN 1 PING", "ERR FLIN.TXN is not allowed in FLIN.TXN, as in scripts"),
    ],
)
def test_what_is_wrong_leaves_nothing(client: HandlerClient, words: str, error: str) -> None:
    talk(client, "RPUSH list a")
    assert talk(client, f"FLIN.TXN {words}") == error
    if words.startswith("THEN"):
        assert talk(client, f"FLIN.TXN THEN 3 SET a 1 {words}") == error
    assert talk(client, "EXISTS a") == 0


def test_errors_of_what_runs_are_in_their_place_as_in_exec(client: HandlerClient) -> None:
    talk(client, "RPUSH list a")
    held, (one, two, three) = talk(client, "FLIN.TXN THEN 3 SET a 1 THEN 2 INCR list THEN 2 INCR a")
    assert (held, one, str(two)[:9], three) == (1, b"OK", "WRONGTYPE", 2)


def test_within_exec(client: HandlerClient) -> None:
    for line in (
        "MULTI",
        "SET a 1",
        "FLIN.TXN IF VALUE a = 1 THEN 2 INCR a",
        "GET a",
        "FLIN.TXN THEN 2 SET a",
        "GET a",
    ):
        talk(client, line)
    *replies, error, last = talk(client, "EXEC")
    assert (replies, last) == ([b"OK", [1, [2]], b"2"], b"2")
    assert str(error) == "ERR wrong number of arguments for 'set' command"
    assert not client.context.keyspace.is_blocking


def test_no_script_may_call_it(client: HandlerClient) -> None:
    pytest.importorskip("lupa")
    assert "not allowed from script" in str(
        ask(client, "EVAL", "return redis.call('FLIN.TXN', 'THEN', '1', 'PING')", "0")
    )


def test_who_watches_is_told_once_it_is_kept(client: HandlerClient) -> None:
    talk(client, "WATCH a")
    talk(client.another(), "FLIN.TXN IF EXISTS a 1 THEN 3 SET a 1")
    talk(client, "MULTI")
    assert talk(client, "EXEC") == []
    talk(client, "WATCH a")
    talk(client.another(), "FLIN.TXN IF EXISTS a 0 THEN 3 SET a 1")
    talk(client, "MULTI")
    assert talk(client, "EXEC") is None


def test_rules_about_commands_and_keys(client: HandlerClient) -> None:
    talk(client.another(), "ACL SETUSER ada on nopass ~own:* %R~all:* +flin.txn +set +get")
    talk(client, "AUTH ada x")
    assert talk(client, "FLIN.TXN IF EXISTS all:a 0 THEN 3 SET own:a 1 ELSE 2 GET all:a") == [1, [b"OK"]]
    for line in ("IF EXISTS other 0", "THEN 3 SET own:b 1 ELSE 3 SET all:a 1", "THEN 3 SET own:b 1 THEN 2 DEL own:a"):
        assert str(talk(client, f"FLIN.TXN {line}")).startswith("NOPERM"), line
    assert talk(client, "GET own:b") is None


def test_commands_that_name_keys(client: HandlerClient) -> None:
    line = "COMMAND GETKEYS FLIN.TXN IF VALUE a = 1 IF EXISTS b 0 THEN 5 MSET c 1 d 2 ELSE 2 GET e"
    assert talk(client, line) == [b"a", b"b", b"c", b"d", b"e"]


def test_a_transaction_that_is_too_large_leaves_nothing() -> None:
    client = HandlerClient(memory_limit=16 << 20)
    value = b"v" * (3 << 20)
    requests = [word for number in range(7) for word in (b"THEN", b"3", b"SET", b"k%d" % number, value)]
    assert "ERR the size" in str(ask(client, b"FLIN.TXN", *requests))
    assert talk(client, "DBSIZE") == 0


def test_it_does_what_exec_does() -> None:
    """Random requests, up to five at a time: FLIN.TXN on one server, MULTI and EXEC on the other."""
    one, other = (HandlerClient(clock=lambda: START_MS) for _ in range(2))
    names = (
        "set",
        "get",
        "del",
        "incr",
        "append",
        "mset",
        "rpush",
        "lpop",
        "hset",
        "hgetall",
        "sadd",
        "zadd",
        "rename",
    )
    queue: list[list[bytes]] = []
    compared = 0
    for request in focused(names, 5, 1500):
        words = request.words
        found = find(words[0])
        if found is None or found.subcommands is not None or found.flags & Flag.NOSCRIPT or request.compare != "same":
            continue
        if not found.minimum <= len(words) <= found.maximum:
            continue
        queue.append(words)
        if len(queue) == 1 + compared % 5:
            clauses = [word for each in queue for word in (b"THEN", b"%d" % len(each), *each)]
            reply = one.call(b"FLIN.TXN", *clauses)
            other.call(b"MULTI")
            for each in queue:
                assert other.call(*each) == b"+QUEUED\r\n"
            assert reply == b"*2\r\n:1\r\n" + other.call(b"EXEC"), queue
            queue, compared = [], compared + 1
    assert compared > 200
    assert one.store.entries == other.store.entries


def test_where_there_is_no_room(client: HandlerClient) -> None:
    client.services.room.refuse("disk", "MISCONF no room")
    assert talk(client, "FLIN.TXN THEN 3 SET a 1 ELSE 1 PING") == "MISCONF no room"
    assert talk(client, "FLIN.TXN IF EXISTS a 1 THEN 3 SET a 1 ELSE 2 DEL a") == [0, [0]]


def test_a_read_only_engine(client: HandlerClient) -> None:
    client.store.read_only_reason = "the disk is full"
    assert str(talk(client, "FLIN.TXN THEN 3 SET a 1")).startswith("MISCONF Flin cannot write to disk")
    assert talk(client, "FLIN.TXN THEN 2 GET a") == [1, [None]]


def test_a_batch_that_the_engine_refuses() -> None:
    """Its reply does not leave: an error does."""
    clients = Clients()
    clients.store.failure = StorageError("write", "000001.wal", "no space left")
    peer = clients.connect()
    assert peer.ask(b"FLIN.TXN THEN 3 SET a 1").startswith(b"-MISCONF")
    assert peer.ask(b"FLIN.TXN THEN 2 GET a") == b"*2\r\n:1\r\n*1\r\n$-1\r\n"


def test_on_a_node_of_a_cluster() -> None:
    """All keys have one slot, that of the node: those of compares, and of what would run else."""
    client = HandlerClient(topology=TOPOLOGY)
    assert talk(client, "FLIN.TXN IF EXISTS {b}1 0 THEN 3 SET {b}2 1 ELSE 2 GET {b}3") == [1, [b"OK"]]
    assert talk(client, "FLIN.RANGE '' ''") == [None, [b"{b}2", b"1"]]
    for line in ("IF EXISTS {b}1 0 THEN 2 GET {c}1", "IF EXISTS {b}1 0 THEN 2 GET {b}1 ELSE 2 GET {c}1"):
        assert str(talk(client, f"FLIN.TXN {line}")).startswith("CROSSSLOT"), line
    assert str(talk(client, "FLIN.TXN IF EXISTS a 0 THEN 2 GET a")).startswith("MOVED")
    talk(client, "MULTI")
    assert str(talk(client, "FLIN.TXN THEN 2 GET a")).startswith("MOVED")
    assert str(talk(client, "EXEC")).startswith("EXECABORT")
