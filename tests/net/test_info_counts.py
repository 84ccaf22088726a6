"""What INFO counts of requests, beside a node of a real Redis Cluster: calls, refusals, failures, errors, hits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.net.raw_client import RawClient
from tests.net.redis_cluster import running_cluster
from tests.net.serving import ServerThread

ALONE: Final = """
SET b 2; GET b; GET c0; GET a; SET a 1; MGET a b; MGET b f; MGET {b}1 b; MSETNX b 1 {b}9 2; TYPE b; EXISTS b {b}0
TOUCH b; LPUSH l x; GET l; GET {l}2; INCR l; APPEND l x; STRLEN l; GETRANGE l 0 1; GETSET l x; SET l 1 GET
SETRANGE l 0 x; SETBIT l 0 1; GETBIT l 0; BITCOUNT l; GETDEL l; GETEX l; SETNX l x; PFADD l x; PFCOUNT l; SORT b
DUMP b; TTL b; LLEN b; LPUSH b x; LRANGE b 0 1; LINSERT b BEFORE a b; LSET b 0 x; LREM b 0 x; LPOS b x; LTRIM b 0 1
RPOPLPUSH b {b}4; SADD l x; SCARD b; SMEMBERS b; SISMEMBER b x; SMISMEMBER b x; SRANDMEMBER b; SDIFF b {b}2
SINTER b {b}3; SPOP b; SUNIONSTORE {b}5 b; ZADD b 1 x; ZSCORE b x; ZRANGE b 0 1; ZRANK b x; ZCOUNT b 0 1
ZINCRBY b 1 x; ZPOPMIN b; ZUNIONSTORE {b}6 1 b; GEOADD l 1 1 x; HGET l x; HSET b a b; HGETALL b; HMGET b a; HLEN b
HSTRLEN b a; HEXISTS b a; HDEL b a; HINCRBY b x 1; XADD b * a b; XLEN b; XRANGE b - +; XREAD STREAMS b 0
XINFO STREAM b; XGROUP CREATE b g $; RENAME b {b}2; RENAME {b}7 {b}8; OBJECT ENCODING b; EXPIRE b 100; PERSIST b
DEL {b}0; BLPOP b 1; BLPOP a 1; WATCH a; NOSUCH; GET; GET a b; SUBSCRIBE; CLUSTER NOSUCH; CLUSTER KEYSLOT
SPUBLISH a x; SSUBSCRIBE a; FCALL g 0; AUTH x y; SELECT 1; EVALSHA abc 0; EVAL return(redis.call("get","a")) 0
EVAL return(redis.call("lpush","b",1)) 0; EVAL return(redis.call("get","b")) 0
EVAL return(redis.call("get",KEYS[1])) 1 a
XACK b g 1-1; XACK {b}n g 1-1; XCLAIM b g c 0 1-1; XCLAIM {b}n g c 0 1-1; XAUTOCLAIM b g c 0 0; XPENDING b g
XPENDING {b}n g; XREADGROUP GROUP g c STREAMS b 0; ZRANGESTORE {b}9 b 0 1
ZRANGESTORE {b}9 {b}n 0 1; COMMAND; COMMAND COUNT; CONFIG; CONFIG NOSUCH; GEOPOS b x; BITPOS l 1; SINTERCARD 1 b
"""

TOGETHER: Final = [
    "MULTI; GET b; GET a; SET b; EXEC",
    "MULTI; GET b; GET f; EXEC",
    "MULTI; LPUSH b x; GET l; EXEC",
    "MULTI; GET b; INCR b; GET {b}1; EXEC",
    "MULTI; GET a; EXEC",
    "MULTI; SET b 1; DISCARD",
]

SCRIPTS: Final = [
    "return redis.error_reply('MY error')",
    "return {err='nospace'}",
    "return {err='-DASH is this'}",
    "return {err=' '}",
    "return {err='TWO\\r\\nlines here'}",
    "return {err='AFIRSTWORDOFTHIRTYCHARACTERSXX is one'}",
    "return {err='AFIRSTWORDOFTHIRTYONECHARACTERS is none'}",
    "return {1, {err='IN a list'}, {{err='IN another'}}}",
    "return redis.pcall('lpush', KEYS[1], 'x')",
    "return redis.pcall('lpush', KEYS[1], 'x').err",
    "return {1, redis.pcall('lpush', KEYS[1], 'x')}",
    "return {err=redis.pcall('lpush', KEYS[1], 'x').err}",
    "return redis.pcall('set', KEYS[1])",
    "return redis.pcall('nosuch')",
    "return redis.pcall('subscribe', 'x')",
    "redis.pcall('lpush', KEYS[1], 'x'); return 1",
    "local is_good, e = pcall(redis.call, 'lpush', KEYS[1], 'x'); return e",
    "error(redis.pcall('lpush', KEYS[1], 'x'))",
    "error({err='CUSTOM error'})",
    "error('boom')",
    "#!lua flags=no-writes\nreturn redis.pcall('set', KEYS[1], 'x')",
    "no Lua",
]
"""Of one key, which holds a text."""

FUNCTIONS: Final = b"""#!lua name=failing
redis.register_function('returns', function(keys) return redis.error_reply('OF a function') end)
redis.register_function('fails', function(keys) return redis.call('lpush', keys[1], 'x') end)
redis.register_function('passes', function(keys) return redis.pcall('lpush', keys[1], 'x') end)
"""

COUNTED: Final = ("total_error_replies", "total_commands_processed", "keyspace_hits", "keyspace_misses", "errorstat_")

Counts = dict[str, object]


def counts(client: RawClient) -> Counts:
    lines = [
        line
        for section in (b"commandstats", b"errorstats", b"stats")
        for line in client.call(b"INFO", section).payload.decode().splitlines()
    ]
    found: Counts = {}
    asked = 0
    for line in lines:
        name, _, value = line.partition(":")
        if name.startswith("cmdstat_"):
            fields = dict(part.split("=") for part in value.split(","))
            of_command = [fields[field] for field in ("calls", "rejected_calls", "failed_calls")]
            if name in ("cmdstat_info", "cmdstat_config|resetstat"):
                asked += int(of_command[0])
            elif of_command != ["0", "0", "0"]:
                found[name] = of_command
        elif name.startswith(COUNTED):
            found[name] = value
    found["total_commands_processed"] = int(str(found["total_commands_processed"])) - asked
    return found


def run(client: RawClient, requests: list[list[bytes]]) -> tuple[list[bytes], Counts]:
    for request in ([b"FLUSHALL"], [b"SET", b"b", b"1"], [b"LPUSH", b"l", b"x"], [b"CONFIG", b"RESETSTAT"]):
        client.call(*request)
    replies = [client.call(*request).data for request in requests]
    return [reply.partition(b" ")[0] for reply in replies if reply[:1] == b"-"], counts(client)


def test_counts_are_those_of_redis(tmp_path: Path) -> None:
    alone = [text for line in ALONE.strip().splitlines() for text in line.split("; ")]
    with (
        running_cluster(tmp_path) as topology,
        ServerThread(topology=topology) as server,
        RawClient(topology.own_node.port) as theirs,
        RawClient(server.port) as ours,
    ):
        for text in (*alone, *TOGETHER):
            requests = [request.encode().split(b" ") for request in text.split("; ")]
            assert run(ours, requests) == run(theirs, requests), text
        for client in (ours, theirs):
            client.call(b"FUNCTION", b"LOAD", FUNCTIONS)
        scripts = [[b"EVAL", source.encode(), b"1", b"b"] for source in SCRIPTS]
        for request in (*scripts, *([b"FCALL", name, b"1", b"b"] for name in (b"returns", b"fails", b"passes"))):
            for requests in ([request], [[b"MULTI"], request, [b"EXEC"]]):
                assert run(ours, requests) == run(theirs, requests), requests
