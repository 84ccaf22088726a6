"""A server over an engine and a gateway in front of it, both in this process; and a client."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import flin.engine
from flin.engine.engine import store_of
from tests.net.serving import ServerThread

if TYPE_CHECKING:
    from flin.gateway.server import Gateway

collect_ignore_glob = [] if find_spec("grpc") else ["test_*.py"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    directory = tmp_path_factory.mktemp("gateway") / "db"
    with (
        flin.engine.open(directory, sync="never", wal_retention="64mb") as db,
        ServerThread(store_of(db)) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def gateway(server: ServerThread) -> Iterator[Gateway]:
    from flin.gateway.server import Gateway, GatewayOptions

    running = Gateway(GatewayOptions(listen="127.0.0.1:0", server=f"127.0.0.1:{server.port}", max_streams=2))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kv(gateway: Gateway, server: ServerThread) -> Iterator[Any]:
    """A client of an empty server."""
    import grpc

    from flin.gateway.flin_pb2_grpc import KVStub
    from tests.net.raw_client import RawClient

    with RawClient(server.port) as client:
        client.call(b"FLUSHALL")
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield KVStub(channel)


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """Files of a server's certificate for localhost, a client's, and the authority of both."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    files = {name: str(tmp_path / f"{name}.pem") for name in ("authority", "cert", "key", "client_cert", "client_key")}
    authority.cert_pem.write_to_path(files["authority"])
    for name in ("", "client_"):
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(files[f"{name}key"])
        issued.cert_chain_pems[0].write_to_path(files[f"{name}cert"])
    return files
