-- cmsgpack as Redis 7.0 has it: lua-cmsgpack 0.4.0, in plain Lua. Bins and extensions are unknown to it.

local tools, ieee = ...
local fail, bad_argument, text_argument, whole_argument =
  tools.fail, tools.bad_argument, tools.text_argument, tools.whole_argument
local is_hidden = tools.real_of

local byte, char, sub = string.byte, string.char, string.sub
local concat, error, floor, next, select, type, unpack = table.concat, error, math.floor, next, select, type, unpack
local word, read_word = ieee.word, ieee.read_word

local MOST_DEPTH = 16 -- deeper tables are packed as nil
local MOST_RESULTS = 7900 -- what `unpack` gives at once

local function pair(number)
  return char(floor(number / 256), number % 256)
end

-- Packing -----------------------------------------------------------------------------------------------------------

local function integer(number)
  if number >= 0 then
    if number <= 127 then
      return char(number)
    elseif number <= 0xFF then
      return char(0xCC, number)
    elseif number <= 0xFFFF then
      return "\205" .. pair(number)
    elseif number <= 0xFFFFFFFF then
      return "\206" .. word(number)
    end
    local high, low = ieee.halves(number)
    return "\207" .. word(high) .. word(low)
  elseif number >= -32 then
    return char(256 + number)
  elseif number >= -128 then
    return char(0xD0, 256 + number)
  elseif number >= -32768 then
    return "\209" .. pair(65536 + number)
  elseif number >= -2147483648 then
    return "\210" .. word(4294967296 + number)
  end
  local high, low = ieee.halves(number)
  return "\211" .. word(high) .. word(low)
end

local function number_bytes(number)
  if number % 1 == 0 and number >= -9223372036854775808 and number < 9223372036854775808 then
    return integer(number)
  elseif ieee.fits_float(number) then
    return "\202" .. ieee.float(number)
  end
  return "\203" .. ieee.double(number)
end

local function text_head(length)
  if length < 32 then
    return char(0xA0 + length)
  elseif length <= 0xFF then
    return char(0xD9, length)
  elseif length <= 0xFFFF then
    return "\218" .. pair(length)
  end
  return "\219" .. word(length)
end

local function head(count, few, short, long)
  if count <= 15 then
    return char(few + count)
  elseif count <= 0xFFFF then
    return short .. pair(count)
  end
  return long .. word(count)
end

-- The length if the keys are exactly 1 to n; nil and how many: a map.
local function array_length(t)
  local count, most, is_array = 0, 0, true
  for key in next, t do
    count = count + 1
    if type(key) ~= "number" or key <= 0 or key % 1 ~= 0 then
      is_array = false
    elseif key > most then
      most = key
    end
  end
  if is_array and most == count then
    return count
  end
  return nil, count
end

local function pack_into(value, depth, parts)
  local kind = type(value)
  if kind == "string" then
    parts[#parts + 1] = text_head(#value)
    parts[#parts + 1] = value
  elseif kind == "number" then
    parts[#parts + 1] = number_bytes(value)
  elseif kind == "boolean" then
    parts[#parts + 1] = value and "\195" or "\194"
  elseif kind == "table" and depth < MOST_DEPTH then
    value = is_hidden[value] or value
    local length, count = array_length(value)
    if length then
      parts[#parts + 1] = head(length, 0x90, "\220", "\221")
      for position = 1, length do
        pack_into(value[position], depth + 1, parts)
      end
    else
      parts[#parts + 1] = head(count, 0x80, "\222", "\223")
      for key, element in next, value do
        pack_into(key, depth + 1, parts)
        pack_into(element, depth + 1, parts)
      end
    end
  else
    parts[#parts + 1] = "\192"
  end
end

-- Unpacking ---------------------------------------------------------------------------------------------------------

local function need(text, at, count)
  if at + count - 1 > #text then
    return fail("Missing bytes in input.")
  end
end

local read

local function read_text(text, at, length)
  need(text, at, length)
  return sub(text, at, at + length - 1), at + length
end

local function read_array(text, at, count)
  local array = {}
  for position = 1, count do
    array[position], at = read(text, at)
  end
  return array, at
end

local function read_map(text, at, count)
  local map = {}
  for _ = 1, count do
    local key, value
    key, at = read(text, at)
    value, at = read(text, at)
    if key == nil then
      return error("table index is nil", 0)
    elseif key ~= key then
      return error("table index is NaN", 0)
    end
    map[key] = value
  end
  return map, at
end

local function signed(number, bits)
  return number >= 2 ^ (bits - 1) and number - 2 ^ bits or number
end

local function read_long(text, at)
  return signed(read_word(text, at), 32) * 4294967296 + read_word(text, at + 4)
end

local function read_pair(text, at)
  local a, b = byte(text, at, at + 1)
  return a * 256 + b
end

-- By the first byte: how many more bytes the value has, and how they are read.
local FIXED = {
  [0xC0] = { 0, function() end },
  [0xC2] = { 0, function() return false end },
  [0xC3] = { 0, function() return true end },
  [0xCA] = { 4, ieee.read_float },
  [0xCB] = { 8, ieee.read_double },
  [0xCC] = { 1, byte },
  [0xCD] = { 2, read_pair },
  [0xCE] = { 4, read_word },
  [0xCF] = { 8, read_long },
  [0xD0] = { 1, function(text, at) return signed(byte(text, at), 8) end },
  [0xD1] = { 2, function(text, at) return signed(read_pair(text, at), 16) end },
  [0xD2] = { 4, function(text, at) return signed(read_word(text, at), 32) end },
  [0xD3] = { 8, read_long },
}

-- The same for what has a length: the length's bytes, how they are read, and what follows.
local COUNTED = {
  [0xD9] = { 1, byte, read_text },
  [0xDA] = { 2, read_pair, read_text },
  [0xDB] = { 4, read_word, read_text },
  [0xDC] = { 2, read_pair, read_array },
  [0xDD] = { 4, read_word, read_array },
  [0xDE] = { 2, read_pair, read_map },
  [0xDF] = { 4, read_word, read_map },
}

function read(text, at)
  local code = byte(text, at)
  if not code then
    return fail("Missing bytes in input.")
  end
  at = at + 1
  if code <= 0x7F then
    return code, at
  elseif code >= 0xE0 then
    return code - 256, at
  elseif code <= 0x8F then
    return read_map(text, at, code - 0x80)
  elseif code <= 0x9F then
    return read_array(text, at, code - 0x90)
  elseif code <= 0xBF then
    return read_text(text, at, code - 0xA0)
  end
  local form = FIXED[code]
  if form then
    need(text, at, form[1])
    return form[2](text, at), at + form[1]
  end
  form = COUNTED[code]
  if not form then
    return fail("Bad data format in input.")
  end
  need(text, at, form[1])
  return form[3](text, at + form[1], form[2](text, at))
end

local function unpack_from(text, limit, offset)
  if offset < 0 or limit < 0 then
    return fail(
      "Invalid request to unpack with offset of " .. offset .. " and limit of " .. #text .. "."
    )
  elseif offset > #text then
    return fail("Start offset " .. offset .. " greater than input length " .. #text .. ".")
  end
  local all = limit == 0 and offset == 0
  local values, count, at = {}, 0, offset + 1
  while at <= #text and (all or count < limit) do
    count = count + 1
    values[count], at = read(text, at)
  end
  if count > MOST_RESULTS then
    return fail("stack overflow (in function mp_unpack_full)")
  elseif all then
    return unpack(values, 1, count)
  end
  return at > #text and -1 or at - 1, unpack(values, 1, count)
end

local cmsgpack = {
  _NAME = "cmsgpack",
  _VERSION = "lua-cmsgpack 0.4.0",
  _COPYRIGHT = "Copyright (C) 2012, Salvatore Sanfilippo",
  _DESCRIPTION = "MessagePack C implementation for Lua",
}

function cmsgpack.pack(...)
  local count = select("#", ...)
  if count == 0 then
    return bad_argument(0, "pack", "MessagePack pack needs input.")
  end
  local parts = {}
  for position = 1, count do
    pack_into((select(position, ...)), 0, parts)
  end
  return concat(parts)
end

function cmsgpack.unpack(...)
  return unpack_from(text_argument(1, "unpack", ...), 0, 0)
end

function cmsgpack.unpack_one(...)
  local offset = select(2, ...) ~= nil and whole_argument(2, "unpack_one", ...) or 0
  return unpack_from(text_argument(1, "unpack_one", ...), 1, offset)
end

function cmsgpack.unpack_limit(...)
  local limit = whole_argument(2, "unpack_limit", ...)
  local offset = select(3, ...) ~= nil and whole_argument(3, "unpack_limit", ...) or 0
  return unpack_from(text_argument(1, "unpack_limit", ...), limit, offset)
end

return cmsgpack
