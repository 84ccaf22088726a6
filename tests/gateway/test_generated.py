"""The generated code is what protoc makes of flin.proto and etcd.proto."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.source import ROOT


@pytest.mark.parametrize("source", ["flin/gateway/flin.proto", "flin/cluster/etcd.proto"])
def test_it_is_made_again(source: str, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    stem = source.removesuffix(".proto")
    if f"GRPC_GENERATED_VERSION = '{version('grpcio-tools')}'" not in (ROOT / f"{stem}_pb2_grpc.py").read_text():
        pytest.skip("another version of grpcio-tools is installed than pyproject.toml names")
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *outputs, source], cwd=ROOT, check=True)
    for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
        name = f"{stem}{ending}"
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"make {name} again"
