"""TLS and a Unix socket: ioredis, node-redis, redis-py and redis-cli, with a kill -9 of the server in the middle."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from flin.bench.server_process import free_port
from flin.testing.process import PATIENCE_SECONDS
from tests.net.certificates import Certificates
from tests.programs.served import Served
from tests.tool import needs_tool

pytestmark = pytest.mark.slow


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def tls_port() -> int:
    return free_port()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flin.sock"


@pytest.fixture
def served(tmp_path: Path, certificates: Certificates, tls_port: int, path: Path) -> Iterator[Served]:
    words = certificates.words(tls_port=str(tls_port), tls_auth_clients="yes", tls_ca_cert_file=str(certificates.ca))
    server = Served(tmp_path, *words, "--unixsocket", str(path))
    if server.is_redis:
        pytest.skip("redis-server is started without these options")
    server.start()
    yield server
    server.stop()


def test_node(
    served: Served, certificates: Certificates, tls_port: int, path: Path, run_node: Callable[..., Any]
) -> None:
    environment = {
        "TLS_PORT": str(tls_port),
        "CA": str(certificates.ca),
        "CERT": str(certificates.client_cert),
        "KEY": str(certificates.client_key),
        "SOCKET": str(path),
    }
    with run_node("listeners.cjs", **environment) as program:
        program.found("now kill the server")
        served.kill_and_start()
        program.say("it is back")
        said = program.wait().splitlines()
    assert said == [
        "tls true 10000 10000",
        "socket true 10000 10000",
        "node-redis 10000",
        "without a certificate refused",
        "now kill the server",
        "after 10000 10000 10000",
    ]


def test_redis_cli(served: Served, certificates: Certificates, tls_port: int, path: Path) -> None:
    shown = ["--cert", str(certificates.client_cert), "--key", str(certificates.client_key)]
    encrypted = ["-h", "localhost", "-p", str(tls_port), "--tls", "--cacert", str(certificates.ca), *shown]
    for expected, options in enumerate((encrypted, ["-s", str(path)], encrypted), 1):
        command = [needs_tool("redis-cli"), *options, "INCR", "asked"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
        assert done.stdout == f"{expected}\n"


def test_redis_py(served: Served, certificates: Certificates, tls_port: int, path: Path) -> None:
    shown: dict[str, Any] = {"ssl_certfile": str(certificates.client_cert), "ssl_keyfile": str(certificates.client_key)}
    trusted: dict[str, Any] = {"host": "localhost", "port": tls_port, "ssl": True, "ssl_ca_certs": str(certificates.ca)}
    with redis.Redis(**trusted, **shown) as encrypted, redis.Redis(unix_socket_path=str(path)) as local:
        with encrypted.pipeline(transaction=True) as pipeline:
            for number in range(2000):
                pipeline.rpush("list", number)
            assert pipeline.execute()[-1] == 2000
        with encrypted.pubsub() as subscriber:
            subscriber.subscribe("channel")
            assert subscriber.get_message(timeout=PATIENCE_SECONDS)["type"] == "subscribe"
            assert local.publish("channel", "hello") == 1
            assert subscriber.get_message(timeout=PATIENCE_SECONDS)["data"] == b"hello"
        served.kill_and_start()
        assert local.llen("list") == encrypted.llen("list") == 2000
    with redis.Redis.from_url(
        f"rediss://localhost:{tls_port}/3?ssl_ca_certs={certificates.ca}", **shown, protocol=3
    ) as client:
        assert client.set("a", "b")
        assert client.client_info()["db"] == 3
    for refused in (trusted, trusted | shown | {"ssl_ca_certs": str(certificates.stranger_ca)}):
        with (
            redis.Redis(**refused, retry=Retry(NoBackoff(), 0)) as client,
            pytest.raises(redis.ConnectionError),
        ):
            client.ping()
    with redis.Redis.from_url(f"unix://{path}?db=3") as client:
        assert client.get("a") == b"b"


def test_redis_py_with_asyncio(served: Served, certificates: Certificates, tls_port: int) -> None:
    async def work() -> int:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            f"rediss://localhost:{tls_port}",
            max_connections=16,
            ssl_ca_certs=str(certificates.ca),
            ssl_certfile=str(certificates.client_cert),
            ssl_keyfile=str(certificates.client_key),
        )
        async with redis.asyncio.Redis.from_pool(pool) as client:
            await asyncio.gather(*(client.incr("count") for _ in range(500)))
            return int(await client.get("count") or 0)

    assert asyncio.run(work()) == 500
