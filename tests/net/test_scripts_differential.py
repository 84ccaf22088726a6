"""Scripts beside redis-server: values, errors, what may be called, and commands of all types through redis.call."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import pytest

from flin.net.command.command import Flag
from flin.net.command.registry import find_for
from tests.net.differential import Pair
from tests.net.fake_store import FakeStore, OftenColdStore
from tests.net.generator import OPTIONS, PLAIN, Generator, Request
from tests.net.script_of_requests import script_of
from tests.net.serving import ServerThread

pytest.importorskip("lupa.luajit21", exc_type=ImportError)


@pytest.fixture(scope="module", params=["memory", "cold"])
def flin_port(request: pytest.FixtureRequest) -> Iterator[int]:
    store = OftenColdStore() if request.param == "cold" else FakeStore()
    with ServerThread(store) as server:
        yield server.port


def evaluated(*words: str | bytes, name: str = "EVAL") -> Request:
    """A script and its words, the number of keys among them; none: no keys."""
    rest = [word.encode("latin-1") if isinstance(word, str) else word for word in words]
    return Request("eval", [name.encode(), *rest, *([b"0"] if len(rest) == 1 else [])])


SCRIPTS: Final = [
    # What is returned.
    "return 1",
    "return 3.99",
    "return -3.99",
    "return 1e300",
    "return 0/0",
    "return 'text'",
    "return ''",
    "return",
    "return nil",
    "return true",
    "return false",
    "return {}",
    "return {1, 2, {3, 'four', {}}}",
    "return {1, nil, 3}",
    "return {true, false, 'x'}",
    "return {ok = 'fine'}",
    "return {err = 'My error'}",
    "return {1, ok = 'fine'}",
    "return redis.status_reply('S')",
    "return redis.error_reply('E')",
    "return redis.error_reply('-E x')",
    "return {redis.status_reply('S'), redis.error_reply('E'), 5}",
    "return {a = 1}",
    "return '\\0\\255\\r\\n'",
    # Its errors.
    "error('plain')",
    "error({err = 'ERR of a table'})",
    "error()",
    "return nothing.here",
    "return 'a' + 1",
    "return bad syntax",
    "x = 1",
    "return undefined",
    "local t = nil; return t.x",
    "return redis.call()",
    "return redis.call({})",
    "return redis.call('GET', {})",
    "return redis.call('GET', nil)",
    "return redis.call(1)",
    "return redis.call('nosuch')",
    "return redis.pcall('nosuch')",
    "return redis.call('GET')",
    "return redis.call('GET', 'a', 'b')",
    "return redis.pcall('GET')",
    "return redis.call('MULTI')",
    "return redis.call('MULTI', 'x')",
    "return redis.call('BLPOP', 'a', 0)",
    "return redis.call('CONFIG', 'GET', 'x')",
    "return redis.call('CONFIG', 'nosuch')",
    "return redis.call('CONFIG')",
    "return redis.call('OBJECT', 'nosuch')",
    "return redis.call('XREAD', 'BLOCK', 0, 'STREAMS', 'nokey', 0)",
    "return redis.call('EVAL', 'return 1', 0)",
    "redis.call('SET', 's', 'x') return redis.call('LPUSH', 's', 1)",
    "return redis.pcall('INCR', 's')",
    "return redis.pcall('INCR', 's').err",
    "local ok, e = pcall(redis.call, 'INCR', 's') return {tostring(ok), type(e)}",
    "redis.call('SET', 'kept', '1') error('after a write')",
    "return redis.call('GET', 'kept')",
    # Other calls of the library.
    "return redis.sha1hex('x')",
    "return redis.sha1hex()",
    "redis.setresp(4)",
    "return redis.setresp(3)",
    "return redis.acl_check_cmd('GET', 'a')",
    "return redis.acl_check_cmd('nosuch')",
    "return redis.replicate_commands()",
    "redis.call('SELECT', 3) redis.call('SET', 'there', 1) return redis.call('GET', 'there')",
    "return redis.call('EXISTS', 'there')",
    "return redis.call('PUBLISH', 'a', 'b')",
    "return redis.call('PING')",
    "return redis.call('ECHO', 1.5)",
    "return redis.call('ECHO', 10)",
    "return redis.call('ECHO', 1e15)",
    "return redis.call('ECHO', 2^53)",
    "return redis.call('ECHO', -0.1)",
    "return {redis.call('SET', 'a', 1)}",
    "return redis.call('HSET', 'h', 'f', 1, 'g', 2.5)",
    "return redis.call('HGETALL', 'h')",
    "return redis.call('TYPE', 'h')",
    "return redis.call('ZADD', 'z', 1.5, 'a', 2, 'b')",
    "return redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES')",
    "redis.setresp(3) return redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES')",
    "redis.call('HDEL', 'h', 'f') redis.setresp(3) return redis.call('HGETALL', 'h')",
    "redis.setresp(3) return redis.call('ZSCORE', 'z', 'a')",
    "redis.setresp(3) return redis.call('GET', 'nokey')",
    "return redis.call('GET', 'nokey') == false",
    "redis.setresp(3) return redis.call('GET', 'nokey') == nil",
    "return redis.call('LRANGE', 'nolist', 0, -1)",
    "return redis.call('MGET', 's', 'nokey')",
    "return #redis.call('KEYS', 's')",
    "for i = 1, 300 do redis.call('RPUSH', 'l', i) end return redis.call('LLEN', 'l')",
    "return redis.call('LRANGE', 'l', 0, 4)",
    # Shebangs.
    "#!lua\nreturn 1",
    "#!lua flags=no-writes\nreturn redis.pcall('SET', 'a', 1)",
    "#!lua flags=foo\nreturn 1",
    "#!lua flags=no-writes,allow-oom\nreturn redis.call('GET', 's')",
    "#!foo\nreturn 1",
    "#!lua",
    "#!lua name=x\nreturn 1",
]

LINES: Final = [
    ["EVAL", "return {KEYS[1], KEYS[2], ARGV[1], #ARGV}", "2", "a", "b", "c", "d"],
    ["EVAL", "return 1"],
    ["EVAL", "return 1", "x"],
    ["EVAL", "return 1", "-1"],
    ["EVAL", "return 1", "2", "a"],
    ["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"],
    ["EVALSHA", "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", "0"],
    ["EVALSHA", "f" * 40, "0"],
    ["EVALSHA", "x", "0"],
    ["EVALSHA_RO", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"],
    ["EVAL_RO", "return redis.call('SET', 'a', 1)", "0"],
    ["EVAL_RO", "return redis.pcall('SET', 'a', 1)", "0"],
    ["EVAL_RO", "return redis.call('GET', 's')", "1", "s"],
    ["EVAL_RO", "#!lua\nreturn 1", "0"],
    ["EVAL_RO", "return redis.call('PUBLISH', 'a', 'b')", "0"],
    ["EVAL_RO", "return redis.call('PFCOUNT', 'nokey')", "0"],
    ["SCRIPT", "LOAD", "return 8"],
    ["SCRIPT", "LOAD", "return bad syntax"],
    ["SCRIPT", "LOAD"],
    ["SCRIPT", "LOAD", "a", "b"],
    ["SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "x"],
    ["SCRIPT", "EXISTS"],
    ["SCRIPT"],
    ["SCRIPT", "nosuch"],
    ["SCRIPT", "KILL"],
    ["SCRIPT", "FLUSH", "x"],
    ["SCRIPT", "FLUSH", "SYNC"],
    ["SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"],
    ["MULTI"],
    ["EVAL", "return redis.call('INCR', KEYS[1])", "1", "n"],
    ["EVAL", "error('x')", "0"],
    ["EVALSHA", "x", "0"],
    ["EXEC"],
    ["GET", "n"],
    ["WATCH", "n"],
    ["EVAL", "redis.call('INCR', 'n')", "0"],
    ["MULTI"],
    ["PING"],
    ["EXEC"],
]


@pytest.mark.parametrize("protocol", [2, 3])
def test_one_liners(flin_port: int, redis_port: int, protocol: int) -> None:
    requests = [evaluated(source) for source in SCRIPTS]
    requests += [Request("eval", [word.encode() for word in words]) for words in LINES]
    with Pair(flin_port, redis_port, protocol) as pair:
        assert "\n".join(pair.differences(requests)) == ""


_LEFT_OUT: Final = {"spop", "srandmember", "hrandfield", "zrandmember", "randomkey", "scan", "keys", "sort", "sort_ro"}
"""Whose replies have no order, or are random."""

_GROUPS: Final = {"bitmap", "geo", "hash", "hyperloglog", "list", "set", "sorted-set", "stream", "string", "generic"}


def _requests(seed: int, number: int) -> list[list[bytes]]:
    """Requests of all types whose replies the two servers give alike."""
    source = Generator(seed)
    names = []
    for name in PLAIN:
        command = find_for([part.encode() for part in name.split("|")])
        assert command is not None
        if command.group in _GROUPS and name not in _LEFT_OUT and not command.flags & (Flag.NOSCRIPT | Flag.BLOCKING):
            names.append(name)
    found: list[list[bytes]] = []
    while len(found) < number:
        name = source.pick(names)
        kind = "options" if name in OPTIONS and source.random.random() < 0.4 else "plain"
        for request in source.burst(name, kind):  # type: ignore[arg-type]
            command = find_for(request.words)
            if request.compare == "same" and command is not None and not command.flags & Flag.NOSCRIPT:
                found.append(request.words)
    return found


def differences(flin_port: int, redis_port: int, seed: int, number: int) -> list[str]:
    chance = random.Random(seed)
    requests = _requests(seed, number)
    scripts = []
    while requests:
        size = chance.randint(1, 12)
        scripts.append(script_of(requests[:size]))
        del requests[:size]
    with Pair(flin_port, redis_port, 2) as pair:
        return list(pair.differences(scripts))


def test_commands_of_all_types(flin_port: int, redis_port: int) -> None:
    assert "\n".join(differences(flin_port, redis_port, 20_261_128, 1500)[:3]) == ""


@pytest.mark.slow
def test_many_commands_of_all_types(flin_port: int, redis_port: int) -> None:
    for seed in range(4):
        assert "\n".join(differences(flin_port, redis_port, seed, 4000)[:3]) == ""
