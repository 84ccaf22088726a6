-- find, match, gmatch and gsub that end. The ones of the language run in C, where no hook is reached, and a pattern can
-- keep them busy for ever: `(".-"):rep(20)` on a long text. So a pattern whose steps could be too many is matched here,
-- in Lua, some fifty times slower and interruptible; all others go to C.

local tools = ...
local fail, enter, left = tools.fail, tools.enter, tools.left
local tonumber, tostring, type, unpack = tonumber, tostring, type, unpack
local byte, char, sub = string.byte, string.char, string.sub
local raw_find, raw_match, raw_gmatch, gsub = string.find, string.match, string.gmatch, string.gsub
local concat, floor, log = table.concat, math.floor, math.log

local MOST_STEPS = log(2e8) -- in C a second at most
local MOST_KNOWN = 500

-- How many steps there could be: n repetitions may end at any n places that ascend, each `?` doubles, and without an
-- anchor all of it happens at each character. By pattern: the power of the length, and what its logarithm gets besides.
local powers, besides, known = {}, {}, 0

local function analyse(pattern)
  if known >= MOST_KNOWN then
    powers, besides, known = {}, {}, 0
  end
  known = known + 1
  local _, repeats = gsub(pattern, "[*+-]", "")
  local _, options = gsub(pattern, "%?", "")
  local _, balances = gsub(pattern, "%%b", "")
  powers[pattern] = repeats + balances + (byte(pattern) == 94 and 0 or 1)
  besides[pattern] = options * log(2)
  for factor = 2, powers[pattern] do
    besides[pattern] = besides[pattern] - log(factor)
  end
  return powers[pattern]
end

local function is_slow(text, pattern)
  local power = powers[pattern] or analyse(pattern)
  return power * log(#text + 1) + besides[pattern] > MOST_STEPS
end

-- A pattern as a list of nodes ----------------------------------------------------------------------------------------

local SINGLE, OPEN, POSITION, CLOSE, FINISH, BALANCE, FRONTIER, BACK = 1, 2, 3, 4, 5, 6, 7, 8
local UNCLOSED, HERE = -1, -2 -- lengths of captures

-- Which bytes one item (`a`, `%d`, `[^x-z]`, `.`) matches: asked of C for each byte, once.
local function bytes_of(item)
  local set = {}
  return function(code)
    local known_answer = set[code]
    if known_answer == nil then
      known_answer = raw_find(char(code), "^" .. item) ~= nil
      set[code] = known_answer
    end
    return known_answer
  end
end

-- Where the item that begins here ends.
local function item_end(pattern, at)
  local letter = sub(pattern, at, at)
  if letter == "%" then
    if at == #pattern then
      return fail("malformed pattern (ends with '%')")
    end
    return at + 2
  elseif letter ~= "[" then
    return at + 1
  end
  at = at + 1
  at = sub(pattern, at, at) == "^" and at + 1 or at
  repeat -- the first may be a bracket itself
    if at > #pattern then
      return fail("malformed pattern (missing ']')")
    end
    at = at + (sub(pattern, at, at) == "%" and 2 or 1)
  until sub(pattern, at, at) == "]"
  return at + 1
end

local function compile(pattern, at)
  local nodes = {}
  while at <= #pattern do
    local two, letter = sub(pattern, at, at + 1), sub(pattern, at, at)
    local node
    if two == "()" then
      node, at = { kind = POSITION }, at + 2
    elseif letter == "(" then
      node, at = { kind = OPEN }, at + 1
    elseif letter == ")" then
      node, at = { kind = CLOSE }, at + 1
    elseif letter == "$" and at == #pattern then
      node, at = { kind = FINISH }, at + 1
    elseif two == "%b" then
      if at + 3 > #pattern then
        return fail("unbalanced pattern")
      end
      node, at = { kind = BALANCE, byte(pattern, at + 2), byte(pattern, at + 3) }, at + 4
    elseif two == "%f" then
      if sub(pattern, at + 2, at + 2) ~= "[" then
        return fail("missing '[' after '%f' in pattern")
      end
      local stop = item_end(pattern, at + 2)
      node, at = { kind = FRONTIER, bytes_of(sub(pattern, at + 2, stop - 1)) }, stop
    elseif raw_find(two, "^%%%d") then
      node, at = { kind = BACK, tonumber(sub(two, 2)) }, at + 2
    else
      local stop = item_end(pattern, at)
      node = { kind = SINGLE, bytes_of(sub(pattern, at, stop - 1)) }
      local suffix = sub(pattern, stop, stop)
      if suffix ~= "" and raw_find("*+-?", suffix, 1, true) then
        node.suffix, stop = suffix, stop + 1
      end
      at = stop
    end
    nodes[#nodes + 1] = node
  end
  return nodes
end

-- Matching ------------------------------------------------------------------------------------------------------------

local match_node

local function match_capture(state, at, position, length)
  local level = state.level + 1
  state.starts[level], state.lengths[level], state.level = at, length, level
  local stop = match_node(state, at, position + 1)
  if not stop then
    state.level = level - 1
  end
  return stop
end

local function match_close(state, at, position)
  for level = state.level, 1, -1 do
    if state.lengths[level] == UNCLOSED then
      state.lengths[level] = at - state.starts[level]
      local stop = match_node(state, at, position + 1)
      if not stop then
        state.lengths[level] = UNCLOSED
      end
      return stop
    end
  end
  return fail("invalid pattern capture")
end

local function after_balance(state, at, open, close)
  local text = state.text
  if byte(text, at) ~= open then
    return nil
  end
  local depth = 1
  for place = at + 1, #text do
    local code = byte(text, place)
    if code == close then
      depth = depth - 1
      if depth == 0 then
        return place + 1
      end
    elseif code == open then
      depth = depth + 1
    end
  end
end

local function after_back(state, at, level)
  local length = state.lengths[level]
  if level == 0 or level > state.level or length == UNCLOSED then
    return fail("invalid capture index")
  end
  if length == HERE then
    return nil -- a position is no text
  end
  local start = state.starts[level]
  if sub(state.text, at, at + length - 1) == sub(state.text, start, start + length - 1) then
    return at + length
  end
end

local function match_repeated(state, at, position, matches, suffix)
  local text = state.text
  if suffix == "-" then
    while true do
      local stop = match_node(state, at, position + 1)
      if stop then
        return stop
      elseif at > #text or not matches(byte(text, at)) then
        return nil
      end
      at = at + 1
    end
  end
  local least = suffix == "+" and at + 1 or at
  local last = at
  while last <= #text and matches(byte(text, last)) do
    last = last + 1
  end
  for place = last, least, -1 do
    local stop = match_node(state, place, position + 1)
    if stop then
      return stop
    end
  end
end

-- Where a match that begins here ends, from this node on; nil if there is none.
function match_node(state, at, position)
  local text, nodes = state.text, state.nodes
  while true do
    local node = nodes[position]
    if not node then
      return at
    end
    local kind = node.kind
    if kind == SINGLE then
      local suffix = node.suffix
      if suffix and suffix ~= "?" then
        return match_repeated(state, at, position, node[1], suffix)
      end
      local is_match = at <= #text and node[1](byte(text, at))
      if suffix then
        local stop = is_match and match_node(state, at + 1, position + 1)
        if stop then
          return stop
        end
      elseif is_match then
        at = at + 1
      else
        return nil
      end
    elseif kind == OPEN or kind == POSITION then
      return match_capture(state, at, position, kind == OPEN and UNCLOSED or HERE)
    elseif kind == CLOSE then
      return match_close(state, at, position)
    elseif kind == FINISH then
      return at == #text + 1 and at or nil
    elseif kind == FRONTIER then
      if node[1](byte(text, at - 1) or 0) or not node[1](byte(text, at) or 0) then
        return nil
      end
    else
      at = (kind == BALANCE and after_balance or after_back)(state, at, node[1], node[2])
      if not at then
        return nil
      end
    end
    position = position + 1
  end
end

local function capture(state, level)
  local start, length = state.starts[level], state.lengths[level]
  if length == HERE then
    return start
  elseif length == UNCLOSED then
    return fail("unfinished capture")
  end
  return sub(state.text, start, start + length - 1)
end

-- The captures; without any the whole match, unless only captures are wanted.
local function captures(state, start, stop, only)
  if state.level == 0 then
    if only then
      return
    end
    return sub(state.text, start, stop - 1)
  end
  local values = {}
  for level = 1, state.level do
    values[level] = capture(state, level)
  end
  return unpack(values, 1, state.level)
end

local function new_state(text, pattern)
  local is_anchored = byte(pattern) == 94
  local nodes = compile(pattern, is_anchored and 2 or 1)
  return { text = text, nodes = nodes, is_anchored = is_anchored, level = 0, starts = {}, lengths = {} }
end

-- The first match from here on: where it begins and what follows it.
local function search(state, from)
  for start = from, state.is_anchored and from or #state.text + 1 do
    state.level = 0
    local stop = match_node(state, start, 1)
    if stop then
      return start, stop
    end
  end
end

-- The functions -------------------------------------------------------------------------------------------------------

local function is_text(value)
  return type(value) == "string"
end

local function first_place(text, from)
  from = tonumber(from) or 1
  from = from < 0 and #text + from + 1 or from
  return from < 1 and 1 or from > #text and #text + 1 or floor(from)
end

local patterns = {}

function patterns.find(...)
  local text, pattern, from, plain = ...
  if plain or not is_text(text) or not is_text(pattern) or not is_slow(text, pattern) then
    return raw_find(...)
  end
  local state = new_state(text, pattern)
  local start, stop = search(state, first_place(text, from))
  if start then
    return start, stop - 1, captures(state, start, stop, true)
  end
  return nil
end

function patterns.match(...)
  local text, pattern, from = ...
  if not is_text(text) or not is_text(pattern) or not is_slow(text, pattern) then
    return raw_match(...)
  end
  local state = new_state(text, pattern)
  local start, stop = search(state, first_place(text, from))
  if start then
    return captures(state, start, stop)
  end
  return nil
end

function patterns.gmatch(...)
  local text, pattern = ...
  if not is_text(text) or not is_text(pattern) or not is_slow(text, pattern) then
    return raw_gmatch(...)
  end
  local state = new_state(text, pattern)
  state.is_anchored = false
  if byte(pattern) == 94 then
    state.nodes = compile(pattern, 1) -- in gmatch it is a character
  end
  local from = 1
  return function()
    local start, stop = search(state, from)
    if start then
      from = stop > start and stop or stop + 1
      return captures(state, start, stop)
    end
    from = #text + 2
  end
end

local function from_template(state, template, start, stop)
  return (gsub(template, "%%(.?)", function(letter)
    local level = tonumber(letter)
    if not level then
      return letter
    elseif level == 0 or (level == 1 and state.level == 0) then
      return sub(state.text, start, stop - 1)
    elseif level > state.level then
      return fail("invalid capture index")
    end
    return tostring(capture(state, level))
  end))
end

local function replacement(state, by, start, stop)
  local kind, value = type(by), nil
  if kind == "function" then
    value = by(captures(state, start, stop))
  elseif kind == "table" then
    value = by[(captures(state, start, stop))]
  else
    return from_template(state, tostring(by), start, stop)
  end
  if not value then
    return sub(state.text, start, stop - 1)
  elseif type(value) ~= "string" and type(value) ~= "number" then
    return fail("invalid replacement value (a " .. type(value) .. ")")
  end
  return tostring(value)
end

function patterns.gsub(...)
  local text, pattern, by, most = ...
  local kind = type(by)
  local is_usable = kind == "string" or kind == "number" or kind == "function" or kind == "table"
  if not is_usable or not is_text(text) or not is_text(pattern) then
    return gsub(...)
  elseif not is_slow(text, pattern) then
    if kind == "string" or kind == "number" then
      return gsub(...)
    end
    enter() -- a function, or __index of a table
    return left(gsub(...))
  end
  local state = new_state(text, pattern)
  local parts, count, at = {}, 0, 1
  most = tonumber(most) or #text + 1
  while count < most do
    state.level = 0
    local stop = match_node(state, at, 1)
    if stop then
      count = count + 1
      parts[#parts + 1] = replacement(state, by, at, stop)
    end
    if stop and stop > at then
      at = stop
    elseif at <= #text then
      parts[#parts + 1] = sub(text, at, at)
      at = at + 1
    else
      break
    end
    if state.is_anchored then
      break
    end
  end
  parts[#parts + 1] = sub(text, at)
  return concat(parts), count
end

return patterns
