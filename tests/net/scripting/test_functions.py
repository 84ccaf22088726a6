"""Libraries of functions, and what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from flin.errors import StorageError
from flin.net.data.savepoint import Step
from flin.net.scripting.functions import PREFIX, Functions, decode, encode, parse_metadata
from flin.net.scripting.runtime import LuaNotInstalled
from flin.net.wire.replies import OUT_OF_MEMORY
from flin.testing.process import wait_until
from tests.net.commands.handling import Handling
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.scripting.function_probes import REQUESTS
from tests.net.serving import ServerThread
from tests.process.collections_load import Served

pytest.importorskip("lupa.luajit21", exc_type=ImportError)

OK = b"+OK\r\n"


def library(name: str, *functions: str, value: object = 1) -> bytes:
    calls = "".join(f"redis.register_function('{each}', function() return {value} end)\n" for each in functions)
    return f"#!lua name={name}\n{calls}".encode()


@pytest.fixture
def server() -> Handling:
    return Handling()


# Beside redis-server.


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with running_redis(tmp_path_factory.mktemp("redis")) as theirs, ServerThread() as ours:
        yield ours.port, theirs


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_requests_are_answered_as_redis_does(ports: tuple[int, int], protocol: bytes) -> None:
    with RawClient(ports[0]) as ours, RawClient(ports[1]) as theirs:
        for client in (ours, theirs):
            client.call(b"HELLO", protocol)
            client.call(b"FUNCTION", b"FLUSH")
            client.call(b"FLUSHALL")
        for request in REQUESTS:
            assert ours.call(*request).data == theirs.call(*request).data, request


def test_payloads_of_redis_are_restored_and_ours_there(ports: tuple[int, int]) -> None:
    """Redis compresses long sources."""
    source = library("big", *[f"f{number}" for number in range(40)])
    with RawClient(ports[0]) as ours, RawClient(ports[1]) as theirs:
        for giver, taker in ((ours, theirs), (theirs, ours)):
            for client in (giver, taker):
                assert client.call(b"FUNCTION", b"FLUSH").data == OK
            assert giver.call(b"FUNCTION", b"LOAD", source).data == b"$3\r\nbig\r\n"
            payload = giver.call(b"FUNCTION", b"DUMP").data
            payload = payload[payload.index(b"\r\n") + 2 : -2]
            assert taker.call(b"FUNCTION", b"RESTORE", payload).data == OK
            assert taker.call(b"FCALL", b"f39", b"0").data == b":1\r\n"
            listed = taker.call(b"FUNCTION", b"LIST", b"WITHCODE").data
            assert source in listed


# Kept.


def test_libraries_are_in_the_store(server: Handling) -> None:
    server.call(b"FUNCTION", b"LOAD", library("L", "f"))
    assert PREFIX + b"L" in server.pending.points
    server.pending.commit()
    again = Handling(server.store)
    assert again.call(b"FCALL", b"F", b"0") == 1, "names of functions do not differ by case"
    assert again.call(b"FUNCTION", b"DELETE", b"l") == "-ERR Library not found"
    assert again.call(b"FUNCTION", b"DELETE", b"L") == OK
    again.pending.commit()
    assert Handling(server.store).call(b"FCALL", b"f", b"0") == "-ERR Function not found"


def test_flushall_leaves_them(server: Handling) -> None:
    server.call(b"FUNCTION", b"LOAD", library("L", "f"))
    server.pending.commit()
    server.call(b"FLUSHALL")
    server.pending.commit()
    assert Handling(server.store).call(b"FCALL", b"f", b"0") == 1


def test_a_refused_batch_changes_nothing(server: Handling) -> None:
    server.call(b"FUNCTION", b"LOAD", library("L", "f"))
    server.pending.commit()
    server.store.failure = StorageError("append", "wal", OSError(28, "No space left on device"))
    server.call(b"FUNCTION", b"LOAD", b"REPLACE", library("L", "g"))
    server.call(b"FUNCTION", b"LOAD", library("M", "h"))
    assert server.call(b"FCALL", b"g", b"0") == 1
    server.pending.commit()
    server.store.failure = None
    assert server.call(b"FCALL", b"f", b"0") == 1
    assert server.call(b"FCALL", b"g", b"0") == "-ERR Function not found"
    assert list(server.services.part(Functions).libraries) == [b"L"]


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([b"LOAD", b"REPLACE", library("L", "g")], b"g"),
        ([b"LOAD", library("M", "h")], b"h"),
        ([b"DELETE", b"L"], None),
        ([b"FLUSH"], None),
        ([b"RESTORE", encode([library("N", "f")]), b"FLUSH"], None),
    ],
)
def test_a_step_that_is_taken_back_changes_nothing(server: Handling, words: list[bytes], changed: bytes | None) -> None:
    server.call(b"FUNCTION", b"LOAD", library("L", "f"))
    step = Step(server.services.databases)
    step.will_write()
    server.call(b"FUNCTION", *words)
    assert changed is None or server.call(b"FCALL", changed, b"0") == 1
    step.take_back()
    assert server.call(b"FCALL", b"f", b"0") == 1
    assert changed is None or server.call(b"FCALL", changed, b"0") == "-ERR Function not found"
    assert list(server.services.part(Functions).libraries) == [b"L"]
    server.pending.commit()
    assert Handling(server.store).call(b"FCALL", b"f", b"0") == 1


def test_libraries_that_need_more_than_one_lua(server: Handling) -> None:
    """They share one: where its memory ends it is made anew, for the next of them. So is it after a start."""
    server.services.config.lua_memory_limit_bytes = 1 << 20
    for number in range(10):
        source = b"#!lua name=l%d\nlocal s = '%s'\nredis.register_function('f%d', function() return #s end)"
        source %= (number, b"%d" % number * 100_000, number)
        assert server.call(b"FUNCTION", b"LOAD", source) == b"l%d" % number
    server.pending.commit()
    again = Handling(server.store)
    again.services.config.lua_memory_limit_bytes = 1 << 20
    for each in (server, again):
        assert [each.call(b"FCALL", b"f%d" % number, b"0") for number in range(10)] == [100_000] * 10


def test_a_library_that_was_loaded_has_time_to_load_again(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    source = b"for i = 1, 300000 do local x = i end\n" + library("L", "f").partition(b"\n")[2]
    assert server.call(b"FUNCTION", b"LOAD", b"#!lua name=L\n" + source) == b"L"
    server.pending.commit()
    monkeypatch.setattr("flin.net.scripting.functions.LOAD_NS", 1)
    assert "timeout" in server.call(b"FUNCTION", b"LOAD", b"#!lua name=M\n" + source)
    assert Handling(server.store).call(b"FCALL", b"f", b"0") == 1


def test_libraries_that_do_not_run_any_more(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because Lua is gone, or the limit of its memory was lowered. No command says that they are not there; they can
    be saved and deleted."""
    server.call(b"FUNCTION", b"LOAD", library("L", "f"))
    server.call(b"FUNCTION", b"LOAD", library("M", "g"))
    payload = server.call(b"FUNCTION", b"DUMP")
    server.pending.commit()
    without = Handling(server.store)
    missing = LuaNotInstalled("ERR Lua is not installed here")

    def fail(*_: object, **__: object) -> None:
        raise missing

    monkeypatch.setattr("flin.net.scripting.functions.Lua", fail)
    for _ in range(2):
        for words in ([b"FCALL", b"f", b"0"], [b"FUNCTION", b"LIST"], [b"FUNCTION", b"STATS"]):
            assert without.call(*words) == f"-{missing}"
        assert without.call(b"FUNCTION", b"LOAD", library("L", "f")) == f"-{missing}"
    assert without.call(b"FUNCTION", b"DUMP") == payload
    assert without.call(b"FUNCTION", b"DELETE", b"N") == "-ERR Library not found"
    assert without.call(b"FUNCTION", b"DELETE", b"M") == OK
    assert without.call(b"FCALL", b"f", b"0") == f"-{missing}"
    assert without.call(b"FUNCTION", b"DELETE", b"L") == OK
    assert without.call(b"FUNCTION", b"LIST") == []
    without.pending.commit()
    assert Handling(server.store).call(b"FUNCTION", b"LIST") == []
    for name in ("X", "Y"):
        without.store.entries[PREFIX + name.encode()] = b"\x01" + library(name, f"f{name}")
    once_more = Handling(server.store)
    assert once_more.call(b"FCALL", b"fX", b"0") == f"-{missing}"
    assert once_more.call(b"FUNCTION", b"FLUSH") == OK
    assert once_more.call(b"FCALL", b"fX", b"0") == "-ERR Function not found"


def test_a_restore_takes_all_or_nothing(server: Handling) -> None:
    server.call(b"FUNCTION", b"LOAD", library("L", "f"))
    for sources, error in (
        ([library("M", "g"), library("N", "g")], "-ERR Function g already exists"),
        ([library("M", "g"), library("M", "h")], "-ERR Library 'M' already exists"),
        ([library("M", "g"), b"#!lua name=N\nx = 1"], "-ERR Error registering functions: ERR user_function:2: Attempt"),
        ([library("M", "F")], "-ERR Function F already exists"),
    ):
        assert server.call(b"FUNCTION", b"RESTORE", encode(sources)).startswith(error)
        assert list(server.services.part(Functions).libraries) == [b"L"]
    assert server.call(b"FUNCTION", b"RESTORE", encode([library("L", "g")]), b"REPLACE") == OK
    assert server.call(b"FCALL", b"f", b"0") == "-ERR Function not found"
    assert server.call(b"FUNCTION", b"RESTORE", encode([library("M", "f")]), b"FLUSH") == OK
    assert list(server.services.part(Functions).libraries) == [b"M"]


def test_figures(server: Handling) -> None:
    def figures() -> list[int]:
        lines = dict(line.split(":") for line in server.call(b"INFO", b"memory").text.decode().split()[2:])
        assert int(lines["used_memory_vm_total"]) == int(lines["used_memory_vm_functions"])
        names = ("number_of_libraries", "number_of_functions", "used_memory_functions", "used_memory_vm_functions")
        return [int(lines[name]) for name in names]

    assert figures() == [0, 0, 0, 0]
    source = library("L", "f", "g")
    server.call(b"FUNCTION", b"LOAD", source)
    *found, of_lua = figures()
    assert found == [1, 2, 2 * len(source)]
    assert of_lua > 50_000
    server.call(b"FUNCTION", b"FLUSH")
    assert figures() == [0, 0, 0, 0]


def test_libraries_have_a_quarter_of_the_memory(server: Handling) -> None:
    options = server.services.config.options
    server.services.config.options = dataclasses.replace(options, memory_limit=20_000)
    long = library("L", "f") + b"--" + b"x" * 4000
    assert server.call(b"FUNCTION", b"LOAD", long) == b"L"
    assert server.call(b"FUNCTION", b"LOAD", b"REPLACE", long) == b"L"
    assert server.call(b"FUNCTION", b"LOAD", library("M", "g") + b"--" + b"x" * 1000) == "-" + OUT_OF_MEMORY
    assert server.call(b"FUNCTION", b"RESTORE", encode([library("M", "f") + b"--" + b"x" * 4000]), b"FLUSH") == OK
    assert (
        server.call(b"FUNCTION", b"RESTORE", encode([library("N", "g") + b"--" + b"x" * 4000])) == "-" + OUT_OF_MEMORY
    )
    assert list(server.services.part(Functions).libraries) == [b"M"]


@pytest.mark.parametrize("payload", [b"", b"x", encode([])[:-1], encode([]) + b"x"])
def test_payloads_that_are_none(server: Handling, payload: bytes) -> None:
    assert server.call(b"FUNCTION", b"RESTORE", payload) == "-ERR DUMP payload version or checksum are wrong"


def test_dump_and_back() -> None:
    sources = [library("L", "f"), library("M", *map(str, range(3000)))]
    assert decode(encode(sources)) == sources


def test_metadata() -> None:
    assert parse_metadata(b"#!LUA  name=a_1 \nx") == (b"a_1", b"\nx")


def test_a_memory_bomb_leaves_the_functions(server: Handling) -> None:
    """Its Lua is made anew, and the libraries run in it again."""
    source = b"#!lua name=L\nredis.register_function('bomb', function() return string.rep('x', 1e9) end)"
    server.call(b"FUNCTION", b"LOAD", source)
    server.call(b"FUNCTION", b"LOAD", library("M", "f", value="math.max(1, 2)"))
    for _ in range(2):
        assert "memory" in server.call(b"FCALL", b"bomb", b"0")
        assert server.call(b"FCALL", b"f", b"0") == 2


def test_writes_are_one_step(server: Handling) -> None:
    """A function's own error keeps what it wrote; a reader writes nothing."""
    source = b"""#!lua name=L
redis.register_function('w', function(keys, args) redis.call('SET', keys[1], args[1]) error('x') end)
redis.register_function{function_name='r', callback=function(keys) return redis.call('SET', keys[1], 1) end,
  flags={'no-writes'}}"""
    server.call(b"FUNCTION", b"LOAD", source)
    assert server.call(b"FCALL", b"w", b"1", b"a", b"v") == "-ERR user_function:2: x script: w, on @user_function:2."
    assert server.call(b"GET", b"a") == b"v"
    error = "-ERR Write commands are not allowed from read-only scripts. script: r, on @user_function:3."
    assert server.call(b"FCALL", b"r", b"1", b"b") == error
    assert server.call(b"FCALL_RO", b"w", b"1", b"a", b"v") == (
        "-ERR Can not execute a script with write flag using *_ro command."
    )


def test_what_a_function_is_given(server: Handling) -> None:
    source = (
        b"#!lua name=L\nredis.register_function('f', function(k, a) redis.setresp(3) return {#k, #a, k[#k], a[#a]} end)"
    )
    server.call(b"FUNCTION", b"LOAD", source)
    many = [b"%d" % number for number in range(3000)]
    for keys, arguments in (
        ([], [b"a"]),
        ([b"k"], [b"a", b"b"]),
        ([b"k", b"l"], [b"a"]),
        ([b"k", b"l"], [b"a", b"b"]),
        ([b"k", b"l", b"m"], [b"a"]),
        (many, many),
        (many[:9], many),
    ):
        expected = [len(keys), len(arguments), *keys[-1:], *arguments[-1:]]
        expected = expected if keys else expected[:2]
        assert server.call(b"FCALL", b"f", b"%d" % len(keys), *keys, *arguments) == expected
    boolean = b"#!lua name=M\nredis.register_function('t', function() return true end)"
    server.call(b"FUNCTION", b"LOAD", boolean)
    assert server.call(b"FCALL", b"t", b"0") == 1, "what setresp chose ends with its call"


@pytest.mark.parametrize("returned", ["10", "11", "12", "4", "'text'", "false", "{}", "{12}", "1.5"])
def test_what_a_library_returns_does_not_matter(server: Handling, returned: str) -> None:
    source = f"#!lua name=L\nredis.register_function('f', function() return {returned} end) return {returned}"
    assert server.call(b"FUNCTION", b"LOAD", source.encode()) == b"L"
    assert server.call(b"FCALL", b"f", b"0") == server.call(b"EVAL", b"return %b" % returned.encode(), b"0")


def test_nothing_of_a_call_is_seen_by_the_next(server: Handling) -> None:
    source = b"#!lua name=L\nlocal n = 0 redis.register_function('f', function(k, a) n = n + 1 return {n, #k, #a} end)"
    server.call(b"FUNCTION", b"LOAD", source)
    assert server.call(b"FCALL", b"f", b"1", b"k", b"a") == [1, 1, 1]
    assert server.call(b"FCALL", b"f", b"0") == [2, 0, 0], "a library's own variables stay, as in Redis"
    assert server.call(b"EVAL", b"return tostring(rawget(_G, 'n'))", b"0") == b"nil"


def test_function_kill(ports: tuple[int, int]) -> None:
    """It ends functions alone, and takes back what the function wrote."""
    source = (
        b"#!lua name=K\nredis.register_function('turn', function() redis.call('SET', 'x', 1) while true do end end)"
    )
    with RawClient(ports[0]) as caller, RawClient(ports[0]) as other:
        assert caller.call(b"FUNCTION", b"LOAD", b"REPLACE", source).data == b"$1\r\nK\r\n"
        caller.send([[b"FCALL", b"turn", b"0"]])
        wait_until(lambda: b"$4\r\nturn\r\n" in other.call(b"FUNCTION", b"STATS").data, "the function runs alone")
        assert other.call(b"SCRIPT", b"KILL").payload.startswith(b"BUSY")
        assert other.call(b"FUNCTION", b"KILL").data == OK
        assert caller.read().payload == b"ERR Script killed by user with SCRIPT KILL... script: turn"
        assert other.call(b"GET", b"x").is_null
        assert other.call(b"FUNCTION", b"KILL").payload.startswith(b"NOTBUSY")
        assert other.call(b"FUNCTION", b"DELETE", b"K").data == OK


def test_within_exec(ports: tuple[int, int]) -> None:
    with RawClient(ports[0]) as ours, RawClient(ports[1]) as theirs:
        replies = []
        for client in (ours, theirs):
            requests = [
                [b"MULTI"],
                [b"FUNCTION", b"LOAD", b"REPLACE", library("L", "f")],
                [b"FCALL", b"f", b"0"],
                [b"EXEC"],
            ]
            replies.append([reply.data for reply in client.pipeline(requests)])
        assert replies[0] == replies[1]
        assert replies[0][-1] == b"*2\r\n$1\r\nL\r\n:1\r\n"


def test_kill_9(tmp_path: Path) -> None:
    """What was answered is there after a kill."""
    served = Served(tmp_path / "db", "always", "", 1)
    with RawClient(served.start()) as client:
        assert client.call(b"FUNCTION", b"LOAD", library("L", "f")).data == b"$1\r\nL\r\n"
        assert client.call(b"FUNCTION", b"LOAD", library("M", "g")).data == b"$1\r\nM\r\n"
        assert client.call(b"FUNCTION", b"DELETE", b"M").data == OK
        served.kill()
    with RawClient(served.start()) as client:
        assert client.call(b"FCALL", b"f", b"0").data == b":1\r\n"
        assert client.call(b"FCALL", b"g", b"0").data == b"-ERR Function not found\r\n"
    served.stop()
