"""Every surface in fuzz/: its corpus is replayed, and some hundred new inputs are tried. And their runner."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import commands
from fuzz.byte_source import ByteSource
from fuzz.surface import OneInput, shortened, surfaces, write_input
from tests.source import ROOT
from tests.tool import needs_tool

SURFACES = surfaces()
SLOW_INPUTS = {
    "checkpoint_copy": 1_000,
    "commands": 2_500,
    "config": 1_000,
    "feed": 2_500,
    "lua_values": 1_500,
    "operations": 2_500,
    "rounds": 2_500,
}
"""Where an input costs 5 ms and more, so that no search takes a minute; the others try MANY_INPUTS."""

MANY_INPUTS = 4_000


@pytest.fixture(autouse=True, scope="module")
def _no_servers_left() -> Iterator[None]:
    yield
    commands.close()


def _one_input(name: str) -> OneInput:
    module = SURFACES[name].module()
    for tool in getattr(module, "TOOLS", ()):
        needs_tool(tool)
    return SURFACES[name].one_input()


def _corpus() -> list[Path]:
    return [path for surface in SURFACES.values() for path in surface.inputs()]


@pytest.mark.parametrize("path", _corpus(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_corpus(path: Path) -> None:
    _one_input(path.parent.name)(path.read_bytes())


@pytest.mark.parametrize("name", SURFACES)
def test_new_inputs(name: str) -> None:
    _search(name, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
def test_many_new_inputs(name: str) -> None:
    _search(name, SLOW_INPUTS.get(name, MANY_INPUTS))


@pytest.mark.parametrize("name", [*SURFACES, "damage"])
def test_a_fuzzer_says_what_it_holds(name: str) -> None:
    assert "Invariant: " in (importlib.import_module(f"fuzz.{name}").__doc__ or "")


def test_the_document_tells_of_every_surface() -> None:
    text = (ROOT / "docs" / "fuzzing.md").read_text(encoding="utf-8")
    assert [name for name in SURFACES if f"| `{name}` |" not in text] == []


def _search(name: str, inputs: int) -> None:
    one_input = _one_input(name)

    @settings(max_examples=inputs, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=200))
    def search(data: bytes) -> None:
        one_input(data)

    search()


# The parts of the fuzzers.


def test_a_source_of_bytes_draws_what_they_say() -> None:
    source = ByteSource(b"\x05\x0b\x80\x01\x02\x03abc")
    assert source.choice("abcd") == "b"
    assert source.randint(10, 12) == 12
    assert source.random() == 0.5
    assert source.randrange(1000) == 0x0102
    items = [0, 1, 2]
    source.shuffle(items)  # 3 % 3, then "a" % 2
    assert items == [2, 1, 0]
    assert (source.randbytes(2), source.is_empty) == (b"bc", True)
    assert (source.randrange(1000), source.randrange(1), source.random(), source.randbytes(1)) == (0, 0, 0.0, b"\0")


def test_a_finding_is_shortened() -> None:
    def one_input(data: bytes) -> None:
        if b"a" in data and b"b" in data:
            raise ValueError
        if not data:
            raise KeyError

    assert shortened(one_input, b"x" * 50 + b"a" + b"y" * 50 + b"b" + b"z", ValueError) == b"ab"


# The runner, with a surface of its own.

SURFACE = """
from flin.net.wire.numbers import maybe_int64

class Bug(Exception):
    pass

def one_input(data: bytes) -> None:
    if len(data) > 2 and data[0] == 200 and data[1] > 100:
        raise Bug(f"the bug was met by {len(data)} bytes")
    maybe_int64(data)
    if data == b"missing":
        print("the corpus was read")
"""
ENGINES = ["hypothesis", pytest.param("atheris", marks=pytest.mark.slow)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a surface `sample`, in addition to Flin's: the package has no __init__, so folders add up."""
    (tmp_path / "fuzz").mkdir()
    (tmp_path / "fuzz" / "sample.py").write_text(SURFACE, encoding="utf-8")
    return tmp_path


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    command = [sys.executable, "-m", "fuzz", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_finding_is_kept_and_told(folder: Path, engine: str) -> None:
    if engine == "atheris":
        pytest.importorskip("atheris")
    done = _run(folder, "sample", "--engine", engine, "--seed", "1", "--inputs", "200000", "--seconds", "60")
    assert done.returncode == 1, done.stdout + done.stderr
    (kept,) = (folder / "fuzz" / "corpus" / "sample").iterdir()
    data = kept.read_bytes()
    assert len(data) == 3
    assert "the bug was met by" in done.stdout
    assert f"FOUND in sample: Bug\nkept as {kept}\n" in done.stdout
    command = f"python -m fuzz sample {kept.relative_to(folder)}"
    assert f"replay it:  {command}\n" in done.stdout

    again = _run(folder, *command.split()[3:])
    assert again.returncode == 1
    assert "Bug: the bug was met by 3 bytes" in again.stdout
    assert "sample: 1 inputs, 1 fail" in again.stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_found_from_a_corpus(folder: Path, engine: str) -> None:
    if engine == "atheris":
        pytest.importorskip("atheris")
    write_input(folder / "fuzz" / "corpus" / "sample", b"missing")
    done = _run(folder, "sample", "--engine", engine, "--seed", "1", "--inputs", "300", "--seconds", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the corpus was read" in done.stdout
    assert "sample     300 inputs" in done.stdout


def test_what_reaches_more_is_merged(folder: Path) -> None:
    for data in (b"17", b"18", b"xy", b"x"):
        write_input(folder / ".fuzz" / "sample", data)
    write_input(folder / "fuzz" / "corpus" / "sample", b"19")
    done = _run(folder, "sample", "--merge", "9")
    assert done.returncode == 0, done.stdout + done.stderr
    merged = {path.read_bytes() for path in (folder / "fuzz" / "corpus" / "sample").iterdir()}
    assert merged == {b"19", b"x"}  # a number, and the shorter one of those that are none
    assert "sample: 1 inputs taken" in done.stdout


def test_wrong_usage(folder: Path) -> None:
    assert _run(folder, "nosuch").returncode == 2
    assert _run(folder, "all", "file").returncode == 2
