"""Programs of Node on a cluster, over ioredis `Cluster` and node-redis `createCluster`: they say what they say on one
server; the node with their keys is killed in the middle."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.programs.served_cluster import ServedCluster
from tests.programs.test_node_queues import SAID

pytestmark = pytest.mark.slow


def kill_all(cluster: ServedCluster) -> None:
    """One after the other."""
    for node in range(len(cluster.ports)):
        cluster.kill_and_revive(node)


def test_bullmq(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("bullmq.cjs", "worker") as worker:
        worker.found("ready")
        with run_cluster_node("bullmq.cjs", "producer") as producer:
            assert producer.wait() == SAID["bullmq"]
        kill_all(cluster)
        with run_cluster_node("bullmq.cjs", "producer") as producer:
            assert producer.wait() == SAID["bullmq"], "the worker goes on"


def test_bullmq_worker_that_is_killed(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("bullmq.cjs", "worker", HANG="1") as first:
        first.found("ready")
        with run_cluster_node("bullmq.cjs", "add") as program:
            key = program.found(r"added (.+)")
            program.wait()
        first.found("hanging")
        first.kill()
    kill_all(cluster)
    with run_cluster_node("bullmq.cjs", "worker") as second:
        second.found("ready")
        with run_cluster_node("bullmq.cjs", "wait", key) as program:
            assert program.wait() == "result done\n"


def test_bull(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("bull.cjs", "producer") as producer:
        assert producer.wait() == SAID["bull"]


def test_rate_limiter_flexible(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("limiter.cjs") as program:
        program.found("now kill the server")
        kill_all(cluster)
        program.say("it is back")
        said = program.wait().splitlines()
    assert said[:3] == ["ioredis 4 3 2 1 0 no no", "nodeRedis 4 3 2 1 0 no no", "bursty 3"]
    assert said[4:] == [
        "ioredis after 7 true no",
        "ioredis grace 1 true",
        "nodeRedis after 7 true no",
        "nodeRedis grace 1 true",
    ]


def test_redlock(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("redlock.cjs") as program:
        program.found("now kill the server")
        kill_all(cluster)
        program.say("it is back")
        said = program.wait().splitlines()
    assert said == [
        "counted 30 at most 1", "now kill the server", "second LockError", "left true", "again LockError",
    ]  # fmt: skip


def test_connect_redis(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("connect-redis.cjs") as site:
        address = f"http://127.0.0.1:{site.found(r'listening on (.+)')}"
        visitors = [urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())) for _ in range(8)]

        def ask(path: str, number: int) -> str:
            with visitors[number].open(f"{address}/{path}", timeout=PATIENCE_SECONDS) as reply:
                said: str = reply.read().decode()
                return said

        assert [ask("visits", number) for number in range(8)] == ["1"] * 8
        kill_all(cluster)
        assert [ask("visits", number) for number in range(8)] == ["2"] * 8
        assert ask("leave", 0) == "left"
        assert ask("visits", 0) == "1"


@pytest.mark.parametrize("kind", ["ioredis", "node-redis"])
def test_socket_io(cluster: ServedCluster, run_cluster_node: Callable[..., Any], kind: str) -> None:
    with run_cluster_node("socket-io.cjs", kind) as program:
        program.found("now kill the server")
        kill_all(cluster)
        program.say("it is back")
        assert program.wait() == "hello hello\nsockets 2\nnow kill the server\nagain again\n"


def test_socket_io_by_shard_messages(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    with run_cluster_node("socket-io.cjs", "sharded") as program:
        program.found("now kill the server")
        kill_all(cluster)
        program.say("it is back")
        assert program.wait() == "hello hello\nsockets 2\nnow kill the server\nagain again\n"
