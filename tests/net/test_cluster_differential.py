"""Flin in the place of a node of a real Redis Cluster: the same requests, with keys of both nodes among them, get the
same replies, MOVED and CROSSSLOT too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha1
from typing import Final

import pytest

from flin.net.cluster.slots import slot_of
from flin.net.cluster.topology import Topology
from flin.net.command.registry import find_for
from flin.net.wire.numbers import maybe_int64
from tests.net.differential import Pair, focused, schedule
from tests.net.fake_store import FakeStore, OftenColdStore
from tests.net.generator import KEYS, PLAIN, Comparison, Request
from tests.net.redis_cluster import HALF, running_cluster
from tests.net.scenes import compare
from tests.net.serving import ServerThread

EACH = 4
"""Requests of each command and kind in a run: 6,000 in all."""


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture(scope="module")
def ports(topology: Topology) -> Iterator[tuple[int, int]]:
    """Flin's and Redis's."""
    with ServerThread(topology=topology) as server:
        yield server.port, topology.own_node.port


def in_slots(requests: Iterable[Request], tags: list[bytes]) -> Iterator[Request]:
    """The requests with a hash tag in each key, the same one each time: so that some name several keys of one slot."""
    named = [key for key in KEYS if key]
    tagged = {key: b"{%b}%b" % (tags[number % len(tags)], key) for number, key in enumerate(named)}
    for request in comparable(requests):
        yield replace(request, words=[request.words[0], *(tagged.get(word, word) for word in request.words[1:])])


def comparable(requests: Iterable[Request]) -> Iterator[Request]:
    """Without what shows the listed difference `getkeys-number`: for Redis such requests name keys. Nodes have had
    other clients before, so their numbers differ. The generator has a key deleted before it asks for an encoding that
    both servers choose alike; a DEL that answers CROSSSLOT deletes nothing."""
    for request in requests:
        words, command = [*request.words], find_for(request.words)
        for spec in () if command is None else command.key_specs:
            if spec.is_counted and spec.index < len(words) and maybe_int64(words[spec.index]) is None:
                words[spec.index] = b"x"
        yield replace(request, words=words, compare=_COMPARISONS.get(request.name, request.compare))


_COMPARISONS: Final[dict[str, Comparison]] = {"hello": "numbers", "object|encoding": "shape", "memory|usage": "shape"}


def tag(*, is_own: bool, number: int = 0) -> bytes:
    found = [b"%d" % text for text in range(1000) if (slot_of(b"%d" % text) < HALF) == is_own]
    return found[number]


OWN, OWN_TOO, FOREIGN = tag(is_own=True), tag(is_own=True, number=1), tag(is_own=False)
TAGS = [OWN, OWN, OWN, OWN_TOO, OWN, FOREIGN]


@pytest.mark.parametrize(("store", "protocol"), [("memory", 2), ("cold", 3)])
def test_random_requests(topology: Topology, store: str, protocol: int) -> None:
    fake = OftenColdStore() if store == "cold" else FakeStore()
    with (
        ServerThread(fake, topology=topology) as server,
        Pair(server.port, topology.own_node.port, protocol) as pair,
    ):
        requests = [
            *in_slots(schedule(protocol, EACH, protocol), TAGS),
            *comparable(schedule(protocol + 1, EACH // 2, protocol)),  # keys of any slots
            *in_slots(focused(list(PLAIN), protocol, 1000, protocol), [OWN]),
        ]
        found = list(pair.differences(requests))
        assert pair.ends["run"], pair.ends
        assert min(pair.errors[b"MOVED"], pair.errors[b"CROSSSLOT"]) > len(requests) // 50, pair.errors
    assert not found, f"{len(found)} of {len(requests)} replies differ:\n" + "\n".join(found[:10])


def digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


SCENES = {
    "one slot": r"""
        a: SET b 1; SET a 1; MGET b f; MGET a b; MGET b b; MGET; GET; NOSUCH a; GET a b; SET a
        a: MSET \x7bb\x7d1 1 \x7bb\x7d2 2; MGET \x7bb\x7d1 \x7bb\x7d2 b; RENAME b \x7bb\x7d; RENAME \x7bb\x7d a
        a: DEL b a; EXISTS a; TOUCH b f; UNLINK a a; SUNIONSTORE b \x7bb\x7ds f; ZUNIONSTORE b 2 f a; ZUNIONSTORE b 0 a
        a: XREAD STREAMS b f 0 0; XREAD STREAMS a 0; XINFO STREAM a; OBJECT ENCODING a; MEMORY USAGE a; XINFO STREAM b
        a: SORT b STORE f; SORT b STORE \x7bb\x7dx; SORT b BY x* GET y*; SORT b BY x; SORT_RO b GET #; SORT a GET x*
        a: GEORADIUS b 0 0 1 m STORE f; BITOP AND b \x7bb\x7d1 f; LMPOP 2 b a LEFT; LMPOP 1 a LEFT; LMPOP x a LEFT
    """,
    "one database": r"""
        a: SELECT 0; SELECT 1; SELECT 99; SELECT x; SWAPDB 0 1; SWAPDB x y; SWAPDB 0; SET b 1; MOVE b 1; MOVE b x
        a: MOVE a 1; COPY b \x7bb\x7d1 DB 1; COPY b \x7bb\x7d1 DB 99; COPY b \x7bb\x7d1 DB x; COPY b b DB 0
        a: COPY b f; COPY b \x7bb\x7d1 REPLACE; MULTI; SELECT 1; SWAPDB 0 1; SELECT 0; EXEC
        a: DBSIZE; DEL b; RANDOMKEY; KEYS *; FLUSHALL; DBSIZE; RANDOMKEY
    """,
    "transactions": r"""
        a: MULTI; GET b; GET \x7bb\x7d1; EXEC; EXEC
        a: MULTI; GET b; GET f; PING; EXEC; GET b; EXEC
        a: MULTI; GET b; GET a; GET \x7bb\x7d1; EXEC; EXEC
        a: MULTI; GET a; GET b; GET f; EXEC; DISCARD
        a: MULTI; GET b; NOSUCH; GET f; EXEC; MULTI; GET b; GET f; NOSUCH; EXEC
        a: MULTI; MGET b f; EXEC; MULTI; WATCH b; WATCH a; EXEC; MULTI; PING; EXEC; MULTI; EXEC; MULTI; DBSIZE; EXEC
        a: WATCH a; WATCH b f; WATCH b \x7bb\x7d1; MULTI; SET b 1; EXEC; WATCH b
        b: SET b 2
        a: MULTI; GET b; GET f; EXEC; GET b; WATCH b
        b: SET b 3
        a: MULTI; GET f; EXEC; UNWATCH; MULTI; SET b 4; GET f; GET a; DISCARD; GET b; MULTI; EVAL return 0 1 a; EXEC
        a: MULTI; EVAL return 0; EVAL return\x200 2 b f; EVAL return\x200 1 b; EXEC; MULTI; SPUBLISH a x; EXEC
        m: MONITOR
        a: MULTI; GET b; GET f; EXEC; MULTI; GET a; GET b; EXEC
    """,
    "scripts": r"""
        a: SET b 1; SET f 2; EVAL return\x20KEYS[1] 1 a; EVAL return\x20KEYS[1] 2 b f; EVAL return\x20KEYS[1] 1 b
        a: EVAL return\x20redis.call("get",ARGV[1]) 0 a; EVAL return\x20redis.call("get",ARGV[1]) 0 b
        a: EVAL return\x20redis.pcall("get",ARGV[1]) 0 a; EVAL return\x20redis.pcall("mget",ARGV[1],ARGV[2]) 0 b f
        a: EVAL return\x20redis.call("set",ARGV[1],1) 0 a; EVAL return\x20redis.call("set",ARGV[1],1) 0 f; GET f
        a: EVAL return\x20redis.call("mget",ARGV[1],ARGV[2]) 0 b f; EVAL return\x20redis.call("ping") 0
        a: EVAL return\x20{redis.call("get",ARGV[1]),redis.call("get",ARGV[2])} 0 b f
        a: EVAL return\x20{redis.call("get",ARGV[1]),redis.call("get",ARGV[2])} 1 j b f
        a: EVAL #!lua\nreturn\x20{redis.call("get",ARGV[1]),redis.call("get",ARGV[2])} 0 b f
        a: EVAL #!lua\nreturn\x20{redis.pcall("get",ARGV[1]),redis.pcall("ping"),redis.pcall("get",ARGV[2])} 0 b f
        a: EVAL #!lua\nreturn\x20{redis.call("set",ARGV[1],5),redis.call("set",ARGV[1],6)} 1 b b
        a: EVAL #!lua\nreturn\x20redis.call("get",ARGV[1]) 1 b f; EVAL #!lua\nreturn\x20redis.call("get",ARGV[1]) 1 b a
        a: EVAL #!lua\x20flags=allow-cross-slot-keys\nreturn\x20redis.call("get",ARGV[1]) 1 b f
        a: EVAL #!lua\x20flags=allow-cross-slot-keys\nreturn\x20redis.call("get",ARGV[1]) 1 b a
        a: EVAL #!lua\x20flags=no-cluster\nreturn\x201 0; EVAL #!lua\x20flags=no-cluster\nreturn\x201 1 a
        a: EVAL #!lua\x20flags=no-cluster,no-writes\nreturn\x201 1 b; EVAL_RO return\x20redis.call("get",KEYS[1]) 1 f
        a: EVAL return\x20redis.call("select",1) 0; EVAL return\x20redis.call("swapdb",0,1) 0
        a: FUNCTION LOAD #!lua\x20name=l\nredis.register_function('g',function(k,a)return\x20redis.call('get',a[1])end)
        a: FCALL g 0 b; FCALL g 0 a; FCALL g 1 b f; FCALL g 1 a b; FCALL g 2 b f b; FCALL g 1 b b
        a: MULTI; EVAL return\x20redis.call("get",ARGV[1]) 0 a; GET b; EXEC; FUNCTION FLUSH
    """,
    "scripts in transactions": r"""
        a: SET b 1; SET f 2; SCRIPT LOAD #!lua\nreturn\x20redis.call("get",ARGV[1])
        a: SCRIPT LOAD return\x20redis.call("get",ARGV[1])
        a: MULTI; GET b; EVALSHA STRICT 0 f; EXEC; MULTI; EVALSHA STRICT 0 f; GET b; EXEC; EVALSHA STRICT 0 f
        a: MULTI; EVALSHA STRICT 0 f; EVALSHA STRICT 0 b; EXEC; MULTI; EVALSHA STRICT 0 f; EVALSHA STRICT 0 f; EXEC
        a: MULTI; EVALSHA STRICT 0 f; EVALSHA STRICT 1 b b; EXEC; MULTI; EVALSHA STRICT 0 b; EVALSHA STRICT 1 b b; EXEC
        a: MULTI; EVALSHA STRICT 0 f; EVALSHA LENIENT 0 b; EXEC; MULTI; EVALSHA LENIENT 0 f; EVALSHA STRICT 0 b; EXEC
        a: MULTI; GET b; EVALSHA LENIENT 0 f; EXEC; EVALSHA STRICT 0 b; MULTI; PING; EVALSHA STRICT 0 f; EXEC; GET b
    """.replace("STRICT", digest('#!lua\nreturn redis.call("get",ARGV[1])')).replace(
        "LENIENT", digest('return redis.call("get",ARGV[1])')
    ),
    "messages": r"""
        s: SSUBSCRIBE b; SSUBSCRIBE b f; SSUBSCRIBE a; SUNSUBSCRIBE a; SUNSUBSCRIBE b f; GET b; GET a; PING
        s3: SSUBSCRIBE b \x7bb\x7d1; SUBSCRIBE a; PSUBSCRIBE *; GET b; GET a
        p: SPUBLISH b 1; SPUBLISH a 1; SPUBLISH \x7bb\x7d1 2; PUBLISH a 3; PUBLISH b 4; PUBSUB SHARDCHANNELS b
        p: MULTI; SPUBLISH b 1; SPUBLISH f 1; EXEC; MULTI; SPUBLISH b 5; EXEC; SPUBLISH b; SPUBLISH a
        s: SUNSUBSCRIBE
    """,
    "waiting": r"""
        a: BLPOP b f 0; BLPOP a 0; BLPOP b x; BLMOVE b a LEFT LEFT 0; BLMPOP 0 2 b f LEFT; BLPOP b \x7bb\x7d1 0; PING
        b: RPUSH a 1; RPUSH \x7bb\x7d1 1; RPUSH b 2
        c: XREAD BLOCK 0 STREAMS b f 0 0; DEL b; XREAD BLOCK 0 STREAMS b $
        b: XADD a 1-1 f v; XADD b 1-1 f v
    """,
    "users": r"""
        a: ACL SETUSER u on nopass ~b ~a +get +mget +multi +exec +select; SET b 1
        u: AUTH u x; GET b; GET a; GET f; SET a 1; MGET b f; MGET b a; MGET a a; MULTI; GET b; GET a; GET f; EXEC
        u: SELECT 1; SELECT 0; EVAL return\x201 1 a; GET
        a: ACL LOG RESET; ACL DELUSER u; CLIENT LIST TYPE pubsub
    """,
    "the node": r"""
        a: CLUSTER MYID; CLUSTER KEYSLOT b; CLUSTER KEYSLOT; CLUSTER SLOTS; CLUSTER SLOTS x; CLUSTER NOSUCH; CLUSTER
        a3: CLUSTER MYID; CLUSTER SLOTS; CLUSTER COUNTKEYSINSLOT x; CLUSTER COUNTKEYSINSLOT 16384
        a: CLUSTER COUNTKEYSINSLOT -1; CLUSTER GETKEYSINSLOT 1 x; CLUSTER GETKEYSINSLOT 1 -1; CLUSTER GETKEYSINSLOT -1 1
        a: SET b 1; SET \x7bb\x7d1 1; SET f 1; CLUSTER COUNTKEYSINSLOT 3300; CLUSTER GETKEYSINSLOT 3300 0
        a: CLUSTER COUNTKEYSINSLOT 3168; CLUSTER COUNTKEYSINSLOT 9999; CLUSTER GETKEYSINSLOT 3168 9
        a: CLUSTER REPLICAS x; CLUSTER SLAVES x; CLUSTER COUNT-FAILURE-REPORTS x; CLUSTER MEET; CLUSTER SETSLOT 1
        a: READONLY; GET a; GET b; CLIENT LIST ID {a}; READWRITE; CLIENT LIST ID {a}; ASKING; GET b; READONLY x
        a: READONLY; RESET; CLIENT LIST ID {a}; INFO cluster
        a: CLUSTER FAILOVER; CLUSTER FAILOVER FORCE; CLUSTER FAILOVER takeover
        a: CLUSTER FAILOVER NOW; CLUSTER FAILOVER a b
        a: MULTI; CLUSTER KEYSLOT a; READONLY; EXEC; CONFIG GET cluster-enabled; CONFIG SET cluster-enabled no
    """,
}
"""b, f and j are keys of the node that is compared, a is the other's."""


@pytest.mark.parametrize("name", SCENES)
def test_scenes(ports: tuple[int, int], name: str) -> None:
    assert [slot_of(key) < HALF for key in (b"b", b"f", b"j", b"a")] == [True, True, True, False]
    compare(*ports, SCENES[name])
