-- What bounds a script: aborts that nothing catches, the hook that asks whether to go on, how deep calls may nest, and
-- the collector. All that can catch an error is here, and all that makes one.
--
-- An abort (time, a kill, memory, a cold read) is an error too, but `aborted` stays true, and what catches errors
-- (pcall, xpcall, coroutine.resume, load) raises it again. Frames of this folder are named "=flin", which errors do not
-- name.

local host, null = ...
local host_stop = host.stop

local type, tostring, tonumber, error, select, rawget = type, tostring, tonumber, error, select, rawget
local raw_pcall, raw_xpcall, raw_load = pcall, xpcall, load
local collect, newproxy, raw_getmetatable = collectgarbage, newproxy, getmetatable
local getinfo, sethook, clock = debug.getinfo, debug.sethook, os.clock
local raw_create, raw_resume = coroutine.create, coroutine.resume
local byte, find, gsub = string.byte, string.find, string.gsub
local floor = math.floor

local NO_MEMORY = "not enough memory"

-- The hook looks at the clock each 2,000 instructions, some 8 us, for 0.3 us; Python is asked at least each 100,000,
-- and each half millisecond. Single instructions may be long (a concatenation of megabytes): then it looks more often.
local FEW, MANY, MOST_LOOKS = 40, 2000, 50
local ASK_SECONDS, LONG_SECONDS = 0.0005, 0.01

-- Aborts ----------------------------------------------------------------------------------------------------------

local aborted = false
local running = false -- a script, not what is around it: there an error would reach Python
local memory_ended = false
local ABORT = {} -- no script ever sees it

-- How many calls stand on C's stack, which nothing else bounds: LuaJIT dies of a gsub whose function calls gsub, and
-- so on. Lua 5.1 has 200. Who catches an error takes back what did not return; since a coroutine may yield inside pcall
-- and go on elsewhere, that is counted from where it was resumed.
local nested, resumed_at = 0, 0
local MOST_NESTED = 190

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

local looks, looked, asked = 0, 0, 0
local instructions = MANY
local hook

local function look_each(count)
  instructions = count
  sethook(hook, "", count)
end

function hook()
  local now = clock()
  local passed = now - looked
  looks, looked = looks + 1, now
  if passed > LONG_SECONDS and instructions == MANY then
    look_each(FEW)
  elseif passed < ASK_SECONDS and instructions == FEW then
    look_each(MANY)
  end
  if not running then
    return
  elseif aborted then
    return abort()
  elseif looks >= MOST_LOOKS or now - asked > ASK_SECONDS then
    looks, asked = 0, now
    if host_stop() then
      return abort()
    end
  end
end

-- The collector ----------------------------------------------------------------------------------------------------

-- An allocation beyond the limit fails at once, whatever garbage there is. So a cycle is never left half done, and the
-- next begins soon where much is in use; where little is, it may wait: a cycle costs as much as fifty small scripts.
local SMALL_KILOBYTES, RARE_PERCENT, SOON_PERCENT = 4096, 400, 110

local function after_cycle()
  collect("setpause", collect("count") < SMALL_KILOBYTES and RARE_PERCENT or SOON_PERCENT)
  raw_getmetatable(newproxy(true)).__gc = after_cycle
end

collect("setstepmul", 0) -- a whole cycle at once
after_cycle()

-- Errors of a script's own: the line that they name is the script's -----------------------------------------------

-- Where a script is that has no frame any more: it returned what a call of its last line gives.
local name, line

local function place()
  return name and name .. ":" .. line .. ": " or ""
end

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
  return info and info.short_src .. ":" .. info.currentline .. ": " or place()
end

local function fail(message)
  message = where() .. message
  return error(message, 0)
end

local function bad_argument(position, name, what)
  return fail("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. ")")
end

-- An error of C's that was called from here names a line of ours.
local function ours(e)
  if type(e) == "string" and find(e, "^flin:%d+: ") then
    return where() .. gsub(e, "^flin:%d+: ", "", 1)
  end
  return e
end

local function enter()
  if nested >= MOST_NESTED then
    return fail("C stack overflow")
  end
  nested = nested + 1
end

local function left(...)
  nested = nested - 1
  return ...
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

-- A C int of a double: toward zero; out of range it is as cvttsd2si leaves it, cut to 32 bits.
local function whole(number)
  if number ~= number or number >= 9223372036854775808 or number < -9223372036854775808 then
    return 0
  end
  number = number < 0 and -floor(-number) or floor(number)
  number = number % 4294967296
  return number >= 2147483648 and number - 4294967296 or number
end

-- What catches errors ---------------------------------------------------------------------------------------------

local guard = {
  abort = abort,
  fail = fail,
  bad_argument = bad_argument,
  kind_of = kind_of,
  text_argument = text_argument,
  number_argument = number_argument,
  whole = whole,
  enter = enter,
  left = left,
}

function guard.whole_argument(position, name, ...)
  local number = number_argument(position, name, ...)
  return number < 0 and -floor(-number) or floor(number)
end

function guard.is_stopped()
  return aborted or host_stop()
end

local function settle(depth, ok, ...)
  nested = resumed_at + depth
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
  return false, ours(e)
end

function guard.pcall(...)
  return settle(nested - resumed_at, raw_pcall(...))
end

local function settle_raw(depth, ok, ...)
  nested = resumed_at + depth
  if not ok then
    check_error((...))
    return false, ours((...))
  end
  return ok, ...
end

function guard.xpcall(...)
  if select("#", ...) < 2 then
    return raw_xpcall(...)
  end
  local body, handler = ...
  return settle_raw(nested - resumed_at, raw_xpcall(body, function(e)
    if aborted or e == NO_MEMORY then
      return e
    end
    return handler(ours(e))
  end))
end

-- Bytecode is none: behind a space it is read as text, which fails as Redis says it.
local function text_only(source)
  return byte(source) == 27 and " " .. source or source
end

local function settle_load(chunk, message)
  nested = nested - 1
  running = true -- an error of the reader has passed the handler of the run
  if aborted then
    return error(ABORT, 0)
  end
  if chunk == nil then
    if message == NO_MEMORY then
      memory_ended = true
      return abort()
    end
    return nil, ours(message)
  end
  return chunk
end

function guard.load(source, name, environment)
  enter()
  return settle_load(raw_load(type(source) == "string" and text_only(source) or source, name, "t", environment))
end

-- For Python, outside of any run.
function guard.compile(source, name, environment)
  return raw_load(text_only(source), name, "t", environment)
end

local function resumed(place, depth, ...)
  resumed_at = place
  return settle_raw(depth, ...)
end

function guard.resume(...)
  if nested >= MOST_NESTED and type((...)) == "thread" then
    return false, "C stack overflow"
  end
  local place, depth = resumed_at, nested - resumed_at
  nested = nested + 1
  resumed_at = nested
  return resumed(place, depth, raw_resume(...))
end

local function unwrapped(ok, ...)
  if ok then
    return ...
  end
  local e = ...
  if type(e) == "string" then
    e = where() .. e
  end
  return error(e, 0)
end

function guard.wrap(...)
  local thread = raw_create(...)
  return function(...)
    return unwrapped(guard.resume(thread, ...))
  end
end

-- A run -----------------------------------------------------------------------------------------------------------

local error_source, error_line -- of the last error, if the stack still had it

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
    return place() .. gsub(gsub(e, "^flin:%d+: ", ""), "to 'chunk'", "to '?'", 1)
  end
  return e
end

local function ended(...)
  running = false
  return ...
end

local function body(describe, chunk, ...)
  running = true
  return ended(describe(chunk(...)))
end

local ABORTED, MEMORY, RAISED = 10, 11, 12

local function finish(ok, kind, ...)
  running = false
  if memory_ended or (not ok and kind == NO_MEMORY) then
    return MEMORY, true
  elseif aborted or (not ok and kind == ABORT) then
    return ABORTED, true
  elseif ok then
    return kind, ...
  end
  local e = kind
  if not error_source then
    error_source, error_line = "@" .. name, line
  end
  if type(e) ~= "table" then
    return RAISED, "ERR " .. tostring(e), error_source, error_line
  end
  local text = rawget(e, "err")
  if type(text) == "string" or type(text) == "number" then
    return RAISED, tostring(text), error_source, error_line
  end
  return RAISED, "ERR unknown error", error_source, error_line
end

-- Run a function of a script, and tell what came of it: what `describe` makes of its value, or why there is none.
function guard.run(describe, chunk, chunk_name, chunk_line, ...)
  name, line = chunk_name, chunk_line
  aborted, memory_ended, nested, resumed_at = false, false, 0, 0
  error_source = nil
  return finish(raw_xpcall(body, handler, describe, chunk, ...))
end

look_each(MANY)
return guard
