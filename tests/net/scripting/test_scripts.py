"""The cache of scripts, and SCRIPT."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from flin.net.scripting import scripts as scripts_module
from flin.net.scripting.scripts import Scripts
from flin.net.wire.replies import OUT_OF_MEMORY
from tests.net.commands.handling import Handling

pytest.importorskip("lupa.luajit21", exc_type=ImportError)

OK = b"+OK\r\n"
NO_SCRIPT = "-NOSCRIPT No matching script. Please use EVAL."


@pytest.fixture
def server() -> Handling:
    return Handling()


def sha(source: bytes) -> bytes:
    return hashlib.sha1(source).hexdigest().encode()


def cached(server: Handling) -> int:
    figures = server.call(b"INFO", b"memory").text.decode()
    return int(next(line for line in figures.splitlines() if line.startswith("number_of_cached_scripts")).split(":")[1])


def test_eval_brings_a_script(server: Handling) -> None:
    assert server.call(b"EVALSHA", sha(b"return 7"), b"0") == NO_SCRIPT
    assert server.call(b"EVAL", b"return 7", b"0") == 7
    assert server.call(b"EVALSHA", sha(b"return 7"), b"0") == 7
    assert server.call(b"EVALSHA", sha(b"return 7").upper(), b"0") == 7
    assert server.call(b"EVALSHA_RO", sha(b"return 7"), b"0") == 7
    assert server.call(b"SCRIPT", b"EXISTS", sha(b"return 7"), b"nothing", sha(b"return 7").upper()) == [1, 0, 1]
    assert cached(server) == 1
    assert server.call(b"SCRIPT", b"FLUSH", b"async") == OK
    assert server.call(b"EVALSHA", sha(b"return 7"), b"0") == NO_SCRIPT
    assert cached(server) == 0
    assert server.call(b"EVAL", b"return 7", b"0") == 7


def test_the_oldest_of_eval_go_and_loaded_ones_stay(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts_module, "MOST_EVALUATED", 3)
    loaded = server.call(b"SCRIPT", b"LOAD", b"return 'loaded'")
    sources = [b"return %d" % number for number in range(5)]
    for source in sources[:3]:
        server.call(b"EVAL", source, b"0")
    server.call(b"EVAL", sources[0], b"0")  # used again
    for source in sources[3:]:
        server.call(b"EVAL", source, b"0")
    assert [server.call(b"SCRIPT", b"EXISTS", sha(source)) for source in sources] == [[1], [0], [0], [1], [1]]
    assert server.call(b"EVALSHA", loaded, b"0") == b"loaded"
    assert server.call(b"SCRIPT", b"LOAD", sources[0]) == sha(sources[0])  # from now on it stays, too
    for number in range(10, 20):
        server.call(b"EVAL", b"return %d" % number, b"0")
    assert server.call(b"EVALSHA", sha(sources[0]), b"0") == 0
    assert len(server.services.part(Scripts)) == 5


def test_what_does_not_compile_is_not_kept(server: Handling) -> None:
    for words in ([b"EVAL", b"return bad syntax", b"0"], [b"SCRIPT", b"LOAD", b"#!lua flags=foo\nreturn 1"]):
        reply: Any = server.call(*words)
        assert reply.startswith("-ERR ")
    assert cached(server) == 0


def test_the_number_of_keys(server: Handling) -> None:
    assert server.call(b"EVAL", b"return {#KEYS, ARGV[1]}", b"2", b"a", b"b", b"c") == [2, b"c"]
    for number, error in (
        (b"x", "value is not an integer or out of range"),
        (b"-1", "Number of keys can't be negative"),
        (b"2", "Number of keys can't be greater than number of args"),
    ):
        assert server.call(b"EVAL", b"return 1", number, b"a") == f"-ERR {error}"


def test_debug_and_kill(server: Handling) -> None:
    assert server.call(b"SCRIPT", b"DEBUG", b"NO") == OK
    assert server.call(b"SCRIPT", b"DEBUG", b"YES").startswith("-ERR SCRIPT DEBUG is not supported")
    assert server.call(b"SCRIPT", b"DEBUG", b"x") == "-ERR Use SCRIPT DEBUG YES/SYNC/NO"
    assert server.call(b"SCRIPT", b"KILL") == "-NOTBUSY No scripts in execution right now."
    assert b"LOAD" in server.wire(b"SCRIPT", b"HELP")


def test_without_lua(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lupa.luajit21", None)
    assert server.call(b"EVAL", b"return 1", b"0") == "-ERR Lua is not installed here: pip install 'flin[lua]'"
    assert server.call(b"SCRIPT", b"EXISTS", sha(b"return 1")) == [0]


def test_a_wrong_number_of_keys_leaves_no_script(server: Handling) -> None:
    for number in (b"x", b"-1", b"1"):
        assert str(server.call(b"EVAL", b"return (", number)).startswith(("-ERR value", "-ERR Number of keys"))
        server.call(b"EVAL", b"return 7", number)
    assert server.call(b"EVALSHA", sha(b"return 7"), b"0") == NO_SCRIPT


def test_sources_of_eval_have_a_part_of_the_memory(server: Handling) -> None:
    """500 of them may be long."""
    server.services.config.lua_memory_limit_bytes = 4 << 20
    sources = [b"--" + b"%d" % number * 400_000 + b"\nreturn %d" % number for number in range(4)]
    for source in sources:
        server.call(b"EVAL", source, b"0")
    assert [server.call(b"SCRIPT", b"EXISTS", sha(source)) for source in sources] == [[0], [0], [1], [1]]
    server.call(b"SCRIPT", b"LOAD", sources[2])
    server.call(b"EVAL", sources[0], b"0")
    assert [server.call(b"SCRIPT", b"EXISTS", sha(source)) for source in sources] == [[1], [0], [1], [1]]
    long = b"--" + b"x" * 2_000_000 + b"\nreturn 7"
    server.call(b"EVAL", long, b"0")
    assert server.call(b"EVALSHA", sha(long), b"0") == 7, "the newest stays"
    assert len(server.services.part(Scripts)) == 2


def test_the_memory_of_lua_is_changed_while_it_runs(server: Handling) -> None:
    source, library = (
        b"return #string.rep('x', 2000000)",
        b"#!lua name=L\nredis.register_function('f', function() %b end)",
    )
    assert server.call(b"FUNCTION", b"LOAD", library % source) == b"L"
    loaded = server.call(b"SCRIPT", b"LOAD", source)
    for limit, may_run in ((b"64mb", True), (b"1mb", False), (b"8mb", True)):
        assert server.call(b"CONFIG", b"SET", b"lua-memory-limit", limit) == OK
        for words in ([b"EVAL", source], [b"EVALSHA", loaded], [b"FCALL", b"f"]):
            found = server.call(*words, b"0")
            assert found == 2_000_000 if may_run else "not enough memory" in found


def test_what_is_no_sha_is_told_first(server: Handling) -> None:
    for name in (b"EVALSHA", b"EVALSHA_RO"):
        assert server.call(name, b"x", b"many") == server.call(name, sha(b"x"), b"0") == NO_SCRIPT
        assert server.call(name, sha(b"x"), b"many") == "-ERR value is not an integer or out of range"


def test_loaded_scripts_have_a_quarter_of_the_memory(server: Handling) -> None:
    most_bytes = server.services.config.options.memory_limit // 4
    server.services.part(Scripts)._loaded_bytes = most_bytes - 3000
    assert server.call(b"SCRIPT", b"LOAD", b"return 1") == sha(b"return 1")
    server.call(b"EVAL", b"return 2", b"0")
    for source in (b"return 1", b"return 2"):
        assert server.call(b"SCRIPT", b"LOAD", source) == sha(source)
    too_long = b"return 3 --" + b"x" * 3000
    assert server.call(b"SCRIPT", b"LOAD", too_long) == "-" + OUT_OF_MEMORY
    assert server.call(b"EVAL", too_long, b"0") == 3
    assert server.call(b"SCRIPT", b"LOAD", too_long) == "-" + OUT_OF_MEMORY
    server.call(b"SCRIPT", b"FLUSH")
    assert server.call(b"SCRIPT", b"LOAD", too_long) == sha(too_long)
