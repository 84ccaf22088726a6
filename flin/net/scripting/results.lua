-- What a script returns, told to Python: a kind and flat values (see values.py). Only raw access: nothing of the
-- script's runs here.

local tools, host = ...
local real_of, abort = tools.real_of, tools.abort
local most_bytes, host_too_large = host.largest_reply_bytes, host.too_large
local concat, next, rawget, type, unpack = table.concat, next, rawget, type, unpack

local MOST_VALUES = 4000 -- that cross at once: 8,000 overflow Lua's C stack
local MOST_DEPTH = 190 -- of nested tables: Redis is bounded by its C stack, this by Python's

local SHAPED = 4

local resp3 = false -- as redis.setresp chose
local pending -- values that did not cross at once
local bytes = 0 -- of the texts so far: one may stand in a table a million times, and Python has each by itself

local function note(text)
  bytes = bytes + #text
  if bytes > most_bytes then
    host_too_large(bytes)
    return abort()
  end
  return text
end

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
  for key, value in next, t do
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
    shape[#shape + 1] = rawget(t, "ignore_error_stats_update") and "!" or "-" -- "!": redis.pcall's, counted by then
    values[#values + 1] = note(special)
    return
  end
  special = rawget(t, "ok")
  if type(special) == "string" then
    shape[#shape + 1] = "+"
    values[#values + 1] = note(special)
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
    values[#values + 1] = note(special)
    return
  end
  special = rawget(t, "verbatim_string")
  if type(special) == "table" then
    local format, text = rawget(special, "format"), rawget(special, "string")
    if type(format) == "string" and type(text) == "string" then
      shape[#shape + 1] = "="
      values[#values + 1] = note(format)
      values[#values + 1] = note(text)
      return
    end
  end
  return describe_array(t, depth, shape, values)
end

function describe_node(value, depth, shape, values)
  local kind = type(value)
  if kind == "string" then
    shape[#shape + 1] = "$"
    values[#values + 1] = note(value)
  elseif kind == "number" then
    shape[#shape + 1] = "$"
    values[#values + 1] = value
  elseif kind == "boolean" then
    shape[#shape + 1] = resp3 and (value and "T" or "F") or (value and "1" or "_")
  elseif kind == "table" then
    return describe_table(real_of[value] or value, depth, shape, values)
  else
    shape[#shape + 1] = "_"
  end
end

-- A result as it crosses: see values.py. Only raw access: no metatable of the script's runs here.
local function describe(value)
  local kind = type(value)
  if kind == "string" then
    return note(value)
  elseif kind == "number" then
    return value
  elseif kind ~= "table" then
    if kind == "boolean" and (value or resp3) then
      return resp3 and value or value and 1
    end
    return nil
  end
  local shape, values = {}, {}
  describe_table(real_of[value] or value, 1, shape, values)
  if #values > MOST_VALUES then
    pending = values
    return SHAPED, concat(shape), #values, unpack(values, 1, MOST_VALUES)
  end
  return SHAPED, concat(shape), #values, unpack(values)
end

local results = { describe = describe }

function results.begin()
  resp3, pending, bytes = false, nil, 0
end

function results.set_resp3(chosen)
  resp3 = chosen
end

-- The values behind these, a page.
function results.take(from)
  local to = from + MOST_VALUES
  return unpack(pending, from + 1, to < #pending and to or #pending)
end

return results
