"""Clients that come by any address, with a password, as a user with few rights, over TLS: all reach the nodes that they
are told of in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from tests.net.certificates import Certificates
from tests.programs.served_cluster import ServedCluster, free_ports, run_tasks
from tests.programs.test_cluster_redis_cli import run

pytestmark = pytest.mark.slow

PASSWORD = "open sesame"


@contextmanager
def serving(cluster: ServedCluster) -> Iterator[ServedCluster]:
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def use(client: Any, prefix: str = "") -> None:
    """Read and write keys of all nodes."""
    for n in range(50):
        assert client.set(f"{prefix}key:{n}", n)
    assert [int(client.get(f"{prefix}key:{n}")) for n in range(50)] == list(range(50))


def test_addresses(tmp_path: Path) -> None:
    """The nodes are announced with the address by which the client has come."""
    cluster = ServedCluster(tmp_path, 2, "--bind", "127.0.0.1", "--bind", "::1")
    if cluster.is_redis:
        pytest.skip("a node of Redis announces one address")
    with serving(cluster):
        for host, told in (("127.0.0.1", "127.0.0.1"), ("localhost", None), ("::1", "::1")):
            with redis.RedisCluster(host=host, port=cluster.port) as client:
                use(client)
                hosts = {node.host for node in client.get_primaries()}
                assert hosts <= ({told} if told else {"127.0.0.1", "::1"}), hosts
        checked = run("redis-cli", "--cluster", "check", f"localhost:{cluster.port}")
        assert "[OK] All 16384 slots covered." in checked
        for host in ("127.0.0.1", "localhost", "::1"):
            for n in range(20):
                assert run("redis-cli", "-h", host, "-p", str(cluster.port), "-c", "GET", f"key:{n}") == f"{n}\n"


def test_a_fixed_address(tmp_path: Path) -> None:
    cluster = ServedCluster(tmp_path, 2, "--bind", "127.0.0.1", "--cluster-announce-ip", "127.0.0.1")
    with serving(cluster), redis.RedisCluster(host="localhost", port=cluster.port) as client:
        use(client)
        assert {node.host for node in client.get_primaries()} == {"127.0.0.1"}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServedCluster]:
    with serving(ServedCluster(tmp_path, 2, password=PASSWORD)) as cluster:
        yield cluster


def test_password(guarded: ServedCluster, run_guarded: Callable[..., Any]) -> None:
    guarded.may_fail |= {"NOAUTH", "WRONGPASS", "auth", "hello"}
    with guarded.cluster_client() as client:
        use(client)
        guarded.kill_and_revive(1)
        use(client)
    with pytest.raises(redis.exceptions.RedisClusterException):
        redis.RedisCluster(host="127.0.0.1", port=guarded.port)
    port = str(guarded.port)
    said = run("redis-cli", "-p", port, "-a", PASSWORD, "--no-auth-warning", "-c", "GET", "key:7")
    assert said == "7\n"
    checked = run("redis-cli", "-a", PASSWORD, "--no-auth-warning", "--cluster", "check", f"127.0.0.1:{port}")
    assert "[OK] All 16384 slots covered." in checked
    with run_guarded("cluster-ways-in.cjs", "password", PASSWORD=PASSWORD) as program:
        assert program.wait() == "ioredis 1225\nnode-redis 1225\n"


@pytest.fixture
def run_guarded(guarded: ServedCluster, node_modules: Path, tmp_path: Path) -> Callable[..., object]:
    from tests.programs.conftest import node_runner

    return node_runner(guarded, node_modules, tmp_path)


def test_user_with_few_rights(cluster: ServedCluster) -> None:
    cluster.may_fail |= {"NOPERM"}
    rules = (
        "on",
        f">{PASSWORD}",
        "~app:*",
        "&app:*",
        "+@read",
        "+@write",
        "+cluster|slots",
        "+cluster|shards",
        "+command",
    )
    for node in range(len(cluster.ports)):
        with cluster.client(node) as client:
            client.execute_command("ACL SETUSER", "ada", *rules)
    with cluster.cluster_client(username="ada", password=PASSWORD) as client:
        use(client, "app:")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("key", "value")
        for channel in (f"app:{n}" for n in range(4)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.spublish(channel, "hello")

    async def use_asyncio() -> None:
        async with redis.asyncio.RedisCluster(
            host="127.0.0.1", port=cluster.port, username="ada", password=PASSWORD
        ) as client:
            for n in range(50):
                assert await client.get(f"app:key:{n}") == b"%d" % n

    run_tasks(use_asyncio())


def test_tls(tmp_path: Path, node_modules: Path) -> None:
    """Clients are told the TLS ports where they came by one."""
    from tests.programs.conftest import node_runner

    certificates = Certificates(tmp_path)
    plain_port, _, tls_port, _ = free_ports(4)
    words = certificates.words(tls_port=str(tls_port), tls_auth_clients="yes", tls_ca_cert_file=str(certificates.ca))
    cluster = ServedCluster(tmp_path, 2, *words, port=plain_port)
    if cluster.is_redis:
        pytest.skip("redis-server is started without these options")
    trusted: dict[str, Any] = {
        "host": "localhost", "port": tls_port, "ssl": True, "ssl_ca_certs": str(certificates.ca),
        "ssl_certfile": str(certificates.client_cert), "ssl_keyfile": str(certificates.client_key),
    }  # fmt: skip
    with serving(cluster):
        with redis.RedisCluster(**trusted) as client:
            use(client)
            assert {node.port for node in client.get_primaries()} == {tls_port, tls_port + 100}
            cluster.kill_and_revive(1)
            use(client)
        with cluster.cluster_client() as plain:
            use(plain)
            assert {node.port for node in plain.get_primaries()} == set(cluster.ports)
        encrypted = ["--tls", "--cacert", str(certificates.ca)]
        encrypted += ["--cert", str(certificates.client_cert), "--key", str(certificates.client_key)]
        for n in range(20):
            assert (
                run("redis-cli", "-h", "localhost", "-p", str(tls_port), *encrypted, "-c", "GET", f"key:{n}")
                == f"{n}\n"
            )
        assert "[OK] All 16384 slots covered." in run(
            "redis-cli", *encrypted, "--cluster", "check", f"localhost:{tls_port}"
        )
        environment = {
            "TLS_PORT": str(tls_port), "CA": str(certificates.ca), "CERT": str(certificates.client_cert),
            "KEY": str(certificates.client_key),
        }  # fmt: skip
        with node_runner(cluster, node_modules, tmp_path)("cluster-ways-in.cjs", "tls", **environment) as program:
            assert program.wait() == "ioredis 1225\nnode-redis 1225\n"
