"""Clients and programs on three real nodes: what the tests of several workers ask of them, with the process that leads
a group killed in the middle, so that another node takes over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.programs import test_cluster_node_programs as programs
from tests.programs import test_cluster_redis_cli as tools
from tests.programs import test_cluster_redis_py as redis_py
from tests.programs.conftest import node_runner
from tests.programs.served_nodes import GROUPS, ServedNodes
from tests.programs.test_cluster_node import test_ioredis as use_ioredis
from tests.programs.test_cluster_node import test_node_redis as use_node_redis
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=120)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ServedNodes]:
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    made = ServedNodes(tmp_path)
    try:
        made.start()
        yield made
        made.stop()
    finally:
        made.cut()


def test_redis_py_and_tools(cluster: ServedNodes) -> None:
    for step in (
        partial(redis_py.test_blocking_pops, cluster, 3),
        partial(redis_py.test_messages, cluster, 2),
        partial(redis_py.test_lock, cluster),
        partial(redis_py.test_scans, cluster),
        partial(check_by_redis_cli, cluster),
        partial(tools.test_redis_benchmark, cluster, ["-P", "16"]),
        partial(redis_py.test_every_type, cluster, 3),
        partial(redis_py.test_pipelines_and_transactions, cluster, 2),
        partial(redis_py.test_asyncio, cluster, 3),
        partial(tools.test_it_follows_to_the_right_node, cluster),
    ):
        cluster.steadily(step)


def check_by_redis_cli(cluster: ServedNodes) -> None:
    with cluster.cluster_client() as client:
        client.mset_nonatomic({f"key:{n}": n for n in range(1000)})
    for replica in cluster.nodes.replicas():
        checked = tools.run("redis-cli", "--cluster", "check", f"127.0.0.1:{replica.port}")
        assert "[OK] All nodes agree about slots configuration." in checked
        assert "[OK] All 16384 slots covered." in checked
        assert f"[OK] 1000 keys in {GROUPS} masters." in checked
        assert "[ERR]" not in checked
        assert "[WARNING]" not in checked
        assert checked.count("2 additional replica(s)") == GROUPS
    told = tools.run("redis-cli", "--cluster", "info", f"127.0.0.1:{cluster.port}")
    assert len(re.findall(r" -> \d+ keys \| \d+ slots \| 2 slaves\.$", told, re.MULTILINE)) == GROUPS


def test_node_clients_and_programs(cluster: ServedNodes, node_modules: Path, tmp_path: Path) -> None:
    run: Callable[..., Any] = node_runner(cluster, node_modules, tmp_path)
    for step in (
        partial(use_ioredis, cluster, run),
        partial(use_node_redis, cluster, run, "3"),
        partial(programs.test_socket_io, cluster, run, "ioredis"),
        partial(programs.test_bullmq, cluster, run),
    ):
        cluster.steadily(step)
