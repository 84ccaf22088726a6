"""The Lua files of the package: what a linter would say. A global that nobody made would be nil, and found only where
that line runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lupa.luajit21 as lupa
import pytest

from tests.source import ROOT

FILES = sorted((ROOT / "flin").rglob("*.lua"))
MOST_LINES = 600

# Walks the bytecode of a function and of all within it; the codes of reading and writing a global are found by example.
SCANNER = b"""
local util = require("jit.util")
local function code_of(f, position) return bit.band(util.funcbc(f, position), 0xff) end
local read, write = code_of(loadstring("return zzz"), 1), code_of(loadstring("zzz = 1"), 2)
local function scan(f, depth, found)
  local position = 1
  while util.funcbc(f, position) do
    local word = util.funcbc(f, position)
    local code = bit.band(word, 0xff)
    if code == write or (code == read and depth > 0) then
      found[#found + 1] = tostring(util.funck(f, -bit.rshift(word, 16) - 1))
    end
    position = position + 1
  end
  local constant = -1
  while util.funck(f, constant) ~= nil do
    if type(util.funck(f, constant)) == "proto" then scan(util.funck(f, constant), depth + 1, found) end
    constant = constant - 1
  end
  return table.concat(found, " ")
end
return function(f) return scan(f, 0, {}) end
"""


@pytest.fixture(scope="module")
def state() -> Any:
    return lupa.LuaRuntime(encoding=None, unpack_returned_tuples=True)


def test_the_scanner_finds_globals(state: Any) -> None:
    scan = state.execute(SCANNER)
    assert scan(state.compile(b"local print = print x = 1 return function() return print(y) end")) == b"x y"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_globals(state: Any, path: Path) -> None:
    """Functions use locals alone: by the time they run, the globals are gone."""
    assert state.execute(SCANNER)(state.compile(path.read_bytes())) == b""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_form(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("-- "), "a file says what it is"
    assert len(lines) <= MOST_LINES
    assert [line for line in lines if len(line) > 120 or line != line.rstrip() or "\t" in line] == []
