-- cjson as Redis 7.0 has it: lua-cjson 2.1.0, in plain Lua. Made by lists of parts that are joined at the end.
--
-- Texts are escaped and read in loops of C (gsub, find); only what is between them is looked at byte by byte.

local tools = ...
local fail, bad_argument, text_argument = tools.fail, tools.bad_argument, tools.text_argument
local null, is_hidden = tools.null, tools.real_of

local byte, char, find, format, gsub, match, sub, lower =
  string.byte, string.char, string.find, string.format, string.gsub, string.match, string.sub, string.lower
local concat, floor, huge, next, rawget, select, tonumber, tostring, type =
  table.concat, math.floor, math.huge, next, rawget, select, tonumber, tostring, type

local MOST = 2147483647

-- Encoding ----------------------------------------------------------------------------------------------------------

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\127"] = "\\u007f" }
for code = 0, 31 do
  ESCAPES[char(code)] = format("\\u%04x", code)
end
ESCAPES["\b"], ESCAPES["\t"], ESCAPES["\n"], ESCAPES["\f"], ESCAPES["\r"] = "\\b", "\\t", "\\n", "\\f", "\\r"
local TO_ESCAPE = '[%z\1-\31"\\/\127]'

local function quoted(text)
  if find(text, TO_ESCAPE) then
    text = gsub(text, TO_ESCAPE, ESCAPES)
  end
  return '"' .. text .. '"'
end

-- The length if all keys are whole numbers from 1 on and it is not too sparse; nil: an object.
local function array_length(t, config)
  local most, items = 0, 0
  for key in next, t do
    if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then
      return nil
    end
    if key > most then
      most = key <= MOST and key or -MOST - 1 -- C's int
    end
    items = items + 1
  end
  if config.sparse_ratio > 0 and most > items * config.sparse_ratio and most > config.sparse_safe then
    if not config.sparse_convert then
      return fail("Cannot serialise table: excessively sparse array")
    end
    return nil
  end
  return most
end

local function number_text(number, config)
  if number ~= number or number == huge or number == -huge then
    if config.encode_invalid == "null" then
      return "null"
    elseif not config.encode_invalid then
      return fail("Cannot serialise number: must not be NaN or Inf")
    end
    return number == huge and "inf" or number == -huge and "-inf" or "nan"
  end
  return format(config.number_format, number)
end

local append

local function append_array(t, length, depth, config, parts)
  parts[#parts + 1] = "["
  for position = 1, length do
    if position > 1 then
      parts[#parts + 1] = ","
    end
    append(rawget(t, position), depth, config, parts)
  end
  parts[#parts + 1] = "]"
end

local function append_object(t, depth, config, parts)
  local separator = "{"
  for key, value in next, t do
    local kind = type(key)
    if kind == "string" then
      parts[#parts + 1] = separator .. quoted(key) .. ":"
    elseif kind == "number" then
      parts[#parts + 1] = separator .. '"' .. number_text(key, config) .. '":'
    else
      return fail("Cannot serialise " .. kind .. ": table key must be a number or string")
    end
    separator = ","
    append(value, depth, config, parts)
  end
  parts[#parts + 1] = separator == "{" and "{}" or "}"
end

function append(value, depth, config, parts)
  local kind = type(value)
  if kind == "string" then
    parts[#parts + 1] = quoted(value)
  elseif kind == "number" then
    parts[#parts + 1] = number_text(value, config)
  elseif kind == "boolean" then
    parts[#parts + 1] = value and "true" or "false"
  elseif kind == "table" then
    value = is_hidden[value] or value
    depth = depth + 1
    if depth > config.encode_depth then
      return fail("Cannot serialise, excessive nesting (" .. depth .. ")")
    end
    local length = array_length(value, config)
    if length and length > 0 then
      return append_array(value, length, depth, config, parts)
    end
    return append_object(value, depth, config, parts)
  elseif value == nil or value == null then
    parts[#parts + 1] = "null"
  else
    return fail("Cannot serialise " .. kind .. ": type not supported")
  end
end

-- Decoding ----------------------------------------------------------------------------------------------------------

local PLAIN_ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local NAMES = {
  ["{"] = "T_OBJ_BEGIN", ["}"] = "T_OBJ_END", ["["] = "T_ARR_BEGIN", ["]"] = "T_ARR_END", [":"] = "T_COLON",
  [","] = "T_COMMA", [""] = "T_END",
}

local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xC0 + floor(code / 64), 0x80 + code % 64)
  elseif code < 0x10000 then
    return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(
    0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64, 0x80 + code % 64
  )
end

-- A string from behind its quote on: the text and what follows it; or nil, what is wrong, and where.
local function read_string(text, at)
  local stop = find(text, '["\\%z]', at)
  if stop and byte(text, stop) == 34 then
    return sub(text, at, stop - 1), stop + 1
  end
  local parts = {}
  while stop do
    local code = byte(text, stop)
    parts[#parts + 1] = sub(text, at, stop - 1)
    if code == 34 then
      return concat(parts), stop + 1
    elseif code == 0 then
      return nil, "unexpected end of string", stop
    end
    local letter = sub(text, stop + 1, stop + 1)
    if letter == "u" then
      local digits = match(text, "^%x%x%x%x", stop + 2)
      if not digits then
        return nil, "invalid unicode escape code", stop
      end
      local point = tonumber(digits, 16)
      at = stop + 6
      if point >= 0xD800 and point < 0xE000 then
        local second = point < 0xDC00 and match(text, "^\\u(%x%x%x%x)", at)
        local low = second and tonumber(second, 16)
        if not low or low < 0xDC00 or low > 0xDFFF then
          return nil, "invalid unicode escape code", stop
        end
        point = 0x10000 + (point - 0xD800) * 1024 + (low - 0xDC00)
        at = at + 6
      end
      parts[#parts + 1] = utf8(point)
    else
      local plain = PLAIN_ESCAPES[letter]
      if not plain then
        return nil, "invalid escape code", stop
      end
      parts[#parts + 1] = plain
      at = stop + 2
    end
    stop = find(text, '["\\%z]', at)
  end
  return nil, "unexpected end of string", #text + 1
end

-- As C's strtod: the number and what follows it.
local function read_number(text, at)
  local sign, start = match(text, "^([-+]?)()", at)
  local digits, stop = match(text, "^(%d+%.?%d*)()", start)
  if not digits then
    digits, stop = match(text, "^(%.%d+)()", start)
  end
  local number
  if digits then
    local mantissa, behind = match(text, "^0[xX](%x+%.?%x*)()", start)
    if not mantissa then
      mantissa, behind = match(text, "^0[xX](%.%x+)()", start)
    end
    if mantissa then
      local power, end_of_power = match(text, "^([pP][-+]?%d+)()", behind)
      number = tonumber("0x" .. mantissa .. (power or ""))
      stop = power and end_of_power or behind
    else
      local power, end_of_power = match(text, "^([eE][-+]?%d+)()", stop)
      number = tonumber(digits .. (power or ""))
      stop = power and end_of_power or stop
    end
  else
    local word = lower(match(text, "^%a*", start))
    if sub(word, 1, 8) == "infinity" then
      number, stop = huge, start + 8
    elseif sub(word, 1, 3) == "inf" then
      number, stop = huge, start + 3
    elseif sub(word, 1, 3) == "nan" then
      number, stop = 0 / 0, start + 3
      stop = match(text, "^%([%w_]*%)()", stop) or stop
    else
      return nil
    end
  end
  return sign == "-" and -number or number, stop
end

-- What JSON does not call a number, though C does.
local function is_invalid_number(text, at)
  if sub(text, at, at) == "+" then
    return true
  end
  at = sub(text, at, at) == "-" and at + 1 or at
  if match(text, "^0[xX%d]", at) then
    return true
  end
  local word = lower(sub(text, at, at + 2))
  return word == "inf" or word == "nan"
end

-- The token at a position: its name, its value, where it begins, and what follows it.
local function token(text, at, config)
  at = match(text, "^[ \t\r\n]*()", at)
  local letter = sub(text, at, at)
  if letter == '"' then
    local value, after, where = read_string(text, at + 1)
    if value then
      return "T_STRING", value, at, after
    end
    return after, nil, where
  end
  if letter == "\0" then
    letter = ""
  end
  if NAMES[letter] then
    return NAMES[letter], nil, at, at + 1
  end
  if find(letter, "[%d-]") then
    local value, after
    if config.decode_invalid or not is_invalid_number(text, at) then
      value, after = read_number(text, at)
    end
    if not value then
      return "invalid number", nil, at
    end
    return "T_NUMBER", value, at, after
  end
  if sub(text, at, at + 3) == "true" then
    return "T_BOOLEAN", true, at, at + 4
  elseif sub(text, at, at + 4) == "false" then
    return "T_BOOLEAN", false, at, at + 5
  elseif sub(text, at, at + 3) == "null" then
    return "T_NULL", null, at, at + 4
  elseif config.decode_invalid and is_invalid_number(text, at) then
    local value, after = read_number(text, at)
    if value then
      return "T_NUMBER", value, at, after
    end
    return "invalid number", nil, at
  end
  return "invalid token", nil, at
end

local function unexpected(expected, found, at)
  return fail("Expected " .. expected .. " but found " .. found .. " at character " .. at)
end

local function deeper(depth, config, at)
  if depth + 1 > config.decode_depth then
    return fail("Found too many nested data structures (" .. depth + 1 .. ") at character " .. at)
  end
  return depth + 1
end

local read_value

local function read_array(text, begin, at, depth, config)
  depth = deeper(depth, config, begin)
  local array, count = {}, 0
  local name, value, start, after = token(text, at, config)
  if name == "T_ARR_END" then
    return array, after
  end
  while true do
    count = count + 1
    array[count], at = read_value(text, depth, config, name, value, start, after)
    name, value, start, after = token(text, at, config)
    if name == "T_ARR_END" then
      return array, after
    elseif name ~= "T_COMMA" then
      return unexpected("comma or array end", name, start)
    end
    name, value, start, after = token(text, after, config)
  end
end

local function read_object(text, begin, at, depth, config)
  depth = deeper(depth, config, begin)
  local object = {}
  local name, key, start, after = token(text, at, config)
  if name == "T_OBJ_END" then
    return object, after
  end
  while true do
    if name ~= "T_STRING" then
      return unexpected("object key string", name, start)
    end
    local value
    name, value, start, after = token(text, after, config)
    if name ~= "T_COLON" then
      return unexpected("colon", name, start)
    end
    object[key], at = read_value(text, depth, config, token(text, after, config))
    name, value, start, after = token(text, at, config)
    if name == "T_OBJ_END" then
      return object, after
    elseif name ~= "T_COMMA" then
      return unexpected("comma or object end", name, start)
    end
    name, key, start, after = token(text, after, config)
  end
end

function read_value(text, depth, config, name, value, start, after)
  if name == "T_STRING" or name == "T_NUMBER" or name == "T_BOOLEAN" or name == "T_NULL" then
    return value, after
  elseif name == "T_OBJ_BEGIN" then
    return read_object(text, start, after, depth, config)
  elseif name == "T_ARR_BEGIN" then
    return read_array(text, start, after, depth, config)
  end
  return unexpected("value", name, start)
end

-- The module ----------------------------------------------------------------------------------------------------------

local function at_most(most, name, ...)
  if select("#", ...) > most then
    return bad_argument(most + 1, name, "found too many arguments")
  end
end

-- Redis names the first argument in such errors, whichever it was.
local function whole_option(position, name, value, old, least, most)
  if value == nil then
    return old
  end
  local number = tonumber(value)
  if not number or type(value) == "table" then
    return bad_argument(position, name, "number expected, got " .. type(value))
  end
  number = number < 0 and -floor(-number) or floor(number)
  if number ~= number or number < least or number > most then
    return bad_argument(1, name, format("expected integer between %d and %d", least, most))
  end
  return number
end

local function switch_option(name, value, old, words)
  if value == nil then
    return old
  elseif type(value) == "boolean" then
    return value
  end
  local word = type(value) == "number" and tostring(value) or value
  if type(word) ~= "string" then
    return bad_argument(1, name, "string expected, got " .. type(value))
  elseif words[word] == nil then
    return bad_argument(1, name, "invalid option '" .. word .. "'")
  end
  return words[word]
end

local ON_OFF = { on = true, off = false }
local ON_OFF_NULL = { on = true, off = false, null = "null" }

local function new()
  local config = {
    sparse_convert = false, sparse_ratio = 2, sparse_safe = 10, encode_depth = 1000, decode_depth = 1000,
    encode_invalid = false, decode_invalid = true, keep_buffer = true, number_precision = 14, number_format = "%.14g",
  }
  local module = { _NAME = "cjson", _VERSION = "2.1.0", null = null, new = new }

  function module.encode(...)
    if select("#", ...) ~= 1 then
      return bad_argument(1, "encode", "expected 1 argument")
    end
    local parts = {}
    append((...), 0, config, parts)
    return concat(parts)
  end

  function module.decode(...)
    if select("#", ...) ~= 1 then
      return bad_argument(1, "decode", "expected 1 argument")
    end
    local text = text_argument(1, "decode", ...)
    if #text > 1 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
      return fail("JSON parser does not support UTF-16 or UTF-32")
    end
    local value, at = read_value(text, 0, config, token(text, 1, config))
    local name, _, start = token(text, at, config)
    if name ~= "T_END" then
      return unexpected("the end", name, start)
    end
    return value
  end

  function module.encode_sparse_array(...)
    at_most(3, "encode_sparse_array", ...)
    local convert, ratio, safe = ...
    config.sparse_convert = switch_option("encode_sparse_array", convert, config.sparse_convert, ON_OFF)
    config.sparse_ratio = whole_option(2, "encode_sparse_array", ratio, config.sparse_ratio, 0, MOST)
    config.sparse_safe = whole_option(3, "encode_sparse_array", safe, config.sparse_safe, 0, MOST)
    return config.sparse_convert, config.sparse_ratio, config.sparse_safe
  end

  for name, option in next, {
    encode_max_depth = { "encode_depth", 1, MOST },
    decode_max_depth = { "decode_depth", 1, MOST },
    encode_number_precision = { "number_precision", 1, 14 },
  } do
    module[name] = function(...)
      at_most(1, name, ...)
      config[option[1]] = whole_option(1, name, (...), config[option[1]], option[2], option[3])
      config.number_format = "%." .. config.number_precision .. "g"
      return config[option[1]]
    end
  end

  for name, option in next, {
    encode_keep_buffer = { "keep_buffer", ON_OFF },
    encode_invalid_numbers = { "encode_invalid", ON_OFF_NULL },
    decode_invalid_numbers = { "decode_invalid", ON_OFF },
  } do
    module[name] = function(...)
      at_most(1, name, ...)
      config[option[1]] = switch_option(name, (...), config[option[1]], option[2])
      return config[option[1]]
    end
  end
  return module
end

return new()
