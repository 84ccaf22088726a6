"""`flin grpc`: a process of its own, in front of `flin serve`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import grpc
import pytest

from flin.bench.server_process import free_port
from flin.cli import grpc as command
from flin.cli.main import main
from flin.gateway import flin_pb2 as pb
from flin.gateway.flin_pb2_grpc import KVStub
from flin.testing.process import PATIENCE_SECONDS
from tests.net.serving import ServerThread
from tests.program import running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_life(tmp_path: Path, number: signal.Signals) -> None:
    """It answers on a Unix socket, with a password from the environment, and ends with 0."""
    path = tmp_path / "flin.sock"
    port = free_port()
    words = ["-m", "flin", "grpc", "--listen", f"127.0.0.1:{port}", "--server", f"unix:{path}"]
    with (
        ServerThread(unixsocket=str(path), requirepass="secret"),
        running(tmp_path, words, FLIN_GRPC_PASSWORD="secret") as program,
    ):
        program.found(f"Flin answers gRPC on 127.0.0.1:{port}, for the server at unix:{path}")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            kv = KVStub(channel)
            kv.Put(pb.PutRequest(key=b"a", value=b"1"), timeout=PATIENCE_SECONDS)
            assert kv.Get(pb.GetRequest(key=b"a"), timeout=PATIENCE_SECONDS).value == b"1"
        assert program.end(number) == 0


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with ServerThread() as server:
        assert main(["grpc", "--listen", f"127.0.0.1:{server.port}"]) != 0
    assert f"cannot listen on 127.0.0.1:{server.port}" in capsys.readouterr().err


def test_passwords(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, none = tmp_path / "empty", tmp_path / "none"
    empty.write_text("\n")
    for path, text in ((empty, "its first line is empty"), (none, "cannot read the password")):
        assert main(["grpc", "--password-file", str(path)]) != 0
        assert text in capsys.readouterr().err


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name.startswith("grpc") else sys)
    assert main(["grpc"]) != 0
    assert "grpc, grpc_health, grpc_reflection is not installed: pip install 'flin[grpc]'" in capsys.readouterr().err
