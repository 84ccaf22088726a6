"""The generated code is what protoc makes of flin.proto."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.source import ROOT

MADE = ("flin_pb2.py", "flin_pb2.pyi", "flin_pb2_grpc.py")


def test_it_is_made_again(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    written = (ROOT / "flin" / "gateway" / "flin_pb2_grpc.py").read_text()
    if f"GRPC_GENERATED_VERSION = '{version('grpcio-tools')}'" not in written:
        pytest.skip("another version of grpcio-tools is installed than pyproject.toml names")
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    source = "flin/gateway/flin.proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *outputs, source], cwd=ROOT, check=True)
    for name in MADE:
        made = (tmp_path / "flin" / "gateway" / name).read_text()
        assert made == (ROOT / "flin" / "gateway" / name).read_text(), f"make {name} again"
