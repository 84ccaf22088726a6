"""For the tests of programs: a server that can be killed, and the npm packages, installed once per run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.program import Program, running
from tests.programs.served import Served
from tests.programs.served_cluster import ServedCluster
from tests.tool import needs_tool

NODE = Path(__file__).parent / "node"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServedCluster]:
    """Of two nodes; of others with `@pytest.mark.parametrize("cluster", [3], indirect=True)`."""
    server = ServedCluster(tmp_path, getattr(request, "param", 2))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder node_modules with the packages of node/package.json. The workers of a run share it: the first one that
    comes installs them, the others wait."""
    node, npm = needs_tool("node"), needs_tool("npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"node {version.strip()}: the packages want 20 or later")
    of_worker = tmp_path_factory.getbasetemp()
    folder = (of_worker.parent if "PYTEST_XDIST_WORKER" in os.environ else of_worker) / "npm"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            shutil.copy(NODE / "package.json", folder)
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--no-package-lock"]
            subprocess.run([npm, "install", *options], cwd=folder, check=True, timeout=300, capture_output=True)
            (folder / "installed").touch()
    return folder / "node_modules"


@pytest.fixture
def run_node(served: Served, node_modules: Path, tmp_path: Path) -> Callable[..., object]:
    """`with run_node("bullmq.cjs") as program:` runs a program of node/ with the server's address."""
    return node_runner(served, node_modules, tmp_path)


@pytest.fixture
def run_cluster_node(cluster: ServedCluster, node_modules: Path, tmp_path: Path) -> Callable[..., object]:
    """The same with the cluster's address; CLUSTER is set."""
    return node_runner(cluster, node_modules, tmp_path)


def node_runner(served: Served | ServedCluster, node_modules: Path, folder: Path) -> Callable[..., Any]:
    @contextmanager
    def run(name: str, *words: str, **environment: str) -> Iterator[Program]:
        everything = {
            "NODE_PATH": str(node_modules), "NODE_NO_WARNINGS": "1", "PORT": str(served.port), "URL": served.url,
            **({"CLUSTER": "1"} if isinstance(served, ServedCluster) else {}), **environment,
        }  # fmt: skip
        command = [str(NODE / name), *words]
        with running(folder, command, executable=needs_tool("node"), **everything) as program:
            yield program

    return run
