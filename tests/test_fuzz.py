"""Every surface in fuzz/: its corpus is replayed, and some hundred new inputs are tried. And their runner."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import commands
from fuzz.byte_source import ByteSource
from fuzz.surface import OneInput, shortened, surfaces
from tests.tool import needs_tool

SURFACES = surfaces()
SLOW_INPUTS = {"commands": 10_000}  # the others: twice as many, in less time


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
    _search(name, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
def test_many_new_inputs(name: str) -> None:
    _search(name, SLOW_INPUTS.get(name, 20_000))


@pytest.mark.parametrize("name", [*SURFACES, "damage"])
def test_a_fuzzer_says_what_it_holds(name: str) -> None:
    assert "Invariant: " in (importlib.import_module(f"fuzz.{name}").__doc__ or "")


def _search(name: str, inputs: int) -> None:
    one_input = _one_input(name)

    @settings(max_examples=inputs, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=200))
    def search(data: bytes) -> None:
        one_input(data)

    search()


# What the fuzzers are made of.


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
