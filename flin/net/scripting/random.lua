-- math.random by Redis's generator: drand48, with its 48 bits in two halves of 24.

local tools = ...
local fail, bad_argument, number_argument, whole = tools.fail, tools.bad_argument, tools.number_argument, tools.whole
local floor, select = math.floor, select

local high, low

local function seed(number)
  number = number % 4294967296
  -- The seed is the upper 32 bits of 48, above 0x330E: eight of them lie in the lower half.
  high = floor(number / 256)
  low = (number % 256) * 65536 + 0x330E
end

local function draw()
  -- x * 0x5DEECE66D + 11, modulo 2^48; the multiplier's halves are 0x5DE and 0xECE66D.
  local product = low * 0xECE66D + 11
  local carry = floor(product / 16777216)
  high = (high * 0xECE66D + low * 0x5DE + carry) % 16777216
  low = product % 16777216
  return (high * 128 + floor(low / 131072)) % 2147483647 / 2147483647 -- the upper 31 bits
end

seed(0x1234ABCD) -- as in C where nobody seeds: Redis does not begin anew for each script either

local function random(...)
  local count = select("#", ...)
  local drawn = draw()
  if count == 0 then
    return drawn
  elseif count == 1 then
    local top = whole(number_argument(1, "random", ...))
    if top < 1 then
      return bad_argument(1, "random", "interval is empty")
    end
    return floor(drawn * top) + 1
  elseif count == 2 then
    local bottom, top = whole(number_argument(1, "random", ...)), whole(number_argument(2, "random", ...))
    if bottom > top then
      return bad_argument(2, "random", "interval is empty")
    end
    return floor(drawn * (top - bottom + 1)) + bottom
  end
  return fail("wrong number of arguments")
end

local function randomseed(...)
  seed(whole(number_argument(1, "randomseed", ...)))
end

return random, randomseed
