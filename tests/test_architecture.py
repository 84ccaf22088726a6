"""ARCHITECTURE.md names files and functions: they are there."""

from __future__ import annotations

import ast
import re

from tests.source import ROOT, python_files, tree_of

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MOST_LINES = 250


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


def test_every_named_file_of_the_engine_exists() -> None:
    files = {path.name for path in python_files("flin")}
    named = set(re.findall(r"`([a-z_0-9]+\.py)[`:]", TEXT))
    assert len(named) >= 30
    assert named <= files


def test_it_stays_a_short_read() -> None:
    assert TEXT.count("\n") <= MOST_LINES
