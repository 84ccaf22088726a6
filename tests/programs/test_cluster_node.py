"""ioredis `Cluster` and node-redis `createCluster`, before and after a kill -9 of a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.programs.served_cluster import ServedCluster

pytestmark = pytest.mark.slow

NODES = pytest.mark.parametrize("cluster", [2, 3], indirect=True)


@NODES
def test_ioredis(cluster: ServedCluster, run_cluster_node: Callable[..., Any]) -> None:
    before = [
        "keys 500 124750", "pipeline 1000 500", 'transaction [[null,"OK"],[null,2]]', "script 42",
        f"nodes {len(cluster.ports)} true 500", 'popped ["later","come"]', "mget [ 'a', 'b' ]",
        "several slots CROSSSLOT", "heard true",
    ]  # fmt: skip
    cluster.may_fail.add("CROSSSLOT")
    with run_cluster_node("cluster.cjs", "ioredis") as program:
        program.found("now kill a node")
        cluster.kill_and_revive(1)
        program.say("it is back")
        said = program.wait().splitlines()
    after = ["script 84" if line == "script 42" else line for line in before]
    assert said == [*before, "now kill a node", *after, "automatic pipelines 500"]


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_node_redis(cluster: ServedCluster, run_cluster_node: Callable[..., Any], protocol: str) -> None:
    with run_cluster_node("cluster.cjs", "node-redis", protocol) as program:
        program.found("now kill a node")
        cluster.kill_and_revive(1)
        program.say("it is back")
        said = program.wait().splitlines()
    hash_line = 'hash {"a":"1","b":"2"}'
    assert said == [
        "keys 500 124750", hash_line, "transaction 1 1", "script 2", "nodes 2 500", "heard true",
        "now kill a node",
        "keys 500 124750", hash_line, "transaction 2 2", "script 4", "nodes 2 500", "heard true",
    ]  # fmt: skip
