"""redis-py's clients of a cluster, synchronous and asyncio: every type, pipelines, transactions, scripts, scans,
messages, blocking pops, its Lock; a node that is killed in the middle."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import redis
import redis.asyncio

from flin.testing.process import PATIENCE_SECONDS
from tests.programs.served_cluster import ServedCluster, run_tasks

pytestmark = pytest.mark.slow

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3])
NODES = pytest.mark.parametrize("cluster", [2, 3], indirect=True)

MANY = range(100)


@NODES
@PROTOCOLS
def test_every_type(cluster: ServedCluster, protocol: int) -> None:
    with cluster.cluster_client(protocol=protocol, decode_responses=True) as client:
        write_every_type(client)
        check_every_type(client)
        cluster.kill_and_revive(1)
        check_every_type(client)
        sizes = [client.dbsize(target_nodes=node) for node in client.get_primaries()]
        assert sum(sizes) == 9 * len(MANY)
        assert min(sizes) > len(MANY), "each node has its share"
        assert client.delete(*(f"string:{n}" for n in MANY)) == len(MANY), "of several slots: the client parts them"
        assert client.flushall()
        assert [client.dbsize(target_nodes=node) for node in client.get_primaries()] == [0] * len(sizes)


def write_every_type(client: Any) -> None:
    client.mset_nonatomic({f"string:{n}": f"value {n}" for n in MANY})
    for n in MANY:
        client.hset(f"hash:{n}", mapping={f"field {m}": m for m in range(5)})
        client.rpush(f"list:{n}", *range(10))
        client.sadd(f"set:{n}", *range(10))
        client.zadd(f"zset:{n}", {f"member {m}": m for m in range(5)})
        client.xadd(f"stream:{n}", {"n": n}, id="1-1")
        client.setbit(f"bits:{n}", 7, 1)
        client.pfadd(f"hll:{n}", *range(20))
        client.geoadd(f"geo:{n}", (13.361389, 38.115556, "Palermo"))


def check_every_type(client: Any) -> None:
    assert client.mget_nonatomic(*(f"string:{n}" for n in MANY)) == [f"value {n}" for n in MANY]
    for n in MANY:
        assert client.hgetall(f"hash:{n}") == {f"field {m}": str(m) for m in range(5)}
        assert client.lrange(f"list:{n}", 0, -1) == [str(m) for m in range(10)]
        assert client.smembers(f"set:{n}") == {str(m) for m in range(10)}
        assert [member for member, _ in client.zrange(f"zset:{n}", 0, -1, withscores=True)] == [
            f"member {m}" for m in range(5)
        ]
        assert client.xrange(f"stream:{n}") == [("1-1", {"n": str(n)})]
        assert client.getbit(f"bits:{n}", 7) == 1
        assert client.pfcount(f"hll:{n}") == 20
        assert client.geohash(f"geo:{n}", "Palermo") == ["sqc8b49rny0"]


@PROTOCOLS
def test_pipelines_and_transactions(cluster: ServedCluster, protocol: int) -> None:
    with cluster.cluster_client(protocol=protocol, decode_responses=True) as client:
        pipeline = client.pipeline()
        for n in range(2000):
            pipeline.set(f"key:{n}", n).incr(f"count:{n % 50}")
        replies = pipeline.execute()
        assert replies[0] is True
        assert replies[-1] == 2000 // 50

        def move(pipeline: Any) -> None:
            amount = int(pipeline.get("{purse}:mine"))
            pipeline.multi()
            pipeline.set("{purse}:mine", amount - 100)
            pipeline.incrby("{purse}:other", 100)

        client.set("{purse}:mine", 1000)
        client.transaction(move, "{purse}:mine")
        cluster.kill_and_revive(node_of(client, "{purse}:mine"))
        assert client.mget("{purse}:mine", "{purse}:other") == ["900", "100"]
        with client.pipeline(transaction=True) as transaction:
            transaction.watch("{purse}:mine")
            client.set("{purse}:mine", 1)
            transaction.multi()
            transaction.set("{purse}:mine", 2)
            with pytest.raises(redis.WatchError):
                transaction.execute()
        assert client.get("{purse}:mine") == "1"
        with (
            client.pipeline(transaction=True) as transaction,
            pytest.raises(redis.exceptions.CrossSlotTransactionError),
        ):
            transaction.set("one", 1).set("two", 2).execute()


def node_of(client: Any, key: str) -> int:
    """The number of the node that holds a key."""
    ports = sorted(node.port for node in client.get_primaries())
    return ports.index(client.get_node_from_key(key).port)


def test_what_a_node_refuses(cluster: ServedCluster) -> None:
    """A client that knows nothing of clusters is told where to go."""
    cluster.may_fail |= {"CROSSSLOT", "EXECABORT", "select", "exec"}
    with cluster.cluster_client() as client:
        holder = node_of(client, "foo")
    here, other = cluster.client(holder), cluster.client(1 - holder)
    with pytest.raises(redis.exceptions.MovedError) as moved:
        other.get("foo")
    assert (moved.value.slot_id, moved.value.port) == (12182, cluster.ports[holder])
    with pytest.raises(redis.exceptions.MovedError):
        here.blpop(["{bar}"], 1)
    with pytest.raises(redis.exceptions.ClusterCrossSlotError):
        other.mget("foo", "bar")
    with pytest.raises(redis.ResponseError, match="SELECT is not allowed in cluster mode"):
        other.select(1)
    with pytest.raises(redis.exceptions.MovedError):
        here.pipeline().set("foo", 1).set("{bar}", 2).execute()
    assert not here.exists("foo"), "nothing of the transaction was done"


@PROTOCOLS
def test_scripts_and_functions(cluster: ServedCluster, protocol: int) -> None:
    library = "#!lua name=counters\nredis.register_function('add', function(keys, given)\n"
    library += "  return redis.call('INCRBY', keys[1], given[1])\nend)\n"
    code = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])"
    with cluster.cluster_client(protocol=protocol) as client:
        digest = client.script_load(code)
        assert client.script_exists(digest) == [True], "all nodes have it"
        client.function_load(library)
        for n in MANY:
            client.set(f"{{{n}}}:b", n)
            assert client.evalsha(digest, 2, f"{{{n}}}:a", f"{{{n}}}:b", "x") == b"%d" % n
            assert client.eval(code, 2, f"{{{n}}}:b", f"{{{n}}}:a", "y") == b"x"
            assert client.fcall("add", 1, f"count:{n}", 40) == 40
        cluster.kill_and_revive(0)
        for n in MANY:
            assert client.fcall("add", 1, f"count:{n}", 2) == 42, "functions are data"


@NODES
def test_scans(cluster: ServedCluster) -> None:
    with cluster.cluster_client(decode_responses=True) as client:
        client.mset_nonatomic({f"key:{n}": n for n in range(3000)})
        everything = sorted(f"key:{n}" for n in range(3000))
        assert sorted(client.scan_iter(count=50)) == everything
        assert sorted(client.scan_iter(match="key:1*")) == [key for key in everything if key.startswith("key:1")]
        assert client.randomkey() in everything
        for node in client.get_primaries():
            own = client.keys("*", target_nodes=node)
            assert sorted(own) == sorted(client.scan_iter(target_nodes=node))
            assert {client.get_node_from_key(key).port for key in own} == {node.port}
            slot = client.keyslot(own[0])
            held = client.cluster_get_keys_in_slot(slot, 1000)
            assert len(held) == client.cluster_countkeysinslot(slot) >= 1
            assert {client.keyslot(key) for key in held} == {slot}


@PROTOCOLS
def test_blocking_pops(cluster: ServedCluster, protocol: int) -> None:
    popped: dict[str, Any] = {}

    def wait(n: int) -> None:
        with cluster.cluster_client(protocol=protocol, decode_responses=True) as own:
            popped[f"{{{n}}}"] = own.blpop([f"{{{n}}}:empty", f"{{{n}}}:list"], timeout=PATIENCE_SECONDS)

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    with cluster.cluster_client(protocol=protocol) as client:
        for n in range(6):
            client.rpush(f"{{{n}}}:list", "come")
    for thread in threads:
        thread.join()
    assert {tag: tuple(pair) for tag, pair in popped.items()} == {
        f"{{{n}}}": (f"{{{n}}}:list", "come") for n in range(6)
    }


@PROTOCOLS
def test_messages(cluster: ServedCluster, protocol: int) -> None:
    """Messages of shards go to the node that holds the channel's slot."""
    with cluster.cluster_client(protocol=protocol, decode_responses=True) as client, client.pubsub() as subscriber:
        channels = [f"channel:{n}" for n in range(8)]
        for channel in channels:
            subscriber.ssubscribe(channel)
        assert len({client.get_node_from_key(channel).port for channel in channels}) == len(cluster.ports)
        heard: list[str] = []
        while len(heard) < len(channels):
            heard += filter(None, [shard_message(subscriber, "ssubscribe")])
        for channel in channels:
            assert client.spublish(channel, f"to {channel}") == 1
        heard = []
        while len(heard) < len(channels):
            heard += filter(None, [shard_message(subscriber, "smessage")])
        assert sorted(heard) == [f"to {channel}" for channel in channels]


def shard_message(subscriber: Any, kind: str) -> str | None:
    message = subscriber.get_sharded_message(timeout=0.1)
    return str(message["data"]) if message and message["type"] == kind else None


def test_lock(cluster: ServedCluster) -> None:
    names = [f"lock:{n}" for n in range(4)]

    def work(name: str) -> None:
        with cluster.cluster_client() as own:
            for _ in range(10):
                with own.lock(name, timeout=100, sleep=0.001):
                    value = int(own.get(f"value:{name}") or 0)
                    own.set(f"value:{name}", value + 1)

    threads = [threading.Thread(target=work, args=(name,)) for name in names for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with cluster.cluster_client() as client:
        assert [client.get(f"value:{name}") for name in names] == [b"30"] * 4


@PROTOCOLS
def test_asyncio(cluster: ServedCluster, protocol: int) -> None:
    async def use() -> None:
        opened: Any = redis.asyncio.RedisCluster(
            host="127.0.0.1", port=cluster.port, protocol=protocol, decode_responses=True
        )
        async with opened as client:

            async def count(tag: int) -> None:
                for _ in range(20):
                    async with client.pipeline() as pipeline:
                        await pipeline.incr(f"{{{tag}}}:count").lpush(f"list:{tag}", "x").execute()

            await asyncio.gather(*(count(tag % 5) for tag in range(10)))
            await asyncio.to_thread(cluster.kill_and_revive, 1)
            for tag in range(5):
                assert await client.get(f"{{{tag}}}:count") == "40"
                assert await client.llen(f"list:{tag}") == 40
            async with client.pipeline(transaction=True) as pipeline:
                assert await pipeline.set("{t}:a", 1).incr("{t}:a").execute() == [True, 2]
            waiting: Any = client.blpop(["later"], timeout=0)
            popped, _ = await asyncio.gather(waiting, client.rpush("later", "come"))
            assert tuple(popped) == ("later", "come")
            assert sorted([key async for key in client.scan_iter(match="list:*")]) == [f"list:{n}" for n in range(5)]

    run_tasks(use())
