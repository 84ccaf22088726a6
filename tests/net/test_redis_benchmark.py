"""redis-benchmark with its full default list: every test runs, and no reply is an error."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.net.serving import ServerThread

DEFAULT_LIST = [
    "PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP", "ZADD",
    "ZPOPMIN", "LPUSH (needed to benchmark LRANGE)", "LRANGE_100 (first 100 elements)",
    "LRANGE_300 (first 300 elements)", "LRANGE_500 (first 500 elements)", "LRANGE_600 (first 600 elements)",
    "MSET (10 keys)",
]  # fmt: skip


@pytest.mark.parametrize("pipeline", [16, pytest.param(1, marks=pytest.mark.slow)])
def test_the_default_list(pipeline: int, needs_tool: Callable[[str], str]) -> None:
    program = needs_tool("redis-benchmark")
    with ServerThread() as server:
        command = [program, "-p", str(server.port), "-n", "500", "-r", "1000", "-P", str(pipeline), "-q", "-e"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stdout + done.stderr
    rates = [line for line in done.stdout.replace("\r", "\n").splitlines() if "requests per second" in line]
    assert [line.rpartition(": ")[0].partition(": ")[0] for line in rates] == DEFAULT_LIST
