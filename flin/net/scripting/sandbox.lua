-- The sandbox: what a script sees, and how it is run. runtime.py loads this once into each Lua state.
--
-- A script sees one environment behind an empty proxy, and each library behind one of its own: reads go on to the real
-- table, writes raise. No function that could see through a proxy is given as it is (next, rawget, table.insert ...).
-- Nothing of Python is ever a value in a script: each Python function is an upvalue of a closure here, and none raises.
--
-- An abort (time, a kill, memory, a cold read) is an error that nothing in a script can catch: `aborted` stays true,
-- and whatever catches errors (pcall, xpcall, coroutine.resume, load) raises it again.
--
-- Frames of this file and of its neighbours are named "=flin", which the search for an error's line skips.

local host = ... -- a table of Python's functions and of its neighbours, compiled

local host_stop = host.stop

local type, tostring, tonumber, error, select = type, tostring, tonumber, error, select
local rawget, rawset, unpack = rawget, rawset, unpack
local raw_next, raw_pairs, raw_pcall, raw_xpcall, raw_load = next, pairs, pcall, xpcall, load
local raw_setmetatable, raw_getmetatable, raw_collectgarbage = setmetatable, getmetatable, collectgarbage
local getinfo, sethook = debug.getinfo, debug.sethook
local floor = math.floor
local byte, find, gsub = string.byte, string.find, string.gsub
local raw_rep, raw_insert, raw_sort, raw_log = string.rep, table.insert, table.sort, math.log
local raw_resume, raw_tohex = coroutine.resume, bit.tohex

local READ_ONLY = "Attempt to modify a readonly table"
local NO_MEMORY = "not enough memory"
local HOOK_INSTRUCTIONS = 10000 -- Python looks at its clock each time: 1 us in some 40

jit.off()
jit.off(true, true)

-- A userdata without anything: the only one that a script meets.
local null = newproxy(true)
raw_getmetatable(null).__tostring = function()
  return "userdata: (nil)"
end

-- Aborts ----------------------------------------------------------------------------------------------------------

local aborted = false
local running = false -- a script, not what is around it: there an error would reach Python
local memory_ended = false
local ABORT = {} -- no script ever sees it

local function abort()
  aborted = true
  return error(ABORT, 0)
end

-- What an error that a script could catch means for the run: it may be the end of it.
local function check_error(e)
  if aborted then
    return error(ABORT, 0)
  end
  if e == NO_MEMORY then
    memory_ended = true
    return abort()
  end
  if type(e) == "userdata" and e ~= null then -- something of Python's: never a script's to see
    return abort()
  end
end

local function hook()
  if running and (aborted or host_stop()) then
    return abort()
  end
end

-- Errors of a script's own: the line that they name is the script's -----------------------------------------------

local place = "" -- where a script is that has no frame any more: it returned what a call of its last line gives

-- The innermost frame that is a script's own. Ours are below it: few, or a deep document of cjson's.
local function frame()
  for level = 3, 4000 do
    local info = getinfo(level, "Sl")
    if not info or (info.what ~= "C" and info.source ~= "=flin") then
      return info
    end
  end
end

local function where()
  local info = frame()
  return info and info.short_src .. ":" .. info.currentline .. ": " or place
end

local function fail(message)
  message = where() .. message
  return error(message, 0)
end

local function bad_argument(position, name, what)
  return fail("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. ")")
end

local function kind_of(position, ...)
  return select("#", ...) < position and "no value" or type((select(position, ...)))
end

local function text_argument(position, name, ...)
  local value = (select(position, ...))
  if type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "string" then
    return bad_argument(position, name, "string expected, got " .. kind_of(position, ...))
  end
  return value
end

local function number_argument(position, name, ...)
  local value = (select(position, ...))
  local number = type(value) ~= "table" and tonumber(value)
  if not number then
    return bad_argument(position, name, "number expected, got " .. kind_of(position, ...))
  end
  return number
end

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

local base = {}

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

local function settle(ok, ...)
  if ok then
    return true, ...
  end
  local e = ...
  check_error(e)
  if type(e) == "table" then
    local text = rawget(e, "err")
    if type(text) == "string" then -- as Redis does: pcall gives the text of an error reply
      return false, text
    end
  end
  return false, e
end

function base.pcall(...)
  return settle(raw_pcall(...))
end

local function settle_raw(ok, ...)
  if not ok then
    check_error((...))
  end
  return ok, ...
end

function base.xpcall(...)
  if select("#", ...) < 2 then
    return raw_xpcall(...)
  end
  local body, handler = ...
  return settle_raw(raw_xpcall(body, function(e)
    if aborted or e == NO_MEMORY then
      return e
    end
    return handler(e)
  end))
end

-- Bytecode is none: behind a space it is read as text, which fails as Redis says it.
local function text_only(source)
  return byte(source) == 27 and " " .. source or source
end

local function settle_load(chunk, message)
  if aborted then
    return error(ABORT, 0)
  end
  if chunk == nil then
    if message == NO_MEMORY then
      memory_ended = true
      return abort()
    end
    return nil, message
  end
  return chunk
end

function base.load(...)
  local reader, name = ...
  if type(reader) ~= "function" then
    return bad_argument(1, "load", "function expected, got " .. kind_of(1, ...))
  end
  return settle_load(raw_load(reader, name or "=(load)", "t", G))
end

function base.loadstring(...)
  local source, name = text_argument(1, "loadstring", ...), (select(2, ...))
  return settle_load(raw_load(text_only(source), name or source, "t", G))
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
strings.gfind = strings.gmatch
local tables = copy(table, "concat foreach foreachi getn insert maxn remove sort")
local maths = copy(
  math,
  "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad sin"
    .. " sinh sqrt tan tanh"
)
maths.mod = maths.fmod
local coroutines = copy(coroutine, "create resume running status wrap yield")

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
  if real_of[(...)] then
    return error(READ_ONLY, 0)
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
  if comparator == nil and type(list) == "table" and #list > 1000 then
    return raw_sort(list, ascends)
  end
  return raw_sort(...)
end

function maths.log(...)
  if select("#", ...) > 1 then
    return raw_log((...)) -- a base is Lua 5.2's
  end
  return raw_log(...)
end

function coroutines.resume(...)
  return settle_raw(raw_resume(...))
end

-- What the other files of this folder are given.

-- A C int of a double: toward zero; out of range it is as cvttsd2si leaves it, cut to 32 bits.
local function whole(number)
  if number ~= number or number >= 9223372036854775808 or number < -9223372036854775808 then
    return 0
  end
  number = number < 0 and -floor(-number) or floor(number)
  number = number % 4294967296
  return number >= 2147483648 and number - 4294967296 or number
end

local tools = {
  abort = abort,
  fail = fail,
  bad_argument = bad_argument,
  text_argument = text_argument,
  number_argument = number_argument,
  whole = whole,
  null = null,
  real_of = real_of,
}

function tools.is_stopped()
  return aborted or host_stop()
end

function tools.whole_argument(position, name, ...)
  local number = number_argument(position, name, ...)
  return number < 0 and -floor(-number) or floor(number)
end

maths.random, maths.randomseed = host.libraries.random(tools)
local results = host.libraries.results(tools)
tools.set_resp3 = results.set_resp3
local redis, more_values = host.libraries.api(tools, host)

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

local error_source, error_line -- of the last error, where the stack still had it

local function handler(e)
  running = false
  if aborted or e == ABORT then
    return e
  end
  local info = frame()
  if info then
    error_source, error_line = info.source, info.currentline
  end
  if type(e) == "string" and find(e, "^flin:%d+: ") then
    -- A built-in that was called last (`return tostring()`) has no frame but ours before it, and no name.
    return place .. gsub(gsub(e, "^flin:%d+: ", ""), "to 'chunk'", "to '?'", 1)
  end
  return e
end

local function ended(...)
  running = false
  return ...
end

local function body(chunk, ...)
  running = true
  return ended(results.describe(chunk(...)))
end

local ABORTED, MEMORY, RAISED = 10, 11, 12

local function finish(ok, kind, ...)
  if memory_ended or (not ok and kind == NO_MEMORY) then
    return MEMORY
  elseif aborted or (not ok and kind == ABORT) then
    return ABORTED
  elseif ok then
    return kind, ...
  end
  local e = kind
  if type(e) ~= "table" then
    return RAISED, "ERR " .. tostring(e), error_source, error_line
  end
  local text = rawget(e, "err")
  if type(text) == "string" or type(text) == "number" then
    return RAISED, tostring(text), error_source, error_line
  end
  return RAISED, "ERR unknown error", error_source, error_line
end

local function begin(name, line)
  place = name .. ":" .. line .. ": "
  aborted, memory_ended = false, false
  results.begin()
  error_source, error_line = "@" .. name, line
end

local runner = {}

-- Called by Python. The globals of the real state are gone by then.
function runner.script(chunk, name, line, keys, arguments, key, ...)
  begin(name, line)
  if keys == 0 then
    environment.KEYS = {}
    environment.ARGV = arguments == 0 and {} or { key, ... }
  elseif keys == 1 then
    environment.KEYS = { key }
    environment.ARGV = { ... }
  else
    local all = { key, ... }
    environment.KEYS = { unpack(all, 1, keys) }
    environment.ARGV = { unpack(all, keys + 1, keys + arguments) }
  end
  return finish(raw_xpcall(body, handler, chunk))
end

-- Thousands of them come in pages.
function runner.long_script(chunk, name, line, keys, arguments)
  begin(name, line)
  local all = more_values({}, keys + arguments)
  environment.KEYS, environment.ARGV = {}, {}
  for position = 1, keys do
    environment.KEYS[position] = all[position]
  end
  for position = 1, arguments do
    environment.ARGV[position] = all[keys + position]
  end
  return finish(raw_xpcall(body, handler, chunk))
end

runner.take = results.take

function runner.forget()
  environment.KEYS, environment.ARGV = nil, nil
  results.begin()
end

function runner.compile(source, name)
  aborted, memory_ended = false, false
  local chunk, message = raw_load(text_only(source), name, "t", G)
  if chunk then
    return chunk
  end
  return nil, message
end

local real = _G
for name in raw_pairs(real) do
  real[name] = nil
end
sethook(hook, "", HOOK_INSTRUCTIONS)
return runner
