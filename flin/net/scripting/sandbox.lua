-- The sandbox: what a script sees, and how it is run. runtime.py loads this once into each Lua state.
--
-- A script sees one environment behind an empty proxy, and each library behind one of its own: reads go on to the real
-- table, writes raise. No function that could see through a proxy is given as it is (next, rawget, table.insert ...).
-- Nothing of Python is ever a value in a script: each Python function is an upvalue of a closure here, and none raises.

local host = ... -- a table of Python's functions and of its neighbours, compiled

local type, tostring, error, select = type, tostring, error, select
local rawget, rawset, unpack = rawget, rawset, unpack
local raw_next, raw_pairs = next, pairs
local raw_setmetatable, raw_getmetatable, raw_collectgarbage = setmetatable, getmetatable, collectgarbage
local raw_rep, raw_insert, raw_log = string.rep, table.insert, math.log
local format, sort = string.format, table.sort
local raw_tohex = bit.tohex

local READ_ONLY = "Attempt to modify a readonly table"

jit.off()
jit.off(true, true)

-- A userdata without anything: the only one that a script meets.
local null = newproxy(true)
raw_getmetatable(null).__tostring = function()
  return "userdata: (nil)"
end

local guard = host.libraries.guard(host, null)
local fail, bad_argument, kind_of, text_argument = guard.fail, guard.bad_argument, guard.kind_of, guard.text_argument
local enter, left, whole = guard.enter, guard.left, guard.whole

-- Proxies ---------------------------------------------------------------------------------------------------------

local real_of = {} -- proxy -> the table behind it
local metatable_of = {} -- proxy -> what getmetatable gives
local metas = {} -- proxy -> its real metatable

local function refuse_write()
  return fail(READ_ONLY)
end

local function protect(real)
  local proxy = {}
  metas[proxy] = { __index = real, __newindex = refuse_write, __metatable = false }
  real_of[proxy] = real
  return raw_setmetatable(proxy, metas[proxy])
end

-- The language ------------------------------------------------------------------------------------------------------

local environment = {}
local G = protect(environment)

local function missing_global(_, name)
  return fail("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'")
end

raw_setmetatable(environment, { __index = missing_global })
metatable_of[G] = protect({ __index = missing_global })

local base = { pcall = guard.pcall, xpcall = guard.xpcall }

function base.next(...)
  local t, key = ...
  local real = real_of[t]
  if real then
    return raw_next(real, key)
  end
  return raw_next(...)
end

function base.pairs(...)
  if real_of[(...)] then
    return base.next, (...), nil
  end
  return raw_pairs(...)
end

function base.rawget(...)
  local t, key = ...
  local real = real_of[t]
  if real then
    return rawget(real, key)
  end
  return rawget(...)
end

function base.rawset(...)
  if real_of[(...)] then
    return error(READ_ONLY, 0)
  end
  return rawset(...)
end

function base.setmetatable(...)
  if real_of[(...)] then
    return error(READ_ONLY, 0)
  end
  return raw_setmetatable(...)
end

function base.getmetatable(...)
  local value = ...
  if real_of[value] then
    return metatable_of[value]
  elseif value == null and value ~= nil then
    return nil
  end
  return raw_getmetatable(...)
end

function base.load(...)
  local reader, name = ...
  if type(reader) ~= "function" then
    return bad_argument(1, "load", "function expected, got " .. kind_of(1, ...))
  end
  return guard.load(reader, name or "=(load)", G)
end

function base.loadstring(...)
  local source, name = text_argument(1, "loadstring", ...), (select(2, ...))
  return guard.load(source, name or source, G)
end

-- The collector belongs to all scripts: one that stopped it would spend the memory of the others.
function base.collectgarbage(option, ...)
  if option == nil or option == "collect" or option == "count" or option == "step" then
    return raw_collectgarbage(option, ...)
  end
  if option == "stop" or option == "restart" then
    return 0
  end
  if option == "setpause" or option == "setstepmul" then
    return 200
  end
  return raw_collectgarbage(option, ...)
end

for _, name in ipairs({
  "assert", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber", "tostring", "type", "unpack",
}) do
  base[name] = _G[name]
end

-- The libraries of the language -------------------------------------------------------------------------------------

local function copy(from, names)
  local to = {}
  for name in names:gmatch("%S+") do
    to[name] = from[name]
  end
  return to
end

local strings = copy(string, "byte char find format gmatch gsub len lower match rep reverse sub upper")
local tables = copy(table, "concat foreach foreachi getn insert maxn remove sort")
local maths = copy(
  math,
  "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad sin"
    .. " sinh sqrt tan tanh"
)
maths.mod = maths.fmod
local coroutines = copy(coroutine, "create running status yield")
coroutines.resume, coroutines.wrap = guard.resume, guard.wrap

function strings.rep(...)
  local text, count = ...
  if text == "" and type(count) == "number" then
    return "" -- LuaJIT would count
  end
  if select("#", ...) > 2 then
    return raw_rep(text, count) -- a separator is Lua 5.2's
  end
  return raw_rep(...)
end

function tables.insert(...)
  local list, position, value = ...
  if real_of[list] then
    return error(READ_ONLY, 0)
  elseif type(position) == "number" and position < 1 and type(list) == "table" and select("#", ...) == 3 then
    for place = #list + 1, whole(position) + 1, -1 do -- in C two billion steps without a hook
      list[place] = list[place - 1]
    end
    list[whole(position)] = value
    return
  end
  return raw_insert(...)
end

function tables.setn()
  return fail("'setn' is obsolete")
end

local function ascends(a, b)
  return a < b
end

-- Without a comparator no hook is reached: a long list gets one.
function tables.sort(...)
  local list, comparator = ...
  if type(list) ~= "table" or (comparator ~= nil and type(comparator) ~= "function") then
    return sort(...)
  elseif comparator == nil and #list > 1000 then
    comparator = ascends
  end
  enter()
  return left(sort(list, comparator))
end

-- Tables may have __tostring.
function strings.format(...)
  for position = 2, select("#", ...) do
    if type((select(position, ...))) == "table" then
      enter()
      return left(format(...))
    end
  end
  return format(...)
end

function maths.log(...)
  if select("#", ...) > 1 then
    return raw_log((...)) -- a base is Lua 5.2's
  end
  return raw_log(...)
end

-- What the other files of this folder are given.

local tools = guard
tools.null = null
tools.real_of = real_of

for name, replacement in raw_pairs(host.libraries.patterns(tools)) do
  strings[name] = replacement
end
strings.gfind = strings.gmatch
maths.random, maths.randomseed = host.libraries.random(tools)
local results = host.libraries.results(tools, host)
tools.set_resp3 = results.set_resp3
local describe = results.describe
local redis, more_values = host.libraries.api(tools, host)
tools.protect, tools.unpack = protect, unpack
local library = host.libraries.library(tools, redis)
if host.is_for_functions then
  redis.replicate_commands, redis.breakpoint, redis.debug = nil, nil, nil
end

-- The environment -----------------------------------------------------------------------------------------------------

for name, value in raw_pairs(base) do
  environment[name] = value
end
environment._G = G
environment._VERSION = "Lua 5.1"
environment.string = protect(strings)
environment.table = protect(tables)
environment.math = protect(maths)
environment.coroutine = protect(coroutines)
environment.redis = protect(redis)

local ieee = host.libraries.ieee(tools)
for _, name in ipairs({ "cjson", "cmsgpack", "struct" }) do
  environment[name] = protect(host.libraries[name](tools, ieee))
end
local bits = copy(bit, "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex")

-- As in Redis at most eight digits; the smallest integer has no positive (CVE-2024-31449).
function bits.tohex(...)
  local number, digits = ...
  if type(digits) == "number" and (digits > 8 or digits < -8) then
    return raw_tohex(number, digits > 0 and 8 or -8)
  end
  return raw_tohex(...)
end

environment.bit = protect(bits)

-- Methods of strings come from a copy, so that nothing leads to the table behind `string`.
debug.setmetatable("", {
  __index = copy(strings, "byte char find format gfind gmatch gsub len lower match rep reverse sub upper"),
  __metatable = protect({ __index = environment.string }),
})

-- Running -------------------------------------------------------------------------------------------------------------

local runner = {}

-- A function of a library must not find them.
local function nameless(...)
  environment.KEYS, environment.ARGV = nil, nil
  return ...
end

-- The keys and the arguments.
local function given(keys, arguments, key, ...)
  if keys == 0 then
    return {}, arguments == 0 and {} or { key, ... }
  elseif keys == 1 then
    return { key }, { ... }
  elseif keys == 2 then
    return { key, (...) }, { select(2, ...) }
  end
  local all = { key, ... }
  return { unpack(all, 1, keys) }, { unpack(all, keys + 1, keys + arguments) }
end

-- Called by Python. The globals of the real state are gone by then.
function runner.script(chunk, name, line, ...)
  results.begin()
  environment.KEYS, environment.ARGV = given(...)
  return nameless(guard.run(describe, chunk, name, line))
end

-- Thousands of them come in pages.
function runner.long_script(chunk, name, line, keys, arguments)
  results.begin()
  local all = more_values({}, keys + arguments)
  environment.KEYS, environment.ARGV = {}, {}
  for position = 1, keys do
    environment.KEYS[position] = all[position]
  end
  for position = 1, arguments do
    environment.ARGV[position] = all[keys + position]
  end
  return nameless(guard.run(describe, chunk, name, line))
end

-- A function of a library: what it is called with are arguments, no globals.
function runner.callback(callback, name, line, ...)
  results.begin()
  return nameless(guard.run(describe, callback, name, line, given(...)))
end

function runner.long_callback(callback, name, line, keys, arguments)
  results.begin()
  local all, given_keys, given = more_values({}, keys + arguments), {}, {}
  for position = 1, keys do
    given_keys[position] = all[position]
  end
  for position = 1, arguments do
    given[position] = all[keys + position]
  end
  return nameless(guard.run(describe, callback, name, line, given_keys, given))
end

-- Run a library's chunk. Meanwhile its globals are others.
function runner.library(chunk, name, line)
  library.begin()
  metas[G].__index = library.environment
  local function finish(...)
    metas[G].__index = environment
    return library.finish(), ...
  end
  return finish(guard.run(describe, chunk, name, line))
end

runner.registered = library.take
runner.take = results.take

function runner.forget()
  results.begin()
end

function runner.compile(source, name)
  return guard.compile(source, name, G)
end

local real = _G
for name in raw_pairs(real) do
  real[name] = nil
end
return runner
