-- The sandbox: what a script sees, and how it is run. runtime.py loads this once into each Lua state.
--
-- A script sees one environment behind an empty proxy, and each library behind one of its own: reads go on to the real
-- table, writes raise. No function that could see through a proxy is given as it is (next, rawget, table.insert ...).
-- Nothing of Python is ever a value in a script: each Python function is an upvalue of a closure here, and none raises.
--
-- An abort (time, a kill, memory, a cold read) is an error that nothing in a script can catch: `aborted` stays true, and
-- whatever catches errors (pcall, xpcall, coroutine.resume, load) raises it again.
--
-- Frames of this file are named "=flin", which the search for an error's line skips.

local host = ... -- a table of Python functions, and the sources of the libraries

local host_call, host_more, host_log, host_protocol, host_acl, host_stop, host_sha1 =
    host.call, host.more, host.log, host.protocol, host.acl, host.stop, host.sha1

local type, tostring, tonumber, error, select, rawget, rawset, unpack = type, tostring, tonumber, error, select, rawget, rawset, unpack
local raw_next, raw_pairs, raw_pcall, raw_xpcall, raw_load = next, pairs, pcall, xpcall, load
local raw_setmetatable, raw_getmetatable, raw_collectgarbage = setmetatable, getmetatable, collectgarbage
local getinfo, sethook, setfenv = debug.getinfo, debug.sethook, setfenv
local floor, concat = math.floor, table.concat
local byte, find, sub, gsub, match = string.byte, string.find, string.sub, string.gsub, string.match
local raw_rep, raw_insert, raw_sort, raw_log = string.rep, table.insert, table.sort, math.log
local raw_resume = coroutine.resume

local READ_ONLY = "Attempt to modify a readonly table"
local NO_MEMORY = "not enough memory"
local MOST_VALUES = 4000 -- values that cross at once: 8,000 overflow Lua's C stack
local MOST_DEPTH = 190 -- of a result's tables: a C encoder's stack in Redis, Python's here
local HOOK_INSTRUCTIONS = 10000 -- Python looks at its clock each time: 1 us in some 40

jit.off()
jit.off(true, true)

-- Aborts ----------------------------------------------------------------------------------------------------------

local aborted = false
local memory_ended = false
local protocol3 = false -- what redis.setresp chose
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
  if type(e) == "userdata" and e ~= host.null then -- something of Python's: never a script's to see
    return abort()
  end
end

local function hook()
  if aborted or host_stop() then
    return abort()
  end
end

-- Proxies ---------------------------------------------------------------------------------------------------------

local real_of = {} -- proxy -> the table behind it
local metatable_of = {} -- proxy -> what getmetatable gives
local metas = {} -- proxy -> its real metatable

local function refuse_write()
  error(READ_ONLY, 2)
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
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
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
  if real_of[(...)] then
    return metatable_of[(...)]
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
    if select("#", ...) == 0 then
      error("bad argument #1 to 'load' (function expected, got no value)", 2)
    end
    error("bad argument #1 to 'load' (function expected, got " .. type(reader) .. ")", 2)
  end
  return settle_load(raw_load(reader, name or "=(load)", "t", G))
end

function base.loadstring(...)
  local source, name = ...
  if type(source) == "number" then
    source = tostring(source)
  end
  if type(source) ~= "string" then
    local got = select("#", ...) == 0 and "no value" or type(source)
    error("bad argument #1 to 'loadstring' (string expected, got " .. got .. ")", 2)
  end
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
  "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad sin sinh"
    .. " sqrt tan tanh"
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
  error("'setn' is obsolete", 2)
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

-- Redis's generator: drand48 with 48 bits, in two halves of 24. ------------------------------------------------------

local high, low

local function seed(number)
  number = number % 4294967296
  -- The seed is the upper 32 bits of 48, above 0x330E: eight of them lie in the lower half.
  high = floor(number / 256)
  low = (number % 256) * 65536 + 0x330E
end

local function random()
  -- x * 0x5DEECE66D + 11, modulo 2^48; the multiplier's halves are 0x5DE and 0xECE66D.
  local product = low * 0xECE66D + 11
  local carry = floor(product / 16777216)
  high = (high * 0xECE66D + low * 0x5DE + carry) % 16777216
  low = product % 16777216
  return (high * 128 + floor(low / 131072)) % 2147483647 / 2147483647 -- the upper 31 bits
end

seed(0x1234ABCD) -- as in C where nobody seeds: Redis does not begin anew for each script either

-- A C int of a double: toward zero; out of range it is as cvttsd2si leaves it, cut to 32 bits.
local function whole(number)
  if number ~= number or number >= 9223372036854775808 or number < -9223372036854775808 then
    return 0
  end
  number = number < 0 and -floor(-number) or floor(number)
  number = number % 4294967296
  return number >= 2147483648 and number - 4294967296 or number
end

local function check_number(position, name, ...)
  local value = select(position, ...)
  local number = tonumber(value)
  if not number or type(value) == "table" then
    local got = select("#", ...) < position and "no value" or type(value)
    error(("bad argument #%d to '%s' (number expected, got %s)"):format(position, name, got), 3)
  end
  return number
end

function maths.random(...)
  local count = select("#", ...)
  local drawn = random()
  if count == 0 then
    return drawn
  elseif count == 1 then
    local top = whole(check_number(1, "random", ...))
    if top < 1 then
      error("bad argument #1 to 'random' (interval is empty)", 2)
    end
    return floor(drawn * top) + 1
  elseif count == 2 then
    local bottom, top = whole(check_number(1, "random", ...)), whole(check_number(2, "random", ...))
    if bottom > top then
      error("bad argument #2 to 'random' (interval is empty)", 2)
    end
    return floor(drawn * (top - bottom + 1)) + bottom
  end
  error("wrong number of arguments", 2)
end

function maths.randomseed(...)
  seed(whole(check_number(1, "randomseed", ...)))
end

-- redis.* -----------------------------------------------------------------------------------------------------------

-- Values come flat, with a text that tells their shape; see values.py.
local build

local function more_values(values, count)
  local from = #values
  while from < count do
    local page = { host_more(from) }
    for position = 1, #page do
      values[from + position] = page[position]
    end
    from = from + #page
  end
  return values
end

local function shaped(shape, count, ...)
  return build(shape, more_values({ ... }, count))
end

local function long(count, ...)
  return more_values({ ... }, count)
end

function build(shape, values)
  local at, taken = 1, 0

  local function take()
    taken = taken + 1
    return values[taken]
  end

  local function node()
    local kind = sub(shape, at, at)
    at = at + 1
    if kind == "$" then
      return take()
    elseif kind == "_" then
      return nil
    elseif kind == "F" then
      return false
    elseif kind == "T" then
      return true
    elseif kind == "+" then
      return { ok = take() }
    elseif kind == "-" then
      return { err = take() }
    elseif kind == "," then
      return { double = take() }
    elseif kind == "(" then
      return { big_number = take() }
    elseif kind == "=" then
      local format = take()
      return { verbatim_string = { format = format, string = take() } }
    end
    local digits = match(shape, "^%d+", at)
    at = at + #digits + 1
    local count, made = tonumber(digits), {}
    if kind == "*" then
      for position = 1, count do
        made[position] = node()
      end
      return made
    elseif kind == "~" then
      for _ = 1, count do
        local element = node()
        if element ~= nil then
          made[element] = true
        end
      end
      return { set = made }
    end
    for _ = 1, count do
      local key = node()
      local value = node()
      if key ~= nil then
        made[key] = value
      end
    end
    return { map = made }
  end

  return node()
end

local VALUE, ARRAY, STATUS, ERROR, SHAPED, LONG, MISUSE = 0, 1, 2, 3, 4, 5, 6

local function reply(kind, ...)
  if kind == VALUE then
    return (...)
  elseif kind == ARRAY then
    return { ... }
  elseif kind == STATUS then
    return { ok = (...) }
  elseif kind == SHAPED then
    return shaped(...)
  elseif kind == LONG then
    return long(...)
  end
  return abort()
end

local function called(kind, text, ...)
  if kind == ERROR then
    return error({ err = text, ignore_error_stats_update = true })
  elseif kind == MISUSE then
    return error({ err = text })
  end
  return reply(kind, text, ...)
end

local function tried(kind, text, ...)
  if kind == ERROR then
    return { err = text, ignore_error_stats_update = true }
  elseif kind == MISUSE then
    return { err = text }
  end
  return reply(kind, text, ...)
end

local function raise(text)
  return error({ err = "ERR " .. text })
end

local redis = {
  LOG_DEBUG = 0,
  LOG_VERBOSE = 1,
  LOG_NOTICE = 2,
  LOG_WARNING = 3,
  REPL_NONE = 0,
  REPL_AOF = 1,
  REPL_SLAVE = 2,
  REPL_REPLICA = 2,
  REPL_ALL = 3,
  REDIS_VERSION = "7.0.15",
  REDIS_VERSION_NUM = 0x0007000f,
}

function redis.call(...)
  return called(host_call(...))
end

function redis.pcall(...)
  return tried(host_call(...))
end

function redis.error_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then
    return { err = "ERR wrong number or type of arguments" }
  end
  text = gsub(gsub(text, "^[\r\n]+", ""), "[\r\n]+$", "")
  if sub(text, 1, 1) == "-" then
    text = sub(text, 2)
  end
  if not find(text, " ", 1, true) then
    text = "ERR " .. text
  end
  return { err = text }
end

function redis.status_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then
    return { err = "ERR wrong number or type of arguments" }
  end
  return { ok = text }
end

local function text_of(value)
  local kind = type(value)
  return kind == "string" and value or kind == "number" and tostring(value) or nil
end

function redis.sha1hex(...)
  if select("#", ...) ~= 1 then
    return raise("wrong number of arguments")
  end
  return host_sha1(text_of((...)) or "")
end

function redis.log(...)
  local count, level = select("#", ...), ...
  if count < 2 then
    return raise("redis.log() requires two arguments or more.")
  elseif not tonumber(level) then
    return raise("First argument must be a number (log level).")
  end
  level = whole(tonumber(level))
  if level < redis.LOG_DEBUG or level > redis.LOG_WARNING then
    return raise("Invalid debug level.")
  end
  local words = {}
  for position = 2, count do
    words[#words + 1] = text_of((select(position, ...)))
  end
  host_log(level, concat(words, " "))
  if aborted then
    return abort()
  end
end

function redis.setresp(...)
  local version = ...
  if select("#", ...) ~= 1 then
    return raise("redis.setresp() requires one argument.")
  elseif tonumber(version) ~= 2 and tonumber(version) ~= 3 then
    return raise("RESP version must be 2 or 3.")
  end
  protocol3 = tonumber(version) == 3
  host_protocol(tonumber(version))
end

function redis.set_repl(...)
  local flags = ...
  if select("#", ...) ~= 1 then
    return raise("redis.set_repl() requires two arguments.")
  end
  flags = tonumber(flags) and whole(tonumber(flags)) or 0
  if flags < 0 or flags > 3 then
    return raise("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
  end
end

function redis.acl_check_cmd(...)
  return called(host_acl(...))
end

function redis.replicate_commands()
  return true
end

function redis.breakpoint()
  return false
end

function redis.debug() end

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
environment.bit = protect(copy(bit, "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex"))

-- Methods of strings come from a copy, so that nothing leads to the table behind `string`.
debug.setmetatable("", {
  __index = copy(strings, "byte char find format gfind gmatch gsub len lower match rep reverse sub upper"),
  __metatable = protect({ __index = environment.string }),
})

-- Running -------------------------------------------------------------------------------------------------------------

local error_source, error_line -- of the last error, where the stack still had it

-- The innermost frame that is a script's own.
local function find_line()
  for level = 3, 12 do
    local info = getinfo(level, "Sl")
    if not info then
      return
    end
    if info.what ~= "C" and info.source ~= "=flin" then
      error_source, error_line = info.source, info.currentline
      return
    end
  end
end

local function handler(e)
  if aborted or e == ABORT then
    return e
  end
  find_line()
  -- A built-in that was called last (`return tostring()`) has no frame but ours before it.
  return type(e) == "string" and gsub(e, "^flin:%d+: ", "") or e
end

local pending -- the values of a result that did not cross at once
local describe_node

local function describe_array(t, depth, shape, values)
  local count = 0
  while rawget(t, count + 1) ~= nil do
    count = count + 1
  end
  shape[#shape + 1] = "*" .. count .. ";"
  for position = 1, count do
    describe_node(rawget(t, position), depth + 1, shape, values)
  end
end

local function describe_pairs(t, depth, shape, values, with_values)
  local at, count = #shape + 1, 0
  shape[at] = ""
  for key, value in raw_next, t do
    count = count + 1
    describe_node(key, depth + 1, shape, values)
    if with_values then
      describe_node(value, depth + 1, shape, values)
    end
  end
  shape[at] = (with_values and "%" or "~") .. count .. ";"
end

local function describe_table(t, depth, shape, values)
  if depth > MOST_DEPTH then
    shape[#shape + 1] = "-"
    values[#values + 1] = "ERR reached lua stack limit"
    return
  end
  local special = rawget(t, "err")
  if type(special) == "string" then
    shape[#shape + 1] = "-"
    values[#values + 1] = special
    return
  end
  special = rawget(t, "ok")
  if type(special) == "string" then
    shape[#shape + 1] = "+"
    values[#values + 1] = special
    return
  end
  special = rawget(t, "double")
  if type(special) == "number" then
    shape[#shape + 1] = ","
    values[#values + 1] = special
    return
  end
  special = rawget(t, "map")
  if type(special) == "table" then
    return describe_pairs(special, depth, shape, values, true)
  end
  special = rawget(t, "set")
  if type(special) == "table" then
    return describe_pairs(special, depth, shape, values, false)
  end
  special = rawget(t, "big_number")
  if type(special) == "string" then
    shape[#shape + 1] = "("
    values[#values + 1] = special
    return
  end
  special = rawget(t, "verbatim_string")
  if type(special) == "table" then
    local format, text = rawget(special, "format"), rawget(special, "string")
    if type(format) == "string" and type(text) == "string" then
      shape[#shape + 1] = "="
      values[#values + 1] = format
      values[#values + 1] = text
      return
    end
  end
  return describe_array(t, depth, shape, values)
end

function describe_node(value, depth, shape, values)
  local kind = type(value)
  if kind == "string" or kind == "number" then
    shape[#shape + 1] = "$"
    values[#values + 1] = value
  elseif kind == "boolean" then
    shape[#shape + 1] = protocol3 and (value and "T" or "F") or (value and "1" or "_")
  elseif kind == "table" then
    return describe_table(real_of[value] or value, depth, shape, values)
  else
    shape[#shape + 1] = "_"
  end
end

-- A result as (kind, ...): see values.py. Only raw access: no metatable of the script's runs here.
local function describe(value)
  local kind = type(value)
  if kind == "string" or kind == "number" then
    return VALUE, value
  elseif kind ~= "table" then
    if kind == "boolean" and (value or protocol3) then
      return VALUE, protocol3 and value or value and 1
    end
    return VALUE
  end
  local shape, values = {}, {}
  describe_table(real_of[value] or value, 1, shape, values)
  if #values > MOST_VALUES then
    pending = values
    return SHAPED, concat(shape), #values, unpack(values, 1, MOST_VALUES)
  end
  return SHAPED, concat(shape), #values, unpack(values)
end

local function body(chunk, ...)
  return describe(chunk(...))
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
  local text = text_of(rawget(e, "err"))
  return RAISED, text or "ERR unknown error", error_source, error_line
end

local function begin()
  aborted, memory_ended, pending = false, false, nil
  error_source, error_line = nil, nil
  protocol3 = false
end

local runner = {}

-- Called by Python. The globals of the real state are gone by then.
function runner.script(chunk, keys, arguments, key, ...)
  begin()
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
function runner.long_script(chunk, keys, arguments)
  begin()
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

function runner.take(from)
  return unpack(pending, from + 1, from + MOST_VALUES < #pending and from + MOST_VALUES or #pending)
end

function runner.forget()
  environment.KEYS, environment.ARGV, pending = nil, nil, nil
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
