"""redis-cli, redis-py, ioredis and node-redis over TCP, TLS with certificates on both sides, and a Unix socket."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from flin.testing.process import PATIENCE_SECONDS
from tests.net.certificates import Certificates
from tests.program import running
from tests.programs.conftest import NODE
from tests.programs.served import Served
from tests.tool import needs_tool

pytestmark = pytest.mark.slow


def test_all_ways(tmp_path: Path, node_modules: Path) -> None:
    files, path = Certificates(tmp_path), tmp_path / "flin.sock"
    words = files.words(tls_auth_clients="yes", tls_ca_cert_file=str(files.ca))
    served = Served(tmp_path, *words, "--unixsocket", str(path))
    served.start()
    try:
        for _ in range(2):
            tls_port = int(re.findall(r"TLS port (\d+)", served.printed())[-1])
            ask_all_ways(served, tls_port, path, files, node_modules)
            served.kill_and_start()  # the socket's file is a stale one then
    finally:
        served.stop()


def ask_all_ways(served: Served, tls_port: int, path: Path, files: Certificates, node_modules: Path) -> None:
    by_tls = ["--tls", "--cacert", str(files.ca), "--cert", str(files.client_cert), "--key", str(files.client_key)]
    for options in (["-p", str(served.port)], ["-h", "localhost", "-p", str(tls_port), *by_tls], ["-s", str(path)]):
        done = subprocess.run(
            [needs_tool("redis-cli"), *options, "INCR", "asked"],
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
        )  # fmt: skip
        assert int(done.stdout) >= 1
    certificates: dict[str, Any] = {"ssl_certfile": str(files.client_cert), "ssl_keyfile": str(files.client_key)}
    for client in (
        redis.Redis(port=served.port),
        redis.Redis("localhost", tls_port, ssl=True, ssl_ca_certs=str(files.ca), **certificates),
        redis.Redis(unix_socket_path=str(path)),
    ):
        with client:
            assert int(client.incr("asked")) >= 4
    environment = {
        "NODE_PATH": str(node_modules), "NODE_NO_WARNINGS": "1", "PORT": str(served.port), "TLS_PORT": str(tls_port),
        "SOCKET": str(path), "CA": str(files.ca), "CERT": str(files.client_cert), "KEY": str(files.client_key),
    }  # fmt: skip
    with running(served.folder, [str(NODE / "ways-in.cjs")], executable=needs_tool("node"), **environment) as program:
        assert program.wait().splitlines() == [
            *(f"ioredis {way} 42 500 500 100000" for way in ("tcp", "tls", "socket")),
            *(f'node-redis {way} {{"a":"1","b":"2"}} true' for way in ("tcp", "tls", "socket")),
        ]
