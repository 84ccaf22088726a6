"""Every fuzzer in fuzz/ that has a `one_input`: its corpus is replayed, and some hundred new inputs are tried."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.source import ROOT

FUZZ = ROOT / "fuzz"


def _fuzzers() -> list[str]:
    """By name: those whose source defines one_input (the others have a test beside what they fuzz)."""
    return [path.stem for path in sorted(FUZZ.glob("*.py")) if "\ndef one_input(" in path.read_text(encoding="utf-8")]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"fuzz.{name}")


def _one_input(name: str) -> Callable[[bytes], None]:
    one_input: Callable[[bytes], None] = _module(name).one_input
    return one_input


def _corpus() -> list[Path]:
    return [path for name in _fuzzers() for path in sorted((FUZZ / "corpus" / name).glob("*")) if path.is_file()]


@pytest.mark.parametrize("path", _corpus(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_corpus(path: Path) -> None:
    _one_input(path.parent.name)(path.read_bytes())


@pytest.mark.parametrize("name", _fuzzers())
def test_new_inputs(name: str) -> None:
    _search(name, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", _fuzzers())
def test_many_new_inputs(name: str) -> None:
    _search(name, 20_000)


@pytest.mark.parametrize("name", [path.stem for path in sorted(FUZZ.glob("*.py"))])
def test_a_fuzzer_says_what_it_holds(name: str) -> None:
    assert "Invariant: " in (_module(name).__doc__ or "")


def _search(name: str, inputs: int) -> None:
    one_input = _one_input(name)

    @settings(max_examples=inputs, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=200))
    def search(data: bytes) -> None:
        one_input(data)

    search()
