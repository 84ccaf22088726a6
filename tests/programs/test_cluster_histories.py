"""What redis-py, ioredis and node-redis see of a cluster whose nodes are killed with -9: an order explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flin.testing.cluster.history import Call, Outcome, read_history
from flin.testing.cluster.linearizable import check
from flin.testing.cluster.load import Load, Objects, called, cluster_client, reading
from flin.testing.process import wait_until
from tests.programs.served_cluster import ServedCluster

pytestmark = pytest.mark.slow

KILLS = 3
CALLS = 200
"""Between two kills."""


def read_all(cluster: ServedCluster, names: list[str]) -> list[Call]:
    client = cluster_client([("127.0.0.1", cluster.port)])
    calls = [called("end", name, reading(name), client) for name in names]
    client.close()
    assert all(call.outcome is Outcome.DONE for call in calls)
    return calls


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_redis_py(cluster: ServedCluster) -> None:
    objects = Objects("kill", 12, seed=1)
    load = Load([("127.0.0.1", port) for port in cluster.ports], objects)
    load.start()
    try:
        for kill in range(KILLS):
            load.goes_on(CALLS)
            cluster.kill_and_revive(kill % 3)
        load.goes_on(CALLS)
    finally:
        load.stop()
    assert load.problems == []
    kinds = Counter(call.client.split()[0] for call in objects.history if call.outcome is Outcome.DONE)
    assert min(kinds["thread"], kinds["task"]) > 0
    assert check([*objects.history, *read_all(cluster, objects.all)]) == len(objects.all)


@pytest.mark.parametrize("kind", ["ioredis", "node-redis"])
def test_node(cluster: ServedCluster, run_cluster_node: Callable[..., Any], kind: str, tmp_path: Path) -> None:
    history = tmp_path / "history"
    history.touch()
    addresses = ",".join(f"127.0.0.1:{port}" for port in cluster.ports)
    with run_cluster_node("cluster-load.cjs", kind, str(history), ADDRESSES=addresses) as program:
        program.found("begun")
        for kill in range(KILLS):
            goes_on(history)
            cluster.kill_and_revive(kill % 2)
        goes_on(history)
        program.say("end")
        assert "unexpected" not in program.wait()
    calls = list(read_history(history))
    names = list(dict.fromkeys(call.object for call in calls))
    assert check([*calls, *read_all(cluster, names)]) == len(names)


def goes_on(history: Path) -> None:
    goal = answered(history) + CALLS
    wait_until(lambda: answered(history) >= goal, "the clients go on")


def answered(history: Path) -> int:
    return history.read_text().count('"outcome":"done"')
