-- Numbers as the bytes of IEEE 754, big end first, and 64-bit integers as two halves.

local floor, frexp, ldexp, huge = math.floor, math.frexp, math.ldexp, math.huge
local byte, char = string.byte, string.char

local ieee = {}

-- To the nearest, ties to even, as the processor rounds.
local function nearest(number)
  local below = floor(number)
  local rest = number - below
  if rest > 0.5 or (rest == 0.5 and below % 2 == 1) then
    return below + 1
  end
  return below
end

local function is_negative(number)
  return number < 0 or (number == 0 and 1 / number < 0)
end

-- The sign, the biased exponent and the fraction. bits: of the fraction; bias: of the exponent.
local function parts(number, bits, bias)
  if number ~= number then
    return 1, 2 * bias + 1, 2 ^ (bits - 1) -- as 0/0 gives it
  end
  local sign = is_negative(number) and 1 or 0
  number = sign == 1 and -number or number
  if number == 0 then
    return sign, 0, 0
  elseif number == huge then
    return sign, 2 * bias + 1, 0
  end
  local fraction, exponent = frexp(number) -- in [0.5, 1)
  exponent = exponent + bias - 1
  if exponent <= 0 then
    return sign, 0, nearest(ldexp(fraction, bits + exponent)) -- a subnormal; rounded up it becomes the smallest normal
  end
  fraction = nearest((fraction * 2 - 1) * 2 ^ bits)
  if fraction == 2 ^ bits then
    exponent, fraction = exponent + 1, 0
  end
  if exponent > 2 * bias then
    return sign, 2 * bias + 1, 0
  end
  return sign, exponent, fraction
end

function ieee.double(number)
  local sign, exponent, fraction = parts(number, 52, 1023)
  local high = sign * 2147483648 + exponent * 1048576 + floor(fraction / 4294967296)
  return ieee.word(high) .. ieee.word(fraction % 4294967296)
end

function ieee.float(number)
  local sign, exponent, fraction = parts(number, 23, 127)
  return ieee.word(sign * 2147483648 + exponent * 8388608 + fraction)
end

-- Does a float of 32 bits hold it exactly?
function ieee.fits_float(number)
  return number == number and ieee.read_float(ieee.float(number), 1) == number
end

-- 32 bits, from 0 to 2^32 - 1.
function ieee.word(number)
  return char(
    floor(number / 16777216) % 256,
    floor(number / 65536) % 256,
    floor(number / 256) % 256,
    number % 256
  )
end

function ieee.read_word(text, at)
  local a, b, c, d = byte(text, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function joined(sign, exponent, fraction, bits, bias)
  local number
  if exponent == 2 * bias + 1 then
    number = fraction == 0 and huge or 0 / 0
  elseif exponent == 0 then
    number = ldexp(fraction, 1 - bias - bits)
  else
    number = ldexp(fraction + 2 ^ bits, exponent - bias - bits)
  end
  return sign == 1 and -number or number
end

function ieee.read_float(text, at)
  local word = ieee.read_word(text, at)
  return joined(floor(word / 2147483648), floor(word / 8388608) % 256, word % 8388608, 23, 127)
end

function ieee.read_double(text, at)
  local high, low = ieee.read_word(text, at), ieee.read_word(text, at + 4)
  local fraction = high % 1048576 * 4294967296 + low
  return joined(floor(high / 2147483648), floor(high / 1048576) % 2048, fraction, 52, 1023)
end

-- The halves of a 64-bit integer in two's complement.
function ieee.halves(number)
  return floor(number / 4294967296) % 4294967296, number % 4294967296
end

return ieee
