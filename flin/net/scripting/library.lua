-- Libraries of functions: while one is loaded it sees `redis.register_function`, the log, and nothing of the language.
-- What it registers is kept here by its number, for Python to call.

local tools, redis = ...
local protect, fail = tools.protect, tools.fail
local error, find, next, rawget, setmetatable, select, tostring, type =
  error, string.find, next, rawget, setmetatable, select, tostring, type

local FLAGS = { ["no-writes"] = true, ["allow-oom"] = true, ["allow-stale"] = true, ["no-cluster"] = true,
  ["allow-cross-slot-keys"] = true }
local PLACE = "redis.register_function"
local LIBRARY_CALLS = { "log", "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING", "REDIS_VERSION",
  "REDIS_VERSION_NUM" }

local registered -- of the library that is being loaded: a list of its functions

local function raise(text)
  return error({ err = "ERR " .. text })
end

local function is_text(value)
  return type(value) == "string" or type(value) == "number"
end

local function flags_of(given)
  if type(given) ~= "table" then
    return raise("flags argument to " .. PLACE .. " must be a table representing function flags")
  end
  local flags, position = {}, 1
  while rawget(given, position) ~= nil do
    local flag = rawget(given, position)
    if not is_text(flag) or not FLAGS[tostring(flag)] then
      return raise("unknown flag given")
    end
    flags[position] = flag
    position = position + 1
  end
  return flags
end

local function named(given)
  local found = {}
  if type(given) ~= "table" then
    return raise("calling " .. PLACE .. " with a single argument is only applicable to Lua table (representing named"
      .. " arguments).")
  end
  for key, value in next, given do
    if not is_text(key) then
      return raise("named argument key given to " .. PLACE .. " is not a string")
    elseif key == "function_name" or key == "description" then
      if not is_text(value) then
        return raise(key .. " argument given to " .. PLACE .. " must be a string")
      end
      found[key] = tostring(value)
    elseif key == "callback" then
      if type(value) ~= "function" then
        return raise("callback argument given to " .. PLACE .. " must be a function")
      end
      found.callback = value
    elseif key == "flags" then
      found.flags = flags_of(value)
    else
      return raise("unknown argument given to " .. PLACE)
    end
  end
  if not found.function_name then
    return raise(PLACE .. " must get a function name argument")
  elseif not found.callback then
    return raise(PLACE .. " must get a callback argument")
  end
  return found
end

local function positional(name, callback)
  if not is_text(name) then
    return raise("first argument to " .. PLACE .. " must be a string")
  elseif type(callback) ~= "function" then
    return raise("second argument to " .. PLACE .. " must be a function")
  end
  return { function_name = tostring(name), callback = callback }
end

local function register_function(...)
  local count = select("#", ...)
  if count < 1 or count > 2 then
    return raise("wrong number of arguments to " .. PLACE)
  elseif not registered then
    return raise(PLACE .. " can only be called on FUNCTION LOAD command")
  end
  local found = count == 1 and named(...) or positional(...)
  if not find(found.function_name, "^[%w_]+$") then
    return raise("Library names can only contain letters, numbers, or underscores(_) and must be at least one character"
      .. " long")
  end
  for position = 1, #registered do
    if registered[position].function_name == found.function_name then
      return raise("Function already exists in the library")
    end
  end
  registered[#registered + 1] = found
end

local function missing(_, name)
  return fail("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'")
end

local calls = { register_function = register_function }
for position = 1, #LIBRARY_CALLS do
  calls[LIBRARY_CALLS[position]] = redis[LIBRARY_CALLS[position]]
end

local library = {
  environment = setmetatable({ redis = protect(setmetatable(calls, { __index = missing })) }, { __index = missing }),
}

function library.begin()
  registered = {}
end

-- How many functions the library has registered; from now on it can register no more.
function library.finish()
  library.functions = registered
  registered = nil
  return #library.functions
end

-- One of them, for Python: its name, description, callback and flags.
function library.take(position)
  local found = library.functions[position]
  return found.function_name, found.description or false, found.callback, tools.unpack(found.flags or {})
end

return library
