"""What `redis.call` gives a script, in both protocols, beside redis-server: replies of every form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

pytest.importorskip("lupa.luajit21", exc_type=ImportError)

SETUP = """
SET text hello|SET number 10|RPUSH list a b 3|SADD set a|HSET hash a 1|ZADD scores 1.5 a inf b|XADD stream 1-1 f v
XADD stream 2-1 g w|XGROUP CREATE stream group 0|XREADGROUP GROUP group me COUNT 1 STREAMS stream >
GEOADD places 13.361389 38.115556 Palermo|PFADD hll a b c|ZADD lone 1.5 a
"""

CALLS = """
GET text|GET none|MGET text none number|SET text x GET|SET none x XX|SET none x XX GET|GETEX none|INCRBYFLOAT number 0.5
STRLEN text|EXISTS text none|TYPE list|TYPE none|TTL text|EXPIRETIME none|OBJECT ENCODING list|OBJECT ENCODING none
OBJECT REFCOUNT list|MEMORY USAGE none|COPY text copy|RENAME none x|LCS text none
LCS text text LEN|GETRANGE text 0 1|BITFIELD text GET u8 0 OVERFLOW FAIL SET u8 0 300|BITPOS text 1|ECHO x|PING|PING x
LRANGE list 0 -1|LRANGE none 0 -1|LINDEX list 9|LPOS list z|LPOS list a COUNT 0|LPOP none|LPOP none 2|LPOP list 0
LMPOP 1 none LEFT|LMPOP 1 list LEFT COUNT 2|LMOVE none x LEFT RIGHT|BLPOP none 0|BLMPOP 0 1 none LEFT|BZPOPMIN none 0
SMEMBERS set|SMEMBERS none|SINTER set set|SUNION none set|SPOP none|SPOP none 2|SRANDMEMBER none|SRANDMEMBER set 2
SMISMEMBER set a b|SSCAN set 0|SCAN 0 MATCH hash COUNT 100|HGETALL hash|HGETALL none|HKEYS hash|HMGET hash a b
HGET hash b|HINCRBYFLOAT hash a 0.25|HRANDFIELD hash|HRANDFIELD hash 5 WITHVALUES|HRANDFIELD none 5
HSCAN hash 0|HEXISTS hash a
ZSCORE scores a|ZSCORE scores b|ZSCORE scores none|ZMSCORE scores a none|ZRANGE scores 0 -1
ZRANGE scores 0 -1 WITHSCORES|ZRANGEBYSCORE scores -inf +inf WITHSCORES|ZREVRANGE scores 0 -1 WITHSCORES
ZINCRBY scores 0.5 a|ZADD scores INCR 1 a
ZADD scores NX INCR 1 a|ZPOPMIN none|ZPOPMAX scores|ZPOPMIN scores 2|ZMPOP 1 scores MIN|ZMPOP 1 none MIN|ZRANK scores z
ZRANDMEMBER lone|ZRANDMEMBER lone 5 WITHSCORES|ZRANDMEMBER none 5 WITHSCORES|ZSCAN scores 0|ZUNION 1 scores WITHSCORES
ZINTER 2 scores scores WITHSCORES|ZDIFF 1 scores WITHSCORES|GEOPOS places Palermo none|GEODIST places Palermo Palermo
GEODIST places Palermo none|GEOHASH places Palermo none
GEOSEARCH places FROMLONLAT 15 37 BYRADIUS 200 km WITHCOORD WITHDIST
XRANGE stream - +|XREAD STREAMS stream 0|XREAD STREAMS stream none 0 0|XREAD STREAMS stream $|XLEN stream
XREADGROUP GROUP group me STREAMS stream >|XREADGROUP GROUP group me STREAMS stream 0|XPENDING stream group
XREADGROUP GROUP group me STREAMS stream 9|XAUTOCLAIM stream group me 0 0|XCLAIM stream group me 0 1-1
PFCOUNT hll|SORT list ALPHA GET # GET none*|SORT list|COMMAND GETKEYS mset a b c d
PUBLISH channel x|DBSIZE|SELECT 1|DUMP none|RESTORE none 0 x|EXPIRE text 10 NX
"""


def calls(table: str) -> list[bytes]:
    return [call.encode() for line in table.strip().splitlines() for call in line.split("|")]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with running_redis(tmp_path_factory.mktemp("redis")) as theirs, ServerThread() as ours:
        yield ours.port, theirs


@pytest.mark.parametrize("chosen", [b"2", b"3"])
@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_replies_are_as_in_redis(ports: tuple[int, int], protocol: bytes, chosen: bytes) -> None:
    """protocol: the client's. chosen: the script's, for what it calls."""
    with RawClient(ports[0]) as ours, RawClient(ports[1]) as theirs:
        for client in (ours, theirs):
            client.call(b"HELLO", protocol)
        for call in calls(CALLS):
            for client in (ours, theirs):
                client.call(b"FLUSHALL")
                client.pipeline([each.split() for each in calls(SETUP)])
            words = b", ".join(b"'%b'" % word for word in call.split())
            source = b"redis.setresp(%b) return redis.pcall(%b)" % (chosen, words)
            assert ours.call(b"EVAL", source, b"0").data == theirs.call(b"EVAL", source, b"0").data, call


@pytest.mark.parametrize("chosen", [b"2", b"3"])
def test_sets_of_names(ports: tuple[int, int], chosen: bytes) -> None:
    """COMMAND INFO shows some, in no order."""
    source = b"redis.setresp(%b) local found = redis.call('COMMAND', 'INFO', 'get')[1]" % chosen
    source += b" return {#found, #(found[3].set or found[3]), #(found[7].set or found[7])}"
    with RawClient(ports[0]) as ours, RawClient(ports[1]) as theirs:
        replies = [client.call(b"EVAL", source, b"0").data for client in (ours, theirs)]
    assert replies[0] == replies[1]
    assert replies[0].startswith(b"*3\r\n:10\r\n")
