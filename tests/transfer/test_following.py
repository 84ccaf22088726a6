"""`flin import redis://… --follow`: a real Redis that is written to meanwhile, whose connections are cut."""

from __future__ import annotations

import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

import flin.engine
from flin.address import Address, parse
from flin.engine.engine import store_of
from flin.errors import ImportDataError, PeerError
from flin.rdb import file as rdb
from flin.rdb.crc64 import crc64
from flin.rdb.dump import stored
from flin.rdb.value import String
from flin.testing.process import PATIENCE_SECONDS, wait_until
from flin.transfer import replica_feed
from flin.transfer.backlog import Backlog
from flin.transfer.link import Link, pack
from flin.transfer.record import Request
from flin.transfer.relay import BATCH_BYTES, BATCH_REQUESTS, Relay
from flin.transfer.replica_feed import ReplicaFeed
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread
from tests.rdb.server import JudgingClient
from tests.test_cli import Capture, run
from tests.transfer.redis_content import content, fill, libraries


class Follower:
    """The command, as a process."""

    def __init__(self, port: int, target: str | Path, output: Path) -> None:
        self._port = port
        self._output = output
        command = [sys.executable, "-m", "flin", "import", f"redis://127.0.0.1:{port}", str(target), "--follow"]
        with output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def wait_until_caught_up(self) -> None:
        """The source says that all it has written is done here."""
        wait_until(self._has_caught_up, "it has caught up")

    def _has_caught_up(self) -> bool:
        assert self.process.poll() is None, self.printed()
        with RawClient(self._port) as client:
            told = client.call(b"INFO", b"replication").payload
        far = re.search(rb"slave0:.*state=online,offset=(\d+)", told)
        return far is not None and b"master_repl_offset:%b\r" % far[1] in told

    def wait_until_printed(self, text: str) -> None:
        wait_until(lambda: text in self.printed() or self.process.poll() is not None, f"it has printed {text}")
        assert text in self.printed(), self.printed()

    def end(self) -> str:
        """What it printed."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.printed()
        return self.printed()

    def printed(self) -> str:
        return self._output.read_text()


@contextmanager
def following(port: int, target: str | Path, output: Path) -> Iterator[Follower]:
    follower = Follower(port, target, output)
    try:
        yield follower
    finally:
        follower.process.kill()
        follower.process.wait()


def _some_writes(rng: random.Random) -> list[list[bytes]]:
    """Requests that mean something else if one is lost, done twice, or done in another order."""
    key, other = (b"k%d" % rng.randrange(6) for _ in range(2))
    short, number = b"short:" + key, b"%d" % rng.randrange(100)
    return rng.choice(
        [
            [[b"INCR", b"n:" + key]],
            [[b"APPEND", b"text:" + key, number]],
            [[b"RPUSH", b"list:" + key, number], [b"LMOVE", b"list:" + key, b"list:" + other, b"LEFT", b"RIGHT"]],
            [[b"SADD", b"set:" + key, number, b"a", b"b"], [b"SPOP", b"set:" + key]],
            [[b"HINCRBY", b"hash:" + key, number, b"1"], [b"HINCRBYFLOAT", b"hash:" + key, b"f", b"0.1"]],
            [[b"ZINCRBY", b"zset:" + key, number, other], [b"ZPOPMIN", b"zset:" + other]],
            [[b"XADD", b"stream:" + key, b"MAXLEN", b"50", b"*", b"f", number]],
            [[b"MULTI"], [b"INCR", b"n:" + key], [b"RENAME", b"n:" + key, b"m:" + other], [b"EXEC"]],
            [[b"SET", short, number, b"PX", b"20"], [b"PERSIST", short], [b"APPEND", short, b"x"]],
            [[b"SET", short, number, b"PX", b"20"], [b"EXPIRE", short, b"1000"]],
            [[b"EVAL", b"return redis.call('INCRBY', KEYS[1], ARGV[1])", b"1", b"n:" + key, number]],
            [[b"COPY", b"list:" + key, b"copy:" + key, b"REPLACE"], [b"GETDEL", b"text:" + other]],
            [[b"SELECT", b"%d" % rng.randrange(3)]],
            [[b"SWAPDB", b"1", b"2"]],
            [[b"BITFIELD", b"bits:" + key, b"INCRBY", b"u8", b"#3", b"7"], [b"PFADD", b"hll:" + key, number]],
        ]
    )


def _write(port: int, rng: random.Random) -> None:
    with RawClient(port) as client:
        client.pipeline([words for _ in range(20) for words in _some_writes(rng)])


def _write_cutting(port: int, cuts: int) -> None:
    """Clients write, and so many times the follower's connection is lost meanwhile."""
    ended = threading.Event()

    def keep_writing(seed: int) -> None:
        rng = random.Random(seed)
        while not ended.wait(0.02):  # else there would be more than anybody follows
            _write(port, rng)

    writers = [threading.Thread(target=keep_writing, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    try:
        with RawClient(port) as client:
            for number in range(cuts + 1):
                wait_until(lambda: _has_told(client), "it says how far it is")  # only then all keys have come
                if number < cuts:
                    client.call(b"CLIENT", b"KILL", b"TYPE", b"replica")
    finally:
        ended.set()
        for writer in writers:
            writer.join()


def _has_told(client: RawClient) -> bool:
    told = client.call(b"INFO", b"replication").payload
    return re.search(rb"slave0:.*state=online,offset=[1-9]", told) is not None


def _settle(port: int) -> None:
    """What may expire by itself is deleted: it would be there in one, and not in the other."""
    with RawClient(port) as client:
        for database in range(3):
            client.call(b"SELECT", b"%d" % database)
            client.call(b"DEL", *(b"short:k%d" % number for number in range(6)))


def _is_swept(port: int) -> bool:
    """Whether DBSIZE counts nothing that has expired."""
    with JudgingClient(port) as client:
        for database in range(3):
            client.ask(b"SELECT", b"%d" % database)
            if client.ask(b"DBSIZE") != len(client.ask(b"KEYS", b"*")):
                return False
    return True


@pytest.mark.parametrize("cuts", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_into_a_directory(tmp_path: Path, cuts: int) -> None:
    with running_redis(tmp_path) as port:
        fill(port)
        with following(port, tmp_path / "data", tmp_path / "out") as follower:
            _write_cutting(port, cuts)
            _settle(port)
            follower.wait_until_caught_up()
            _write(port, random.Random(99))
            _settle(port)
            printed = follower.end()  # it takes what the source has by now
        shown = content(port), libraries(port)
    assert "caught up with redis://127.0.0.1" in printed
    assert printed.endswith("; the source has no more\n")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "dump.rdb", "out", "redis.out"}
    with flin.engine.open(tmp_path / "data", create=False) as db:
        assert db.verify() == []
        with ServerThread(store_of(db)) as server:
            assert (content(server.port), libraries(server.port)) == shown


@pytest.mark.slow
def test_into_a_running_server(tmp_path: Path) -> None:
    target = flin.engine.open(tmp_path / "target")  # it sweeps what has expired
    with running_redis(tmp_path) as port, target as db, ServerThread(store_of(db)) as server:
        fill(port)
        with following(port, f"redis://127.0.0.1:{server.port}", tmp_path / "out") as follower:
            _write_cutting(port, 3)
            _settle(port)
            follower.wait_until_caught_up()
            printed = follower.end()
        assert printed.endswith("; the source has no more\n")
        wait_until(lambda: _is_swept(server.port), "what had expired before it was deleted is gone")
        assert (content(server.port), libraries(server.port)) == (content(port), libraries(port))


def test_a_source_that_was_started_anew(tmp_path: Path) -> None:
    """Its numbers mean nothing any more. What came is no database."""
    with running_redis(tmp_path, **{"enable-debug-command": "yes"}) as port, RawClient(port) as client:
        client.call(b"SET", b"k", b"v")
        with following(port, tmp_path / "data", tmp_path / "out") as follower:
            follower.wait_until_caught_up()
            assert not client.call(b"DEBUG", b"CHANGE-REPL-ID").is_error  # as another process would have another one
            client.call(b"CLIENT", b"KILL", b"TYPE", b"replica")
            assert follower.process.wait(PATIENCE_SECONDS) == 1
    assert "it no longer has what it wrote while the connection was lost: import anew" in follower.printed()
    assert not (tmp_path / "data").exists()


def test_a_source_that_is_a_replica(tmp_path: Path) -> None:
    """It passes on its own source's stream from amid it, where another database than the first may be selected."""
    (tmp_path / "replica").mkdir()
    with running_redis(tmp_path) as master, running_redis(tmp_path / "replica") as port, ServerThread() as server:
        with RawClient(master) as client, RawClient(port) as replica:
            replica.call(b"REPLICAOF", b"127.0.0.1", b"%d" % master)
            client.pipeline([[b"SELECT", b"3"], [b"SET", b"n", b"1"], [b"SELECT", b"5"], [b"SET", b"in 5", b"1"]])
            client.pipeline([[b"SELECT", b"3"], [b"INCR", b"n"]])
            wait_until(lambda: replica.call(b"SELECT", b"3").payload == b"OK" and _has(replica, b"2"), "it has all")
            target = f"redis://127.0.0.1:{server.port}"
            with following(port, tmp_path / "data", tmp_path / "out") as one:
                one.wait_until_caught_up()
                one.wait_until_printed("caught up")
                client.call(b"INCR", b"n")
                wait_until(lambda: _has(replica, b"3"), "it has all")
                one.end()
            with following(port, target, tmp_path / "out-2") as other:
                other.wait_until_caught_up()
                client.call(b"INCR", b"n")
                wait_until(lambda: _has(replica, b"4"), "it has all")
                other.end()
        assert content(server.port) == content(master)
    with flin.engine.open(tmp_path / "data", create=False) as db, ServerThread(store_of(db)) as served:
        assert content(served.port) == {(3, b"n"): (String(b"3"), -1), (5, b"in 5"): (String(b"1"), -1)}


def _has(client: RawClient, text: bytes) -> bool:
    return client.call(b"GET", b"n").payload == text


def test_a_source_that_loses_its_own(tmp_path: Path) -> None:
    """It answers nobody who follows it, for a while."""
    with running_redis(tmp_path) as port, RawClient(port) as client, ServerThread() as server:
        with following(port, f"redis://127.0.0.1:{server.port}", tmp_path / "out") as follower:
            follower.wait_until_caught_up()
            client.call(b"SET", b"n", b"1")
            client.call(b"REPLICAOF", b"127.0.0.1", b"1")
            client.call(b"CLIENT", b"KILL", b"TYPE", b"replica")
            wait_until(lambda: b"total_error_replies:0" not in client.call(b"INFO").payload, "it was asked in vain")
            client.call(b"REPLICAOF", b"NO", b"ONE")
            client.call(b"INCR", b"n")
            follower.wait_until_caught_up()
            assert follower.end().endswith("; the source has no more\n")
        assert content(server.port) == content(port)


def test_a_source_that_has_gone(tmp_path: Path) -> None:
    """What it had sent is there, if that is wished; and the exit code says that this may not be all."""
    with ExitStack() as stack:
        with running_redis(tmp_path) as port:
            follower = stack.enter_context(following(port, tmp_path / "data", tmp_path / "out"))
            _write(port, random.Random(7))
            _settle(port)
            follower.wait_until_caught_up()
            shown = content(port)
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(PATIENCE_SECONDS) == 1
    assert follower.printed().endswith("; the source could not be asked whether it has more\n")
    with flin.engine.open(tmp_path / "data", create=False) as db, ServerThread(store_of(db)) as served:
        assert content(served.port) == shown


def test_all_keys_are_there_once_it_has_caught_up(tmp_path: Path) -> None:
    with running_redis(tmp_path) as port, ServerThread() as server, RawClient(server.port) as target:
        with RawClient(port) as client:
            client.pipeline([[b"SET", b"k%d" % number, b"v"] for number in range(10)])
        with following(port, f"redis://127.0.0.1:{server.port}", tmp_path / "out") as follower:
            follower.wait_until_printed("caught up")
            assert target.call(b"DBSIZE").payload == b"10"


def test_what_cannot_be_followed(tmp_path: Path, capsys: Capture) -> None:
    new = tmp_path / "new"
    for words, reason in (
        (("redis://127.0.0.1:1", new, "--match", "a"), "--follow takes all keys of a server"),
        (("redis://127.0.0.1:1/3", new), "--follow takes all databases"),
        (("redis://127.0.0.1:1", new, "--merge"), "--follow makes a new directory"),
        ((tmp_path / "out", new), "--follow is for a running server"),
    ):
        code, _, errors = run(capsys, "import", *words, "--follow")
        assert (code, reason in errors) == (2, True), errors
    with ServerThread() as server:
        code, _, errors = run(capsys, "import", f"redis://127.0.0.1:{server.port}", new, "--follow")
        assert (code, "it takes no replica, and answers PSYNC with: -ERR" in errors) == (1, True), errors
        assert not new.exists()
        new.mkdir()
        run(capsys, "import", f"redis://127.0.0.1:{server.port}", new, "--follow")
        assert not list(new.iterdir()), "it was there, and stays"
    with running_redis(tmp_path) as port, RawClient(port) as client:
        source = f"redis://127.0.0.1:{port}"
        code, _, errors = run(capsys, "import", source, source, "--follow")
        assert (code, "are the same server" in errors) == (2, True), errors
        with running_redis(tmp_path, **{"cluster-enabled": "yes"}) as other:
            code, _, errors = run(capsys, "import", source, f"redis://127.0.0.1:{other}", "--follow")
        assert (code, "is a part of a cluster" in errors) == (2, True), errors
        client.call(b"ACL", b"SETUSER", b"mover", b"on", b">secret", b"+psync", b"+replconf")
        code, _, errors = run(capsys, "import", f"redis://mover:secret@127.0.0.1:{port}", new, "--follow")
        assert (code, "it answers INFO with: NOPERM" in errors) == (1, True), errors


class FakeSource:
    """Answers one connection with what a test wants, then closes it, or waits until the other side does."""

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self._closes = closes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        connection = self._listener.accept()[0]
        self._listener.close()  # before it ends: it does not come back
        with suppress(ConnectionError), connection:  # the other side may end with what it has not read
            for answer in answers:
                connection.recv(1 << 16)
                connection.sendall(answer)
            while not self._closes and connection.recv(1 << 16):
                pass

    @property
    def address(self) -> Address:
        return parse(f"redis://127.0.0.1:{self.port}")

    def join(self) -> None:
        self._thread.join()

    def items(self, link: type[Link] = Link, settle: Callable[[], None] = lambda: None) -> list[object]:
        with ExitStack() as stack:
            stack.callback(self.join)

            def connect() -> Link:
                return stack.enter_context(closing(link(self.address)))

            return list(ReplicaFeed(connect, lambda: False, lambda: None, settle, lambda: None).items())


def _file() -> bytes:
    data = rdb.head() + rdb.end()
    return data + stored(crc64(data))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"-NOPERM no\r\n", "takes no replica, and answers PSYNC with: -NOPERM no"),
        (b"+FULLRESYNC x\r\n", r"answers PSYNC with: \+FULLRESYNC x"),
        (b"\n\n+FULLRESYNC id 7\r\n\n$EOF:" + b"x" * 40 + b"\r\n", r"answers PSYNC with: \$EOF"),
        (b"x" * 2000, "answers PSYNC with: xxx"),
        (b"+FULLRESYNC id 7\r\n$4\r\nJUNK", "offset 0: payload: 9 bytes claimed, 4 left"),
        (b"+FULLRESYNC id 7\r\n$0\r\n", r"answers PSYNC with: \$0"),
        (b"+FULLRESYNC id 7\r\n\n\n$%d\r\n%bjunk\r\n" % (len(_file()), _file()), "offset 7: no request"),
        (b"+FULLRESYNC id 7\r\n$%d\r\n%b*1\r\n:5\r\n" % (len(_file()), _file()), "offset 7: no request"),
        (b"+FULLRESYNC id 7\r\n$%d\r\n%b*1\r\n$4\r\nPING\r\n+\r\n" % (len(_file()), _file()), "offset 21: no request"),
    ],
)
def test_a_source_that_answers_strangely(reply: bytes, reason: str) -> None:
    with pytest.raises((PeerError, ImportDataError), match=reason):
        FakeSource(b"+OK\r\n", reply).items()


class _Stuttering(Link):
    """What wakes up is less than a whole record of TLS, each second time."""

    is_whole = False

    def bytes_within(self, seconds: float) -> bytes:
        self.is_whole = not self.is_whole
        return super().bytes_within(seconds) if self.is_whole else b""


def test_a_source_is_told_nothing_before_its_keys_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says WAIT there relies on it. A line without words says that this lives."""
    monkeypatch.setattr(replica_feed, "LOOK_SECONDS", 0)
    monkeypatch.setattr(replica_feed, "TELL_SECONDS", 0)
    sent: list[bytes] = []

    class Noting(Link):
        def send_bytes(self, data: bytes) -> None:
            sent.append(data)
            super().send_bytes(data)

    data = (
        rdb.head() + rdb.database(0) + b"".join(rdb.entry_head(0, b"k%d" % number, 0) + b"\1v" for number in range(3))
    )
    data += rdb.end()
    data += stored(crc64(data))
    reply = b"+FULLRESYNC id 7\r\n$%d\r\n%b*1\r\n$4\r\nPING\r\n*1\r\n:5\r\n" % (len(data), data)
    with pytest.raises(ImportDataError, match="offset 21: no request"):
        FakeSource(b"+OK\r\n", reply).items(Noting)
    assert sent[1:5] == [b"\n"] * 3 + [pack([[b"REPLCONF", b"ACK", b"21"]])]


def test_records_of_tls_that_are_not_whole() -> None:
    reply = b"+FULLRESYNC id 7\r\n$%d\r\n%b*1\r\n:5\r\n" % (len(_file()), _file())
    with pytest.raises(ImportDataError, match="offset 7: no request"):
        FakeSource(b"+OK\r\n", reply).items(_Stuttering)


def test_a_source_that_writes_faster_than_this_reads() -> None:
    """There is always more to put away; what has come is used nevertheless, and a wish to end is noticed."""
    ping = pack([[b"PING"]])

    class Flooding(Link):
        floods = False

        def bytes_within(self, seconds: float) -> bytes:
            return ping if self.floods else super().bytes_within(seconds)

    source = FakeSource(b"+OK\r\n", b"+FULLRESYNC id 7\r\n$%d\r\n%b" % (len(_file()), _file()))
    with ExitStack() as stack:
        stack.callback(source.join)
        link = stack.enter_context(closing(Flooding(source.address)))

        def flood() -> None:  # from the first look at requests on
            link.floods = True

        feed = ReplicaFeed(lambda: link, lambda: feed.offset > 7, flood, lambda: None, lambda: None)
        assert [item.words for item in feed.items() if isinstance(item, Request)] == [[b"SELECT", b"0"]]
    assert feed.offset > 7


def test_a_source_that_asks_how_far_it_is() -> None:
    """A client of it said WAIT: all that came before is done first."""
    settled: list[None] = []
    asks = pack([[b"SET", b"k", b"v"], [b"REPLCONF", b"GETACK", b"*"]])
    reply = b"+FULLRESYNC id 7\r\n$%d\r\n%b%b*1\r\n:5\r\n" % (len(_file()), _file(), asks)
    with pytest.raises(ImportDataError, match=f"offset {7 + len(asks)}: no request"):
        FakeSource(b"+OK\r\n", reply).items(settle=lambda: settled.append(None))
    assert len(settled) == 1


def test_a_source_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_feed, "RETURN_SECONDS", 0)
    reply = b"+FULLRESYNC id 7\r\n$%d\r\n%b" % (len(_file()), _file())
    for size, reason in ((len(reply) - 1, "it has closed"), (len(reply), "and then for a minute no connection")):
        with pytest.raises(PeerError, match=reason):
            FakeSource(b"+OK\r\n", reply[:size], closes=True).items()


def test_a_backlog() -> None:
    rng = random.Random(1)
    with Backlog() as backlog:
        put = taken = b""
        for number in range(1000):
            data = b"%d," % number
            if rng.random() < 0.5:
                backlog.put(data)
                put += data
            else:
                taken += backlog.take(rng.randrange(1, 20))
            assert bool(backlog) == (put != taken)
        while backlog:
            taken += backlog.take(1 << 10)
        assert put == taken
        assert backlog.take(10) == b""


def test_a_relay_looks_at_the_replies() -> None:
    with ServerThread() as server:
        link = Link(parse(f"redis://127.0.0.1:{server.port}"))
        relay = Relay(link)
        for number in range(BATCH_REQUESTS + 1):
            relay.run(Request([b"INCR", b"n"], f"offset {number}"))
        relay.settle()
        for words in ([b"MULTI"], [b"LPUSH", b"n", b"1"], [b"EXEC"]):
            relay.run(Request(words, "offset 9"))
        with pytest.raises(PeerError, match="it answers EXEC at offset 9 with: WRONGTYPE"):
            relay.settle()
        link.close()
        with RawClient(server.port) as client:
            assert client.call(b"GET", b"n").payload == b"%d" % (BATCH_REQUESTS + 1)
        link = Link(parse(f"redis://127.0.0.1:{server.port}"))
        relay = Relay(link)
        with RawClient(server.port) as client:
            for number in range(3 * BATCH_REQUESTS // 2):  # more than one batch, and not yet a second
                relay.run(Request([b"INCR", b"m"], f"offset {number}"))
            assert int(client.call(b"GET", b"m").payload or 0) <= BATCH_REQUESTS  # the first may be on its way
            relay.flush()
            relay.run(Request([b"SET", b"m", b"x" * BATCH_BYTES], "offset 7"))  # a batch by itself
            relay.run(Request([b"INCR", b"m"], "offset 8"))
            relay.run(Request([b"SET", b"m", b"1"], "offset 9"))
            with pytest.raises(PeerError, match="it answers INCR at offset 8 with: ERR value"):
                relay.settle()
        link.close()
    assert pack([[b"x"]]) == b"*1\r\n$1\r\nx\r\n"
