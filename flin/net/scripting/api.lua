-- redis.*: what a script reaches of the server, by functions of Python's that never raise.

local tools, host = ...
local abort, whole = tools.abort, tools.whole
local host_call, host_more, host_log, host_protocol, host_acl, host_sha1 =
  host.call, host.more, host.log, host.protocol, host.acl, host.sha1
local collect, most_kilobytes = collectgarbage, host.memory_bytes / 1024
local concat, error, find, gsub, match, select, sub, tonumber, tostring, type =
  table.concat, error, string.find, string.gsub, string.match, select, string.sub, tonumber, tostring, type

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

local ARRAY, STATUS, ERROR, SHAPED, LONG, MISUSE = 1, 2, 3, 4, 5, 6

-- A value comes alone; anything else is a kind and what belongs to it.
local function reply(kind, ...)
  if kind == STATUS then
    return { ok = (...) }
  elseif kind == ARRAY then
    return { ... }
  elseif kind == SHAPED then
    return shaped(...)
  elseif kind == LONG then
    return long(...)
  end
  return abort()
end

local function called(kind, text, ...)
  if text == nil then
    return kind
  elseif kind == ERROR then
    return error({ err = text, ignore_error_stats_update = true })
  elseif kind == MISUSE then
    return error({ err = text })
  end
  return reply(kind, text, ...)
end

local function tried(kind, text, ...)
  if text == nil then
    return kind
  elseif kind == ERROR then
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

-- One text may be given a thousand times, and Python has each by itself: together they have no more bytes than Lua may.
-- Where little is in use, or few are given, that needs no look at them.
local FEW = 3

local function too_large(count, ...)
  if count * collect("count") > most_kilobytes then
    local words, bytes = { ... }, 0
    for position = 1, count do
      local word = words[position]
      bytes = bytes + (type(word) == "string" and #word or 0)
    end
    if bytes > most_kilobytes * 1024 then
      return "ERR The arguments of a call have " .. bytes .. " bytes, the maximum is " .. most_kilobytes * 1024
    end
  end
end

function redis.call(...)
  local count = select("#", ...)
  if count > FEW then
    local text = too_large(count, ...)
    if text then
      return error({ err = text })
    end
  end
  return called(host_call(...))
end

function redis.pcall(...)
  local count = select("#", ...)
  if count > FEW then
    local text = too_large(count, ...)
    if text then
      return { err = text }
    end
  end
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
  if tools.is_stopped() then
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
  tools.set_resp3(tonumber(version) == 3)
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
  local count = select("#", ...)
  if count > FEW then
    local text = too_large(count, ...)
    if text then
      return error({ err = text })
    end
  end
  return called(host_acl(...))
end

function redis.replicate_commands()
  return true
end

function redis.breakpoint()
  return false
end

function redis.debug() end

return redis, more_values
