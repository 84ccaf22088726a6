"""A real redis-server for tests that compare with it: on a free loopback port, in a directory of its own."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flin.bench.server_process import free_port
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.tool import needs_tool

ATTEMPTS = 5
"""Each with another port: the tests of another worker may have taken a free one meanwhile."""

EXPECTED_SERIES = "7.0."
"""Differences and error texts are those of Redis 7.0 (Debian 12 has 7.0.15); other series differ in details."""


@contextmanager
def running_redis(directory: Path, **options: str) -> Iterator[int]:
    """The port of a fresh redis-server without persistence, ended with the block; skips if none is installed. options:
    further ones of its own."""
    program = needs_tool("redis-server")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if f"v={EXPECTED_SERIES}" not in version:
        pytest.skip(f"redis-server is not {EXPECTED_SERIES}x: {version.strip()}")
    for _ in range(ATTEMPTS):
        port = free_port()
        process = _start(program, directory, port, options)
        try:
            if _is_ready(process, port):
                yield port
                return
        finally:
            process.terminate()
            process.wait()
    raise RuntimeError(f"redis-server did not start: {(directory / 'redis.out').read_text()}")


def _start(program: str, directory: Path, port: int, further: dict[str, str]) -> subprocess.Popen[bytes]:
    options = {"port": port, "bind": "127.0.0.1", "dir": directory, "save": "", "appendonly": "no", "databases": 16}
    arguments = [word for name, value in (options | further).items() for word in (f"--{name}", str(value))]
    with (directory / "redis.out").open("wb") as output:
        return subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT)


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether it answers; not if it has ended, or another server answers in its place."""
    wait_until(lambda: process.poll() is not None or _answering_pid(port), "redis-server answers or ends")
    return process.poll() is None and _answering_pid(port) == process.pid


def _answering_pid(port: int) -> int:
    """The pid of the Redis that listens there; 0 if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
            connection.sendall(b"INFO server\r\nQUIT\r\n")
            found = re.search(rb"process_id:(\d+)", b"".join(iter(lambda: connection.recv(1 << 16), b"")))
            return int(found[1]) if found else 0
    except OSError:
        return 0
