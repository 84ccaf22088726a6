"""The programs of examples/moving: on the old library and on Flin they print the same."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source import ROOT
from tests.tool import needs_package

MOVING = ROOT / "examples" / "moving"
LIBRARIES = {"sensors": "plyvel", "words": "lmdb", "prices": "diskcache", "contacts": "shelve", "results": "sqlitedict"}
PAGE = ROOT / "docs" / "moving" / "index.md"


def output(when: str, name: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(MOVING / when / f"{name}.py"), str(directory)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_program_is_there() -> None:
    for when in ("before", "after"):
        assert {path.stem for path in (MOVING / when).glob("*.py")} == set(LIBRARIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_both_print_the_same(name: str, tmp_path: Path) -> None:
    needs_package(LIBRARIES[name])
    after = output("after", name, tmp_path / "after")
    assert len(after.splitlines()) >= 3
    assert after == output("before", name, tmp_path / "before")


def code_lines(when: str, name: str) -> list[str]:
    lines = (MOVING / when / f"{name}.py").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_page_counts_the_lines(name: str) -> None:
    before, after = code_lines("before", name), code_lines("after", name)
    kept = sum(
        block.size for block in difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    )
    row = re.search(rf"^\| `{name}\.py`.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    cells = [cell.strip() for cell in row[0].strip("|").split("|")]
    assert cells[1:] == [LIBRARIES[name], str(len(before)), str(len(after)), str(len(before) - kept)]
