"""Scenes of several clients beside a real redis-server (scenes.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.redis_server import running_redis
from tests.net.scenes import compare
from tests.net.serving import ServerThread


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Flin's and Redis's. One of each for all scenes, which delete all keys first."""
    with running_redis(tmp_path_factory.mktemp("redis")) as redis_port, ServerThread() as server:
        yield server.port, redis_port


SCENES = {
    "reply": r"""
        a: CLIENT REPLY OFF; PING; CLIENT REPLY SKIP; PING; NOSUCH; GET
        a: SET a 1; CLIENT REPLY ON; GET a
        a: CLIENT REPLY SKIP; GET a; PING
        a: CLIENT REPLY SKIP; CLIENT REPLY SKIP; PING; PING; PING
        a: CLIENT REPLY SKIP; NOSUCH; PING
        a: CLIENT REPLY SKIP; CLIENT REPLY ON; PING
        a: CLIENT REPLY maybe; CLIENT REPLY SKIP; CLIENT REPLY maybe; PING
        a: CLIENT REPLY SKIP; MULTI; SET a 2; GET a; EXEC; PING
        a: MULTI; CLIENT REPLY ON; GET a; EXEC
        a: CLIENT REPLY OFF; MULTI; SET a 3; EXEC
        a: RESET; GET a
        a: CLIENT REPLY OFF; BLPOP list 0
        b: RPUSH list x y
        a: CLIENT REPLY ON; LRANGE list 0 -1
        s: CLIENT REPLY OFF; SUBSCRIBE x y; PING; UNSUBSCRIBE y
        s3: CLIENT REPLY OFF; SUBSCRIBE x; PSUBSCRIBE x*; PING
        s: CLIENT REPLY SKIP; SUBSCRIBE z; PING
        b: PUBLISH x message
        a: CLIENT REPLY SKIP; BLPOP other 0; PING
        b: RPUSH other x
    """,
    "pause": r"""
        b: CLIENT PAUSE x; CLIENT PAUSE -1; CLIENT PAUSE 10 SOME; CLIENT PAUSE x SOME; CLIENT PAUSE; CLIENT PAUSE 1 2 3
        b: CLIENT PAUSE 100000 write
        a: GET a; PING; SET a 1; GET a
        c: MULTI; GET a; EXEC; PFCOUNT a; PING
        d: MULTI; SET a 2; INCR a; EXEC
        e: NOSUCH; SET a; OBJECT FREQ none; GETEX a; PING
        f: BLPOP list 0
        g: XREAD STREAMS s 0; SORT a
        b: CLIENT UNPAUSE
        b: RPUSH list x
        d: MULTI; SET a 2
        b: CLIENT PAUSE 100000 WRITE
        d: EXEC; PING
        a: DEL a
        a: (leaves)
        b: GET a; CLIENT UNPAUSE
        b: GET a
        f: BLPOP list 0
        b: MULTI; CLIENT PAUSE 100000 WRITE; RPUSH list y; EXEC
        c: INCR n; INCR n; INCR n
        e: MULTI; INCR n
        b: UNWATCH; CLIENT UNPAUSE
        e: EXEC
        b: CLIENT UNPAUSE; GET n
    """,
    "monitor": r"""
        m: MONITOR
        m3: MONITOR
        m: MONITOR; PING
        a: PING; SELECT 3; GET a; SELECT 0; NOSUCH; GET; CLIENT ID; CLIENT LIST ID 1; CONFIG GET maxclients
        a: SET key "a\\b'\x01\xff\r\n\t\x07\x08\x00~; SET \xc3\xbc x; set Key value
        a: MULTI; SET a 1; INCR a; LPUSH a x; EXEC
        a: MULTI; NOSUCH; EXEC; MULTI; GET a; DISCARD; EXEC
        a: AUTH secret; HELLO 2 AUTH default secret SETNAME me; AUTH default secret; HELLO 2; HELLO 9
        a: BLPOP list 0
        b: RPUSH list x
        b: MULTI; MONITOR; EXEC
        m: GET a; SET a 1; CLIENT GETNAME; MULTI; PING; GET a; EXEC
        a: RESET; DBSIZE
        a: INFO nothing; OBJECT ENCODING a; FLUSHALL; WATCH a; UNWATCH
        a: KEYS *
        m: RESET; GET a
        b: PING
        m3: QUIT
        b: PING
        m: MONITOR
        b: PING
        m: (leaves)
        b: PING
    """,
}


@pytest.mark.parametrize("name", SCENES)
def test_a_scene(ports: tuple[int, int], name: str) -> None:
    told = compare(*ports, SCENES[name])
    assert sum(map(len, told.values())) > 10
