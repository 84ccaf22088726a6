"""Values between scripts and the server, and the libraries of Lua, under arbitrary bytes.

Invariant: a reply of any kind that a script gets and returns is sent as Redis would send it, in RESP2 the same bytes as
without the script; what a script makes of tables, metatables and special fields is one whole reply in either protocol,
or ScriptError; cjson, cmsgpack and struct take any bytes: they give a value, which is written and read again as the
same one, or an error; and whatever a script did, the next one finds everything as it was.

The first byte of an input chooses what the rest is: a reply, a hostile expression, or bytes for the libraries.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from flin.errors import CommandError, ScriptAborted, ScriptError
from flin.net.scripting.runtime import Lua
from flin.net.wire.replies import (
    EMPTY_ARRAY,
    NULL_ARRAY,
    OK,
    ONE,
    BigNumber,
    NullArray,
    Reply,
    Value,
    Verbatim,
    bulk,
)
from flin.net.wire.resp import encode2, encode3, split_replies
from fuzz.byte_source import ByteSource

MEMORY_BYTES: Final = 16 << 20
MOST_ASKED: Final = 400
"""How often a script may be asked whether it should stop: of half a millisecond each."""

_lua: list[Lua] = []


class _Caller:
    """Gives one reply, in whatever protocol the script chose."""

    def __init__(self, reply: Value = None) -> None:
        self._reply = reply
        self._asked = 0

    def call(self, arguments: list[bytes]) -> Value:
        return self._reply

    def log(self, level: int, message: bytes) -> None:
        assert 0 <= level <= 3

    def set_protocol(self, version: int) -> None:
        assert version in (2, 3)

    def acl_check(self, arguments: list[bytes]) -> bool:
        return True

    def note_error(self, text: str) -> None:
        pass

    def should_stop(self) -> bool:
        self._asked += 1
        return self._asked > MOST_ASKED


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x50":
        _judge_reply(_reply(ByteSource(rest), 4))
    elif kind < b"\xa0":
        _judge_expression(_expression(ByteSource(rest), 4))
    else:
        _judge_bytes(kind[0], rest)
    assert _run(b"return ('x'):upper() .. cjson.encode({1}) .. #cmsgpack.pack({1})") == b"X[1]2"


def _run(source: bytes, reply: Value = None, arguments: list[bytes] | None = None) -> Value:
    if not _lua:
        _lua.append(Lua(MEMORY_BYTES))
    lua = _lua[0]
    return lua.run(lua.compile(source), [], arguments or [], _Caller(reply))


# Replies.

_TEXTS: Final = (b"", b"a", b"OK", b"\0\xff", b"a\r\nb", b"12", b"x" * 40)


def _reply(source: Random, depth: int) -> Value:
    kind = source.randrange(14 if depth else 10)
    if kind < 2:
        return source.choice(_TEXTS)
    if kind == 2:
        return source.randint(-(2**53), 2**53)
    if kind == 3:
        return source.choice((None, NULL_ARRAY, True, False))
    if kind == 4:
        return source.choice(
            (OK, ONE, EMPTY_ARRAY, bulk(b"a\r\n"), Reply(b"*2\r\n$1\r\na\r\n*1\r\n:5\r\n"), Reply(b"$-1\r\n"))
        )
    if kind == 5:
        return source.choice((0.5, -1e300, 1e17, float("inf")))
    if kind == 6:
        return Verbatim(source.choice(_TEXTS))
    if kind == 7:
        return BigNumber(b"12345678901234567890")
    if kind == 8:
        return source.choice(("OK", "QUEUED"))
    if kind == 9:
        return [CommandError("ERR x"), CommandError("MY own")]
    if kind == 10:
        return {source.choice((b"a", b"b", 1)): _reply(source, depth - 1) for _ in range(source.randrange(3))}
    if kind == 11:
        return {source.choice((b"a", b"b", 1)) for _ in range(source.randrange(3))}
    return [_reply(source, depth - 1) for _ in range(source.randrange(4))]


def _judge_reply(reply: Value) -> None:
    assert encode2(_run(b"return redis.call('x')", reply)) == encode2(_numbers_as_sent(reply))
    found = _run(b"redis.setresp(3) return redis.call('x')", reply)
    assert _unordered(encode3(found)) == _unordered(encode3(_until_nil(reply))), reply
    _run(b"redis.setresp(3) return cjson.encode(redis.pcall('x'))", [b"a", 1])


def _numbers_as_sent(value: Value) -> Value:
    """A script's reply keeps no null arrays: they are false, and sent as null bulks."""
    if isinstance(value, NullArray):
        return None
    if isinstance(value, dict):
        return {key: _numbers_as_sent(element) for key, element in value.items()}
    return list(map(_numbers_as_sent, value)) if isinstance(value, list) else value


def _is_nil(value: Value) -> bool:
    return value is None or isinstance(value, NullArray) or (isinstance(value, Reply) and value.data == b"$-1\r\n")


def _until_nil(value: Value) -> Value:
    """In RESP3 a null is nil: it ends an array, and takes its key out of a map."""
    if _is_nil(value):
        return None
    if isinstance(value, dict):
        return {key: _until_nil(element) for key, element in value.items() if not _is_nil(element)}
    if isinstance(value, list):
        kept = []
        for element in value:
            if _is_nil(element):
                break
            kept.append(_until_nil(element))
        return kept
    return value


def _unordered(data: bytes) -> Any:
    """A RESP3 reply whose maps and sets have no order."""
    (whole,) = split_replies(data)
    line, _, rest = whole.partition(b"\r\n")
    if line[:1] not in b"*~%":
        return whole
    elements = list(map(_unordered, split_replies(rest)))
    if line[:1] == b"%":
        pairs = list(zip(elements[::2], elements[1::2], strict=True))
        return (line, sorted(pairs, key=repr))
    return (line, sorted(elements, key=repr) if line[:1] == b"~" else elements)


# Expressions.

_ATOMS: Final = (
    "nil", "true", "false", "0", "1", "-0", "0/0", "1/0", "2^53", "2^63", "-2^63", "1e300", "'a'", "'\\r\\n'", "'\\0'",
    "function() end", "coroutine.create(error)", "cjson.null", "string", "redis", "_G", "1LL", "getmetatable(_G)",
    "redis.call", "t", "redis.error_reply('x')", "redis.status_reply('x')", "string.rep('x', 5000)",
)  # fmt: skip
_FIELDS: Final = (
    "err",
    "ok",
    "double",
    "map",
    "set",
    "big_number",
    "verbatim_string",
    "format",
    "string",
    "[1]",
    "[2]",
    "x",
)
_METHODS: Final = (
    "__index",
    "__newindex",
    "__len",
    "__tostring",
    "__call",
    "__eq",
    "__concat",
    "__metatable",
    "__mode",
)


def _expression(source: Random, depth: int) -> str:
    kind = source.randrange(8 if depth else 4)
    if kind < 4:
        return source.choice(_ATOMS)
    if kind == 4:
        method = source.choice(_METHODS)
        return f"setmetatable({_expression(source, 0)} and {{}}, {{{method} = {_expression(source, depth - 1)}}})"
    if kind == 5:
        return "{" + ", ".join(_expression(source, depth - 1) for _ in range(source.randrange(4))) + "}"
    fields = (f"{source.choice(_FIELDS)} = {_expression(source, depth - 1)}" for _ in range(source.randrange(1, 4)))
    return "{" + ", ".join(fields) + "}"


_USES: Final = (
    "return {}",
    "error({})",
    "redis.setresp(3) return {}",
    "return cjson.encode({})",
    "return cmsgpack.pack({})",
    "return redis.call('x', {})",
    "return redis.sha1hex({})",
    "t[1] = {} t.map = t return t",
    "redis.log(1, {}) return t",
    "return {{pcall(error, {})}}",
    "return tostring({})",
    "return struct.pack('bhs', {}, {}, {})",
    "return {{pcall(table.concat, {{{}}})}}",
    "return ('%s'):format({})",
    "return redis.acl_check_cmd('x', {})",
    "table.sort({{ {}, 1 }}) return t",
    "return ('a'):gsub('a', {})",
    "return unpack({{ {} }})",
    "return load({})",
    "return next({})",
    "return setmetatable(t, {{__index = {} }}).x",
    "return xpcall({}, {})",
    "return bit.tobit({})",
)


def _judge_expression(expression: str) -> None:
    for use in _USES:
        source = "local t = {} " + use.replace("{{", "\1").replace("}}", "\2").replace("{}", "(" + expression + ")")
        try:
            found = _run(source.replace("\1", "{").replace("\2", "}").encode())
        except (ScriptError, ScriptAborted) as error:
            assert str(error)
            continue
        for encode in (encode2, encode3):
            assert len(split_replies(encode(found))) == 1, source


# Libraries.

_SAME: Final = b"""
local function same(a, b, depth)
  if type(a) == 'number' and type(b) == 'number' then
    return a == b or (a ~= a and b ~= b) or math.abs(a - b) <= 1e-13 * math.abs(a) -- JSON has 14 digits
  end
  if type(a) ~= 'table' then return a == b end
  if type(b) ~= 'table' then return depth > 14 end
  for k, v in pairs(a) do if type(k) ~= 'table' and not same(v, b[k], depth + 1) then return false end end
  for k, v in pairs(b) do if type(k) ~= 'table' and a[k] == nil then return false end end
  return true
end
"""
_READS: Final = (
    _SAME + b"local v = cjson.decode(ARGV[1]) return same(v, cjson.decode(cjson.encode(v)), 0)",
    _SAME
    + b"""
        local function again(...) return select('#', ...) == 0 and {} or {cmsgpack.unpack(cmsgpack.pack(...))} end
        return same({cmsgpack.unpack(ARGV[1])}, again(cmsgpack.unpack(ARGV[1])), 0)""",
    b"local v = cmsgpack.unpack_limit(ARGV[1], 3, 1) return 1",
    b"local v = struct.unpack(ARGV[1], ARGV[1]) return 1",
    b"local v = struct.pack(ARGV[1], 1, 2, 3) return 1",
    b"local v = struct.size(ARGV[1]) return 1",
    b"local v = ARGV[1]:find(ARGV[1]) return 1",
    b"local v = ARGV[1]:gsub(ARGV[1], ARGV[1]) return 1",
    b"local v = loadstring(ARGV[1]) return 1",
    b"local v = string.format(ARGV[1], 1, 'x', 2) return 1",
)


def _judge_bytes(kind: int, data: bytes) -> None:
    if kind >= 0xC0:
        data = b"".join(_PIECES[byte % len(_PIECES)] for byte in data[:60])
    for source in _READS:
        try:
            found = _run(source, None, [data])
        except (ScriptError, ScriptAborted) as error:
            text = str(error)
            assert text, source
            is_known = any(word in text for word in _NOT_WRITTEN) or source.startswith(_SAME) is False
            assert is_known or "Cannot serialise" not in text, text
            continue
        assert found == 1, (source, data)


_NOT_WRITTEN: Final = ("excessive nesting", "sparse array", "NaN or Inf", "key must be")
"""What cjson reads, or cmsgpack, need not be what cjson writes."""

_PIECES: Final = (
    *(bytes([byte]) for byte in b'[]{}":,1- \x01\xff\0'), b"0x1", b"1e5", b"null", b"true", b"\\u00e9", b"\\ud83d",
    b'"a"', b"nan", b"inf", b"\x91", b"\x81", b"\xa1a", b"\xc0", b"\xcb", b"\xdc\x00\x02", b"\xd9\x01", b"%", b"%b()",
    b"%f[a]", b"*", b".-", b"(", b")", b"$", b"^", b"i3", b"!8", b"c0", b"s", b"%d", b"%5.2f",
)  # fmt: skip
