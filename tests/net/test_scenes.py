"""Scenes of several clients beside a real redis-server (scenes.py)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.net.redis_server import running_redis
from tests.net.scenes import compare
from tests.net.serving import ServerThread
from tests.net.tracking_scripts import script, tells_no_less, tells_the_same


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Flin's and Redis's. One of each for all scenes, which delete all keys first."""
    with running_redis(tmp_path_factory.mktemp("redis")) as redis_port, ServerThread() as server:
        yield server.port, redis_port


SCENES = {
    "killed at once": r"""
        s: SUBSCRIBE x
        a: MULTI
        t: CLIENT TRACKING ON REDIRECT {a}; GET k
        n: CLIENT KILL ID {a}; CLIENT KILL ID {a}; CLIENT LIST ID {a}; CLIENT UNBLOCK {a}
        n: CLIENT TRACKING ON REDIRECT {a}
        t: CLIENT TRACKINGINFO
        n: SET k 1
        t: CLIENT TRACKINGINFO
        n: CLIENT KILL TYPE pubsub; CLIENT KILL ID {s}; CLIENT LIST ID {s}; PUBLISH x 1; PUBSUB NUMSUB x
    """,
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
    "list": r"""
        a: SELECT 3
        b3: CLIENT SETNAME me; SUBSCRIBE x y; PSUBSCRIBE z*; SSUBSCRIBE s
        c: MULTI; GET a; GET b
        d: BLPOP list 0
        m: MONITOR
        t3: CLIENT TRACKING ON
        u3: CLIENT TRACKING ON BCAST REDIRECT {t3} NOLOOP; CLIENT NO-EVICT ON
        w: WATCH k; SET k 1; MULTI
        s: SUBSCRIBE x
        n: CLIENT INFO; CLIENT LIST ID {a} {b3} {c} {d} {m} {t3} {u3} {w} {s} {n}
        t3: (leaves)
        n: SET k 2
        u3: CLIENT INFO; CLIENT GETREDIR
        n: CLIENT LIST ID {u3} {u3} 999999 {a}; CLIENT LIST ID x; CLIENT LIST ID; CLIENT LIST TYPE; CLIENT LIST TYPE x
        n: CLIENT LIST TYPE pubsub; CLIENT LIST TYPE replica; CLIENT LIST TYPE master; CLIENT LIST TYPE slave
        n: CLIENT PAUSE 100000 WRITE
        a: SET x 1
        n: CLIENT LIST ID {a}; CLIENT UNPAUSE; CLIENT UNBLOCK {d} ERROR; CLIENT UNBLOCK {a}; CLIENT UNBLOCK x
        u3: RESET; CLIENT INFO
        n: CLIENT KILL TYPE pubsub; CLIENT KILL TYPE nonsense; CLIENT KILL ID {n}; CLIENT KILL ID 0
        n: CLIENT KILL ADDR x:1
        n: CLIENT KILL TYPE pubsub SKIPME maybe; CLIENT KILL LADDR 1.2.3.4:5 USER default; CLIENT KILL USER nobody
        n: CLIENT KILL ID {c} TYPE pubsub; CLIENT KILL ID {c} TYPE normal USER default; CLIENT KILL 1.2.3.4:5
        n: CLIENT KILL ID {n} SKIPME no
    """,
    "scripts": r"""
        m: MONITOR
        w: PING
        a: EVAL return(redis.call('get','k')) 0
        a: EVAL redis.call('select','3')redis.call('set','k','v')return(redis.pcall('lpush','k','x')) 0
        a: MULTI; EVAL return(redis.call('get',KEYS[1])) 1 k; PING; EXEC
        a: SCRIPT LOAD return(redis.call('get',KEYS[1]))
        a: EVAL_RO return(redis.call('get',KEYS[1])) 1 k
        a: EVAL return(redis.call('nosuch')) 0
        a: EVALSHA 0000 0; EVAL return(1) 5; EVAL syntax( 0; EVAL_RO return(redis.call('set','k','v')) 0
        a: MULTI; EVALSHA 0000 0; EVAL return(redis.call('get','k')) 0; EXEC
        m: RESET
        t3: CLIENT TRACKING ON; EVAL return(redis.call('get',KEYS[1])) 1 k
        w: SET k 1
        t3: EVAL_RO return(redis.call('get',KEYS[1])) 1 k
        w: EVAL redis.call('set',KEYS[1],1)redis.call('set',KEYS[1],2)redis.call('set','other',1) 1 k
        t3: MULTI; EVAL_RO return(redis.call('mget',KEYS[1],KEYS[2])) 2 k j; EXEC
        w: MSET k 1 j 2
        t3: EVAL return(redis.call('set',KEYS[1],1)) 1 k; GET k; GET j
        t3: EVAL return(redis.call('set',KEYS[1],1)) 1 k
        w: CLIENT PAUSE 100000 WRITE
        a: EVAL return(1) 0
        b: EVAL_RO return(1) 0; EVAL #!lua\x20flags=no-writes\nreturn(1) 0
        c: EVAL #!lua\nreturn(1) 0
        d: MULTI; EVAL_RO return(1) 0; EXEC; MULTI; EVAL return(1) 0
        w: CLIENT UNPAUSE
        d: EXEC
    """,
    "tracking options": r"""
        a3: CLIENT TRACKING ON PREFIX a; CLIENT TRACKING maybe; CLIENT TRACKING ON other; CLIENT TRACKING ON REDIRECT
        a3: CLIENT TRACKING ON REDIRECT x; CLIENT TRACKING ON REDIRECT 0; CLIENT TRACKING ON REDIRECT -1
        b: PING
        a3: CLIENT TRACKING ON REDIRECT {b} REDIRECT {b}; CLIENT TRACKING ON BCAST OPTIN
        a3: CLIENT TRACKING ON OPTOUT OPTIN
        a3: CLIENT TRACKING ON BCAST PREFIX a PREFIX ab; CLIENT TRACKING ON BCAST PREFIX ab PREFIX a; CLIENT GETREDIR
        a3: CLIENT TRACKING ON BCAST PREFIX b PREFIX a; CLIENT TRACKINGINFO; CLIENT TRACKING ON BCAST PREFIX aa
        a3: CLIENT TRACKING ON BCAST PREFIX c NOLOOP; CLIENT TRACKINGINFO; CLIENT TRACKING ON BCAST; CLIENT TRACKINGINFO
        a3: CLIENT TRACKING ON; CLIENT TRACKING OFF other; CLIENT TRACKING OFF BCAST PREFIX a; CLIENT TRACKINGINFO
        a3: CLIENT TRACKING OFF; CLIENT TRACKING ON OPTIN; CLIENT CACHING YES; CLIENT TRACKINGINFO; PING
        a3: CLIENT TRACKINGINFO; CLIENT CACHING NO; CLIENT CACHING x; CLIENT TRACKING ON OPTOUT
        a3: CLIENT TRACKING ON; CLIENT TRACKING ON OPTOUT; CLIENT CACHING NO; CLIENT TRACKINGINFO; CLIENT CACHING YES
        a3: CLIENT TRACKING ON REDIRECT {b} NOLOOP; CLIENT GETREDIR; CLIENT TRACKINGINFO; RESET; CLIENT TRACKINGINFO
        b: CLIENT CACHING YES; CLIENT CACHING x; CLIENT TRACKING ON; CLIENT CACHING YES; CLIENT TRACKINGINFO; GET a
        b: CLIENT TRACKING; CLIENT CACHING; CLIENT TRACKINGINFO x; CLIENT TRACKING ON BCAST NOLOOP PREFIX; SET a 1
    """,
    "tracking": r"""
        a3: CLIENT TRACKING ON; GET a; GET b; MGET a c
        w: SET a 1
        w: MSET a 2 b 2 c 3
        w: SET a 3
        a3: GET a
        a3: SET a 4
        a3: SET a 5
        a3: MULTI; GET a; GET b; EXEC
        w: MULTI; SET a 1; SET b 2; SET a 3; EXEC
        a3: GET a; EXISTS b
        w: SELECT 3; SET a 9; DEL none; DEL a; SELECT 0
        a3: GET a
        w: SELECT 3; FLUSHDB
        w: SELECT 0; FLUSHALL
        a3: GET a
        a3: FLUSHALL
        w: MSET r1 x r2 y
        a3: MGET r1 r3
        w: RENAME r1 r2
        a3: GET r1; GET r2
        w: RENAME r2 r4
        w: COPY r4 r3; MOVE r4 5
        a3: LRANGE l 0 -1; SMEMBERS s; HGETALL h; ZRANGE z 0 -1; XLEN x
        w: RPUSH l 1; SADD s 1; HSET h a 1; ZADD z 1 a; XADD x 1-1 a b
        a3: LLEN l; SCARD s; TTL a; TYPE b; OBJECT ENCODING a; STRLEN c; DBSIZE; SORT_RO l
        w: SADD s 1; SET a 5 NX; DEL none
        w: EXPIRE a 100
        w: PERSIST a; LPOP l; GETDEL b; APPEND c x; PFADD p x
        a3: GETEX a; SORT l; PFCOUNT p; PFCOUNT p
        w: SET a 2; PFADD p y
        v3: CLIENT TRACKING ON; GET a
        v3: MULTI; SET a 1; INCR a; EXEC
        a3: GET a
        v3: GET a
        w: INCR a
        a3: CLIENT TRACKING OFF; GET a
        v3: GET a
        w: INCR a
        a3: CLIENT TRACKING ON; GET a
        a3: (leaves)
        w: INCR a
        v3: GET a; RESET; GET a
        w: INCR a
    """,
    "tracking modes": r"""
        a3: CLIENT TRACKING ON NOLOOP; GET a; GET b
        a3: SET a 2
        w: SET a 1; SET b 1
        a3: MULTI; GET a; SET a 1; GET a; EXEC
        w: SET a 2
        a3: MULTI; SET b 1; GET b; EXEC
        w: SET b 2
        a3: CLIENT TRACKING OFF; CLIENT TRACKING ON OPTIN; GET a; CLIENT CACHING YES; GET b; GET c
        w: MSET a 1 b 1 c 1
        a3: CLIENT CACHING YES; MULTI; GET a; GET b; EXEC; GET c
        w: MSET a 1 b 1 c 1
        a3: CLIENT CACHING YES; CLIENT ID; GET a
        w: MSET a 1 b 1 c 1
        a3: MULTI; CLIENT CACHING YES; GET a; GET b; EXEC; GET c
        w: MSET a 1 b 1 c 1
        a3: CLIENT CACHING YES; NOSUCH; GET a
        w: MSET a 1 b 1 c 1
        a3: CLIENT TRACKING OFF; CLIENT TRACKING ON OPTOUT; GET a; CLIENT CACHING NO; GET b; GET c
        w: MSET a 1 b 1 c 1
        a3: CLIENT TRACKING OFF; CLIENT TRACKING ON BCAST PREFIX a PREFIX b; GET c
        w: SET b1 1; SET a2 1; SET a1 1; SET a2 2; SET c 1; DEL a1
        w: DEL none a9
        w: MSET b2 1 b3 1 c3 1
        w: FLUSHALL
        a3: SET a1 2; SET a0 1
        b3: CLIENT TRACKING ON BCAST NOLOOP
        b3: SET a 1; SET x 1
        w: SET a 1; SET x 1
        b3: MULTI; SET a 1; EXEC
        a3: CLIENT TRACKING OFF
        w: MULTI; SET a 1; LPUSH l 1; EXEC
        w: RENAME a b
        b3: (leaves)
        w: SET a 1
    """,
    "redirection": r"""
        t: SUBSCRIBE __redis__:invalidate
        a: CLIENT TRACKING ON REDIRECT {t}; GET a; GET b
        w: SET a 1
        w: FLUSHALL
        a: GET a; GET b
        t: (leaves)
        w: SET a 1
        a: CLIENT TRACKINGINFO; CLIENT GETREDIR; GET a
        t3: PING
        a: CLIENT TRACKING ON REDIRECT {t3}; GET a; CLIENT TRACKINGINFO
        w: SET a 1
        a: GET a
        w: FLUSHALL
        a3: CLIENT TRACKING ON REDIRECT {t3} BCAST; GET a
        w: MSET a 1 b 2
        t3: (leaves)
        w: MSET a 1 b 2
        w: SET a 1; FLUSHALL
        a3: CLIENT TRACKINGINFO; CLIENT TRACKING OFF; CLIENT TRACKING ON; GET a
        w: SET a 1
        t: PING
        a3: CLIENT TRACKING ON REDIRECT {t}; GET a
        w: SET a 1
        t: SUBSCRIBE other
        a3: GET a
        w: SET a 1
        w: PUBLISH other x
        a3: GET a
        w: FLUSHALL
        t: UNSUBSCRIBE
        a3: GET a
        w: SET a 1
        s3: CLIENT TRACKING ON REDIRECT {s3}; GET a
        w: SET a 1
        o3: CLIENT TRACKING ON; CLIENT REPLY OFF; GET a
        w: SET a 1
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


SEEDS = [1, *[pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3)]]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_scenes_of_clients_that_track(ports: tuple[int, int], seed: int) -> None:
    told = compare(*ports, script(Random(seed), 700 if seed == 1 else 4000), tells_the_same)
    invalidations = {name: b"".join(data).count(b"invalidate") for name, data in told.items()}
    assert min(invalidations[name] for name in ("a3", "b3", "d3", "s")) >= 5, invalidations


@pytest.mark.parametrize("seed", SEEDS)
def test_random_scenes_with_transactions(ports: tuple[int, int], seed: int) -> None:
    """In EXEC Flin invalidates more: what the transaction itself has read, though after it wrote."""
    told = compare(*ports, script(Random(seed + 100), 500 if seed == 1 else 4000, transactions=True), tells_no_less)
    assert b"".join(told["a3"]).count(b"invalidate") >= 10
