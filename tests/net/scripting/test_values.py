"""Values in both directions, by tables whose right sides are redis-server's bytes."""

from __future__ import annotations

from typing import Any

import pytest

from flin.errors import CommandError
from flin.net.scripting.runtime import Lua
from flin.net.wire.replies import EMPTY_ARRAY, NULL_ARRAY, OK, BigNumber, Map, Verbatim, bulk, simple
from flin.net.wire.resp import encode2, encode3
from tests.net.scripting.calling import FakeCaller, run


@pytest.fixture(scope="module")
def lua() -> Lua:
    return Lua()


RETURNED = [
    ("3.99", b":3\r\n"),
    ("-3.99", b":-3\r\n"),
    ("0/0", b":-9223372036854775808\r\n"),
    ("1/0", b":-9223372036854775808\r\n"),
    ("-1/0", b":-9223372036854775808\r\n"),
    ("2^53", b":9007199254740992\r\n"),
    ("2^62", b":4611686018427387904\r\n"),
    ("2^63", b":-9223372036854775808\r\n"),
    ("2^64", b":-9223372036854775808\r\n"),
    ("true", b":1\r\n"),
    ("false", b"$-1\r\n"),
    ("nil", b"$-1\r\n"),
    ("'a', 2", b"$1\r\na\r\n"),
    ("function() end", b"$-1\r\n"),
    ("coroutine.create(function() end)", b"$-1\r\n"),
    ("{true, false, 1.5, 2}", b"*4\r\n:1\r\n$-1\r\n:1\r\n:2\r\n"),
    ("{1, 2, nil, 4}", b"*2\r\n:1\r\n:2\r\n"),
    ("{function() end, 5}", b"*2\r\n$-1\r\n:5\r\n"),
    ("{{{}}}", b"*1\r\n*1\r\n*0\r\n"),
    ("{double=3.5}", b"$3\r\n3.5\r\n"),
    ("{double='3.5'}", b"*0\r\n"),
    ("{double=1/0}", b"$3\r\ninf\r\n"),
    ("{double=1e300}", b"$23\r\n1.0000000000000001e+300\r\n"),
    ("{double=0.1}", b"$19\r\n0.10000000000000001\r\n"),
    ("{map={a=1}}", b"*2\r\n$1\r\na\r\n:1\r\n"),
    ("{map={a={map={b=2}}}}", b"*2\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n:2\r\n"),
    ("{map=5}", b"*0\r\n"),
    ("{set={a=1}}", b"*1\r\n$1\r\na\r\n"),
    ("{big_number='12\\r\\n3'}", b"$5\r\n12  3\r\n"),
    ("{verbatim_string={format='txt', string='hi'}}", b"$2\r\nhi\r\n"),
    ("{verbatim_string={format='txt'}}", b"*0\r\n"),
    ("{ok='a\\r\\nb'}", b"+a  b\r\n"),
    ("{ok=5}", b"*0\r\n"),
    ("{err='a\\r\\nb'}", b"-a  b\r\n"),
    ("{err='boo', ok='x'}", b"-boo\r\n"),
    ("{{err='ERR boo'}, {ok='x'}}", b"*2\r\n-ERR boo\r\n+x\r\n"),
    ("setmetatable({}, {__index=function() error('x') end})", b"*0\r\n"),
    ("{'\\0\\255'}", b"*1\r\n$2\r\n\0\xff\r\n"),
    ("string", b"*0\r\n"),
]


@pytest.mark.parametrize(("expression", "reply"), RETURNED)
def test_returned(lua: Lua, expression: str, reply: bytes) -> None:
    assert encode2(run(lua, "return " + expression)) == reply


RETURNED3 = [
    ("true", b"#t\r\n"),
    ("false", b"#f\r\n"),
    ("nil", b"_\r\n"),
    ("{1, false}", b"*2\r\n:1\r\n#f\r\n"),
    ("{map={a=1}}", b"%1\r\n$1\r\na\r\n:1\r\n"),
    ("{map={[{1}]={2}}}", b"%1\r\n*1\r\n:1\r\n*1\r\n:2\r\n"),
    ("{map={}}", b"%0\r\n"),
    ("{set={a=true}}", b"~1\r\n$1\r\na\r\n"),
    ("{set={[{}]=true}}", b"~1\r\n*0\r\n"),
    ("{double=1.5}", b",1.5\r\n"),
    ("{big_number='123'}", b"(123\r\n"),
    ("{verbatim_string={format='toolong', string='x'}}", b"=5\r\ntoo:x\r\n"),
    ("{verbatim_string={format='', string='x'}}", b"=5\r\n   :x\r\n"),
    ("{verbatim_string={format='\\r\\n', string='x'}}", b"=5\r\n\r\n :x\r\n"),
    ("{verbatim_string={format='mkd', string='hi'}}", b"=6\r\nmkd:hi\r\n"),
]


@pytest.mark.parametrize(("expression", "reply"), RETURNED3)
def test_returned_to_resp3(lua: Lua, expression: str, reply: bytes) -> None:
    assert encode3(run(lua, "redis.setresp(3) return " + expression)) == reply


def test_keys_of_a_map_may_be_alike(lua: Lua) -> None:
    """1 and 1.5 are one number on the wire, and 1 and true one value of Python's."""
    found = run(lua, "redis.setresp(3) return {map={[1]='a', [1.5]='a', [true]='a'}}")
    assert sorted(encode3(found).split(b"\r\n")) == sorted(
        b"%3\r\n:1\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n#t\r\n$1\r\na\r\n".split(b"\r\n")
    )


def test_depth(lua: Lua) -> None:
    source = "local t = {} for i = 1, %d do t = {t} end return t"
    assert encode2(run(lua, source % 189)) == b"*1\r\n" * 189 + b"*0\r\n"
    assert encode2(run(lua, source % 5000)) == b"*1\r\n" * 190 + b"-ERR reached lua stack limit\r\n"


SEEN: list[tuple[Any, str, str]] = [
    (b"x", "'x'", "'x'"),
    (7, "7", "7"),
    (-(2**63), "-2^63", "-2^63"),
    (None, "false", "nil"),
    (NULL_ARRAY, "false", "nil"),
    (OK, "{ok='OK'}", "{ok='OK'}"),
    (simple(b"x"), "{ok='x'}", "{ok='x'}"),
    ("text", "{ok='text'}", "{ok='text'}"),
    (bulk(b"a\r\nb"), "'a\\r\\nb'", "'a\\r\\nb'"),
    (EMPTY_ARRAY, "{}", "{}"),
    ([], "{}", "{}"),
    ([b"a", 1, None], "{'a', 1, false}", "{'a', 1}"),
    ((b"a", [b"b", [3]]), "{'a', {'b', {3}}}", "{'a', {'b', {3}}}"),
    ([bulk(b"a"), OK], "{'a', {ok='OK'}}", "{'a', {ok='OK'}}"),
    ([CommandError("ERR x")], "{{err='ERR x'}}", "{{err='ERR x'}}"),
    ({b"a": 1, b"b": [b"c"]}, "{'a', 1, 'b', {'c'}}", "{map={a=1, b={'c'}}}"),
    ({b"a"}, "{'a'}", "{set={a=true}}"),
    (1.5, "'1.5'", "{double=1.5}"),
    ([0.1], "{'0.10000000000000001'}", "{{double=0.1}}"),
    (True, "1", "true"),
    (False, "0", "false"),
    (Verbatim(b"x"), "'x'", "{verbatim_string={format='txt', string='x'}}"),
    (BigNumber(b"12"), "'12'", "{big_number='12'}"),
]

SAME = """
local function same(a, b)
  if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k, v in pairs(b) do if a[k] == nil then return false end end
  return true
end
"""


@pytest.mark.parametrize(("reply", "seen2", "seen3"), SEEN)
def test_replies_seen_by_scripts(lua: Lua, reply: Any, seen2: str, seen3: str) -> None:
    caller = FakeCaller(get=reply)
    assert run(lua, f"{SAME} return same(redis.call('get'), {seen2})", caller=caller) == 1
    assert run(lua, f"{SAME} redis.setresp(3) return same(redis.call('get'), {seen3})", caller=caller) is True


def test_maps_are_sent_as_dicts_are() -> None:
    for encode in (encode2, encode3):
        assert encode(Map([(b"a", 1), (b"b", [2])], is_set=False)) == encode({b"a": 1, b"b": [2]})
        assert encode(Map([(b"a", None)], is_set=True)) == encode({b"a"})
