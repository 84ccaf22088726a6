"""Queues of Node, BullMQ, Bull and bee-queue: jobs of all kinds; a worker and a server that are killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.programs.served import Served

pytestmark = pytest.mark.slow

SAID = {
    "bullmq": """\
sums 2450
delayed 42
third 3
flow 9
prioritized 2 1
scheduled
deduplicated true
counts {"failed":0,"delayed":1,"active":0,"waiting":0}
kept 14
obliterated 0
""",
    "bull": """\
sums 2450
delayed 42
third 3
waiting 2
repeated 1
kept 14
obliterated 0
""",
    "bee-queue": """\
errors 0
sums 2450
delayed 42
third 3
health {"waiting":0,"active":0,"succeeded":52,"failed":0,"delayed":0,"newestJob":52}
""",
}


@pytest.mark.parametrize("name", SAID)
def test_jobs(served: Served, run_node: Callable[..., Any], name: str) -> None:
    script = f"{name}.cjs"
    if name == "bullmq":
        with run_node(script, "worker") as worker:
            worker.found("ready")
            with run_node(script, "producer") as producer:
                assert producer.wait() == SAID[name]
    else:
        with run_node(script, "producer") as producer:
            assert producer.wait() == SAID[name]


@pytest.mark.parametrize("name", SAID)
def test_worker_and_server_that_are_killed(served: Served, run_node: Callable[..., Any], name: str) -> None:
    script = f"{name}.cjs"
    with run_node(script, "worker", HANG="1") as first:
        first.found("ready")
        with run_node(script, "add") as program:
            key = program.found(r"added (.+)")
            program.wait()
        first.found("hanging")
        first.kill()
    served.kill_and_start()
    with run_node(script, "worker") as second:
        second.found("ready")
        with run_node(script, "wait", key) as program:
            assert program.wait() == "result done\n"


def test_worker_that_waits_for_the_server(served: Served, run_node: Callable[..., Any]) -> None:
    """BullMQ's worker goes on when the server is there again."""
    with run_node("bullmq.cjs", "worker") as worker:
        worker.found("ready")
        served.kill_and_start()
        with run_node("bullmq.cjs", "producer") as producer:
            assert producer.wait() == SAID["bullmq"]
