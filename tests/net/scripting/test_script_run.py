"""One run of a script: what `redis.call` may do, what is kept and what is taken back."""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from typing import Any

import pytest

from flin.engine.entry import Entry
from flin.engine.table.cold_read import ColdRead
from flin.net.client.clients import ServerClosure
from flin.net.client.link import NoLink
from flin.net.command.registry import find
from flin.net.run.gates import StalledError
from flin.net.scripting import script_run
from tests.net.commands.handling import Handling
from tests.net.fake_store import FakeStall, FakeStore, OftenColdStore
from tests.net.raw_client import RawClient
from tests.net.serving import HandlerClient, ServerThread

pytest.importorskip("lupa.luajit21", exc_type=ImportError)


@pytest.fixture
def server() -> Handling:
    return Handling()


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


def run(client: HandlerClient, source: bytes, *keys: bytes, arguments: tuple[bytes, ...] = ()) -> bytes:
    return client.call(b"EVAL", source, b"%d" % len(keys), *keys, *arguments)


def test_an_error_of_its_own_keeps_what_it_wrote(client: HandlerClient) -> None:
    assert run(client, b"redis.call('SET', 'a', '1') redis.call('INCR', 'b') error('stop')").startswith(b"-ERR ")
    assert client.call(b"MGET", b"a", b"b") == b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n"


def test_a_select_ends_with_the_script(client: HandlerClient) -> None:
    source = b"redis.call('SELECT', '3') redis.call('SET', 'a', '1') return redis.call('GET', 'a')"
    assert run(client, source) == b"$1\r\n1\r\n"
    assert client.call(b"GET", b"a") == b"$-1\r\n"
    assert run(client, b"return redis.call('GET', 'a')") == b"$-1\r\n"
    client.call(b"SELECT", b"3")
    assert client.call(b"GET", b"a") == run(client, b"return redis.call('GET', 'a')") == b"$1\r\n1\r\n"


def test_its_commands_speak_resp2_whatever_the_client_speaks(client: HandlerClient) -> None:
    client.call(b"HELLO", b"3")
    client.call(b"ZADD", b"z", b"1.5", b"m")
    source = b"%s local x = redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES') return {#x, type(x[1])}"
    assert run(client, source % b"") == b"*2\r\n:2\r\n$6\r\nstring\r\n"
    assert run(client, source % b"redis.setresp(3)") == b"*2\r\n:1\r\n$5\r\ntable\r\n"
    assert run(client, source % b"") == b"*2\r\n:2\r\n$6\r\nstring\r\n"


@pytest.mark.parametrize(
    "reads_only", [(b"EVAL_RO", b""), (b"EVAL", b"#!lua flags=no-writes\n")], ids=["EVAL_RO", "no-writes"]
)
def test_readers_write_nothing(client: HandlerClient, reads_only: tuple[bytes, bytes]) -> None:
    name, head = reads_only
    client.call(b"PFADD", b"p", b"a", b"b")
    written = b"-ERR Write commands are not allowed from read-only scripts."
    assert client.call(name, head + b"return redis.pcall('SET', 'a', '1')", b"0") == written + b"\r\n"
    for call in (b"'PFCOUNT', 'p'", b"'PUBLISH', 'a', 'b'", b"'set', 'a', '1'"):
        source = head + b"redis.call('GET', 'a') redis.call('DBSIZE') return redis.pcall(%b)" % call
        assert client.call(name, source, b"0") == written + b"\r\n"
    assert client.call(b"EXISTS", b"a") == b":0\r\n"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("'nosuch'", "Unknown Redis command called from script"),
        ("'config', 'nosuch'", "Unknown Redis command called from script"),
        ("'get'", "Wrong number of args calling Redis command from script"),
        ("'GET', 'a', 'b'", "Wrong number of args calling Redis command from script"),
        ("'eval', 'return 1', 0", "This Redis command is not allowed from script"),
        ("'BLPOP', 'a', 0", "This Redis command is not allowed from script"),
        ("'MULTI'", "This Redis command is not allowed from script"),
        ("'xread', 'BLOCK', 0, 'STREAMS', 's', 0", "xread command is not allowed with BLOCK option from scripts"),
    ],
)
@pytest.mark.parametrize("first", ["", "redis.call('SET', 'w', '1') "], ids=["first", "after a write"])
def test_what_a_script_may_not_call(client: HandlerClient, call: str, error: str, first: str) -> None:
    assert run(client, f"{first}return redis.pcall({call})".encode()) == f"-ERR {error}\r\n".encode()


def test_commands_are_counted(client: HandlerClient) -> None:
    found = find(b"hget")
    assert found is not None
    client.services.reset_counters()
    run(client, b"for i = 1, 3 do redis.call('HGET', 'h', 'f') end redis.pcall('hget', 'h')")
    run(client, b"redis.call('SET', 's', 'x') redis.pcall('HGET', 's', 'f')")
    assert (found.calls, found.rejected_calls, found.failed_calls) == (4, 1, 1)
    assert client.services.counters.errors == {"ERR": 1, "WRONGTYPE": 1}
    run(client, b"redis.call('HGET', 's', 'f')")
    assert client.services.counters.errors == {"ERR": 1, "WRONGTYPE": 2}, "once, though the script fails by it"


def test_log_lines_come_when_it_is_kept(client: HandlerClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "flin"):
        run(client, b"redis.log(redis.LOG_WARNING, 'careful')")
        client.store.make_cold(b"a")
        run(client, b"redis.log(redis.LOG_NOTICE, 'once') return redis.call('GET', 'a')")
    said = [(record.levelname, record.getMessage()) for record in caplog.records if "a script" in record.getMessage()]
    assert said == [("WARNING", "a script says: careful"), ("INFO", "a script says: once")]


def test_messages_that_wait_for_its_end_are_bounded() -> None:
    """They are no part of what Lua may hold."""
    with ServerThread() as server, RawClient(server.port) as client, RawClient(server.port) as listener:
        listener.pipeline([[b"SUBSCRIBE", b"news"]])
        server.server.services.config.largest_commit_bytes = 1 << 20
        error = b"-ERR the size of its messages in bytes is "
        for call in (b"redis.call('PUBLISH', 'news', ARGV[1])", b"redis.log(redis.LOG_WARNING, ARGV[1])"):
            source = b"redis.call('SET', 'a', '1') for i = 1, 1000000 do " + call + b" end"
            assert client.call(b"EVAL", source, b"0", b"x" * 1000).data.startswith(error)
            assert client.call(b"GET", b"a").data == b"$-1\r\n"
        source = b"for i = 1, 10 do redis.call('PUBLISH', 'news', ARGV[1]) end return 1"
        assert client.call(b"EVAL", source, b"0", b"end").data == b":1\r\n"
        assert listener.read().items[2].payload == b"end"


def test_a_reply_that_is_too_large_leaves_nothing(client: HandlerClient) -> None:
    client.services.config.largest_reply_bytes = 2_000_000
    source = b"redis.call('SET', 'a', '1') local t = {} for i = 1, 400000 do t[i] = %b end return t"
    for element in (b"i", b"string.rep('x', 1000)"):
        assert run(client, source % element).startswith(b"-ERR the size of the reply in bytes is ")
        assert client.call(b"GET", b"a") == b"$-1\r\n"
    assert run(client, source.replace(b"400000", b"2") % b"{double=i}") == b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n"
    client.call(b"HELLO", b"3")
    assert run(client, source.replace(b"400000", b"2") % b"{double=i}") == b"*2\r\n,1\r\n,2\r\n"


def test_a_logged_line_is_cut(client: HandlerClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flin"):
        run(client, b"redis.log(redis.LOG_DEBUG, 'x') redis.log(redis.LOG_NOTICE, string.rep('x', 5000))")
    said = [record.getMessage() for record in caplog.records if "a script" in record.getMessage()]
    assert said == ["a script says: " + "x" * 1024]


class Pushes(NoLink):
    """A connection, as far as messages go."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def push(self, data: bytes) -> None:
        self.messages.append(data)


def test_monitors_see_a_script_before_its_calls(client: HandlerClient) -> None:
    """And nothing of a run that is taken back."""
    shown = Pushes()
    client.services.monitors.add(7, shown)
    client.services.clients.close_gates(ServerClosure.MONITOR)
    client.store.make_cold(b"a")
    run(client, b"redis.call('SET', 'b', '1') return redis.call('GET', 'a')")
    lines = [line.split(b"] ", 1)[1] for line in shown.messages]
    assert [line.split()[0].upper() for line in lines] == [b'"EVAL"', b'"SET"', b'"GET"']
    assert [b"lua]" in line for line in shown.messages] == [False, True, True]


def test_a_restricted_user(client: HandlerClient) -> None:
    rules = (b"on", b">x", b"~a*", b"&news", b"+eval", b"+get", b"+set", b"+publish")
    assert client.call(b"ACL", b"SETUSER", b"bob", *rules) == b"+OK\r\n"
    client.call(b"AUTH", b"bob", b"x")
    assert run(client, b"return redis.call('SET', 'a1', 'v')", b"a1") == b"+OK\r\n"
    what = b"-ERR The user executing the script can't "
    for call, reason in (
        (b"'DEL', 'a1'", b"run this command or subcommand"),
        (b"'GET', 'b'", b"access at least one of the keys mentioned in the command arguments"),
        (b"'PUBLISH', 'other', 'x'", b"publish to the channel mentioned in the command"),
    ):
        assert run(client, b"return redis.pcall(%b)" % call) == what + reason + b"\r\n"
    source = (
        b"return {redis.acl_check_cmd('GET', 'a'), redis.acl_check_cmd('GET', 'b'), redis.acl_check_cmd('DEL', 'a')}"
    )
    assert run(client, source) == b"*3\r\n:1\r\n$-1\r\n$-1\r\n"
    assert {entry.context for entry in client.services.denials.entries} == {"lua"}


def test_keyspace_events_and_messages_come_once() -> None:
    """A run that is taken back tells nothing."""
    with ServerThread(OftenColdStore()) as server, RawClient(server.port) as client, RawClient(server.port) as listener:
        client.pipeline([[b"CONFIG", b"SET", b"notify-keyspace-events", b"KA"]])
        listener.pipeline([[b"PSUBSCRIBE", b"*"]])
        source = b"redis.call('SET', 'b', '1') redis.call('PUBLISH', 'news', 'x') redis.call('RPUSH', KEYS[1], 'y')"
        client.pipeline([[b"EVAL", source, b"1", b"a"], [b"PUBLISH", b"end", b"of it"]])
        assert server.server.services.counters.cold_reads
        assert [listener.read().items[3].payload for _ in range(4)] == [b"set", b"x", b"rpush", b"of it"]


# Aborted runs.


def test_a_cold_read_leaves_nothing_and_the_script_runs_again() -> None:
    """However often: it is the same as if everything had been in memory."""
    source = b"""
        redis.call('RPUSH', 'log', ARGV[1])
        local sum = redis.call('INCR', 'n')
        for _, key in ipairs(KEYS) do sum = sum + redis.call('HINCRBY', key, 'f', 1) end
        return {sum, redis.call('LLEN', 'log')}
    """
    found = []
    for store in (OftenColdStore(), None):
        client = HandlerClient(store)
        replies = [run(client, source, b"a", b"b", b"c", arguments=(b"%d" % number,)) for number in range(5)]
        found.append((replies, client.call(b"LRANGE", b"log", b"0", b"-1"), client.call(b"HGET", b"b", b"f")))
    assert found[0] == found[1]
    assert found[0][0][-1] == b"*2\r\n:20\r\n:5\r\n"


def test_an_abort_ends_with_its_run(client: HandlerClient) -> None:
    """The hook comes at any instruction, also at one of what surrounds a script."""
    for number in range(3000):
        client.store.make_cold(b"a")
        assert run(client, b"return redis.pcall('INCR', 'a')") == b":%d\r\n" % (number + 1)


def test_pcall_does_not_catch_a_cold_read(server: Handling) -> None:
    server.store.make_cold(b"a")
    before = dict(server.pending.points)
    with pytest.raises(ColdRead):
        server.handle(b"EVAL", b"redis.call('SET','b','1') pcall(redis.call, 'GET', 'a') return 1", b"0")
    assert server.pending.points == before
    assert not server.pending.in_transaction


class WarmingStore(FakeStore):
    """A read that may wait fills the cache, as the engine's does."""

    def read(self, key: bytes, *, values: bool = True) -> Entry | None:
        self.cold.discard(key)
        return super().read(key)


def test_all_declared_keys_are_loaded_at_once() -> None:
    client = HandlerClient(WarmingStore())
    client.store.make_cold(b"a", b"b", b"c")
    run(client, b"for _, k in ipairs(KEYS) do redis.call('GET', k) end", b"a", b"b", b"c")
    assert client.services.counters.cold_reads == 1


def test_a_stall_before_its_first_write(server: Handling) -> None:
    server.store.stall_state = FakeStall(stopped=True)
    server.services.clients.maybe_refresh()
    assert server.call(b"EVAL", b"return redis.call('GET', 'a')", b"0") is None
    with pytest.raises(StalledError):
        server.handle(b"EVAL", b"redis.call('GET', 'a') redis.call('SET', 'a', '1')", b"0")
    assert not server.pending.points
    server.store.stall_state = FakeStall()
    server.services.clients.maybe_refresh()
    assert server.call(b"EVAL", b"return redis.call('INCR', 'a')", b"0") == 1


def test_a_store_that_takes_no_writes(client: HandlerClient) -> None:
    client.store.read_only_reason = "the disk is full"
    client.services.clients.maybe_refresh()
    assert run(client, b"return redis.call('GET', 'a')") == b"$-1\r\n"
    assert run(client, b"return redis.pcall('SET', 'a', '1')").startswith(b"-MISCONF ")
    assert run(client, b"#!lua\nreturn 1").startswith(b"-MISCONF "), "it says that it writes"
    assert run(client, b"#!lua flags=no-writes\nreturn 1") == b":1\r\n"


def test_its_memory(client: HandlerClient) -> None:
    bomb = b"redis.call('SET', 'a', '1') local t = {} while true do t[#t + 1] = string.rep('x', 1000000) .. #t end"
    assert run(client, bomb) == b"-ERR not enough memory script: %b\r\n" % _sha(bomb)
    assert client.call(b"EXISTS", b"a") == b":0\r\n"
    assert run(client, b"return redis.call('INCR', 'a')") == b":1\r\n"


def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source).hexdigest().encode()


def test_more_writes_than_a_frame_holds(client: HandlerClient) -> None:
    client.services.config.largest_commit_bytes = 1 << 20
    source = b"for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'k' .. i, string.rep('x', 2000)) end return 1"
    assert run(client, source, arguments=(b"2000",)).startswith(b"-ERR the size of its writes in bytes is ")
    assert client.call(b"DBSIZE") == b":0\r\n"
    assert run(client, source, arguments=(b"200",)) == b":1\r\n"


def test_an_unexpected_exception(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the handler of a command: Lua gets an error, and what was written before stays, as by any error."""
    found = find(b"strlen")
    assert found is not None
    monkeypatch.setattr(found, "handler", _broken)
    assert run(client, b"redis.call('SET', 'a', '1') return redis.pcall('STRLEN', 'a')") == b"-ERR internal error\r\n"
    assert client.call(b"EXISTS", b"a") == b":1\r\n"
    assert client.services.counters.internal_errors == 1


def _broken(context: Any, args: list[bytes]) -> None:
    raise RuntimeError("broken")


# In transactions.


def test_in_exec(client: HandlerClient) -> None:
    client.call(b"MULTI")
    client.call(b"SET", b"a", b"1")
    run(client, b"return redis.call('INCR', KEYS[1])", b"a")
    run(client, b"redis.call('INCR', 'a') error('x')")
    client.call(b"GET", b"a")
    replies = client.call(b"EXEC")
    assert replies.startswith(b"*4\r\n+OK\r\n:2\r\n-ERR user_script:1: x")
    assert replies.endswith(b"$1\r\n3\r\n")


def test_a_script_that_is_aborted_in_exec(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its own writes go."""
    monkeypatch.setattr(script_run, "EXEC_NS", 1)
    client.call(b"MULTI")
    client.call(b"SET", b"a", b"1")
    run(client, b"redis.call('SET', 'a', '2') redis.call('SET', 'b', '2') while true do end")
    client.call(b"MGET", b"a", b"b")
    replies = client.call(b"EXEC")
    assert b"-ERR Script aborted: scripts ran for 5 seconds within EXEC script: " in replies
    assert replies.endswith(b"*2\r\n$1\r\n1\r\n$-1\r\n")


def test_the_scripts_of_one_exec_share_their_time(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by 1 ms when it is read."""
    now_ms = itertools.count()
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(now_ms) * 1_000_000)
    monkeypatch.setattr(script_run, "EXEC_NS", 50_000_000)
    for number, most_ms in ((1, 80), (5, 120)):
        client.call(b"MULTI")
        for _ in range(number):
            run(client, b"while true do end")
        run(client, b"return 7")
        begin_ms = next(now_ms)
        replies = client.call(b"EXEC")
        assert replies.count(b"-ERR Script aborted: ") == number
        assert replies.endswith(b":7\r\n")
        assert 50 <= next(now_ms) - begin_ms < most_ms


def test_exec_is_one_step_with_its_scripts(client: HandlerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.services.config.largest_commit_bytes = 1000
    client.call(b"MULTI")
    run(client, b"redis.call('SET', 'a', string.rep('x', 600))")
    run(client, b"redis.call('SET', 'b', string.rep('x', 600))")
    assert client.call(b"EXEC").startswith(b"-EXECABORT Transaction discarded because of: the size of its writes")
    assert client.call(b"DBSIZE") == b":0\r\n"


def test_watch(client: HandlerClient) -> None:
    other = client.another()
    for source, expected in (
        (b"redis.call('SET', 'a', '1')", b"*-1\r\n"),
        (b"redis.call('SET', 'b', '1')", b"*1\r\n:1\r\n"),
        (b"redis.call('GET', 'a') redis.call('FLUSHALL')", b"*-1\r\n"),
    ):
        client.call(b"WATCH", b"a")
        run(other, source)
        client.call(b"MULTI")
        client.call(b"INCR", b"n")
        assert client.call(b"EXEC") == expected, source
        client.call(b"DEL", b"n")
        client.call(b"SET", b"a", b"there")
