"""A leader whose lease lapses, or whose log does not answer: what its clients are told is true.

-CLUSTERDOWN: nothing of it was executed. -UNCERTAIN: perhaps. All else: it was, and nobody else led meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from flin.errors import StorageError
from flin.net.batch.refusal import LAPSED, UNCERTAIN
from tests.net.fake_peer import Clients
from tests.net.role import FakeRole

DOWN = b"-%b\r\n" % LAPSED.encode()
PERHAPS = b"-%b\r\n" % UNCERTAIN.encode()
LARGE = b"v" * 600_000


LOST = StorageError("sync", "the log", OSError("no answer"))


class SlowExecutor(Executor):
    """Its calls wait until `run` is called."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: function(*args, **kwargs)))
        return future

    def run(self, error: Exception | None = None) -> None:
        waiting, self.waiting = self.waiting, []
        for future, call in waiting:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(call())


class Leader(Clients):
    def __init__(self) -> None:
        self.role = FakeRole()
        self.log = SlowExecutor()
        super().__init__(role=self.role, executor=self.log)

    def append(self, error: Exception | None = None) -> None:
        """The log answers."""
        self.log.run(error)
        self.loop.run()


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_a_write_is_answered_once_the_log_has_it(leader: Leader) -> None:
    peer, other = leader.connect(), leader.connect()
    assert peer.ask(b"SET a 1") == b""
    assert other.ask(b"GET b") == b"$-1\r\n"
    assert other.ask(b"GET a") == b"", "it shows what the log may not have"
    leader.append()
    assert (peer.read_all(), other.read_all()) == (b"+OK\r\n", b"$1\r\n1\r\n")


def test_past_its_lease_a_leader_reads_and_writes_nothing(leader: Leader) -> None:
    peer = leader.connect()
    peer.ask(b"SET a 1")
    leader.append()
    peer.read_all()
    leader.role.is_leased = False
    requests = [b"DBSIZE", b"GET a", b"SET b 1", b"PING", b"LPUSH a 1", b"ECHO x", b"DEL a", b"PUBLISH c m"]
    assert peer.ask(*requests) == DOWN * 3 + b"+PONG\r\n" + DOWN + b"$1\r\nx\r\n" + DOWN * 2
    assert peer.ask(b"MULTI", b"GET a", b"INCR b", b"EXEC") == b"+OK\r\n" + b"+QUEUED\r\n" * 2 + DOWN
    assert peer.ask(b"EVAL return(redis.call('set',KEYS[1],1)) 1 b") == DOWN
    assert not peer.is_closed
    leader.role.is_leased = True
    assert peer.ask(b"EXISTS b", b"GET a") == b":0\r\n$1\r\n1\r\n", "nobody took over, so it goes on"


def test_who_is_refused_does_not_wait_for_the_log(leader: Leader) -> None:
    """An append may stay without an answer for as long as a majority is away, or etcd is full."""
    first, second = leader.connect(), leader.connect()
    assert first.ask(b"SET a 1") == b""
    leader.role.is_leased = False
    assert second.ask(b"GET a") == DOWN
    assert second.ask(b"SET a 2", b"INCR a", b"SET b 1") == DOWN * 3
    crowd = [leader.connect() for _ in range(70)]
    for turn in (b"GET a", b"SET a 3"):
        for peer in crowd:
            peer.say(turn)
        leader.loop.run()
        assert [peer.read_all() for peer in crowd] == [DOWN] * len(crowd)
    assert first.ask(b"GET b") == b"", "replies keep their order"
    leader.append()
    assert first.read_all() == b"+OK\r\n" + DOWN
    leader.role.is_leased = True
    assert second.ask(b"GET a", b"EXISTS b") == b"$1\r\n1\r\n:0\r\n"


def test_a_lease_that_lapses_within_a_tick(leader: Leader) -> None:
    """A stop in the midst of a tick: what came later was run with it, and only the look at its end sees it."""
    first, second = leader.connect(), leader.connect()
    first.say(b"GET a")
    leader.role.is_leased = False
    second.say(b"SET a 1", b"GET a")
    leader.loop.run()
    assert (first.read_all(), second.read_all()) == (DOWN, DOWN * 2)
    assert leader.store.commits == []


def test_a_crowd_is_denied_too(leader: Leader) -> None:
    peers = [leader.connect() for _ in range(8)]

    def round_of(request: bytes) -> list[bytes]:
        for number, peer in enumerate(peers):
            peer.say(request % number if b"%d" in request else request)
        leader.loop.run()
        leader.append()
        return [peer.read_all() for peer in peers]

    for _ in range(3):  # from the second round on what is alike is run together
        assert round_of(b"SET a%d 1") == [b"+OK\r\n"] * 8
        assert round_of(b"GET a%d") == [b"$1\r\n1\r\n"] * 8
    assert leader.services.tick.is_crowded
    leader.role.is_leased = False
    assert round_of(b"GET a1") == [DOWN] * 8
    assert round_of(b"SET a1 2") == [DOWN] * 8
    leader.role.is_leased = True
    assert round_of(b"GET a1") == [b"$1\r\n1\r\n"] * 8


def test_what_was_committed_within_the_tick_is_uncertain(leader: Leader) -> None:
    peer, other = leader.connect(), leader.connect()
    leader.role.is_leased = False
    other.say(b"GET b")
    peer.say([b"SET", b"a", LARGE], [b"SET", b"b", LARGE], b"GET x", b"SET c 1")
    leader.loop.run()
    assert len(leader.store.commits) == 1, "the batch was full after the second one"
    assert peer.read_all() == PERHAPS * 2 + DOWN * 2, "before the log answers, too"
    leader.append()
    assert peer.is_closed
    assert other.read_all() == DOWN
    assert not other.is_closed
    assert b"c" not in leader.store.entries


@pytest.mark.parametrize("error", [LOST, OSError("fenced")])
def test_a_write_whose_outcome_is_not_known_is_told_so(leader: Leader, error: Exception) -> None:
    writer, reader, watcher = leader.connect(), leader.connect(), leader.connect()
    transaction = leader.connect()
    writer.ask(b"GET a", b"INCR a", b"GET b", b"SET a x NX")
    reader.ask(b"GET a")
    transaction.ask(b"MULTI", b"INCR t", b"EXEC")
    assert watcher.ask(b"GET b") == b"$-1\r\n"
    leader.append(error)
    assert writer.read_all().endswith(PERHAPS + DOWN + PERHAPS)
    assert reader.read_all() == DOWN
    assert transaction.read_all() == b"+OK\r\n+QUEUED\r\n" + PERHAPS
    assert [peer.is_closed for peer in (writer, reader, transaction, watcher)] == [True, True, True, False]


def test_what_the_log_had_before_is_answered(leader: Leader) -> None:
    first, second = leader.connect(), leader.connect()
    first.ask(b"SET a 1")
    position = leader.store.position
    second.ask(b"SET b 1")
    leader.store.synced_position = position
    leader.append(LOST)
    assert first.read_all() == b"+OK\r\n"
    assert second.read_all() == PERHAPS


def test_a_script_that_fails_may_have_written_before(leader: Leader) -> None:
    peer = leader.connect()
    peer.ask(b"EVAL redis.call('set',KEYS[1],1)return{err='X'} 1 b")
    leader.append(LOST)
    assert peer.read_all() == PERHAPS


def test_messages_of_what_was_committed_arrive(leader: Leader) -> None:
    listener, peer = leader.connect(), leader.connect()
    listener.ask(b"SUBSCRIBE c")
    leader.append()
    listener.read_all()
    leader.role.is_leased = False
    listener.say(b"PING")
    peer.say([b"SET", b"a", LARGE], b"PUBLISH c m", [b"SET", b"b", LARGE], b"GET a")
    leader.loop.run()
    leader.append()
    assert b"$1\r\nm\r\n" in listener.read_all()


def test_a_read_only_leader_says_that_nothing_was_executed(leader: Leader) -> None:
    peer = leader.connect()
    leader.store.read_only_reason = "another replica leads"
    leader.guard.step()
    assert peer.ask(b"SET a 1").startswith(b"-CLUSTERDOWN this leader cannot write: another")


def stopped_in_a_tick(leader: Leader) -> bytes:
    peer = leader.connect()
    peer.say(b"GET a")
    leader.role.is_leased = False
    leader.loop.run()
    return peer.read_all()


def test_a_look_before_the_commands_would_be_seen(leader: Leader) -> None:
    assert stopped_in_a_tick(leader) == DOWN
    broken = Leader()
    before = broken.role.has_lease()
    broken.services.tick._has_lease = lambda: before  # type: ignore[attr-defined]
    assert stopped_in_a_tick(broken) == b"$-1\r\n"
