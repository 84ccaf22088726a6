"""The pattern matcher in Lua does what the one in C does, and ends."""

from __future__ import annotations

import random

import pytest

from flin.errors import ScriptAborted, ScriptError
from flin.net.scripting.runtime import Lua
from tests.net.scripting.calling import FakeCaller, run


@pytest.fixture(scope="module")
def lua() -> Lua:
    return Lua()


BOMBS = [
    "return string.rep('a', 1e6):find(string.rep('.-', 20) .. 'b')",
    "return string.rep('a', 3e5):find('.-b')",
    "return string.rep('a', 3e5):match('(.*)(.*)(.*)b')",
    "for x in string.rep('a', 3e5):gmatch('.-.-b') do end",
    "return string.rep('a', 1e6):gsub('a*b', '')",
    "return string.rep('a', 40):find(string.rep('a?', 40) .. string.rep('a', 40))",
    "return string.rep('(', 1e6):find('%b()x')",
    "return pcall(string.find, string.rep('a', 1e6), string.rep('a*', 30) .. 'b')",
    "local s = string.rep('a', 1e6) while true do pcall(function() return s:find('.-.-.-b') end) end",
]


@pytest.mark.parametrize("source", BOMBS)
def test_bombs_end(lua: Lua, source: str) -> None:
    with pytest.raises(ScriptAborted):
        run(lua, source, caller=FakeCaller(stop_after=20))


ITEMS = ["a", "b", ".", "%a", "%w", "[ab]", "[^a]", "%s", "[%w_]", "%(", "[]a]", "x", "-", "%f[%w]", "%bab", "()", "%1"]


def _pattern(source: random.Random) -> str:
    made = "^" if source.randrange(5) == 0 else ""
    opened = 0
    for _ in range(source.randrange(1, 6)):
        if source.randrange(4) == 0:
            made += "("
            opened += 1
        made += source.choice(ITEMS) + source.choice(["", "", "*", "+", "-", "?"])
        if opened and source.randrange(2):
            made += ")"
            opened -= 1
    return made + ")" * (opened if source.randrange(9) else 0) + ("$" if source.randrange(5) == 0 else "")


CALLS = [
    "{{pcall(string.find, {text}, {pattern})}}",
    "{{pcall(string.match, {text}, {pattern}, 2)}}",
    "{{pcall(string.gsub, {text}, {pattern}, '<%0|%1>')}}",
    "{{pcall(string.gsub, {text}, {pattern}, function(x) return x == 'a' and 'A' end, 3)}}",
    "{{pcall(function() local t = {{}} for x, y in string.gmatch({text}, {pattern}) do"
    " t[#t + 1] = tostring(x) .. tostring(y) end return unpack(t) end)}}",
]


def test_both_matchers_agree(lua: Lua) -> None:
    """`slow` makes the pattern one that goes to Lua: by forty `x?` in front, which a text without x never uses."""
    source = random.Random(5)
    for _ in range(400):
        text = repr("".join(source.choice("aab b(_") for _ in range(source.randrange(12))))
        pattern = _pattern(source)
        anchor, rest = ("^", pattern[1:]) if pattern.startswith("^") else ("", pattern)
        slow = anchor + "x?" * 40 + rest
        for call in CALLS[: 4 if anchor else 5]:
            script = "local r = " + call + " for i = 1, #r do r[i] = tostring(r[i]) end return r"
            quick = run(lua, script.format(text=text, pattern=repr(pattern)))
            found = run(lua, script.format(text=text, pattern=repr(slow)))
            if quick[0] == b"true":
                assert found == quick, (call, text, pattern)
            else:
                assert found[0] == b"false", (call, text, pattern)


def test_methods_of_strings_use_it(lua: Lua) -> None:
    with pytest.raises(ScriptError, match="missing ']'"):
        run(lua, "return ('a'):rep(10):find(('a?'):rep(50) .. '[b')")
