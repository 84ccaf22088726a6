"""Gates, transactions, cold reads and slices, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flin.errors import CommandError, CorruptionError, FlinError, LimitError, StorageError
from flin.net.command.command import Command, Flag, Handler, Keys
from flin.net.command.registry import BY_NAME, UNTIMED, with_subcommands
from flin.net.run.context import Context
from flin.net.run.tick import SAMPLED_TICKS
from flin.net.serve import dispatch
from flin.net.serve.dispatch import resume, run
from flin.net.serve.wait import STOP, TURN_IS_OVER, Wait, WaitForDisk, WaitForSlices, WaitForWriters
from flin.net.wire.replies import NULL_ARRAY, OK, Slices, Value, WaitForKeys
from tests.net.fake_store import FakeStall
from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> Extra:
    return Extra(monkeypatch)


class Extra:
    """Commands of a single test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def add(self, name: str, handler: Handler, flags: Flag) -> Command:
        command = Command(
            name,
            handler,
            arity=-1,
            flags=flags,
            keys=Keys(1, -1, 1),
            group="test",
            summary="",
        )
        self._patch.setitem(BY_NAME, name.encode(), command)
        if command.is_untimed:
            self._patch.setitem(UNTIMED, name.encode(), command)
        return command


def send(client: HandlerClient, *lines: str) -> tuple[bytes, Wait | None, Iterator[list[bytes]]]:
    """Run requests. Returns the replies, why it stopped, and what is left."""
    client.out.clear()
    requests = iter([line.encode().split() for line in lines])
    wait = run(client, requests)
    return b"".join(client.out), wait, requests


def test_ordinary_requests(client: HandlerClient) -> None:
    replies, wait, _ = send(client, "SET a 1", "get a", "GeT a", "INCR a", "GET nothing")
    assert wait is None
    assert replies == b"+OK\r\n$1\r\n1\r\n$1\r\n1\r\n:2\r\n$-1\r\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("FOO", "ERR unknown command 'FOO', with args beginning with: "),
        ("FOO a bc", "ERR unknown command 'FOO', with args beginning with: 'a' 'bc' "),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("GET a b", "ERR wrong number of arguments for 'get' command"),
        ("CLIENT", "ERR wrong number of arguments for 'client' command"),
        ("CLIENT NOTHING", "ERR unknown subcommand 'NOTHING'. Try CLIENT HELP."),
        ("CLIENT ID x", "ERR wrong number of arguments for 'client|id' command"),
    ],
)
def test_refusals(client: HandlerClient, line: str, error: str) -> None:
    replies, wait, _ = send(client, line, "PING")
    assert wait is None
    assert replies == f"-{error}\r\n+PONG\r\n".encode()


def test_a_clients_bytes_in_an_error_are_cut_and_cleaned(client: HandlerClient) -> None:
    reply = client.call(b"x\r\ny" * 100, b"a\r\n" * 100, b"b" * 100)
    assert reply.count(b"\r\n") == 1
    assert len(reply) < 350
    assert reply.startswith(b"-ERR unknown command 'x  yx  y")


def test_authentication_comes_before_everything_else() -> None:
    client = HandlerClient(requirepass="secret")
    noauth = b"-NOAUTH Authentication required.\r\n"
    assert send(client, "GET a", "MULTI")[0] == noauth * 2
    assert send(client, "AUTH wrong")[0].startswith(b"-WRONGPASS")
    assert send(client, "AUTH secret", "GET a")[0] == b"+OK\r\n$-1\r\n"
    assert send(client, "RESET", "GET a")[0] == b"+RESET\r\n" + noauth


def test_a_transaction_runs_whole(client: HandlerClient) -> None:
    replies, _, _ = send(client, "MULTI", "SET a 1", "INCR a", "GET a", "INCR b c", "KEYS *", "EXEC", "PING")
    assert replies == (
        b"+OK\r\n" + b"+QUEUED\r\n" * 3 + b"-ERR wrong number of arguments for 'incr' command\r\n+QUEUED\r\n"
        b"-EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n"
    )
    replies, _, _ = send(client, "MULTI", "SET a x", "INCR a", "KEYS *", "EXEC", "GET a")
    assert replies.endswith(
        b"*3\r\n+OK\r\n-ERR value is not an integer or out of range\r\n*1\r\n$1\r\na\r\n$1\r\nx\r\n"
    )


@pytest.mark.parametrize("cleared", ["FLUSHDB", "FLUSHALL", "PING"])
def test_a_transaction_is_one_frame_whatever_it_reads(client: HandlerClient, cleared: str) -> None:
    """Commands over all keys commit first, but not inside EXEC; the answers are those of the same commands alone."""
    before = ["SET a 1", "SET b 1", "SET k50 1", "SET z 1", "SELECT 1", "SET other 1", "SELECT 0"]
    lines = [
        "DEL b",
        "SET c 2",
        "KEYS *",
        "DBSIZE",
        cleared,
        "SET d 3",
        "SET k49 1",
        "DEL a",
        "SET y 3",
        "PEXPIRE y -1",
    ]
    lines += ["KEYS *", "DBSIZE", "EXISTS a z c d", "SELECT 1", "KEYS *", "DBSIZE"]
    alone = HandlerClient()
    for line in before:
        alone.call(*line.encode().split())
        client.call(*line.encode().split())
    expected = b"".join(alone.call(*line.encode().split()) for line in lines)
    commits = len(client.store.commits)
    replies, wait, _ = send(client, "MULTI", *lines, "EXEC")
    assert wait is None
    assert replies.partition(b"*%d\r\n" % len(lines))[2] == expected
    assert len(client.store.commits) == commits
    client.pending.commit()
    assert len(client.store.commits) == commits + 1
    assert client.store.entries == alone.store.entries


def test_not_in_a_transaction(client: HandlerClient) -> None:
    replies, _, _ = send(client, "MULTI", "SHUTDOWN", "EXEC")
    assert b"-ERR Command not allowed inside a transaction\r\n-EXECABORT" in replies


def test_in_a_transaction_nobody_waits(client: HandlerClient, extra: Extra) -> None:
    def waiting(context: Context, args: list[bytes]) -> Value:
        return WaitForKeys(args[1:], 0, None)

    def waiting_in_slices(context: Context, args: list[bytes]) -> Slices:
        yield
        return WaitForKeys(args[1:], 0, NULL_ARRAY)

    extra.add("wait", waiting, Flag.BLOCKING | Flag.FAST)
    extra.add("slices", waiting_in_slices, Flag.BLOCKING)
    replies, wait, _ = send(client, "MULTI", "wait a", "slices a", "EXEC")
    assert wait is None
    assert replies == b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$-1\r\n*-1\r\n"


def test_a_watched_key(client: HandlerClient) -> None:
    other = client.another()
    send(client, "SET a 1", "WATCH a", "MULTI", "GET a")
    other.call(b"SET", b"a", b"2")
    assert send(client, "EXEC")[0] == b"*-1\r\n"
    send(client, "WATCH a", "UNWATCH")
    other.call(b"SET", b"a", b"3")
    assert send(client, "MULTI", "GET a", "EXEC")[0].endswith(b"*1\r\n$1\r\n3\r\n")


def test_a_cold_read_runs_the_command_again(client: HandlerClient) -> None:
    client.store.entries[b"a"] = b"1"
    client.store.make_cold(b"a")
    replies, wait, rest = send(client, "PING", "GET a", "PING")
    assert replies == b"+PONG\r\n"
    assert isinstance(wait, WaitForDisk)
    wait.load()
    assert resume(client, wait) is None
    assert run(client, rest) is None
    assert b"".join(client.out) == b"+PONG\r\n$1\r\n1\r\n+PONG\r\n"
    assert client.services.counters.cold_reads == 1


def test_several_cold_keys_take_one_visit(client: HandlerClient) -> None:
    names = [b"a", b"b", b"c"]
    for name in names:
        client.store.entries[name] = name
    client.store.make_cold(*names)
    asked: list[bytes] = []
    read = client.store.read

    def noted(key: bytes, *, values: bool) -> object:
        asked.append(key)
        client.store.cold.discard(key)
        return read(key)

    client.store.read = noted
    _, wait, _ = send(client, "MGET a b c")
    assert isinstance(wait, WaitForDisk)
    wait.load()
    assert asked == names
    assert resume(client, wait) is None
    assert client.out == [b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"]


def test_the_cold_keys_of_a_transaction_take_one_visit(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [b"a", b"b", b"c", b"d", b"e", b"f"]
    client.store.entries.update(dict.fromkeys(keys, b"v"))
    client.store.make_cold(*keys)
    monkeypatch.setattr(client.store, "read", lambda key, values: client.store.cold.discard(key))
    send(client, "MULTI", "GET a", "MGET b c d", "COPY e g", "GET f")
    _, wait, _ = send(client, "EXEC")
    assert isinstance(wait, WaitForDisk)
    wait.load()
    monkeypatch.undo()
    assert not client.store.cold
    assert resume(client, wait) is None
    assert client.out == [b"*4\r\n$1\r\nv\r\n*3\r\n" + b"$1\r\nv\r\n" * 3 + b":1\r\n$1\r\nv\r\n"]


def test_a_key_that_stays_cold_is_read_on_the_loop(client: HandlerClient) -> None:
    client.store.entries[b"a"] = b"1"
    client.store.make_cold(b"a")
    _, wait, _ = send(client, "GET a")
    visits = 0
    while wait is not None:
        assert isinstance(wait, WaitForDisk)
        visits += 1
        wait = resume(client, wait)  # nobody ran the load
    assert visits == dispatch.RERUNS + 1
    assert client.out == [b"$1\r\n1\r\n"]
    client.store.make_cold(b"b")
    assert isinstance(send(client, "GET b")[1], WaitForDisk), "others wait for the disk again"


def test_a_transaction_reads_before_it_writes(client: HandlerClient) -> None:
    client.store.entries.update({b"a": b"1", b"b": b"2"})
    client.store.make_cold(b"b")
    _, wait, _ = send(client, "MULTI", "SET a 5", "INCR b", "EXEC")
    assert isinstance(wait, WaitForDisk)
    assert client.pending.points == {}, "nothing has run"
    wait.load()
    assert resume(client, wait) is None
    assert client.out[-1] == b"*2\r\n+OK\r\n:3\r\n"


def test_slices_let_others_run(client: HandlerClient, extra: Extra) -> None:
    def sliced(context: Context, args: list[bytes]) -> Slices:
        yield
        yield
        return [b"done"]

    extra.add("SLICED", sliced, Flag.READONLY)
    replies, wait, rest = send(client, "SLICED", "PING")
    assert replies == b""
    for _ in range(2):
        assert isinstance(wait, WaitForSlices)
        wait = resume(client, wait)
    assert wait is None
    assert run(client, rest) is None
    assert b"".join(client.out) == b"*1\r\n$4\r\ndone\r\n+PONG\r\n"
    assert send(client, "MULTI", "SLICED", "EXEC")[0].endswith(b"*1\r\n*1\r\n$4\r\ndone\r\n")


def test_an_unexpected_exception_is_one_reply(
    client: HandlerClient, extra: Extra, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(context: Context, args: list[bytes]) -> Value:
        raise ZeroDivisionError("a bug")

    def broken_later(context: Context, args: list[bytes]) -> Slices:
        yield
        raise ZeroDivisionError("a bug")

    extra.add("BROKEN", broken, Flag.FAST)
    extra.add("BROKENLATER", broken_later, Flag.READONLY)
    error = b"-ERR internal error\r\n"
    assert send(client, "BROKEN", "PING")[0] == error + b"+PONG\r\n"
    _, wait, _ = send(client, "BROKENLATER")
    assert isinstance(wait, WaitForSlices)
    assert resume(client, wait) is None
    assert client.out == [error]
    assert send(client, "MULTI", "BROKEN", "EXEC")[0].endswith(b"*1\r\n" + error)
    assert client.services.counters.internal_errors == 3
    assert caplog.text.count("ZeroDivisionError: a bug") == 3


def test_read_only(client: HandlerClient) -> None:
    client.store.read_only_reason = "the disk is full"
    client.services.clients.maybe_refresh()
    replies, _, _ = send(client, "GET a", "SET a 1", "MULTI", "SET a 1", "EXEC", "GET a")
    assert replies.count(b"-MISCONF") == 2
    assert b"the disk is full\r\n+OK\r\n-MISCONF" in replies
    assert replies.endswith(b"-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n")


def test_a_stall_that_does_not_end_by_itself(client: HandlerClient) -> None:
    """A full disk: clients get an error instead of waiting; before writers are stopped, they need not know."""
    client.store.background_error = StorageError("flush", "db", "No space left on device")
    assert send(client, "SET a 1")[0] == b"+OK\r\n"
    client.store.stall_state = FakeStall(stopped=True)
    client.services.clients.maybe_refresh()
    replies, wait, _ = send(client, "SET a 2", "GET a")
    assert replies.startswith(b"-MISCONF Flin cannot write to disk")
    assert replies.endswith(b"No space left on device\r\n$1\r\n1\r\n")
    assert wait is None
    client.store.background_error = None
    assert isinstance(send(client, "SET a 2")[1], WaitForWriters)


def test_a_transaction_that_meets_a_read_only_engine(client: HandlerClient) -> None:
    send(client, "MULTI", "SET a 1")
    client.store.read_only_reason = "the disk is full"
    replies, _, _ = send(client, "EXEC")
    assert replies.startswith(b"-EXECABORT Transaction discarded because of: MISCONF")


def test_stalled_writers_wait_and_readers_do_not(client: HandlerClient) -> None:
    client.store.stall_state = FakeStall(delay_seconds=0.005)
    client.services.clients.maybe_refresh()
    replies, wait, _ = send(client, "GET a", "SET a 1", "GET a")
    assert replies == b"$-1\r\n"
    assert isinstance(wait, WaitForWriters)
    assert wait.delay_seconds == 0.005
    assert resume(client, wait) is None, "slowed, not stopped"
    client.store.stall_state = FakeStall(stopped=True)
    _, wait, _ = send(client, "SET a 2")
    assert isinstance(wait, WaitForWriters)
    wait = resume(client, wait)
    assert isinstance(wait, WaitForWriters)
    client.store.stall_state = FakeStall()
    assert resume(client, wait) is None
    client.services.clients.maybe_refresh()
    assert client.context.session.skips_gates


def test_exec_waits_for_a_stalled_engine(client: HandlerClient) -> None:
    send(client, "MULTI", "SET a 1")
    client.store.stall_state = FakeStall(stopped=True)
    calls = BY_NAME[b"EXEC"].calls
    _, wait, _ = send(client, "EXEC")
    assert isinstance(wait, WaitForWriters)
    client.store.stall_state = FakeStall()
    assert resume(client, wait) is None
    assert client.out[-1] == b"*1\r\n+OK\r\n"
    assert BY_NAME[b"EXEC"].calls == calls + 1


def test_exec_waits_once_for_slowed_writers(client: HandlerClient) -> None:
    client.store.entries.update({b"a": b"1", b"b": b"2"})
    client.store.stall_state = FakeStall(delay_seconds=0.005)
    client.services.clients.maybe_refresh()
    for lines in (("SET c 1", "INCR a"), ("INCR a",)):
        send(client, "MULTI", *lines)
        client.store.make_cold(b"a")
        _, wait, _ = send(client, "EXEC")
        assert isinstance(wait, WaitForWriters)
        wait = resume(client, wait)
        assert isinstance(wait, WaitForDisk)
        wait.load()
        assert resume(client, wait) is None, "it has waited for the writers' sake, and then for the disk"
        client.pending.commit()
    assert client.out[-1] == b"*1\r\n:3\r\n"
    _, wait, _ = send(client, "INCR b")
    assert isinstance(wait, WaitForWriters), "the next command waits for itself"


def test_a_write_that_is_cold_waits_once_for_slowed_writers(client: HandlerClient) -> None:
    client.store.entries[b"a"] = b"1"
    client.store.make_cold(b"a")
    client.store.stall_state = FakeStall(delay_seconds=0.005)
    client.services.clients.maybe_refresh()
    _, wait, _ = send(client, "INCR a")
    assert isinstance(wait, WaitForWriters)
    wait = resume(client, wait)
    assert isinstance(wait, WaitForDisk)
    wait.load()
    assert resume(client, wait) is None
    assert client.out[-1] == b":2\r\n"


def test_large_output_ends_a_turn(client: HandlerClient) -> None:
    client.store.entries[b"a"] = b"x" * 300_000
    replies, wait, rest = send(client, *["GET a"] * 10)
    assert wait is TURN_IS_OVER
    assert 1 << 20 <= len(replies) < 2 << 20
    assert len(list(rest)) == 6


def test_large_writes_are_committed_between_commands(client: HandlerClient) -> None:
    client.store.entries[b"a"] = b"x" * 600_000
    send(client, "COPY a b", "COPY a c", "COPY a d")
    assert len(client.store.commits) == 1
    assert client.pending.points.keys() == {b"d"}


def test_a_failed_commit_lets_the_others_run(client: HandlerClient) -> None:
    client.store.failure = StorageError("write", "wal", "no space")
    client.store.entries[b"a"] = b"x" * 2_000_000
    replies, wait, rest = send(client, "COPY a b", "PING")
    assert wait is None
    assert list(rest) == []
    assert replies.endswith(b"+PONG\r\n")
    client.pending.points[b"c"] = b"1"
    assert send(client, "DBSIZE")[0] == b":1\r\n", "what was refused does not count"


def test_quit_stops_the_connection(client: HandlerClient) -> None:
    replies, wait, _ = send(client, "QUIT", "PING")
    assert (replies, wait) == (b"+OK\r\n", STOP)


def test_statistics(client: HandlerClient, extra: Extra) -> None:
    def refusing(context: Context, args: list[bytes]) -> Value:
        raise CommandError("ODD no")

    command = extra.add("REFUSING", refusing, Flag.FAST)
    send(client, "REFUSING", "REFUSING", "FOO")
    assert (command.calls, command.failed_calls) == (2, 2)
    assert client.services.counters.errors == {"ODD": 2, "ERR": 1}


def test_slow_commands_are_noted(client: HandlerClient, extra: Extra) -> None:
    extra.add("SLOW", lambda context, args: OK, Flag.NONE)
    send(client, "SLOW a")
    assert len(client.services.slowlog.entries) == 0
    send(client, "CONFIG SET slowlog-log-slower-than 0", "SLOW b", "GET c", "AUTH x")
    noted = [entry.args for entry in client.services.slowlog.entries]
    assert noted == [[b"GET", b"c"], [b"SLOW", b"b"], [b"CONFIG", b"SET", b"slowlog-log-slower-than", b"0"]]
    client.store.entries[b"text"] = b"x"
    send(client, "INCR text", "SCAN x", "GET")
    noted = [entry.args for entry in client.services.slowlog.entries]
    assert noted[:2] == [[b"SCAN", b"x"], [b"INCR", b"text"]], "what fails has run, what is refused has not"


def test_what_exec_consists_of_is_counted_and_timed(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    get, keys = BY_NAME[b"GET"], BY_NAME[b"KEYS"]
    send(client, "CONFIG RESETSTAT", "CONFIG SET slowlog-log-slower-than 1000", "SLOWLOG RESET")
    ticks = iter(range(0, 10**12, 2_000_000))
    monkeypatch.setattr("flin.net.serve.dispatch.time.perf_counter_ns", lambda: next(ticks))
    send(client, "MULTI", "GET a", "KEYS *", "KEYS *", "EXEC")
    assert [entry.args[0] for entry in client.services.slowlog.entries] == [b"KEYS", b"KEYS", b"GET", b"MULTI"]
    assert (get.calls, get.microseconds(), keys.calls, keys.microseconds()) == (1, 2000, 2, 4000)


def test_untimed_commands_are_timed_now_and_then(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    get = BY_NAME[b"GET"]
    send(client, "CONFIG RESETSTAT")
    ticks = iter(range(1000, 10**12, 2000))
    monkeypatch.setattr("flin.net.serve.dispatch.time.perf_counter_ns", lambda: next(ticks))
    for _ in range(10 * SAMPLED_TICKS + 1):
        send(client, "GET a")
        client.tick.end()
    assert (get.calls, get.timed_calls) == (10 * SAMPLED_TICKS + 1, 10)
    assert get.microseconds() == 2 * get.calls
    client.tick.is_sampled = True
    dispatch.run_columns(client, b"GET", [(b"a", b"b", b"c", b"d")])
    assert get.timed_calls == 14


def test_refused_calls_are_counted(client: HandlerClient) -> None:
    send(client, "CONFIG RESETSTAT", "GET", "GET a b", "CONFIG GET", "MULTI", "SHUTDOWN", "GET", "EXEC", "INCR a")
    client.store.read_only_reason = "the disk is full"
    client.services.clients.maybe_refresh()
    send(client, "INCR a")
    refused = {found.name: found.rejected_calls for found in with_subcommands() if found.rejected_calls}
    assert refused == {"get": 3, "config|get": 1, "shutdown": 1, "incr": 1}


@pytest.mark.parametrize("lines", [["EXEC a"], ["MULTI", "GET a", "EXEC a"]])
def test_exec_that_is_refused_ends_the_transaction(client: HandlerClient, lines: list[str]) -> None:
    """As in Redis; also without its password."""
    abort = b"-EXECABORT Transaction discarded because of: "
    replies, _, _ = send(client, *lines, "EXEC")
    assert replies.endswith(abort + b"wrong number of arguments for 'exec' command\r\n-ERR EXEC without MULTI\r\n")
    stranger = HandlerClient(requirepass="secret")
    assert send(stranger, "EXEC")[0] == abort + b"NOAUTH Authentication required.\r\n"


def test_an_error_of_the_log_is_the_disks_and_not_a_limit(
    client: HandlerClient, extra: Extra, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(error: FlinError) -> Callable[[Context, list[bytes]], Value]:
        def run(context: Context, args: list[bytes]) -> Value:
            raise error

        return run

    extra.add("LARGE", raising(LimitError("the size of the reply in bytes", 9, 8)), Flag.READONLY)
    extra.add("FULL", raising(StorageError("read", "000001.sst", "no space")), Flag.READONLY)
    assert send(client, "LARGE")[0] == b"-ERR the size of the reply in bytes is 9, the maximum is 8\r\n"
    assert send(client, "FULL")[0].startswith(b"-ERR ")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_damage_is_named(client: HandlerClient, extra: Extra, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each place, a reply that says so, a figure; the connection goes on."""

    def damaged(context: Context, args: list[bytes]) -> Value:
        raise CorruptionError("db/000012.sst", len(args), "the checksum of a data block is wrong")

    def damaged_later(context: Context, args: list[bytes]) -> Slices:
        yield
        return damaged(context, args)

    extra.add("DAMAGED", damaged, Flag.FAST)
    extra.add("LATER", damaged_later, Flag.READONLY)
    reason = b"the checksum of a data block is wrong"
    told = b"-ERR corruption: 000012.sst is damaged at offset 1 (%b); run flin check\r\n" % reason
    assert send(client, "DAMAGED", "DAMAGED", "PING")[0] == told * 2 + b"+PONG\r\n"
    assert send(client, "MULTI", "DAMAGED", "EXEC")[0].endswith(b"*1\r\n" + told)
    _, wait, _ = send(client, "LATER")
    assert isinstance(wait, WaitForSlices)
    assert resume(client, wait) is None
    assert client.out == [told]
    send(client, "DAMAGED b")
    [first, second] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert first.getMessage() == (
        "db/000012.sst: corrupt at offset 1: the checksum of a data block is wrong; run: flin check flin-data"
    )
    assert "offset 2" in second.getMessage()
    assert first.exc_info is None
    info = client.call(b"INFO", b"flin")
    assert b"\r\ncorruption_errors:5\r\ncorruption_last:db/000012.sst at offset 2\r\n" in info
    assert client.services.counters.internal_errors == 0


def test_a_disk_that_cannot_be_read_is_no_internal_error(client: HandlerClient, extra: Extra) -> None:
    def failing(context: Context, args: list[bytes]) -> Value:
        raise StorageError("read", "db/000012.sst", "Input/output error")

    extra.add("FAILING", failing, Flag.FAST)
    assert send(client, "FAILING")[0] == b"-ERR cannot read db/000012.sst: Input/output error\r\n"
