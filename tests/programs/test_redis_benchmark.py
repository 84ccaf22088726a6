"""redis-benchmark against a server process: its full list from two threads in RESP3, and commands of one's own."""

from __future__ import annotations

import subprocess

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.net.test_redis_benchmark import DEFAULT_LIST
from tests.programs.served import Served
from tests.tool import needs_tool

pytestmark = pytest.mark.slow


def rates(served: Served, *words: str) -> list[str]:
    """The names of what was measured."""
    command = [needs_tool("redis-benchmark"), "-p", str(served.port), "-n", "500", "-r", "100", "-e", "-q", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stdout + done.stderr
    lines = [line for line in done.stdout.replace("\r", "\n").splitlines() if "requests per second" in line]
    return [line.rpartition(": ")[0].partition(": ")[0] for line in lines]


def test_the_full_list(served: Served) -> None:
    assert rates(served, "--threads", "2", "-3") == DEFAULT_LIST
    served.kill_and_start()
    with served.client() as client:
        assert client.dbsize() > 100


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "return redis.call('INCR', KEYS[1])", "1", "counter:__rand_int__"],
        ["publish", "channel", "message"],
        ["xadd", "stream", "*", "field", "__rand_int__"],
    ],
    ids=["eval", "publish", "xadd"],
)
def test_own_commands(served: Served, words: list[str]) -> None:
    assert rates(served, "-P", "16", *words) == [" ".join(words)]
