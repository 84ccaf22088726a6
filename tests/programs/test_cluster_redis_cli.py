"""redis-cli and redis-benchmark in their cluster modes: `-c`, `--cluster check`, `info` and `call`; `--cluster`."""

from __future__ import annotations

import re
import subprocess
from itertools import chain

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.program import running
from tests.programs.served_cluster import SLOTS, ServedCluster
from tests.tool import needs_tool

pytestmark = pytest.mark.slow

NODES = pytest.mark.parametrize("cluster", [2, 3], indirect=True)


def run(tool: str, *words: str, said: str = "", fails: bool = False) -> str:
    command = [needs_tool(tool), *words]
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)  # colours


def cli(cluster: ServedCluster, *words: str, said: str = "", node: int = 0) -> str:
    return run("redis-cli", "-p", str(cluster.ports[node]), *words, said=said)


@NODES
def test_it_follows_to_the_right_node(cluster: ServedCluster) -> None:
    for node in range(len(cluster.ports)):
        for n in range(20):
            assert cli(cluster, "-c", "INCR", f"count:{n}", node=node) == f"{node + 1}\n"
    session = "SET foo 1\nMULTI\nINCR foo\nINCRBY foo 40\nEXEC\nGET foo\nSET bar x\nGET foo\nSTRLEN bar\n"
    said = cli(cluster, "-c", said=session).splitlines()
    replies = [line for line in said if not line.startswith("-> Redirected")]
    assert replies == ["OK", "OK", "QUEUED", "QUEUED", "2", "42", "42", "OK", "42", "1"]
    cluster.kill_and_revive(1)
    assert cli(cluster, "-c", "GET", "foo") == "42\n"
    answered = {cli(cluster, "GET", f"count:{n}").split()[0] for n in range(20)}
    assert answered == {"MOVED", str(len(cluster.ports))}, "without -c the program sees where the key is"


@NODES
def test_cluster_check_and_info(cluster: ServedCluster) -> None:
    with cluster.cluster_client() as client:
        client.mset_nonatomic({f"key:{n}": n for n in range(1000)})
    count = len(cluster.ports)
    for node in range(count):
        checked = run("redis-cli", "--cluster", "check", f"127.0.0.1:{cluster.ports[node]}")
        assert "[OK] All nodes agree about slots configuration." in checked
        assert f"[OK] All {SLOTS} slots covered." in checked
        assert f"[OK] 1000 keys in {count} masters." in checked
        assert "[ERR]" not in checked
        assert "[WARNING]" not in checked
        assert len(re.findall(r"^M: [0-9a-f]{40} 127\.0\.0\.1:\d+$", checked, re.MULTILINE)) == count
        for own in map(cluster.slots, range(count)):
            assert f"slots:[{own.start}-{own.stop - 1}] ({len(own)} slots) master" in checked
    told = run("redis-cli", "--cluster", "info", f"127.0.0.1:{cluster.port}")
    assert (
        len(re.findall(r"^127\.0\.0\.1:\d+ \(.{8}\.\.\.\) -> \d+ keys \| \d+ slots \| 0 slaves\.$", told, re.MULTILINE))
        == count
    )
    assert f"[OK] 1000 keys in {count} masters." in told


def test_cluster_call(cluster: ServedCluster) -> None:
    address = f"127.0.0.1:{cluster.port}"
    said = run("redis-cli", "--cluster", "call", address, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert [line for line in said.splitlines() if ": " in line and "OK" in line] == [
        f"127.0.0.1:{port}: OK" for port in cluster.ports
    ]
    run("redis-cli", "--cluster", "call", address, "SCRIPT", "LOAD", "return 1")
    for node in range(len(cluster.ports)):
        assert cli(cluster, "SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", node=node) == "1\n"


@NODES
def test_scan_of_a_node_and_messages(cluster: ServedCluster) -> None:
    with cluster.cluster_client(decode_responses=True) as client:
        client.mset_nonatomic({f"key:{n}": n for n in range(1000)})
    found = [cli(cluster, "--scan", "--pattern", "key:*", node=node).split() for node in range(len(cluster.ports))]
    assert all(found)
    assert sorted(chain(*found)) == sorted(f"key:{n}" for n in range(1000))
    command = ["-p", str(cluster.port), "-c", "SUBSCRIBE", "news"]
    with running(cluster.folder, command, executable=needs_tool("redis-cli")) as reader:
        reader.found("subscribe\nnews\n1\n")
        cli(cluster, "PUBLISH", "news", "hello")
        reader.found("message\nnews\nhello\n")
        reader.kill()


@NODES
@pytest.mark.parametrize("words", [[], ["-P", "16"], ["-3"]], ids=["plain", "pipelined", "RESP3"])
def test_redis_benchmark(cluster: ServedCluster, words: list[str]) -> None:
    options = ["--cluster", "-p", str(cluster.port), "-n", "2000", "-r", "1000", "-e", "-q", *words]
    tests = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"
    said = run("redis-benchmark", *options, "-t", tests)
    assert f"Cluster has {len(cluster.ports)} master nodes:" in said
    assert "Error from server" not in said
    lines = [line for line in said.replace("\r", "\n").splitlines() if "requests per second" in line]
    assert len(lines) == len(tests.split(",")) + 1, "LRANGE needs a list"
    for node in range(len(cluster.ports)):
        with cluster.client(node) as client:
            assert client.dbsize() > 100, "each node got its share"
    own = run("redis-benchmark", *options, "EVAL", "return redis.call('INCR', KEYS[1])", "1", "n:{tag}:__rand_int__")
    assert "Error from server" not in own
