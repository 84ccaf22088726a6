"""A script that has left the loop: who is served beside it, who waits, and what is there when it has ended.

`KEYS` waits for an event here, so that a script is as long as a test wants it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flin.errors import StorageError
from flin.net.command.registry import find
from flin.net.run import long_script
from flin.net.scripting import script_run
from flin.testing.process import PATIENCE_SECONDS
from tests.net.blocking import bulk_pair, eventually
from tests.net.fake_store import FakeStore
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread

pytest.importorskip("lupa.luajit21", exc_type=ImportError)

BUSY = b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"
WRITES = (
    b"redis.call('SET', 'a', '1') redis.call('KEYS', 'x') redis.call('RPUSH', 'q', 'x') return redis.call('GET', 'a')"
)


class Scene:
    """A server with a manual clock, whose scripts leave the loop at once. `may_end` lets KEYS return."""

    def __init__(self, server: ServerThread) -> None:
        self.server = server
        self.runs = threading.Event()
        self.may_end = threading.Event()
        self._clients: list[RawClient] = []

    def keys(self, context: Any, args: list[bytes]) -> list[bytes]:
        if threading.current_thread().name == "flin-script":
            self.runs.set()
            assert self.may_end.wait(PATIENCE_SECONDS)
        return [b"1", b"2"]

    def new(self) -> RawClient:
        self._clients.append(RawClient(self.server.port))
        return self._clients[-1]

    def ask(self, client: RawClient, *requests: str) -> list[bytes]:
        return [reply.data for reply in client.pipeline([request.encode().split() for request in requests])]

    def begin(self, source: bytes = WRITES) -> RawClient:
        """A client whose script runs in the thread now, and waits there."""
        client = self.new()
        client.send([[b"EVAL", source, b"0"]])
        assert self.runs.wait(PATIENCE_SECONDS)
        return client

    def waits(self) -> int:
        """How many requests wait for its end."""
        held: int = self.server.call(lambda: len(self.server.server.services.long_script.held))
        return held

    def close(self) -> None:
        self.may_end.set()
        for client in self._clients:
            client.close()


def leaves_the_loop_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_run, "LOOP_NS", 1)
    monkeypatch.setattr(script_run.ScriptRun, "_has_worked_long", lambda run: True)


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Scene]:
    leaves_the_loop_at_once(monkeypatch)
    found = find(b"keys")
    assert found is not None
    with ServerThread(FakeStore(clock), uvloop=request.param) as server:
        scene = Scene(server)
        monkeypatch.setattr(found, "handler", scene.keys)
        try:
            yield scene
        finally:
            scene.close()


def test_without_a_thread_it_runs_on_the_loop(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise MemoryError

    monkeypatch.setattr(long_script, "start_thread", refuse)
    client = scene.new()
    client.send([[b"EVAL", WRITES, b"0"]])
    assert client.read().data == b"$1\r\n1\r\n"
    assert scene.ask(client, "LRANGE q 0 -1", "EXISTS a") == [b"*1\r\n$1\r\nx\r\n", b":1\r\n"]
    assert not scene.runs.is_set()


def test_what_touches_no_database_is_served_beside_it(scene: Scene) -> None:
    owner, other, reader = scene.begin(), scene.new(), scene.new()
    reader.send([[b"GET", b"a"]])
    commits = len(scene.server.store.commits)
    for number in range(100):
        assert scene.ask(other, "PING", f"ECHO {number}", "SELECT 1") == [
            b"+PONG\r\n",
            b"$%d\r\n%d\r\n" % (len(str(number)), number),
            b"+OK\r\n",
        ]
    assert not owner.has_reply()
    assert not reader.has_reply()
    assert len(scene.server.store.commits) == commits, "its batch is not committed"
    scene.may_end.set()
    assert owner.read().data == reader.read().data == b"$1\r\n1\r\n"
    assert scene.ask(other, "SELECT 0", "LRANGE q 0 -1") == [b"+OK\r\n", b"*1\r\n$1\r\nx\r\n"]
    assert len(scene.server.store.commits) == commits + 1


def test_busy(scene: Scene) -> None:
    other, queued = scene.new(), scene.new()
    scene.ask(other, "CONFIG SET lua-time-limit 1", "SET n 1")
    assert scene.ask(other, "CONFIG GET busy-reply-threshold") == [b"*2\r\n$20\r\nbusy-reply-threshold\r\n$1\r\n1\r\n"]
    owner = scene.begin()
    eventually(lambda: scene.ask(other, "PING") == [BUSY])
    assert scene.ask(other, "GET a", "WATCH a", "UNWATCH", "EVAL x 0", "SCRIPT FLUSH", "INFO") == [
        BUSY, BUSY, b"+OK\r\n", BUSY, BUSY, BUSY,
    ]  # fmt: skip
    aborted = b"-EXECABORT Transaction discarded because of: " + BUSY[1:]
    assert scene.ask(queued, "MULTI", "GET a", "EXEC") == [b"+OK\r\n", BUSY, aborted]
    assert not owner.has_reply()
    assert scene.ask(other, "SCRIPT KILL") == [b"+OK\r\n"]
    scene.may_end.set()
    assert owner.read().data.startswith(b"-ERR Script killed by user with SCRIPT KILL... script: ")
    assert scene.ask(other, "MGET a n", "LLEN q") == [b"*2\r\n$-1\r\n$1\r\n1\r\n", b":0\r\n"], "though it had written"
    assert scene.ask(other, "SCRIPT KILL") == [b"-NOTBUSY No scripts in execution right now.\r\n"]


def test_who_waits_is_told_at_the_threshold(scene: Scene) -> None:
    scene.ask(scene.new(), "CONFIG SET busy-reply-threshold 100")
    scene.begin()
    other = scene.new()
    other.send([[b"GET", b"a"]])
    assert other.read().data == BUSY


def test_no_threshold(scene: Scene) -> None:
    scene.ask(scene.new(), "CONFIG SET busy-reply-threshold 0")
    owner, other = scene.begin(), scene.new()
    other.send([[b"INCR", b"a"]])
    eventually(lambda: scene.waits() == 1)
    scene.may_end.set()
    assert owner.read().data == b"$1\r\n1\r\n"
    assert other.read().data == b":2\r\n"


def test_its_client_leaves(scene: Scene) -> None:
    """It runs to its end, as in Redis, and its writes are committed though nobody gets a reply."""
    owner, other = scene.begin(), scene.new()
    waiting = scene.new()
    waiting.send([[b"GET", b"a"]])
    eventually(lambda: scene.waits() == 1)
    waiting.shut_down()
    owner.shut_down()
    scene.may_end.set()
    assert scene.ask(other, "GET a", "LLEN q") == [b"$1\r\n1\r\n", b":1\r\n"]
    eventually(lambda: b"a" in scene.server.store.entries)


def test_an_endless_loop_beside_which_many_are_served(scene: Scene) -> None:
    owner, other = scene.new(), scene.new()
    owner.send([[b"EVAL", b"redis.call('SET', 'a', '1') pcall(function() while true do end end)", b"0"]])
    eventually(lambda: scene.server.call(lambda: scene.server.server.services.long_script.job is not None))
    assert [scene.ask(other, "PING") for _ in range(200)] == [[b"+PONG\r\n"]] * 200
    assert not owner.has_reply()
    assert scene.ask(other, "SCRIPT KILL", "EXISTS a") == [b"+OK\r\n", b":0\r\n"]
    assert owner.read().data.startswith(b"-ERR Script killed by user")


def test_an_error_of_its_own_keeps_what_it_wrote(scene: Scene) -> None:
    owner = scene.begin(b"redis.call('SET', 'a', '1') redis.call('KEYS', 'x') error('stop')")
    scene.may_end.set()
    assert owner.read().data.startswith(b"-ERR user_script:1: stop")
    assert scene.ask(owner, "GET a") == [b"$1\r\n1\r\n"]


def test_a_wait_whose_time_is_over(scene: Scene) -> None:
    worker = scene.new()
    worker.send([[b"BLPOP", b"other", b"0.2"]])
    eventually(lambda: b"blocked_clients:1" in scene.ask(scene.new(), "INFO clients")[0])
    owner = scene.begin()
    assert worker.read().data == b"*-1\r\n"
    assert not owner.has_reply()


def test_who_waits_for_a_key_is_served_at_its_end(scene: Scene) -> None:
    worker, leaver = scene.new(), scene.new()
    waiters = scene.server.server.services.waiters
    leaver.send([[b"BLPOP", b"q", b"0"]])
    eventually(lambda: scene.server.call(lambda: waiters.number) == 1)
    worker.send([[b"BLPOP", b"q", b"0"]])
    eventually(lambda: scene.server.call(lambda: waiters.number) == 2)
    owner = scene.begin()
    leaver.shut_down()
    eventually(lambda: scene.server.call(lambda: waiters.number) == 1)
    assert not worker.has_reply()
    scene.may_end.set()
    assert worker.read().data == bulk_pair(b"q", b"x")
    assert owner.read().data == b"$1\r\n1\r\n"
    assert scene.ask(owner, "LLEN q") == [b":0\r\n"]


def test_watchers(scene: Scene) -> None:
    watcher, leaver, unwatching, other = (scene.new() for _ in range(4))
    for client in (watcher, leaver, unwatching):
        scene.ask(client, "WATCH a")
    scene.ask(other, "WATCH b")
    owner = scene.begin()
    leaver.shut_down()
    scene.ask(unwatching, "UNWATCH", "MULTI")
    scene.may_end.set()
    owner.read()
    transaction = ["MULTI", "PING", "EXEC"]
    assert scene.ask(watcher, *transaction)[-1] == b"*-1\r\n"
    assert scene.ask(other, *transaction)[-1] == scene.ask(unwatching, "PING", "EXEC")[-1] == b"*1\r\n+PONG\r\n"


def test_messages_come_at_its_end(scene: Scene) -> None:
    listener = scene.new()
    assert scene.ask(listener, "SUBSCRIBE news")[0].startswith(b"*3\r\n$9\r\nsubscribe")
    owner = scene.begin(b"local n = redis.call('PUBLISH', 'news', 'x') redis.call('KEYS', 'x') return n")
    scene.ask(scene.new(), "PING")
    assert not listener.has_reply()
    scene.may_end.set()
    assert owner.read().data == b":1\r\n"
    assert listener.read().data == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"


def test_the_clock_stands_still(scene: Scene, clock: Clock) -> None:
    other = scene.new()
    scene.ask(other, "SET a 1 PX 100")
    owner = scene.begin(b"redis.call('KEYS', 'x') return redis.call('EXISTS', 'a')")
    clock.now_ms += 1000
    scene.ask(other, "PING")
    scene.may_end.set()
    assert owner.read().data == b":1\r\n"
    assert scene.ask(other, "EXISTS a") == [b":0\r\n"]


def test_the_sweep_waits_for_its_end(scene: Scene) -> None:
    """Also if a pause begins and ends meanwhile."""
    store = scene.server.store
    owner, other = scene.begin(), scene.new()
    assert store.holds_sweep
    assert scene.ask(other, "CLIENT PAUSE 100000 WRITE", "CLIENT UNPAUSE") == [b"+OK\r\n"] * 2
    assert store.holds_sweep
    scene.may_end.set()
    owner.read()
    assert not store.holds_sweep


def test_a_transaction_that_waits(scene: Scene) -> None:
    owner, other = scene.begin(), scene.new()
    assert scene.ask(other, "MULTI", "INCR a") == [b"+OK\r\n", b"+QUEUED\r\n"]
    other.send([[b"EXEC"]])
    eventually(lambda: scene.waits() == 1)
    scene.may_end.set()
    owner.read()
    assert other.read().data == b"*1\r\n:2\r\n"


def test_long_scripts_one_after_the_other(scene: Scene) -> None:
    first = scene.begin()
    others = [scene.new() for _ in range(5)]
    for client in others:
        client.send([[b"EVAL", b"redis.call('KEYS', 'x') return redis.call('INCR', 'n')", b"0"]])
    eventually(lambda: scene.waits() == 5)
    scene.may_end.set()
    assert first.read().data == b"$1\r\n1\r\n"
    assert sorted(client.read().data for client in others) == [b":%d\r\n" % number for number in range(1, 6)]


def test_what_follows_in_its_pipeline(scene: Scene) -> None:
    client = scene.new()
    client.send([[b"SET", b"n", b"1"], [b"EVAL", WRITES, b"0"], [b"INCR", b"n"], [b"LLEN", b"q"]])
    assert scene.runs.wait(PATIENCE_SECONDS)
    assert scene.server.store.entries.get(b"n") == b"1", "what came before it is committed first"
    scene.may_end.set()
    assert [client.read().data for _ in range(4)] == [b"+OK\r\n", b"$1\r\n1\r\n", b":2\r\n", b":1\r\n"]


def test_a_batch_that_is_refused(scene: Scene) -> None:
    owner = scene.begin()
    scene.server.store.failure = StorageError("write", "wal", "no space left on device")
    scene.may_end.set()
    assert owner.read().data.startswith(b"-MISCONF")
    scene.server.store.failure = None
    assert scene.ask(owner, "EXISTS a") == [b":0\r\n"]


def test_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is killed, nothing of it is kept, and its client is told."""
    leaves_the_loop_at_once(monkeypatch)
    with ServerThread() as server:
        client = RawClient(server.port)
        client.send([[b"EVAL", b"redis.call('SET', 'a', '1') while true do end", b"0"]])
        eventually(lambda: server.call(lambda: server.server.services.pending.in_transaction))
        server.loop.call_soon_threadsafe(server.server.request_stop)
        assert client.read().data.startswith(b"-ERR Script killed by user")
        client.close()
    assert server.store.entries == {}


def test_the_slow_log() -> None:
    """Scripts and functions of ordinary clients tell it themselves, once, however they end; brief ones do not."""
    library = (
        b"#!lua name=L\nredis.register_function('slow', function() for i = 1, 2000000 do end end)\n"
        b"redis.register_function('brief', function() end)"
    )
    with ServerThread() as server, RawClient(server.port) as client:
        client.pipeline([[b"FUNCTION", b"LOAD", library], [b"FCALL", b"brief", b"0"], [b"EVAL", b"return 1", b"0"]])
        client.pipeline([[b"CONFIG", b"SET", b"slowlog-log-slower-than", b"1000"], [b"SLOWLOG", b"RESET"]])
        slow = b"redis.call('SET', 'a', '1') for i = 1, 2000000 do end %b"
        for end in (b"return 1", b"error('stop')"):
            client.call(b"EVAL", slow % end, b"0")
        client.call(b"FCALL", b"slow", b"0")
        client.call(b"FCALL", b"brief", b"0")
        entries = client.call(b"SLOWLOG", b"GET").items
        assert [entry.items[3].items[0].payload for entry in entries] == [b"FCALL", b"EVAL", b"EVAL"]
        assert all(int(entry.items[2].payload) >= 1000 for entry in entries)


@pytest.mark.parametrize("used_ns", [0, 1000])
def test_a_script_that_only_waits_for_the_processor_stays(monkeypatch: pytest.MonkeyPatch, used_ns: int) -> None:
    """Its time passes, but it is not its own work that takes so long: a thread would not help."""
    threads: list[str] = []

    def keys(context: Any, args: list[bytes]) -> list[bytes]:
        threads.append(threading.current_thread().name)
        return []

    found = find(b"keys")
    assert found is not None
    monkeypatch.setattr(found, "handler", keys)
    monkeypatch.setattr(script_run, "LOOP_NS", 1)
    clock = itertools.count(7, used_ns)
    monkeypatch.setattr("flin.net.scripting.script_run.time.thread_time_ns", lambda: next(clock))
    with ServerThread(FakeStore()) as server:
        client = RawClient(server.port)
        assert client.call(b"EVAL", b"for _ = 1, 9 do redis.call('KEYS', 'x') end return 1", b"0").data == b":1\r\n"
        client.close()
    assert threads.count("flin-script") == (9 if used_ns else 0)
    assert len(threads) - threads.count("flin-script") == (2 if used_ns else 9)
