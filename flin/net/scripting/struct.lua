-- struct as Redis 7.0 has it: packing by format letters, in plain Lua.

local tools, ieee = ...
local fail, bad_argument, text_argument, whole_argument =
  tools.fail, tools.bad_argument, tools.text_argument, tools.whole_argument

local byte, char, find, match, reverse, sub, rep =
  string.byte, string.char, string.find, string.match, string.reverse, string.sub, string.rep
local concat, floor, format, select, tonumber, tostring, type, unpack =
  table.concat, math.floor, string.format, select, tonumber, tostring, type, unpack
local band = bit.band

local MOST_INT_BYTES = 32
local MOST_RESULTS = 7900
local SIZES = { b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, f = 4, d = 8, x = 1 }

-- The options of a format, one after the other: what it says of order and alignment changes with them.
local function reader(text, name)
  text = match(text, "^%Z*")
  local at = 1
  local state = { is_big = false, align = 1 }

  local function number(default)
    local digits, after = match(text, "^(%d+)()", at)
    if not digits then
      return default
    end
    at = after
    local value = 0
    for position = 1, #digits do
      value = value * 10 + byte(digits, position) - 48
      if value > 2147483647 then
        return fail("integral size overflow")
      end
    end
    return value
  end

  -- The next letter and the size that it stands for; nil at the end.
  function state.next()
    if at > #text then
      return nil
    end
    local letter = sub(text, at, at)
    at = at + 1
    if letter == "c" then
      return letter, number(1)
    elseif letter == "i" or letter == "I" then
      local size = number(4)
      if size > MOST_INT_BYTES then
        return fail(format("integral size %d is larger than limit of %d", size, MOST_INT_BYTES))
      end
      return letter, size
    end
    return letter, SIZES[letter] or 0
  end

  -- How much padding comes before it.
  function state.padding(letter, size, length)
    if size == 0 or letter == "c" then
      return 0
    end
    size = size > state.align and state.align or size
    return band(size - band(length, size - 1), size - 1)
  end

  function state.control(letter)
    if letter == "<" then
      state.is_big = false
    elseif letter == ">" then
      state.is_big = true
    elseif letter == "!" then
      local align = number(8)
      if align == 0 or band(align, align - 1) ~= 0 then
        return fail(format("alignment %d is not a power of 2", align))
      end
      state.align = align
    elseif letter ~= " " then
      return bad_argument(1, name, "invalid format option '" .. letter .. "'")
    end
  end

  return state
end

local function check_number(position, name, ...)
  local value = (select(position, ...))
  local number = tonumber(value)
  if not number or type(value) == "table" then
    return bad_argument(position, name, "number expected, got " .. type(value))
  end
  return number
end

-- A double as C casts it to 64 bits, in halves.
local function cast(number)
  if number ~= number or number < -9223372036854775808 or number >= 18446744073709551616 then
    return (number ~= number or number < 0) and 2147483648 or 0, 0
  end
  return ieee.halves(number < 0 and -floor(-number) or floor(number))
end

-- The end that comes first is the small one.
local function integer_bytes(number, size)
  local high, low = cast(number)
  local text = reverse(ieee.word(low)) .. reverse(ieee.word(high))
  return size <= 8 and sub(text, 1, size) or text .. rep("\0", size - 8)
end

local struct = {}

function struct.pack(...)
  local options = reader(text_argument(1, "pack", ...), "pack")
  local parts, length, position = {}, 0, 2

  local function add(text)
    parts[#parts + 1] = text
    length = length + #text
  end

  for letter, size in options.next do
    add(rep("\0", options.padding(letter, size, length)))
    if find(letter, "[bBhHlLTiI]") then
      local text = integer_bytes(check_number(position, "pack", ...), size)
      add(options.is_big and reverse(text) or text)
      position = position + 1
    elseif letter == "x" then
      add("\0")
    elseif letter == "f" or letter == "d" then
      local text = (letter == "f" and ieee.float or ieee.double)(check_number(position, "pack", ...))
      add(options.is_big and text or reverse(text))
      position = position + 1
    elseif letter == "c" or letter == "s" then
      local value = (select(position, ...))
      value = type(value) == "number" and tostring(value) or value
      if type(value) ~= "string" then
        return bad_argument(position, "pack", "string expected, got " .. type(value))
      end
      position = position + 1
      if letter == "s" then
        add(value)
        add("\0")
      else
        size = size == 0 and #value or size
        if #value < size then
          return bad_argument(position, "pack", "string too short")
        end
        add(sub(value, 1, size))
      end
    else
      options.control(letter)
    end
  end
  return concat(parts)
end

local function read_integer(text, is_signed)
  local size = #text -- the small end first
  local low, high, scale = 0, 0, 1
  for position = 1, size < 4 and size or 4 do
    low = low + byte(text, position) * scale
    scale = scale * 256
  end
  scale = 1
  for position = 5, size < 8 and size or 8 do
    high = high + byte(text, position) * scale
    scale = scale * 256
  end
  if is_signed and size > 0 then
    if size <= 4 then
      low = low >= 2 ^ (size * 8 - 1) and low - 2 ^ (size * 8) or low
    else
      local bits = (size < 8 and size or 8) * 8 - 32
      high = high >= 2 ^ (bits - 1) and high - 2 ^ bits or high
    end
  end
  return high * 4294967296 + low
end

function struct.unpack(...)
  local options = reader(text_argument(1, "unpack", ...), "unpack")
  local data = text_argument(2, "unpack", ...)
  local offset = select(3, ...) ~= nil and whole_argument(3, "unpack", ...) or 1
  if offset == 0 then
    return bad_argument(3, "unpack", "offset must be 1 or greater")
  end
  offset = offset - 1
  local values, count = {}, 0

  local function check(size)
    if offset < 0 or size ~= size or size < 0 or size > #data or offset > #data - size then
      return bad_argument(2, "unpack", "data string too short")
    end
  end

  for letter, size in options.next do
    offset = offset + options.padding(letter, size, offset)
    check(size)
    local text = sub(data, offset + 1, offset + size)
    if find(letter, "[bBhHlLTiI]") then
      count = count + 1
      values[count] = read_integer(options.is_big and reverse(text) or text, find(letter, "[bhli]") ~= nil)
    elseif letter == "f" or letter == "d" then
      count = count + 1
      local read = letter == "f" and ieee.read_float or ieee.read_double
      values[count] = read(options.is_big and text or reverse(text), 1)
    elseif letter == "c" then
      if size == 0 then
        size = count > 0 and tonumber(values[count])
        if not size then
          return fail("format 'c0' needs a previous size")
        end
        size = size > -1 and size < 1 and 0 or floor(size) -- a negative one is larger than any text
        check(size)
      else
        count = count + 1
      end
      values[count] = sub(data, offset + 1, offset + size)
    elseif letter == "s" then
      local stop = find(data, "\0", offset + 1, true)
      if not stop then
        return fail("unfinished string in data")
      end
      count = count + 1
      values[count] = sub(data, offset + 1, stop - 1)
      size = stop - offset
    elseif letter ~= "x" then
      options.control(letter)
    end
    if count > MOST_RESULTS then
      return fail("stack overflow (too many results)")
    end
    offset = offset + size
  end
  values[count + 1] = offset + 1
  return unpack(values, 1, count + 1)
end

function struct.size(...)
  local options = reader(text_argument(1, "size", ...), "size")
  local length = 0
  for letter, size in options.next do
    length = length + options.padding(letter, size, length)
    if letter == "s" then
      return bad_argument(1, "size", "option 's' has no fixed size")
    elseif letter == "c" and size == 0 then
      return bad_argument(1, "size", "option 'c0' has no fixed size")
    elseif not find(letter, "%w") then
      options.control(letter)
    end
    length = length + size
  end
  return length
end

return struct
