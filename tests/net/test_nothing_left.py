"""The objects of a request, a connection or a failed job are freed with their last reference.

The server makes runs of the garbage collector rare, so a cycle (an exception that keeps its frames, which keep a read
state and the exception) would keep old memtables, tables and files for minutes. These loads run with the collector off;
afterwards it must find nothing of ours.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import random
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

import flin
import flin.engine
from flin.engine.disk.fs import OsReadableFile
from flin.engine.read.read_state import ReadState
from flin.errors import FlinError, StorageError
from flin.net.client.session import Session
from flin.net.run import tick
from flin.net.run.context import Context
from flin.net.serve.connection import Connection
from flin.net.wire.requests import RequestParser
from flin.net.wire.resp import encode_requests
from flin.testing.disk import SimulatedDisk
from flin.testing.fault import Fault
from tests.net.fake_peer import Clients
from tests.net.raw_client import RawClient
from tests.net.serve.test_connection import eventually
from tests.net.serving import ServerThread

ROOT = str(Path(flin.__file__).parent)
Left = Callable[[], list[Any]]


def _is_ours(found: object) -> bool:
    if isinstance(found, types.TracebackType):
        return found.tb_frame.f_code.co_filename.startswith(ROOT)
    if isinstance(found, types.FrameType):
        return found.f_code.co_filename.startswith(ROOT)
    return type(found).__module__.partition(".")[0] == "flin"


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[Left]:
    """The collector is off; the call returns the objects of ours that only it can free."""

    def look() -> list[Any]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
        finally:
            gc.set_debug(0)
        found = [each for each in gc.garbage if id(each) not in before and _is_ours(each)]
        gc.garbage.clear()
        return found

    for handler in logging.getLogger().handlers:  # pytest's own keep every record, with its exception
        monkeypatch.setattr(handler, "handle", lambda record: None)
    gc.collect()
    gc.freeze()  # what all earlier tests have left: to walk over it takes half a second, several times in each test
    before = {id(each) for each in gc.get_objects()}  # of tests that pytest still remembers
    gc.disable()
    try:
        yield look
    finally:
        gc.enable()
        gc.collect()


def alive(*kinds: type) -> int:
    return sum(type(each) in kinds for each in gc.get_objects())


CONNECTION: Final = (Connection, Session, Context, RequestParser)


def test_cold_reads_and_closed_connections(tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """MGET, GET, SCAN and transactions beyond the caches, by clients that come and go, while tables come and go."""
    source = random.Random(1)
    read = OsReadableFile.pread_nowait

    def often_cold(file: OsReadableFile, size: int, offset: int) -> bytes | None:
        return None if source.random() < 0.3 else read(file, size, offset)

    monkeypatch.setattr(OsReadableFile, "pread_nowait", often_cold)
    keys = [b"k%05d" % number for number in range(5000)]
    with flin.engine.open(tmp_path / "db", memory_limit="4mb", runner="thread", stall_writers=False) as db:
        db.put_many([(key, source.randbytes(500)) for key in keys])
        db.flush()
        states, connections = alive(ReadState), alive(*CONNECTION)
        files = len(os.listdir("/proc/self/fd"))
        with ServerThread(db._store) as server:
            services = server.server.services
            for _ in range(12):
                with RawClient(server.port) as client:
                    for _ in range(20):
                        client.call(b"MGET", *source.choices(keys, k=10))
                        client.call(b"SCAN", b"0", b"COUNT", b"20")
                        client.call(b"SET", source.choice(keys), source.randbytes(500))
                        client.call(b"INCR", source.choice(keys))
                        client.pipeline([[b"MULTI"], [b"GET", source.choice(keys)], [b"EXEC"]])
                db.flush()
            eventually(lambda: not services.clients.admitted)
            assert services.counters.cold_reads > 100
            assert left() == []
            # The server's thread may be in the middle of its own work: only objects that pile up count.
            assert alive(ReadState) <= states + 2
            eventually(lambda: alive(*CONNECTION) == connections)
            db.compact()
            named = db.stats()["tables"]["files"]
            eventually(lambda: len(list((tmp_path / "db").glob("*.sst"))) == named)
            assert len(os.listdir("/proc/self/fd")) <= files + 16, "the loop's own, and the open table"


def test_requests_that_fail(left: Left) -> None:
    connections = alive(*CONNECTION)
    clients = Clients(sync="always")
    clients.store.entries.update({b"text": b"x", b"cold": b"1"})
    for _ in range(5):
        peer = clients.connect()
        peer.ask(b"INCR text", b"NOTHING", b"GET", b"WATCH text", b"MULTI", b"SET text y", b"EXEC", b"CLIENT NOTHING")
        clients.store.make_cold(b"cold")
        peer.ask(b"MGET cold text", b"HELLO 3", b"DBSIZE")
        clients.store.failure = StorageError("write", "wal", "no space left")
        peer.ask(b"SET text 1", b"GET text", b"MULTI", b"SET text 2", b"EXEC", b"SCAN 0")
        clients.store.failure = None
        clients.store.sync_failure = StorageError("sync", "wal", "input/output error")
        peer.ask(b"SET text x", b"GET text")
        clients.store.sync_failure = None
        clients.store.stall_state.delay_seconds = 0.01
        clients.services.clients.maybe_refresh()
        peer.send(b"SET text 3")
        clients.loop.run_later()
        clients.store.stall_state.delay_seconds = 0.0
        clients.services.clients.maybe_refresh()
        peer.ask(b"SUBSTR text 0 100")
        peer.send_raw(b"*1\r\n:5\r\n")
        peer.read_all()
        assert peer.is_closed
    del peer
    assert left() == []
    assert alive(*CONNECTION) == connections


def test_clients_that_are_closed(left: Left) -> None:
    """Killed, refused, gone while they wait, with requests and replies that are no longer needed."""
    connections = alive(*CONNECTION)
    clients = Clients(maxclients=4)
    clients.store.entries.update({b"k%d" % number: b"v" * 100 for number in range(1000)})
    keys = list(clients.store.entries)
    for _ in range(3):
        killer, unread, slicing, queueing = (clients.connect() for _ in range(4))
        assert clients.connect().read_all().startswith(b"-ERR max number of clients")
        unread.send_raw(encode_requests([[b"MGET", *keys[:50]]]) * 2000)
        slicing.say([b"MGET", *keys], [b"PING"])
        queueing.ask(b"WATCH k1", b"MULTI", b"SET k1 x")
        for peer in (unread, slicing, queueing):
            killer.ask(b"CLIENT KILL ID %d" % peer.connection.session.id)
            assert peer.is_closed
        killer.ask(b"QUIT")
        assert killer.is_closed
    del killer, unread, slicing, queueing, peer
    clients.loop.run()
    assert left() == []
    assert alive(*CONNECTION) == connections


def test_rounds_of_clients_that_come_and_go(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answered together, cold, refused, killed, gone with a request that is put aside, one that fails unexpectedly."""
    connections = alive(*CONNECTION)
    monkeypatch.setattr(tick, "CROWD", 0)
    clients = Clients()
    clients.store.entries.update({b"a": b"1", b"b": b"1", b"text": b"x"})
    for _ in range(4):
        peers = [clients.connect() for _ in range(12)]
        for request in (b"INCR a", b"GET b", b"INCR text", b"EXISTS a b", b"SELECT 0", b"GET"):
            for is_refused in (False, True):
                clients.store.failure = StorageError("write", "wal", "no space left") if is_refused else None
                clients.store.make_cold(b"a", b"b")
                for peer in peers:
                    peer.say(request)
                clients.loop.run()
        clients.store.failure = None
        peers[0].say(*[b"CLIENT KILL ID %d" % peer.connection.session.id for peer in peers[1:4]])
        for peer in peers[1:]:
            peer.say(b"SET k v")
        peers[4].connection.eof_received()
        clients.loop.run()
        with monkeypatch.context() as patch:
            patch.setattr(RequestParser, "feed", lambda parser, data: 1 // 0)
            for peer in peers[5:]:
                peer.say(b"TIME")
            clients.loop.run()
        for peer in (peers[0], peers[4]):
            peer.read_all()
            peer.say(b"QUIT")
            clients.loop.run()
            peer.read_all()
        assert all(peer.is_closed for peer in peers)
    del peers, peer
    clients.loop.run()
    assert left() == []
    assert alive(*CONNECTION) == connections


def test_an_unexpected_exception(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients()

    def fail(key: bytes) -> None:
        raise RuntimeError("a bug")

    peer = clients.connect()
    for keyspace in clients.services.databases.keyspaces:
        monkeypatch.setattr(keyspace, "read", fail)
    for _ in range(5):
        assert peer.ask(b"TTL k", b"MULTI", b"TTL k", b"EXEC").startswith(b"-ERR internal error\r\n")
    assert left() == []


# The engine: of a failure it keeps the error, not the frames.


@pytest.mark.parametrize("runner", ["inline", "thread"])
def test_jobs_that_fail(left: Left, runner: Literal["inline", "thread"]) -> None:
    states = alive(ReadState)
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner=runner, memory_limit="1mb", sync="never")
    for _ in range(5):
        db.put(b"k", b"v")
        disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "create"}), sticky=True))
        with pytest.raises(StorageError):
            db.flush()
        disk.faults.clear()
        db.flush()
    db.compact()
    assert alive(ReadState) <= states + 1
    assert left() == []
    db.close()


def test_a_sync_that_failed_for_good(left: Left) -> None:
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline", sync="always")
    disk.faults.append(Fault(0, errno.EIO, frozenset({"sync"})))
    for _ in range(5):
        with pytest.raises(FlinError):
            db.put(b"k", b"v")
        with pytest.raises(StorageError) as caught:
            db._store.sync()
        assert caught.value.errno == errno.EIO
        del caught
    with pytest.raises(FlinError):
        db.close()
    assert left() == []
