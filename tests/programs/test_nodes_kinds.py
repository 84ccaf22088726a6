"""Each kind of command on three real nodes, at the leader of its group: types, scripts, transactions, what blocks, ACL,
tracking, messages. What is answered is what a Redis Cluster answers, also after the leaders have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from flin.testing.cluster.faults import Scene
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.programs.node_messages import all_hear_all, check_limit_and_shards, check_that_one_is_away
from tests.programs.served_cluster import ServedCluster
from tests.programs.served_nodes import GROUPS, ServedNodes
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=60)]

TAGS = ("{bar}", "{foo}")
"""Of the first group, and of the second."""

LIBRARY = "#!lua name=kinds\nredis.register_function('add', function(keys, given)\n"
LIBRARY += "  return redis.call('INCRBY', keys[1], given[1])\nend)\n"


class Leader:
    """The server that leads the group of a tag, as a plain client sees it; `said` is all that it has answered."""

    def __init__(self, cluster: ServedCluster, tag: str, said: list[Any], client: Any = None) -> None:
        self.cluster = cluster
        self.node = TAGS.index(tag)
        self.tag = tag
        self.said = said
        self.client = self.another() if client is None else client

    def another(self, **options: Any) -> Any:
        return self.cluster.client(self.node, **({"decode_responses": True, "protocol": 2} | options))

    def ask(self, *words: object) -> Any:
        """With `@` in words for the tag."""
        answer: Any
        try:
            answer = self.client.execute_command(*(str(word).replace("@", self.tag) for word in words))
        except redis.ResponseError as error:
            answer = f"{type(error).__name__} {str(error).split('127.0.0.1')[0]}"
        self.said.append(answer)
        return answer


def types(leader: Leader) -> None:
    for words in (
        "SET @s one", "APPEND @s two", "GETRANGE @s 1 3", "INCRBYFLOAT @f 1.5", "GETEX @s EX 100", "TTL @s",
        "RPUSH @l a b c", "LMOVE @l @m LEFT RIGHT", "LRANGE @l 0 -1", "LPOS @l c", "SADD @t a b c", "SINTERCARD 1 @t",
        "HSET @h f 1 g 2", "HINCRBY @h f 41", "HGETALL @h", "ZADD @z 1 a 2 b", "ZRANGEBYSCORE @z 1 2 WITHSCORES",
        "ZUNIONSTORE @y 1 @z", "ZPOPMAX @y", "XADD @x 1-1 f v", "XGROUP CREATE @x g 0",
        "XREADGROUP GROUP g c STREAMS @x >", "XPENDING @x g", "XACK @x g 1-1", "SETBIT @b 7 1", "BITCOUNT @b",
        "BITFIELD @b GET u8 0", "PFADD @p a b c", "PFCOUNT @p", "GEOADD @g 13.36 38.11 P", "GEOPOS @g P",
        "OBJECT ENCODING @t", "TYPE @z", "COPY @s @c", "RENAME @c @d", "EXPIRE @d 100", "PERSIST @d", "SORT @l ALPHA",
        "MSET @1 x @2 y", "MGET @1 @2 @s", "DEL @1 @2", "EXISTS @s @1", "LPUSH @s x", "MGET {foo}a {bar}a",
        "SELECT 1", "SWAPDB 0 1", "MOVE @s 1",
    ):  # fmt: skip
        leader.ask(*words.split())


def elsewhere(leader: Leader) -> None:
    """A key of the other group: the client is sent there."""
    other = TAGS[1 - leader.node]
    for words in ("GET %s", "SET %s x", "EVAL return 1 %s", "WATCH %s", "SPUBLISH %s x", "BLPOP %s 1"):
        leader.ask(*(words % f"{'1 ' if words[0] == 'E' else ''}{other}").split())


def scripts(leader: Leader) -> None:
    leader.ask("EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])", 1, "@e", "x")
    leader.ask("EVAL", "return redis.call('GET', ARGV[1])", 1, "@e", TAGS[1 - leader.node])
    leader.ask("EVAL_RO", "return redis.call('SET', KEYS[1], 1)", 1, "@e")
    digest = leader.ask("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")
    leader.ask("EVALSHA", digest, 1, "@n")
    leader.ask("EVALSHA", "0" * 40, 0)
    leader.ask("FUNCTION", "LOAD", "REPLACE", LIBRARY)
    leader.ask("FCALL", "add", 1, "@n", 41)
    leader.ask("FCALL", "add", 1, TAGS[1 - leader.node], 41)


def transactions(leader: Leader) -> None:
    with leader.client.pipeline() as both:
        both.set(f"{leader.tag}a", 1)
        both.incr(f"{leader.tag}a")
        both.lpush(f"{leader.tag}a", "x")
        leader.said.append([str(each) for each in both.execute(raise_on_error=False)])
    with leader.client.pipeline() as watching:
        watching.watch(f"{leader.tag}a")
        leader.ask("SET", "@a", "changed")
        watching.multi()
        watching.set(f"{leader.tag}a", "lost")
        with pytest.raises(redis.WatchError):
            watching.execute()
    leader.ask("GET", "@a")
    with leader.client.pipeline() as several:
        several.set(f"{leader.tag}a", 1)
        several.set(TAGS[1 - leader.node], 1)
        with pytest.raises(redis.ResponseError) as refused:
            several.execute()
        leader.said.append(type(refused.value).__name__)
    leader.ask("GET", "@a")


def what_blocks(leader: Leader) -> None:
    popped: dict[str, Any] = {}

    def wait(name: str, *words: object) -> None:
        with leader.another(socket_timeout=PATIENCE_SECONDS) as own:
            popped[name] = own.execute_command(*words)

    tag = leader.tag
    waits: list[tuple[object, ...]] = [
        ("BLPOP", f"{tag}none", f"{tag}q", 0),
        ("BLMOVE", f"{tag}q2", f"{tag}q3", "LEFT", "RIGHT", 0),
        ("BZPOPMIN", f"{tag}w", 0),
        ("XREAD", "BLOCK", 0, "STREAMS", f"{tag}news", "$"),
        ("BLPOP", f"{tag}never", 0.05),
    ]
    threads = [threading.Thread(target=wait, args=(str(words[0]) + str(len(words)), *words)) for words in waits]
    for thread in threads:
        thread.start()
    wait_until(lambda: "BLPOP3" in popped, "one is over")
    wait_until(lambda: leader.client.info("clients")["blocked_clients"] == 4, "four wait")
    for words in ("RPUSH @q a", "RPUSH @q2 b", "ZADD @w 1 c", "XADD @news 5-5 f v"):
        leader.ask(*words.split())
    for thread in threads:
        thread.join()
    leader.said.append(sorted(popped.items()))


def rights(leader: Leader) -> None:
    leader.ask("ACL", "SETUSER", "reader", "on", ">secret", "~@*", "&@*", "+get", "+ssubscribe", "+spublish")
    with leader.another() as another, another.client() as client:
        own = Leader(leader.cluster, leader.tag, leader.said, client)
        for words in ("AUTH reader secret", "GET @s", "SET @s x", "SPUBLISH @c x", "ACL WHOAMI"):
            own.ask(*words.split())
    leader.ask("ACL", "DELUSER", "reader")


def tracking(leader: Leader) -> None:
    with leader.another() as listening, leader.another() as reading:
        listener = listening.pubsub()
        listener.subscribe("__redis__:invalidate")
        assert listener.get_message(timeout=PATIENCE_SECONDS)["type"] == "subscribe"
        clients = leader.client
        wait_until(lambda: len(clients.client_list(_type="pubsub")) == 1, "those of other tests have gone")
        [subscribed] = clients.client_list(_type="pubsub")
        with reading.client() as one:
            one.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", subscribed["id"])
            leader.said.append(one.get(f"{leader.tag}s"))
            leader.ask("SET", "@s", "newer")
            leader.said.append(listener.get_message(timeout=PATIENCE_SECONDS)["data"])
        listener.close()


def shard_messages(leader: Leader) -> None:
    with leader.another() as own:
        listener = own.pubsub()
        listener.ssubscribe(f"{leader.tag}c")
        assert listener.get_message(timeout=PATIENCE_SECONDS)["type"] == "ssubscribe"
        leader.ask("SPUBLISH", "@c", "hello")
        leader.said.append(listener.get_message(timeout=PATIENCE_SECONDS)["data"])
        leader.ask("PUBSUB", "SHARDNUMSUB", "@c")
        leader.ask("PUBSUB", "SHARDCHANNELS")
        listener.close()


KINDS: list[Callable[[Leader], None]] = [
    types, elsewhere, scripts, transactions, what_blocks, rights, tracking, shard_messages,
]  # fmt: skip


def transcript(cluster: ServedCluster) -> list[tuple[str, str, list[Any]]]:
    """Kind, tag, and what was said."""
    found = []
    for tag in TAGS:
        for kind in KINDS:
            said: list[Any] = []
            leader = Leader(cluster, tag, said)
            kind(leader)
            leader.client.close()
            found.append((kind.__name__, tag, said))
    return found


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[ServedNodes]:
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    (tmp_path / "nodes").mkdir()
    made = ServedNodes(tmp_path / "nodes")
    try:
        made.start()
        yield made
        made.stop()
    finally:
        made.cut()


@pytest.fixture
def redis_cluster(tmp_path: Path) -> Iterator[ServedCluster]:
    """As many redis-servers as there are groups."""
    made = ServedCluster(tmp_path / "redis", GROUPS)
    made.folder.mkdir()
    made.is_redis = True
    try:
        made.start()
        yield made
    finally:
        for process in made._processes:
            process.kill()
            process.wait()


def test_each_kind_at_its_leader(nodes: ServedNodes, redis_cluster: ServedCluster) -> None:
    expected = transcript(redis_cluster)

    def compare() -> None:
        assert transcript(nodes) == expected
        all_hear_all(nodes.nodes)

    nodes.steadily(compare)
    nodes.steadily(lambda: check_limit_and_shards(nodes.nodes))
    for node in range(GROUPS):
        nodes.kill_and_revive(node)
    nodes.steadily(compare)
    machine = nodes.nodes.machine_of(Scene(nodes.nodes, Random(0)).leader(0))
    machine.end()  # it hands over
    check_that_one_is_away(nodes.nodes, machine)
    machine.start()
    nodes.revive(0)
    nodes.steadily(compare)
