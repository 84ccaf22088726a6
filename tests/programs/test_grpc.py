"""`flin grpc` in front of `flin serve`, called from Node: before and after a kill -9 of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flin.bench.server_process import free_port
from tests.program import running
from tests.programs.served import Served
from tests.source import ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("grpc")


def test_node(served: Served, run_node: Callable[..., Any], tmp_path: Path) -> None:
    if served.is_redis:
        pytest.skip("the gateway needs commands of Flin's own")
    address = f"127.0.0.1:{free_port()}"
    words = ["-m", "flin", "grpc", "--listen", address, "--server", f"127.0.0.1:{served.port}"]
    with running(tmp_path, words) as gateway:
        gateway.found("Flin answers gRPC")
        proto = str(ROOT / "flin" / "gateway" / "flin.proto")
        with run_node("grpc.cjs", ADDRESS=address, PROTO=proto) as program:
            program.found("now kill the server")
            served.kill_and_start()
            program.say("it is back")
            said = program.wait().splitlines()
    assert said == [
        "get 00ff", "absent null", "watching 0", "batch 2500", "watched 2500", "range 3 2500", "txn true w",
        "now kill the server", "back w",
    ]  # fmt: skip
