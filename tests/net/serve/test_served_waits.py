"""Blocked clients where something else happens: refused batches, syncs, CLIENT UNBLOCK and KILL, the server's end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

import flin.engine
from flin.engine.engine import store_of
from flin.engine.key import namespace_prefix, stored_key
from flin.errors import CommandError, StorageError
from flin.net.batch.refusal import MISCONF
from flin.net.run.context import Context
from flin.net.serve.cold import ColdReads
from flin.net.serve.reaping import Reaping
from flin.net.wire.replies import Value, WaitForKeys
from flin.testing import CrashModel, ManualClock, SimulatedDisk, after_crash
from flin.testing.crash_model import POWER_CUTS
from flin.testing.process import PATIENCE_SECONDS
from tests.net import fake_peer
from tests.net.blocking import Clients, add_command, bulk_pair, say
from tests.net.fake_store import FakeStore
from tests.net.serving import HandlerClient, ServerThread

REFUSED = f"-{MISCONF}\r\n".encode()


@pytest.fixture
def clients() -> Iterator[Clients]:
    with ServerThread() as server, Clients(server) as started:
        yield started


# One tick, one frame.


class Rounds:
    """A server whose rounds are run one by one."""

    def __init__(self, **options: object) -> None:
        self.server = fake_peer.Clients(**options)
        self.store = self.server.store
        self.pusher, self.worker, self.other = (self.server.connect() for _ in range(3))

    @property
    def waiting(self) -> int:
        return self.server.services.waiters.number

    def run(self) -> None:
        self.server.loop.run()


def test_push_and_pop_are_one_frame_without_the_element() -> None:
    rounds = Rounds()
    assert rounds.worker.ask(b"BLPOP q 0") == b""
    assert rounds.pusher.ask(b"RPUSH q x") == b":1\r\n"
    assert rounds.worker.read() == bulk_pair(b"q", b"x")
    assert len(rounds.store.commits) == 1
    assert rounds.store.entries == {}


def test_a_timeout_does_not_outlive_its_wait() -> None:
    rounds = Rounds()
    rounds.worker.send(b"BLPOP q 1")
    rounds.pusher.send(b"RPUSH q x")
    assert rounds.worker.read() == bulk_pair(b"q", b"x")
    rounds.worker.send(b"BLPOP q 0")
    rounds.server.loop.run_later()
    assert rounds.worker.read() == b""
    assert rounds.waiting == 1


def test_a_refused_batch() -> None:
    """Who pushed and who was served get its error; others wait on, and get what comes next."""
    rounds = Rounds()
    third = rounds.server.connect()
    for client in (rounds.worker, rounds.other, third):
        client.send(b"BLPOP q 0")
    rounds.store.failure = StorageError("write", "wal", "no space left on device")
    assert rounds.pusher.ask(b"RPUSH q x y") == REFUSED
    assert (rounds.worker.read(), rounds.other.read(), third.read()) == (REFUSED, REFUSED, b"")
    assert rounds.waiting == 1
    rounds.store.failure = None
    assert rounds.pusher.ask(b"RPUSH q z") == b":1\r\n"
    assert third.read() == bulk_pair(b"q", b"z")


def test_what_a_refused_batch_took_is_there_again() -> None:
    """A client began to wait because of a pop that was refused afterwards."""
    rounds = Rounds()
    rounds.pusher.send(b"RPUSH q x")
    rounds.pusher.read()
    rounds.store.failure = StorageError("write", "wal", "no space left on device")
    rounds.pusher.say(b"LPOP q")
    rounds.worker.say(b"BLPOP q 0")
    rounds.run()
    assert rounds.pusher.read() == REFUSED
    rounds.store.failure = None
    assert rounds.worker.read() == b""
    rounds.server.pass_seconds(1)
    assert rounds.worker.read() == bulk_pair(b"q", b"x")


def test_nobody_is_served_while_the_engine_takes_no_writes() -> None:
    rounds = Rounds()
    rounds.pusher.send(b"RPUSH q x")
    rounds.pusher.read()
    rounds.store.failure = StorageError("write", "wal", "input/output error")
    rounds.pusher.say(b"LPOP q")
    rounds.worker.say(b"BLPOP q 0")
    rounds.store.read_only_reason = "a sync failed"
    rounds.run()
    rounds.server.pass_seconds(2)
    assert rounds.worker.read() == b""
    assert rounds.pusher.ask(b"PING") == REFUSED + b"+PONG\r\n"
    rounds.store.read_only_reason = rounds.store.failure = None
    rounds.server.pass_seconds(1)
    assert rounds.worker.read() == bulk_pair(b"q", b"x")


def test_a_refused_transaction_serves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """EXEC was too large and is taken back."""
    rounds = Rounds()
    rounds.worker.send(b"BLPOP q 0")
    monkeypatch.setattr(rounds.server.services.config, "largest_commit_bytes", 100)
    replies = rounds.pusher.ask(b"MULTI", b"RPUSH q x", b"SET a " + b"x" * 200, b"EXEC")
    assert b"-EXECABORT" in replies
    rounds.server.pass_seconds(1)
    assert rounds.worker.read() == b""
    assert rounds.pusher.ask(b"RPUSH q y") == b":1\r\n"
    assert rounds.worker.read() == bulk_pair(b"q", b"y")


def test_a_pipeline_of_sets_is_no_reason_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of keys that somebody waits for: the type does not suit him, so nothing is ready."""
    rounds = Rounds()
    rounds.worker.send(b"BLPOP aa bb 0")
    rounds.pusher.send(*[b"SET aa 1", b"SET bb 2"] * 4)
    assert rounds.pusher.read() == b"+OK\r\n" * 8
    assert not rounds.server.services.waiters.ready
    assert rounds.waiting == 1


def test_a_pipeline_of_pushes_serves_after_each() -> None:
    rounds = Rounds()
    for client in (rounds.worker, rounds.other):
        client.send(b"BLPOP q 0")
    rounds.pusher.send(*[b"LPUSH q %d" % number for number in range(6)])
    assert rounds.pusher.read() == b":1\r\n:1\r\n:1\r\n:2\r\n:3\r\n:4\r\n"
    assert (rounds.worker.read(), rounds.other.read()) == (bulk_pair(b"q", b"0"), bulk_pair(b"q", b"1"))


def test_a_client_that_waits_for_the_end_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """As XREADGROUP does."""

    def watch_end(context: Context, args: list[bytes]) -> Value:
        def again(key: bytes) -> Value:
            if context.keyspace.exists(key):
                return WaitForKeys([], 0, None)
            raise CommandError("UNBLOCKED the key no longer exists")

        return WaitForKeys(args[1:], 0, None, again, wakes_at_end=True)

    add_command(monkeypatch, "WATCHEND", watch_end)
    for requests in (
        [b"DEL q"],
        [b"FLUSHDB"],
        [b"FLUSHALL"],
        [b"MULTI", b"DEL q", b"EXEC"],
        [b"LPOP q"],
        [b"RENAME q p"],
    ):
        rounds = Rounds()
        rounds.pusher.ask(b"RPUSH q x")
        for client in (rounds.worker, rounds.other):
            client.send(b"WATCHEND q")
        rounds.pusher.ask(b"RPUSH q y", b"LPOP q", b"SET p 1")
        assert rounds.waiting == 2
        rounds.pusher.ask(*requests)
        for client in (rounds.worker, rounds.other):
            assert client.read() == b"-UNBLOCKED the key no longer exists\r\n"
        assert rounds.waiting == 0


@pytest.mark.parametrize("database", [0, 1])
def test_a_stream_that_expires(database: int) -> None:
    clock = ManualClock()
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", clock_ms=clock) as engine:
        store = store_of(engine)
        server = fake_peer.Clients(store)
        reaping = Reaping(server.services, cast(ColdReads, server.loop))
        store.listeners.on_expired = reaping.note_expired
        worker, other = server.connect(), server.connect()
        select = b"SELECT %d" % database
        other.ask(select, b"XGROUP CREATE s g $ MKSTREAM", b"PEXPIRE s 100")
        worker.ask(select)
        worker.send(b"XREADGROUP GROUP g c BLOCK 0 STREAMS s >")
        clock.advance(1)
        store.delete_expired([stored_key(b"s") if database == 0 else namespace_prefix(1) + b"s"], clock())
        reaping.step()
        server.pass_seconds(1)
        assert worker.read() == b"-UNBLOCKED the stream key no longer exists\r\n"


def test_an_attempt_that_writes_and_waits_on_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """XREADGROUP notes when its consumer was last seen, whether there is something for it or not."""
    attempts = []

    def touching(context: Context, args: list[bytes]) -> Value:
        attempts.append(args)
        assert len(attempts) < 10
        context.keyspace.put(args[2], b"seen")
        for observer in list(context.keyspace.observers):
            observer.key_written(args[1])
        return WaitForKeys([args[1]], 0, None)

    add_command(monkeypatch, "TOUCHING", touching)
    rounds = Rounds()
    rounds.worker.send(b"TOUCHING q seen")
    rounds.pusher.ask(b"RPUSH q x")
    assert len(attempts) == 2
    assert rounds.waiting == 1


def test_an_exception_while_serving(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(key: bytes) -> Value:
        raise ZeroDivisionError

    add_command(monkeypatch, "BROKEN", lambda context, args: WaitForKeys(args[1:], 0, None, broken))
    rounds = Rounds()
    rounds.worker.send(b"BROKEN q")
    rounds.other.send(b"BLPOP q 0")
    assert rounds.pusher.ask(b"RPUSH q x") == b":1\r\n"
    assert rounds.worker.read() == b"-ERR internal error\r\n"
    assert rounds.other.read() == bulk_pair(b"q", b"x")
    assert "ZeroDivisionError" in caplog.text


def test_a_reply_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    def sliced(key: bytes) -> Value:
        yield
        yield
        return key

    add_command(monkeypatch, "SLICED", lambda context, args: WaitForKeys(args[1:], 0, None, sliced))
    rounds = Rounds()
    rounds.worker.send(b"SLICED q")
    rounds.pusher.ask(b"RPUSH q x")
    assert rounds.worker.read() == b"$1\r\nq\r\n"


def test_a_watched_key_that_is_served() -> None:
    rounds = Rounds()
    rounds.worker.send(b"BLPOP q 0")
    rounds.other.ask(b"WATCH q", b"MULTI", b"PING")
    rounds.pusher.ask(b"RPUSH q x")
    assert rounds.other.ask(b"EXEC") == b"*-1\r\n"


# The sync mode `always`.


class SlowSync(FakeStore):
    """Syncs only while the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun = threading.Event()

    def sync(self) -> None:
        self.begun.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        super().sync()


def test_always_is_durable_before_it_is_answered() -> None:
    store = SlowSync()
    store.gate.set()
    with ServerThread(store, sync="always") as server, Clients(server) as clients:
        worker = clients.waiting("BLPOP q 0")
        pusher = clients.new()
        store.gate.clear()
        pusher.send([[b"RPUSH", b"q", b"x"]])
        clients.until_blocked(0)
        assert store.begun.wait(PATIENCE_SECONDS)
        for client in (worker, pusher):
            client._socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client._socket.recv(1)
            client._socket.settimeout(PATIENCE_SECONDS)
        store.gate.set()
        assert pusher._socket.recv(100) == b":1\r\n"
        assert worker._socket.recv(100) == bulk_pair(b"q", b"x")
        assert store.synced_position == store.position


def test_always_and_a_sync_that_fails() -> None:
    rounds = Rounds(sync="always")
    rounds.worker.send(b"BLPOP q 0")
    rounds.store.sync_failure = StorageError("sync", "wal", "input/output error")
    assert rounds.pusher.ask(b"RPUSH q x") == REFUSED
    assert rounds.worker.read() == REFUSED


@pytest.mark.parametrize("crash_model", POWER_CUTS)
def test_a_hand_over_survives_a_power_cut_once_it_is_answered(crash_model: CrashModel) -> None:
    """A job on its way through BLMOVE is in one list exactly, at every moment at which somebody is told of it."""
    chance = random.Random(1)
    disk = SimulatedDisk()
    cuts = []
    with flin.engine.open("/db", fs=disk, runner="inline", sync="always") as engine:
        server = fake_peer.Clients(engine._store, sync="always")
        worker, pusher = server.connect(), server.connect()
        for peer in (worker, pusher):

            def write(data: bytes, write: Callable[[bytes], None] = peer.transport.write) -> None:
                cuts.append((number, after_crash(disk, crash_model, chance.randrange)))
                write(data)

            peer.transport.write = write  # type: ignore[method-assign]
        for number in range(1, 13):
            worker.send(b"BLMOVE waiting done LEFT RIGHT 0")
            pusher.send(b"RPUSH waiting %d" % number)
            assert worker.read() == b"$%d\r\n%d\r\n" % (len(str(number)), number)
            assert pusher.read() == b":1\r\n"
    assert len(cuts) == 24
    for number, cut in cuts:
        with flin.engine.open("/db", fs=cut, runner="inline") as recovered:
            client = HandlerClient(recovered._store)
            assert client.call(b"EXISTS", b"waiting") == b":0\r\n"
            assert client.call(b"LLEN", b"done") == b":%d\r\n" % number


# Other clients, the server.


def test_client_unblock(clients: Clients) -> None:
    worker = clients.new()
    number = say(worker, "CLIENT ID")[0][1:-2].decode()
    other = clients.new()
    assert say(other, f"CLIENT UNBLOCK {number}", "CLIENT UNBLOCK 999", "CLIENT UNBLOCK -1") == [b":0\r\n"] * 3
    error = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
    for option, reply in (("", b"*-1\r\n"), (" timeout", b"*-1\r\n"), (" Error", error)):
        worker.send([[b"BLPOP", b"q", b"0"], [b"PING"]])
        clients.until_blocked(1)
        assert say(other, f"CLIENT UNBLOCK {number}{option}", "RPUSH q x", "LLEN q", "DEL q") == [b":1\r\n"] * 4
        assert [worker.read().data for _ in range(2)] == [reply, b"+PONG\r\n"]
    assert say(other, "CLIENT UNBLOCK x") == [b"-ERR value is not an integer or out of range\r\n"]
    for request in ("CLIENT UNBLOCK 1 foo", "CLIENT UNBLOCK x foo"):
        assert say(other, request) == [b"-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n"]


def test_what_others_see_of_a_blocked_client(clients: Clients) -> None:
    worker = clients.waiting("BLPOP q 0")
    other = clients.new()

    def seen() -> tuple[bytes, bool]:
        info, listed = say(other, "INFO clients", "CLIENT LIST TYPE normal")
        blocked = info.partition(b"blocked_clients:")[2].split()[0]
        return blocked, b" flags=b " in listed and b" cmd=blpop " in listed

    assert seen() == (b"1", True)
    say(other, "RPUSH q x")
    worker.read()
    assert seen() == (b"0", False)


def test_client_kill(clients: Clients) -> None:
    worker = clients.new()
    number = say(worker, "CLIENT ID")[0][1:-2].decode()
    worker.send([[b"BLPOP", b"q", b"0"]])
    clients.until_blocked(1)
    pusher = clients.new()
    assert say(pusher, f"CLIENT KILL ID {number}", "RPUSH q x", "LLEN q") == [b":1\r\n"] * 3, "in one round"
    assert worker.at_end()


def test_a_blocked_client_is_not_idle() -> None:
    rounds = Rounds()
    assert rounds.pusher.ask(b"CONFIG SET timeout 5") == b"+OK\r\n"
    rounds.worker.send(b"BLPOP q 0")
    rounds.server.pass_seconds(20)
    assert (rounds.worker.is_closed, rounds.other.is_closed) == (False, True)


@pytest.mark.parametrize("sync", ["never", "always"])
def test_the_end_of_the_server_ends_waits(sync: str, caplog: pytest.LogCaptureFixture) -> None:
    with ServerThread(sync=sync) as server, Clients(server) as clients:
        workers = [clients.waiting("BLPOP q 0") for _ in range(3)]
        workers[0].send([[b"PING"]])
        clients.new().send([[b"SHUTDOWN"]])
        for worker in workers:
            assert worker.at_end()
        server._thread.join(PATIENCE_SECONDS)
    assert "some clients" not in caplog.text, "nobody waited for them to the end of its patience"


def test_workers_that_are_killed(clients: Clients) -> None:
    """kill -9 of real processes while jobs come: each job is in exactly one place."""
    program = (
        "import socket, sys\n"
        f"peer = socket.create_connection(('127.0.0.1', {clients.server.port}))\n"
        "peer.sendall(b'BLPOP q 0\\r\\n')\n"
        "peer.recv(100)\n"
        "print('served', flush=True)\n"
    )
    pusher = clients.new()
    for _ in range(3):
        doomed = [subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
        clients.until_blocked(2)
        alive = clients.waiting("BLPOP q 0")
        for process in doomed:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert say(pusher, "RPUSH q job") == [b":1\r\n"]
        assert alive.read().data == bulk_pair(b"q", b"job")
        for process in doomed:
            assert process.stdout is not None
            assert process.stdout.read() == b""
            process.stdout.close()
        clients.until_blocked(0)
