"""What a user gets who installs Flin: metadata, types, the command, and nothing that is not Flin."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import flin
from tests.source import ROOT, imports_of, python_files

CONFIGURATION: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = CONFIGURATION["project"]
BUILD: dict[str, Any] = CONFIGURATION["tool"]["hatch"]
TEST_COMMAND = "python3 -m venv .venv-test && .venv-test/bin/pip install '.[dev]' && .venv-test/bin/pytest"

# Distributions with the same import name, by the packages that need them.
ENGINE_NEEDS = {"sortedcontainers", "mmh3", "zstandard"}
ALLOWED_IMPORTS = {
    # zlib-ng only if it is installed: see `flin.engine.checksum`; cryptography only with a key: disk/cipher.py
    "flin/engine": ENGINE_NEEDS | {"zlib_ng", "cryptography"},
    "flin/objects": ENGINE_NEEDS,
    "flin/testing": ENGINE_NEEDS | {"redis"},  # redis-py only if it is installed: see `flin.testing.kill`
    "flin/net": ENGINE_NEEDS | {"uvloop", "hiredis", "lupa"},  # lupa only when the first script comes
    "flin/gateway": {"grpc", "grpc_health", "grpc_reflection", "hiredis"},  # only for flin grpc
    "flin/cluster": ENGINE_NEEDS | {"uvloop", "cryptography", "aiohttp"},  # the last two only for several nodes
    "flin/admin": {"aiohttp", "prometheus_client"},  # only with --http
    "flin/cli": ENGINE_NEEDS | {"uvloop", "hiredis", "shtab"},
}


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", flin.__version__)
    assert "version" in PROJECT["dynamic"]


def test_dependencies() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\s\[<>=!~;]", requirement)[0] for requirement in requirements}

    assert names(PROJECT["dependencies"]) == ENGINE_NEEDS
    assert PROJECT["requires-python"] == ">=3.11"
    extras = PROJECT["optional-dependencies"]
    assert names(extras["server"]) == {"uvloop", "hiredis"}
    assert names(extras["fast"]) == {"zlib-ng"}
    assert names(extras["encryption"]) == {"cryptography"}
    assert names(extras["cluster"]) == {"flin", "protobuf", "cryptography"}
    assert {"pytest", "pytest-xdist", "hypothesis", "mypy", "ruff", "redis"} <= names(extras["dev"])
    assert {"rocksdict", "plyvel"} <= names(extras["bench"])


def test_pythons() -> None:
    """.ci/run reads them here, and tests with the oldest and the newest that it finds."""
    prefix = "Programming Language :: Python :: 3."
    minors = [int(each.removeprefix(prefix)) for each in PROJECT["classifiers"] if each.startswith(prefix)]
    assert minors == [11, 12, 13, 14]


@pytest.mark.parametrize("folder", ALLOWED_IMPORTS)
def test_imports_are_declared(folder: str) -> None:
    allowed = ALLOWED_IMPORTS[folder] | {"flin"} | sys.stdlib_module_names
    for path in python_files(folder):
        for line, name in imports_of(path):
            assert name.split(".")[0] in allowed, f"{path}:{line} imports {name}, which is not declared"


def test_one_test_command() -> None:
    """README and CI run the same line, so that what the README promises is what CI proves."""
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TEST_COMMAND in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_wheel(tmp_path: Path) -> None:
    """A wheel built from this tree holds the package, its types and its licence, and no test."""
    source = tmp_path / "source"  # a copy: building in the tree would leave (and pick up) build/lib
    shutil.copytree(ROOT / "flin", source / "flin", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-cache-dir", "-w", str(tmp_path), str(source)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("flin-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"flin-{flin.__version__}.dist-info/METADATA").decode()
        points = archive.read(f"flin-{flin.__version__}.dist-info/entry_points.txt").decode()
    assert "flin/py.typed" in names
    assert {path.relative_to(ROOT).as_posix() for path in python_files("flin")} <= names
    lua = {path.relative_to(ROOT).as_posix() for path in (ROOT / "flin").rglob("*.lua")}
    assert "flin/net/scripting/sandbox.lua" in lua
    assert lua <= names
    assert {name.split("/")[0] for name in names} == {"flin", f"flin-{flin.__version__}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert f"Version: {flin.__version__}\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    assert "flin = flin.__main__:main" in points


def test_links_hold_on_pypi() -> None:
    """README's links lead to files of the repository; the page on PyPI gets them with the project's address before."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (rule,) = BUILD["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", readme)
    assert all((ROOT / link).is_file() for link in links if "://" not in link)
    shown = re.findall(r"\]\(([^)]+)\)", re.sub(rule["pattern"], rule["replacement"], readme))
    assert len(shown) > 20
    assert all(link.startswith(("#", f"{PROJECT['urls']['Homepage']}/blob/main/", "https://")) for link in shown)


@pytest.mark.slow
def test_sdist(tmp_path: Path) -> None:
    """A source distribution holds all that the tests and documents need, and a wheel can be built from it."""
    source = tmp_path / "source"
    passing = shutil.ignore_patterns(
        "__pycache__", "node_modules", ".git", ".venv*", ".*_cache", ".hypothesis", ".fuzz"
    )
    for name in ("docs", "examples", "flin", "fuzz", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=passing)
    for path in (*ROOT.glob("*.md"), ROOT / "LICENSE", ROOT / "pyproject.toml", ROOT / ".gitignore"):
        shutil.copy(path, source)
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    build = "import hatchling.build, sys; hatchling.build.build_sdist(sys.argv[1])"
    pytest.importorskip("hatchling", reason="missing tool: extra programs (hatchling)")
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("flin-*.tar.gz")
    with tarfile.open(archive) as files:
        held = {name.partition("/")[2] for name in files.getnames()}
        metadata = files.extractfile(f"flin-{flin.__version__}/PKG-INFO")
        assert metadata is not None
        assert "](docs/" not in metadata.read().decode()
    assert names <= held | {".gitignore"}
