"""What a script sees is Redis's list, nothing of Python's is reachable, and published escapes and crashes are errors.

The replays run in a child process, which may die: then this test names the one that killed it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from flin.errors import ScriptError
from flin.net.scripting import runtime
from flin.net.scripting.runtime import Lua
from tests.net.scripting.calling import run
from tests.net.scripting.test_libraries import of_redis


@pytest.fixture(scope="module")
def lua() -> Lua:
    return Lua()


NAMES = """
local names = {}
for name, value in pairs(_G) do
  names[#names + 1] = name .. ':' .. type(value)
  if type(value) == 'table' and name ~= '_G' and name ~= 'KEYS' and name ~= 'ARGV' then
    for inner, element in pairs(value) do names[#names + 1] = name .. '.' .. inner .. ':' .. type(element) end
  end
end
table.sort(names)
return table.concat(names, ' ')
"""
ABSENT = {"__redis__err__handler:function", "string.dump:function"}  # the handler is Redis's own, no part of its API


def test_names_are_those_of_redis(lua: Lua, redis_port: int) -> None:
    (reply,) = of_redis(redis_port, [NAMES])
    theirs = set(reply.split(b"\r\n")[1].decode().split())
    assert set(run(lua, NAMES).decode().split()) == theirs - ABSENT


MODIFIERS = [
    "x = 1", "_G.x = 1", "string = 1", "string.x = 1", "cjson.x = 1", "redis.call = 1", "KEYS = {}",
    "rawset(_G, 'x', 1)", "rawset(string, 'x', 1)", "setmetatable(_G, {})", "setmetatable(string, {})",
    "getmetatable(_G).__index = 1", "getmetatable(_G).x = 1", "table.insert(string, 1)", "table.insert(_G, 1, 1)",
    "getmetatable('').__index = function() end", "getmetatable('').x = 1", "math.random = 1", "bit.x = 1",
]  # fmt: skip


@pytest.mark.parametrize("source", MODIFIERS)
def test_nothing_can_be_modified(lua: Lua, source: str) -> None:
    with pytest.raises(ScriptError, match="Attempt to modify a readonly table"):
        run(lua, source)


QUIET = [
    "table.sort(string)", "table.remove(string)", "table.remove(string, 1)", "table.concat(_G)", "unpack(string)",
    "for k in pairs(string) do end", "next(_G)", "rawget(_G, 'string')", "rawequal(_G, _G._G)",
    "setmetatable({}, string)", "setmetatable({}, getmetatable(_G))", "setmetatable({}, getmetatable(''))",
    "collectgarbage('setpause', 1)", "collectgarbage('stop')", "table.foreach(string, function() end)",
]  # fmt: skip


def test_nothing_stays(lua: Lua) -> None:
    """Whatever scripts do to what all share, the next one sees the same."""
    look = NAMES.replace(
        "return", "names[#names + 1] = ('x'):upper() .. #string .. tostring(getmetatable(string)) return"
    )
    before = run(lua, look)
    for source in [*MODIFIERS, *QUIET]:
        run(lua, f"pcall(function() {source} end)")
        assert run(lua, look) == before, source


def test_a_real_table_never_comes_out(lua: Lua) -> None:
    """What iterators and metatables hand out is a proxy again, not what is behind it."""
    source = """
        local f, state = pairs(string)
        assert(state == string and f(state) ~= nil)
        for _, found in ipairs{getmetatable(_G).__index, getmetatable('').__index} do
          if type(found) == 'table' then assert(not pcall(function() found.x = 1 end)) end
        end
        return 1
    """
    assert run(lua, source) == 1


# What is reachable.

WALK = """
local seen, found, queue = {}, {}, {{_G, '_G'}}
local function meet(value, path)
  local kind = type(value)
  if kind == 'userdata' or kind == 'thread' or kind == 'cdata' then found[path .. ':' .. kind] = true end
  if (kind == 'table' or kind == 'function' or kind == 'userdata') and not seen[value] then
    seen[value] = true
    queue[#queue + 1] = {value, path}
  end
end
meet('', '""')
while #queue > 0 do
  local value, path = unpack(table.remove(queue))
  meet(getmetatable(value), path .. '!')
  if type(value) == 'table' then
    for key, element in pairs(value) do meet(key, path .. '?') meet(element, path .. '.' .. tostring(key)) end
    for key, element in next, value do meet(element, path .. '.' .. tostring(key)) end
  end
end
meet(getmetatable(''), '""!')
local names = {}
for name in pairs(found) do names[#names + 1] = name end
return names
"""


def test_no_userdata_but_null(lua: Lua) -> None:
    assert run(lua, WALK) == [b"_G.cjson.null:userdata"]


DEEP_WALK = b"""
local debug, lib, type, next = debug, table, type, next
return function(start)
  local seen, queue, userdata, environments, closures = {}, {start}, {}, 0, 0
  local function meet(value, place)
    local kind = type(value)
    if kind == 'userdata' then userdata[#userdata + 1] = place end
    if (kind == 'table' or kind == 'function' or kind == 'userdata') and not seen[value] then
      seen[value] = true
      queue[#queue + 1] = value
    end
  end
  while #queue > 0 do
    local value = lib.remove(queue)
    meet(debug.getmetatable(value), 'metatable')
    if type(value) == 'table' then
      for key, element in next, value do meet(key, 'key') meet(element, type(key) == 'string' and key or 'element') end
    elseif type(value) == 'function' then
      closures = closures + 1
      if next(debug.getfenv(value)) ~= nil then environments = environments + 1 end
      local index = 1
      while debug.getupvalue(value, index) do
        local name, upvalue = debug.getupvalue(value, index)
        meet(upvalue, name)
        index = index + 1
      end
    end
  end
  return closures, environments, lib.concat(userdata, ' ')
end
"""
PYTHONS = {
    "host_call",
    "host_more",
    "host_log",
    "host_protocol",
    "host_acl",
    "host_stop",
    "host_sha1",
    "host_too_large",
}


def test_what_closures_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `debug`, which scripts have not: no closure has an environment but the proxy (which is empty, as the real
    globals are), and what is Python's is an upvalue of ours, or in the table that they came in."""
    compiled = runtime._library
    walkers: list[Any] = []

    def keeping(state: Any, name: bytes) -> Any:
        if name == b"sandbox":
            walkers.append(state.execute(DEEP_WALK))
        return compiled(state, name)

    monkeypatch.setattr(runtime, "_library", keeping)
    lua = Lua()
    closures, environments, userdata = walkers[0](lua.compile(b"return _G").function)
    assert closures == 1
    assert environments == 0
    assert userdata == b""
    closures, environments, userdata = walkers[0](lua._run_script)
    assert closures > 100
    assert environments == 0
    places = set(userdata.decode().split())
    table = {name.removeprefix("host_") for name in PYTHONS}
    assert places >= PYTHONS
    assert places - PYTHONS - table <= {"null"}


ESCAPES = [
    # CVE-2024-31449: more digits than the buffer has, the smallest integer without a positive.
    "return {bit.tohex(255, -2147483648), bit.tohex(-1, 2147483647), bit.tohex(1, -2^31), bit.tohex(1, 1e300)}",
    # CVE-2024-46981: the collector beside what has a finalizer.
    "if newproxy then newproxy(true) end return 1",
    "for i = 1, 100 do local t = setmetatable({}, {__gc = function() error('x') end}) t = nil collectgarbage() end",
    "local t = setmetatable({}, {__mode = 'kv'}) for i = 1, 1e4 do t[{}] = {} end collectgarbage() return #t",
    "for i = 1, 50 do coroutine.wrap(function() coroutine.yield(coroutine.create(function() end)) end)() end"
    " collectgarbage()",
    # CVE-2025-46817: counts that overflow.
    "return unpack({}, 0, 2147483647)",
    "return unpack({}, -2147483648, 2147483647)",
    "return unpack({1}, -2147483647, 1)",
    "return unpack({}, 1, 2^53)",
    "return select(-2147483648, 1)",
    "return select(2147483647, 1)",
    "return table.concat({}, 'x', -2147483648, 2147483647)",
    "return table.concat({}, 'x', 1, 2^53)",
    "local t = {} t[2147483647] = 1 t[2^31] = 1 t[-2147483648] = 1 return #t + table.maxn(t)",
    "return table.insert({}, 2147483647, 1), table.remove({}, 2147483647), table.insert({}, -2147483648, 1)",
    "return string.byte('x', -2147483648, 2147483647), string.sub('x', -2^53, 2^53), string.rep('x', -2147483648)",
    "return ('x'):rep(2147483647)",
    "return string.rep('', 2147483647)",
    # CVE-2025-46818: functions of basic types, changed for the scripts of others.
    "getmetatable('').__index = {upper = function() return redis end}",
    "rawset(getmetatable(''), '__index', 1)",
    "setmetatable(getmetatable(''), {})",
    "for _, value in ipairs{1, true, print or 1, function() end, coroutine.create(function() end), cjson.null} do"
    " local meta = getmetatable(value) if meta then meta.x = 1 end end",
    # CVE-2025-46819: long brackets that do not end.
    "return loadstring('return [' .. string.rep('=', 70000))",
    "return loadstring('return [' .. string.rep('=', 70000) .. '[' .. ']' .. string.rep('=', 69999))",
    "return loadstring('--[' .. string.rep('=', 1e6))",
    "return loadstring('[====')",
    # CVE-2025-49844: the collector while the parser holds a name.
    "for i = 1, 300 do loadstring('return ' .. i, string.rep('n', i * 100) .. i) collectgarbage() end",
    "for i = 1, 50 do load(function() collectgarbage() return nil end, string.rep('x', 1000) .. i) end",
    "local n = 0 return load(function() n = n + 1 collectgarbage()"
    " if n < 1000 then return 'local x' .. n % 150 .. ' ' end end)",
    # CVE-2022-24834: lengths of cjson and cmsgpack.
    "return #cjson.encode(string.rep('\\0', 4e6))",
    "local s = string.rep('\\\\', 1e6) for i = 1, 5 do s = cjson.encode(s) end return #s",
    "return cmsgpack.unpack('\\219\\255\\255\\255\\255')",
    "return cmsgpack.unpack('\\221\\255\\255\\255\\255' .. string.rep('\\1', 1000))",
    "return cmsgpack.unpack(string.rep('\\145', 1e6))",
    "return {cmsgpack.unpack(string.rep('\\1', 1e6))}",
    "local t = {} for i = 1, 1e5 do t[i] = i end return cmsgpack.pack(unpack(t, 1, 7000))",
    "return cjson.decode(string.rep('[', 1e6))",
    "cjson.decode_max_depth(2^31 - 1) return cjson.decode(string.rep('[', 1e6))",
    "cjson.encode_max_depth(2^31 - 1) local t = {} for i = 1, 1e5 do t = {t} end return cjson.encode(t)",
    "cjson.encode_sparse_array(true, 0, 0) return cjson.encode({[2^31 - 1] = 1})",
    "cjson.encode_sparse_array(false, 0, 0) return cjson.encode({[2^31 - 1] = 1})",
    # CVE-2020-14147 and CVE-2018-11219: sizes of struct.
    "return struct.pack('>I2147483648', '1')",
    "return struct.pack('i4294967295', 1)",
    "return struct.unpack('c0c4294967295', 'x')",
    "return struct.unpack('!2147483648b', 'x')",
    "return struct.unpack('b', 'x', -2^31), struct.unpack('b', 'x', 2^53)",
    "return struct.pack('c2147483647', 'x')",
    # Bytecode, which is checked by nobody.
    "return loadstring('\\27LJ\\2\\0')",
    "return load(function() return '\\27LJ\\2\\0' end)",
    "return string.dump(function() end)",
    # Ways to what is hidden.
    "return require('ffi')", "return package.loaded", "return debug.getregistry()", "return jit.off()", "return ffi.C",
    "return os.execute('true')", "return io.open('/etc/passwd')", "return dofile('/etc/passwd')",
    "return loadfile('/etc/passwd')", "return python.eval('1')", "return python.builtins", "return getfenv(0)",
    "return getfenv(redis.call)", "setfenv(1, {})", "module('x')", "return newproxy(true)", "print('x')",
    "return redis.call.__func__", "return redis.sha1hex.__globals__", "return redis.call.x", "redis.call.x = 1",
    "return cjson.null.__class__", "cjson.null.x = 1", "return #cjson.null", "return cjson.null()",
    "return (1LL).x", "return tostring(1LL + 2ULL), 1LL < 2", "return getmetatable(1LL)", "return (1i) * 2",
    "return redis.call('echo', 1LL)", "return {1LL, 1i}", "return cjson.encode(1LL)", "return cmsgpack.pack(1LL)",
    "return tostring(setmetatable({}, {__tostring = function() return 1 end}))",
    "return string.format('%s', setmetatable({}, {__tostring = function() return {} end}))",
    "return setmetatable({}, {__metatable = _G}), getmetatable(setmetatable({}, {__metatable = 5}))",
    "local t = setmetatable({}, {__index = _G}) return t.string.rep('x', 3), t.nothing",
    "return pcall(string.format, '%d', 2^63), pcall(string.format, '%c', -1), string.format('%q', '\\0\\r\\n')",
    "return string.format('%99.99f', 1e308), pcall(string.format, '%1000d', 1)",
    "return tonumber('0x' .. string.rep('f', 1e5)), tonumber(string.rep('9', 1e5)), tonumber('1', 37)",
    "error(setmetatable({}, {__index = function() while true do end end, __tostring = error}))",
    "error(setmetatable({err = 'x'}, {__index = error}))", "error(redis)", "error(string)", "error(cjson.null)",
    "return setmetatable({}, {__index = error, __len = error, __call = error})",
    "return xpcall(error, error)", "return pcall(xpcall)", "return xpcall()", "return coroutine.resume()",
    "return coroutine.wrap(coroutine.yield)(coroutine.running())", "coroutine.yield(1)", "return coroutine.running()",
    "local co co = coroutine.create(function() return coroutine.resume(co) end) return coroutine.resume(co)",
    "table.sort({3, 1, 2, 5, 4}, function() return true end)", "table.sort({1, 'a', {}})",
    "local t = {} for i = 1, 300 do t[i] = i end table.sort(t, function(a, b) table.remove(t) return a > b end)",
    "local t = {1, 2, 3} for k in pairs(t) do t[k .. 'x'] = 1 t[k] = nil end", "return next({}, 'x')",
    "redis.call = nil", "redis.pcall(redis.call)", "return redis.call(redis)", "redis.setresp(nil)",
    "redis.log(2^63, 'x')",
    "return redis.error_reply({}), redis.status_reply(cjson.null), redis.sha1hex(redis)",
    "local t = {} t[t] = t return cmsgpack.pack(t)", "local t = {} t.x = t return {map = t, set = t}",
    "return {map = setmetatable({}, {__pairs = error, __index = error})}",
]  # fmt: skip

# C's stack, which LuaJIT does not watch: each of these ended the process before they were counted.
NESTED = [
    "local function f() coroutine.wrap(f)() end f()",
    "local function f() coroutine.resume(coroutine.create(f)) end f()",
    "local function f() pcall(coroutine.wrap(f)) end f()",
    "local function f() string.gsub('a', 'a', f) end f()",
    "local function f() pcall(string.gsub, 'a', 'a', f) end f()",
    "local t = setmetatable({}, {}) getmetatable(t).__index = function() return ('a'):gsub('a', t) end return t.x",
    "local function f() load(f) end f()",
    "local function f() load(f, 'x') return ' ' end f()",
    "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return ('%s'):format(t) end tostring(t)",
    "local t = setmetatable({}, {}) getmetatable(t).__lt = function() table.sort({t, t}) end table.sort({t, t})",
    "local function f() table.sort({2, 1}, f) end f()",
    "local function f() ('a'):gsub('a', function() table.sort({2, 1}, function() coroutine.wrap(f)() end) end) end f()",
    # A coroutine that leaves its pcall elsewhere must not make the count smaller.
    "local made = {} for i = 1, 400 do made[i] = coroutine.wrap(function() pcall(coroutine.yield) made[i + 1]() end)"
    " made[i]() end made[1]()",
    "return loadstring('return ' .. string.rep('(', 60000))", "return loadstring(string.rep('if x then ', 60000))",
    "return loadstring('return ' .. string.rep('{', 60000))", "return loadstring(string.rep('x(', 60000))",
    "return loadstring('return ' .. string.rep('function() return ', 60000))",
    "local f for i = 1, 1e5 do f = setmetatable({}, {__index = f}) end return f.x",
    "local function f() xpcall(f, f) end f()", "local function f() pcall(f) end f()",
]  # fmt: skip

CHILD = """
import threading
from flin.errors import ScriptError, ScriptAborted
from flin.net.scripting.runtime import Lua
from tests.net.scripting.calling import FakeCaller, run
from tests.net.scripting.test_sandbox import ESCAPES, NESTED
def replay():
    lua = Lua()
    for number, source in enumerate(ESCAPES + NESTED):
        print(number, flush=True)
        try:
            run(lua, source, caller=FakeCaller(stop_after=200))
        except (ScriptError, ScriptAborted):
            pass
        assert run(lua, "return ('x'):upper() .. #cjson.encode({1})") == b"X3", source
    print("whole")
threading.stack_size(2 << 20)  # a quarter of what a main thread has
thread = threading.Thread(target=replay)
thread.start()
thread.join()
"""


@pytest.fixture(scope="module")
def replayed() -> str:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.split()
    assert lines[-1:] == ["whole"], (
        f"{(ESCAPES + NESTED)[int(lines[-1])]} ended the process: {done.returncode} {done.stderr}"
    )
    return done.stdout


def test_escapes_and_crashes_end_as_errors(replayed: str) -> None:
    assert replayed.split() == [*map(str, range(len(ESCAPES) + len(NESTED))), "whole"]
