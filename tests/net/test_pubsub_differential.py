"""Pub/sub beside a real redis-server: several clients, both protocols, patterns, MULTI; every byte of every client."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.net.pubsub_run import Plan, differences, run
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread


def compare(directory: Path, seeds: range, steps: int) -> None:
    with running_redis(directory) as redis_port, ServerThread() as server:
        for seed in seeds:
            plan = list(Plan(random.Random(seed)).steps(steps))
            found = list(differences(plan, run(redis_port, plan), run(server.port, plan)))
            assert not found, f"seed {seed}: {found[0]}"


def test_a_short_sequence_gives_each_client_what_redis_gives(tmp_path: Path) -> None:
    compare(tmp_path, range(3), 60)


@pytest.mark.slow
def test_long_sequences(tmp_path: Path) -> None:
    first = int(os.environ.get("FLIN_DIFFERENTIAL_SEEDS", "0"))
    compare(tmp_path, range(100 + first, 110 + first), 300)
