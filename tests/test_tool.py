"""A test that wants a missing tool is skipped by name, and fails in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tool import missing_tool

ROOT = Path(__file__).parents[1]

CASES = {
    "function": "from tests.tool import needs_tool\ndef test_it():\n    needs_tool('redis-server')\n",
    "fixture": "def test_it(needs_tool):\n    needs_tool('redis-server')\n",
    "module": "from tests.tool import needs_tool\nneeds_tool('redis-server')\ndef test_it(): pass\n",
    "by hand": "import pytest\ndef test_it():\n    pytest.skip('there is no redis-server here')\n",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ci", [False, True])
def test_missing_tool(tmp_path: Path, case: str, ci: bool) -> None:
    (tmp_path / "test_case.py").write_text(CASES[case])
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "CI": "true" if ci else ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-rs", "test_case.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert "redis-server" in output
    if ci:
        assert done.returncode in (1, 2), output
    else:
        assert "1 skipped" in output


@pytest.mark.parametrize(
    ("reason", "tool"),
    [
        ("Skipped: missing tool: npm", "npm"),
        ("redis-server is not there", "redis-server"),
        ("could not import 'rocksdict'", None),
        ("a node-like thing", None),
    ],
)
def test_reason(reason: str, tool: str | None) -> None:
    assert missing_tool(reason) == tool
