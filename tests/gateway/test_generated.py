"""The generated code is what protoc makes of flin.proto and etcd.proto."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.source import ROOT

GATEWAY = "flin/gateway/flin"
ETCD = "flin/cluster/etcd/etcd"
MESSAGES = ("_pb2.py", "_pb2.pyi")


@pytest.mark.parametrize(("stem", "endings"), [(GATEWAY, (*MESSAGES, "_pb2_grpc.py")), (ETCD, MESSAGES)])
def test_it_is_made_again(stem: str, endings: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    if f"GRPC_GENERATED_VERSION = '{version('grpcio-tools')}'" not in (ROOT / f"{GATEWAY}_pb2_grpc.py").read_text():
        pytest.skip("another version of grpcio-tools is installed than pyproject.toml names")
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *outputs, f"{stem}.proto"]
    subprocess.run(command, cwd=ROOT, check=True)
    for ending in endings:
        name = f"{stem}{ending}"
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"make {name} again"
