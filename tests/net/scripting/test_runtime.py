"""Scripts run, fail and are stopped; what they say of their errors is Redis's text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from flin.errors import CommandError, LimitError, ScriptAborted, ScriptError, ScriptOutOfMemory
from flin.net.scripting.runtime import Lua, LuaNotInstalled
from flin.net.wire.replies import Value
from flin.net.wire.resp import encode2
from tests.net.scripting.calling import FakeCaller, run


@pytest.fixture(scope="module")
def lua() -> Lua:
    return Lua()


def test_keys_and_arguments(lua: Lua) -> None:
    source = "return {#KEYS, #ARGV, KEYS[1], ARGV[1], ARGV[#ARGV]}"
    assert run(lua, source) == [0, 0]
    assert run(lua, source, arguments=[b"a\0", b"b"]) == [0, 2]
    assert run(lua, source, keys=[b"k"]) == [1, 0, b"k"]
    assert run(lua, source, keys=[b"k"], arguments=[b"a", b"b"]) == [1, 2, b"k", b"a", b"b"]
    assert run(lua, source, keys=[b"k", b"l"], arguments=[b"a", b"b"]) == [2, 2, b"k", b"a", b"b"]
    assert run(lua, source, keys=[b"k", b"l"]) == [2, 0, b"k"]
    assert run(lua, source, keys=[b"k", b"l", b"m"], arguments=[b"a"]) == [3, 1, b"k", b"a", b"a"]
    many = [b"%d" % number for number in range(9000)]
    assert run(lua, source, keys=many, arguments=many) == [9000, 9000, b"0", b"0", b"8999"]
    assert run(lua, "KEYS[1] = 'other' return KEYS", keys=[b"k"]) == [b"other"]


def test_nothing_of_a_run_is_seen_by_the_next(lua: Lua) -> None:
    chunk = lua.compile(b"local n = (n or 0) + 1 KEYS.x = n return n")
    with pytest.raises(ScriptError, match="nonexistent global variable 'n'"):
        lua.run(chunk, [], [], FakeCaller())
    run(lua, "redis.setresp(3)")
    assert run(lua, "return true") == 1


def test_calls(lua: Lua) -> None:
    caller = FakeCaller(many=[b"a", b"b", 3], none=None, deep=[[b"x", [1]], None, OSError])
    assert run(lua, "return redis.call('echo', ARGV[1])", arguments=[b"\0\xff"], caller=caller) == b"\0\xff"
    assert run(lua, "local t = redis.call('many') return {t[3], t[1]}", caller=caller) == [3, b"a"]
    assert run(lua, "return tostring(redis.call('none'))", caller=caller) == b"false"
    assert encode2(run(lua, "return redis.call('set', 'a', 'b')", caller=caller)) == b"+OK\r\n"
    assert caller.calls[-1] == [b"set", b"a", b"b"]


NUMBERS = [
    ("10", b"10"), ("0.1", b"0.10000000000000001"), ("1e300", b"1.0000000000000001e+300"), ("1e17", b"1e+17"),
    ("123456789012345678", b"1.2345678901234568e+17"), ("1/0", b"inf"), ("-1/0", b"-inf"), ("0/0", b"-nan"),
    ("-3.5", b"-3.5"), ("2^53", b"9007199254740992"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_numbers_as_arguments(lua: Lua, number: str, text: bytes) -> None:
    assert run(lua, f"return redis.call('echo', {number})") == text


def test_thousands_of_values(lua: Lua) -> None:
    def many(arguments: list[bytes]) -> Any:
        return [b"%d" % number for number in range(int(arguments[1]))]

    def nested(arguments: list[bytes]) -> Any:
        return [many(arguments), {b"a": 1}]

    caller = FakeCaller(many=many, nested=nested)
    for count in (3999, 4000, 4001, 8000, 8001, 20000):
        assert run(lua, f"return #redis.call('many', {count})", caller=caller) == count
        assert run(lua, f"return redis.call('many', {count})", caller=caller) == many([b"", b"%d" % count])
    assert run(lua, "return redis.call('nested', 20000)[1][20000]", caller=caller) == b"19999"
    assert run(lua, "return redis.call('nested', 5)[2]", caller=caller) == [b"a", 1]
    arguments = "local t = {} for i = 1, 7990 do t[i] = i end return redis.call('echo', unpack(t))"
    assert run(lua, arguments, caller=caller) == b"1"
    assert len(caller.calls[-1]) == 7991


ERRORS = [
    ("redis.call('nosuch')", "ERR Unknown Redis command called from script", 1),
    ("return redis.call('nosuch')", "ERR Unknown Redis command called from script", 1),
    ("\n\n redis.call(\n'nosuch')", "ERR Unknown Redis command called from script", 3),
    ("local x = 1\nreturn redis.call('nosuch')", "ERR Unknown Redis command called from script", 2),
    ("redis.call()", "ERR Please specify at least one argument for this redis lib call", 1),
    ("redis.call('get', {})", "ERR Lua redis lib command arguments must be strings or integers", 1),
    ("redis.call('get', nil)", "ERR Lua redis lib command arguments must be strings or integers", 1),
    ("redis.call('get', true)", "ERR Lua redis lib command arguments must be strings or integers", 1),
    ("\nerror('x')", "ERR user_script:2: x", 2),
    ("error('x', 0)", "ERR x", 1),
    ("error({err='MY own'})", "MY own", 1),
    ("error({err=''})", "", 1),
    ("error({err=1})", "1", 1),
    ("error()", "ERR nil", 1),
    ("error(true)", "ERR true", 1),
    ("return foo", "ERR user_script:1: Script attempted to access nonexistent global variable 'foo'", 1),
    ("foo()", "ERR user_script:1: Script attempted to access nonexistent global variable 'foo'", 1),
    ("foo = 1", "ERR user_script:1: Attempt to modify a readonly table", 1),
    ("string.foo = 1", "ERR user_script:1: Attempt to modify a readonly table", 1),
    ("rawset(_G, 'x', 1)", "ERR Attempt to modify a readonly table", 1),
    ("local x = nil; x.y = 1", "ERR user_script:1: attempt to index local 'x' (a nil value)", 1),
    ("return 1 + {}", "ERR user_script:1: attempt to perform arithmetic on a table value", 1),
    ("string.rep()", "ERR user_script:1: bad argument #1 to 'rep' (string expected, got no value)", 1),
    ("redis.log()", "ERR redis.log() requires two arguments or more.", 1),
    ("redis.log('a', 'b')", "ERR First argument must be a number (log level).", 1),
    ("redis.log(9, 'b')", "ERR Invalid debug level.", 1),
    ("redis.setresp()", "ERR redis.setresp() requires one argument.", 1),
    ("redis.setresp(4)", "ERR RESP version must be 2 or 3.", 1),
    ("redis.set_repl()", "ERR redis.set_repl() requires two arguments.", 1),
    (
        "redis.set_repl(9)",
        "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        1,
    ),
    ("redis.sha1hex()", "ERR wrong number of arguments", 1),
    ("redis.acl_check_cmd()", "ERR Please specify at least one argument for this redis lib call", 1),
    ("redis.acl_check_cmd('nosuch')", "ERR Invalid command passed to redis.acl_check_cmd()", 1),
    ("math.random(0)", "ERR user_script:1: bad argument #1 to 'random' (interval is empty)", 1),
    ("math.random(3, 2)", "ERR user_script:1: bad argument #2 to 'random' (interval is empty)", 1),
    ("math.random(1, 2, 3)", "ERR user_script:1: wrong number of arguments", 1),
    ("table.sort({3, 2, 1}, function(a, b) redis.call('nosuch') end)",
     "ERR Unknown Redis command called from script", 1),
    ("coroutine.wrap(function() error({err='hi there'}) end)()", "hi there", 1),
]  # fmt: skip


@pytest.mark.parametrize(("source", "text", "line"), ERRORS)
def test_errors(lua: Lua, source: str, text: str, line: int) -> None:
    """These texts are what redis-server 7.0.15 answers."""
    chunk = lua.compile(source.encode())
    with pytest.raises(ScriptError) as caught:
        lua.run(chunk, [], [], FakeCaller())
    assert str(caught.value) == f"{text} script: {chunk.label.decode()}, on @user_script:{line}."


def test_lines_behind_several_tail_calls_are_not_known(lua: Lua) -> None:
    with pytest.raises(ScriptError, match=r"on @user_script:-1\."):
        run(lua, "if ARGV[1] then return redis.call('echo', 1) end\nreturn redis.call('nosuch')")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("return 1 +", "user_script:1: unexpected symbol near '<eof>'"),
        ("\n\nif", "user_script:3: unexpected symbol near '<eof>'"),
        ("\x1bLua", "user_script:1: unexpected symbol near 'char(27)'"),
    ],
)
def test_compiling(lua: Lua, source: str, text: str) -> None:
    with pytest.raises(ScriptError) as caught:
        lua.compile(source.encode())
    assert str(caught.value) == "ERR Error compiling script (new function): " + text


CAUGHT = [
    ("local ok, e = pcall(redis.call, 'nosuch') return {tostring(ok), type(e), e}",
     [b"false", b"string", b"ERR Unknown Redis command called from script"]),
    ("local ok, e = pcall(function() error({err='x y'}) end) return {tostring(ok), e}", [b"false", b"x y"]),
    ("local ok, e = pcall(function() error({}) end) return {tostring(ok), type(e)}", [b"false", b"table"]),
    ("local ok, e = pcall(function() error('x') end) return {tostring(ok), e}", [b"false", b"user_script:1: x"]),
    ("local ok, e = xpcall(redis.call, function(e) return type(e) end) return {tostring(ok), e}",
     [b"false", b"table"]),
    ("local e = redis.pcall('nosuch') return {type(e), e.err}",
     [b"table", b"ERR Unknown Redis command called from script"]),
    ("local e = redis.pcall('get', {}) return e.err",
     b"ERR Lua redis lib command arguments must be strings or integers"),
    ("return {pcall(function(...) return ... end, 1, 2)}", [1, 1, 2]),
    ("return {coroutine.resume(coroutine.create(function(x) return coroutine.yield(x) end), 5)}", [1, 5]),
    ("return redis.error_reply('boo').err", b"ERR boo"),
    ("return redis.error_reply('-MY boo').err", b"MY boo"),
    ("return redis.error_reply(1).err", b"ERR wrong number or type of arguments"),
    ("return redis.status_reply().err", b"ERR wrong number or type of arguments"),
    ("return redis.sha1hex(1)", b"356a192b7913b04c54574d18c28d46e6395428ab"),
    ("return redis.sha1hex({})", b"da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("return {tostring(redis.acl_check_cmd('denied')), tostring(redis.acl_check_cmd('get', 'x'))}",
     [b"false", b"true"]),
    ("return {tostring(redis.replicate_commands()), tostring(redis.breakpoint()), select('#', redis.debug('x'))}",
     [b"true", b"false", 0]),
    ("return redis.REDIS_VERSION .. redis.REDIS_VERSION_NUM", b"7.0.15458767"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "value"), CAUGHT)
def test_values_of_the_api(lua: Lua, source: str, value: object) -> None:
    assert run(lua, source) == value


def test_log_and_protocol(lua: Lua) -> None:
    caller = FakeCaller()
    run(lua, "redis.log(redis.LOG_WARNING, 'a', 1, {}, 'b') redis.setresp(3) redis.setresp(2)", caller=caller)
    assert caller.logged == [(3, b"a 1 b")]
    assert caller.protocols == [3, 2]


# Aborts.

LOOPS = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "while true do pcall(error) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "xpcall(error, function() while true do end end)",
    "local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end",
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "while true do local f = coroutine.wrap(function() while true do coroutine.yield() end end) f() f() end",
    "local function nest(n) if n == 0 then while true do end end return coroutine.wrap(nest)(n - 1) end nest(20)",
    "setmetatable({}, {__index = function() while true do end end}).x()",
    "setmetatable({}, {__newindex = function() while true do end end}).x = 1",
    "local t = setmetatable({}, {__concat = function() while true do end end}) return t .. t",
    "return tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    "local m = {__eq = function() while true do end end} return setmetatable({}, m) == setmetatable({}, m)",
    "return setmetatable({}, {__call = function(self) return self() end})()",
    "table.sort({1, 2, 3}, function() while true do end end)",
    "string.gsub('abc', '.', function() while true do end end)",
    "load(function() return ' ' end)",
    "while true do pcall(load, function() while true do end end) end",
    "local t = {} t[1] = t t[2] = t return t",
    "for i = 1, math.huge do tostring(i) end",
    "local function f() return f() end f()",
    "repeat until false",
    "table.foreach({1}, function() while true do end end)",
]


@pytest.mark.parametrize("source", LOOPS)
def test_endless_loops_end(lua: Lua, source: str) -> None:
    with pytest.raises(ScriptAborted):
        run(lua, source, caller=FakeCaller(stop_after=5))
    assert run(lua, "return 1") == 1


def _stopping(cause: BaseException) -> Callable[[list[bytes]], Any]:
    def stop(arguments: list[bytes]) -> Any:
        raise cause

    return stop


@pytest.mark.parametrize(
    "source",
    [
        "redis.call('stop')",
        "pcall(redis.call, 'stop')",
        "redis.pcall('stop')",
        "xpcall(redis.call, function() return 1 end, 'stop') xpcall(function() redis.call('stop') end, print)",
        "pcall(pcall, pcall, redis.call, 'stop')",
        "coroutine.resume(coroutine.create(function() pcall(redis.call, 'stop') end))",
        "coroutine.wrap(function() redis.call('stop') end)()",
        "load(function() redis.call('stop') end)",
        "string.gsub('a', 'a', function() redis.call('stop') end)",
        "tostring(setmetatable({}, {__tostring = function() redis.call('stop') end}))",
        "table.sort({2, 1}, function() redis.call('stop') end)",
    ],
)
def test_nothing_catches_an_abort(lua: Lua, source: str) -> None:
    """What the caller raises comes out of `run`, the same object, and nothing of the script runs after it."""
    cause = ScriptAborted("a reason")
    caller = FakeCaller(stop=_stopping(cause))
    with pytest.raises(ScriptAborted) as caught:
        run(lua, source.replace("print", "tostring") + " redis.call('echo', 'after')", caller=caller)
    assert caught.value is cause
    assert [name for name, *_ in caller.calls if name == b"echo"] == []


@pytest.mark.parametrize("hook", ["call", "log", "set_protocol", "acl_check", "should_stop"])
def test_a_fault_of_the_caller_comes_out(lua: Lua, hook: str) -> None:
    """Any exception: also one that nobody thought of. The script never sees it."""

    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    caller = FakeCaller()
    setattr(caller, hook, fail)
    source = """
        pcall(function() redis.call('x') redis.log(1, 'x') redis.setresp(2) redis.acl_check_cmd('x') end)
        pcall(function() redis.log(1, 'x') end) pcall(function() redis.setresp(2) end) pcall(redis.acl_check_cmd, 'x')
        for i = 1, 1e6 do end
    """
    with pytest.raises(ZeroDivisionError):
        run(lua, source, caller=caller)


BOMBS = [
    "return string.rep('x', 1e9)",
    "while true do pcall(string.rep, 'x', 1e9) end",
    "local s = 'x' while true do s = s .. s end",
    "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    "local t = {} for i = 1, 1e9 do t[i] = {i} end",
    "local t = {} while true do t[#t + 1] = string.rep('x', 10000) .. #t end",
    "local t = {} for i = 1, 1e4 do t[i] = string.rep('x', 1e4) end return table.concat(t, t[1])",
    "return string.gsub(string.rep('x', 1e5), '.', string.rep('y', 1e5))",
    "return string.format(string.rep('%99d', 8000), unpack({}, 1, 8000))",
    "local s = string.rep('x', 1e6) local t = {} for i = 1, 1e3 do"
    " t[i] = coroutine.wrap(function() return coroutine.yield(s .. i) end) t[-i] = t[i]() end",
    "loadstring('return {' .. string.rep('{},', 4e6) .. '}')",
    "coroutine.wrap(function() local s = 'x' while true do s = s .. s end end)()",
    "local t = {} t[1] = t t[2] = t t[3] = t return t",
]


@pytest.mark.parametrize("source", BOMBS)
def test_memory_bombs_end(source: str) -> None:
    lua = Lua(memory_bytes=8 << 20)
    chunk = lua.compile(b"return 7")
    with pytest.raises((ScriptOutOfMemory, ScriptError, ScriptAborted)):
        run(lua, source, caller=FakeCaller(stop_after=20_000))
    assert lua.run(chunk, [], [], FakeCaller()) == 7, "a chunk of the old state is compiled again"
    assert run(lua, "return #string.rep('x', 1000000)") == 1_000_000


@pytest.mark.parametrize(
    "made", ["s", "{ok=s}", "{err=s}", "{big_number=s}", "{verbatim_string={format='txt', string=s}}"]
)
def test_a_text_may_not_be_returned_a_thousand_times(made: str) -> None:
    """In Lua it is there once, in Python each is one by itself."""
    lua = Lua(memory_bytes=8 << 20, largest_reply_bytes=2_000_000)
    source = f"local s, t = string.rep('x', 1000), {{}} for i = 1, tonumber(ARGV[1]) do t[i] = {made} end return t"
    assert len(cast(list[Value], run(lua, source, arguments=[b"1900"]))) == 1900
    with pytest.raises(LimitError, match=r"the size of the reply in bytes is 200.*, the maximum is 2000000"):
        run(lua, source, arguments=[b"3000"])
    with pytest.raises(LimitError):
        run(lua, "return pcall(string.rep, 'x', 2000001) and string.rep('x', 2000001)")
    assert run(lua, "return string.rep('x', 2000000)") == b"x" * 2_000_000


@pytest.mark.parametrize("function", ["redis.call", "redis.pcall", "redis.acl_check_cmd"])
def test_a_text_may_not_be_an_argument_a_thousand_times(function: str) -> None:
    lua, caller = Lua(memory_bytes=8 << 20), FakeCaller(mset=b"done")
    source = "local s, t = string.rep('x', 1000000), {} for i = 1, tonumber(ARGV[1]) do t[i] = s end "
    source += f"return {function}('mset', unpack(t))"
    assert run(lua, source, arguments=[b"8"], caller=caller) in (b"done", True, 1)
    message = "ERR The arguments of a call have 9000004 bytes, the maximum is 8388608"
    if function == "redis.pcall":
        assert str(run(lua, source, arguments=[b"9"], caller=caller)) == message
    else:
        with pytest.raises(ScriptError, match=message):
            run(lua, source, arguments=[b"9"], caller=caller)


RECURSIONS = [
    "local function f() return f() + 1 end return f()",
    "local function f(...) return (f(1, ...)) end return f()",
    "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.x",
    "local function f() pcall(f) end f() error('done')",
    "local function f() coroutine.wrap(f)() end f()",
    "return string.rep('(', 1000) == loadstring(string.rep('(', 100000))()",
    "local s = 'return ' for i = 1, 100 do s = s .. '{' end return loadstring(s .. string.rep('}', 99))()",
    "return ('x'):rep(1000):find(string.rep('(.', 1000))",
    "return unpack({}, 0, 2147483647)",
    "return unpack({}, -2147483648, 2147483647)",
    "return select(-1)",
    "return ('x'):format(string.rep('x', 1000)), string.format('%1000d', 1)",
]


@pytest.mark.parametrize("source", RECURSIONS)
def test_recursions_end(source: str) -> None:
    lua = Lua(memory_bytes=16 << 20)
    with pytest.raises((ScriptError, ScriptAborted)):
        run(lua, source, caller=FakeCaller(stop_after=2000))
    assert run(lua, "return 1") == 1


def test_a_missing_lupa_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lupa.luajit21", None)
    with pytest.raises(LuaNotInstalled, match=r"^ERR Lua is not installed here: pip install 'flin\[lua\]'$"):
        Lua()
    assert issubclass(LuaNotInstalled, CommandError)
