"""What docs/redis-differences.md lists of scripts: each fails if the difference no longer exists."""

from __future__ import annotations

import re

import pytest

from flin.errors import ScriptError, ScriptOutOfMemory
from flin.net.scripting.runtime import Lua
from flin.net.wire.resp import encode2
from tests.net.commands.handling import Handling
from tests.net.scripting.calling import run


@pytest.fixture(scope="module")
def lua() -> Lua:
    return Lua()


def _error(lua: Lua, source: str) -> str:
    with pytest.raises(ScriptError) as caught:
        run(lua, source)
    return re.sub(r" script: \w+, on ", " on ", str(caught.value))


def test_keys_of_maps_come_in_their_own_order(lua: Lua) -> None:
    """Redis gives {"1":1,"30":3} and the map 1, 3."""
    assert run(lua, "cjson.encode_sparse_array(true) return cjson.encode({[1]=1, [30]=3})") == b'{"30":3,"1":1}'
    assert run(lua, "return cmsgpack.pack({[1]=1, [3]=2})") == b"\x82\x03\x02\x01\x01"


def test_lines_behind_tail_calls(lua: Lua) -> None:
    text = "ERR Unknown Redis command called from script on @user_script"
    assert _error(lua, "\nreturn redis.call('nosuch')") == f"{text}:2."
    assert _error(lua, "if false then return redis.call('x') end\nreturn redis.call('nosuch')") == f"{text}:-1."
    assert _error(lua, "return bit.tobit({})").startswith("ERR user_script:1: bad argument #1 to '?' (number expected")


def test_depth_of_results(lua: Lua) -> None:
    found = encode2(run(lua, "local t = {} for i = 1, 500 do t = {t} end return t"))
    assert found == b"*1\r\n" * 190 + b"-ERR reached lua stack limit\r\n"


def test_errors_without_a_text(lua: Lua) -> None:
    assert _error(lua, "error({})") == "ERR unknown error on @user_script:1."


def test_nan_and_negative_zero(lua: Lua) -> None:
    assert run(lua, "return tostring(cjson.decode('-nan'))") == b"nan"
    assert encode2(run(lua, "return {double=0/0}")) == b"$3\r\nnan\r\n"
    assert run(lua, "return redis.call('echo', -0)") == b"0"


def test_beyond_lua_5_1(lua: Lua) -> None:
    assert run(lua, "return type(string.dump)") == b"nil"
    assert run(lua, r"goto over do return 'no' end ::over:: return '\x41'") == b"A"
    for escape in (r"\q", r"\.", r"\300"):
        with pytest.raises(ScriptError, match="invalid escape sequence"):
            run(lua, f"return '{escape}'")
    assert run(lua, "return {string.format('%c', 0), string.format('%q', '\\0')}") == [b"\0", b'"\\0"']
    assert run(lua, "return {tostring(1LL), type(1LL)}") == [b"1LL", b"cdata"]
    source = "local f = coroutine.wrap(function() return pcall(coroutine.yield, 1) end) f() return {f(2)}"
    assert run(lua, source) == [1, 2]
    assert _error(lua, "local function f() return f() + 1 end return f()") == "ERR stack overflow on @user_script:1."


def test_the_collector_stays(lua: Lua) -> None:
    source = "collectgarbage('stop') for i = 1, 3e5 do local t = {i} end return collectgarbage('count') < 16384"
    assert run(lua, source) == 1


def test_nested_calls(lua: Lua) -> None:
    source = "local n = 0 local function f() n = n + 1 ('a'):gsub('a', f) end pcall(f) return n"
    assert run(lua, source) == 191


def test_functions_have_a_lua_of_their_own() -> None:
    server = Handling()
    names = [b"b", b"a", b"d", b"c"]
    calls = b"".join(
        b"redis.register_function('%b', function() return math.random(1000) end) " % name for name in names
    )
    server.call(b"FUNCTION", b"LOAD", b"#!lua name=L\n" + calls)
    first = server.call(b"FCALL", b"a", b"0")
    assert server.call(b"EVAL", b"return math.random(1000)", b"0") == first
    (library,) = server.call(b"FUNCTION", b"LIST")
    assert [function[b"name"] for function in library[b"functions"]] == names
    assert calls in server.call(b"FUNCTION", b"DUMP")


def test_memory_is_limited() -> None:
    with pytest.raises(ScriptOutOfMemory):
        run(Lua(memory_bytes=4 << 20), "return string.rep('x', 8e6)")
