"""The house style, as far as a program can check it: ruff, mypy strict, sizes, names and words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.source import ROOT, module_name, python_files, tree_of

FOLDERS = [folder for folder in ("flin", "tests", "fuzz", "examples") if (ROOT / folder).is_dir()]
TYPED = [folder for folder in ("flin", "tests", "fuzz") if python_files(folder)]

MAX_LINES = 600  # of a file in flin/: beyond it holds two nouns
MAX_FUNCTION_LINES = 70  # style.md: nine of ten fit in 20-40; hot loops may be longer and say why
BANNED_NAMES = {"utils", "util", "helpers", "common", "base", "types", "misc"}

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|workspace|build|mnt)/[\w.-]+")


def test_ruff_lint() -> None:
    _passes("ruff", "check", "--no-cache", *FOLDERS)


def test_ruff_format() -> None:
    _passes("ruff", "format", "--check", "--no-cache", *FOLDERS)


@pytest.mark.long
def test_mypy() -> None:
    _passes("mypy", *TYPED)


def test_modules() -> None:
    for path in python_files("flin"):
        text = path.read_text(encoding="utf-8")
        assert path.stem not in BANNED_NAMES, f"{path}: a file is named for the one noun it defines"
        assert text.count("\n") <= MAX_LINES, path
        assert ast.get_docstring(tree_of(path)) or not text.strip(), f"{path}: a module says what it is"


def test_long_functions_say_why() -> None:
    for path in python_files("flin"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                size = node.end_lineno - node.lineno + 1
                said = (ast.get_docstring(node) or "") + "".join(
                    line.partition("#")[2] for line in lines[max(0, node.lineno - 4) : node.end_lineno]
                )
                assert size <= MAX_FUNCTION_LINES or re.search(r"\blong\b", said, re.IGNORECASE), (
                    f"{path}: {node.name} has {size} lines and does not say why it is long"
                )


def test_docstrings_begin_with_what_they_are() -> None:
    """With the noun or the verb: "Of the WAL" and "The same, but" send the reader somewhere else first."""
    strings = [
        (module_name(path), node.value.value.partition("\n")[0])
        for path in python_files("flin")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    assert [found for found in strings if found[1].startswith(("Of ", "The same"))] == []


def test_documents_hold_no_machine_paths() -> None:
    found = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *python_files(*FOLDERS)]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line) and "MACHINE_PATH" not in line:
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found


def test_the_rules_bite() -> None:
    """The pattern above matches what it is there to find."""
    assert MACHINE_PATH.search("see /" + "home/someone/flin")
    assert not MACHINE_PATH.search("flin/engine/disk/fs.py, /var/lib/flin, docs/home/x")


def _passes(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
