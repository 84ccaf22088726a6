"""ARCHITECTURE.md and the modules' docstrings name files and functions: these exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.source import ROOT, module_name, python_files, tree_of

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MAX_LINES = 250


def test_every_step_names_a_function_that_exists() -> None:
    steps = re.findall(r"`(flin/[a-z0-9_/]+\.py):([A-Za-z_0-9]+)`", TEXT)
    assert len(steps) >= 20
    for path, name in steps:
        functions = {
            node.name
            for node in ast.walk(tree_of(ROOT / path))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        assert name in functions, f"{path}:{name}"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "README.md", "docs/glossary.md"])
def test_every_named_file_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_0-9/]+\.py)[`:]", text))
    assert len(named) >= 5
    there = {path.name for path in python_files("flin", "tests", "examples")}
    assert {name.rpartition("/")[2] for name in named} <= there


def test_it_stays_a_short_read() -> None:
    assert TEXT.count("\n") <= MAX_LINES


FOREIGN = {"strtold", "printf"}
"""C functions that docstrings compare with."""


@cache
def names_of_the_source() -> set[str]:
    """Every identifier of the package, and every word in its constants."""
    names = {module_name(path) for path in python_files("flin")}
    for node in (node for path in python_files("flin") for node in ast.walk(tree_of(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
            continue
        found = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "module"))
        names.update(name for name in found if isinstance(name, str))
    return {part for name in names for part in (name, *name.split("."))}


def test_every_name_in_a_docstring_exists() -> None:
    names = names_of_the_source() | FOREIGN
    files = {path.name for path in python_files("flin", "tests", "fuzz")}
    unknown = set()
    for path in python_files("flin"):
        text = ast.get_docstring(tree_of(path)) or ""
        named = re.findall(r"`([A-Za-z_][A-Za-z_0-9.]*)(?:\([^`]*\))?`", text)
        parts = {part for name in named for part in name.removesuffix(".py").split(".")}
        missing = parts - names | set(re.findall(r"\b([a-z][a-z_0-9]*\.py)\b", text)) - files
        unknown |= {(module_name(path), name) for name in missing}
    assert unknown == set()
