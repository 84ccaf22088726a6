"""A real redis-server for tests that compare with it: on a free loopback port, in a directory of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tool import needs_tool

EXPECTED_SERIES = "7.0."
"""Differences and error texts are those of Redis 7.0 (Debian 12 has 7.0.15); other series differ in details."""

_START_SECONDS = 20.0  # generous: the machine may be busy, and a server that starts is never waited for so long


@contextmanager
def running_redis(directory: Path) -> Iterator[int]:
    """The port of a fresh redis-server without persistence, ended with the block; skips where there is none."""
    program = needs_tool("redis-server")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if f"v={EXPECTED_SERIES}" not in version:
        pytest.skip(f"redis-server is not {EXPECTED_SERIES}x: {version.strip()}")
    port = _free_port()
    options = {"port": port, "bind": "127.0.0.1", "dir": directory, "save": "", "appendonly": "no", "databases": 16}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with (directory / "redis.out").open("wb") as output:
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(7) == b"+PONG\r\n":
                    return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"redis-server did not start on port {port}")
