"""Blocking commands beside a real redis-server: the same scripts of several clients on both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.net.blocking_run import compare
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

BLOCKING = ("BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "XREAD", "XREADGROUP")


@pytest.mark.parametrize(
    ("seed", "steps"), [(1, 1200), *[pytest.param(seed, 5000, marks=pytest.mark.slow) for seed in range(2, 6)]]
)
def test_scripts_of_blocking_and_pushing_clients(seed: int, steps: int, tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis_port, ServerThread() as server:
        counts = compare(server.port, redis_port, seed, steps)
    assert all(counts[name] >= 50 for name in BLOCKING), counts
    assert counts["served"] >= 100
    assert min(counts["left"], counts["CLIENT"], counts["MULTI"]) >= 10
