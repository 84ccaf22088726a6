"""A test that needs a missing tool is skipped, with the tool's name, and fails in CI."""

from __future__ import annotations

import os
import re
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
    "by_hand": "import pytest\ndef test_it():\n    pytest.skip('there is no redis-server here')\n",
}


@pytest.mark.parametrize("ci", [False, True])
def test_missing_tool(tmp_path: Path, ci: bool) -> None:
    for case, text in CASES.items():
        (tmp_path / f"test_{case}.py").write_text(text)
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "CI": "true" if ci else ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "--continue-on-collection-errors", "-rsfE"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    if ci:
        assert done.returncode == 1, output
        assert re.search(r"^3 failed, 1 error in ", output, re.MULTILINE), output
        for case in CASES:
            assert re.search(
                rf"^(FAILED|ERROR) test_{case}\.py.*: redis-server is missing, and CI has", output, re.MULTILINE
            )
    else:
        assert done.returncode == 0, output
        assert re.search(r"^4 skipped in ", output, re.MULTILINE), output
        assert all("redis-server" in line for line in output.splitlines() if line.startswith("SKIPPED")), output


@pytest.mark.parametrize(
    ("reason", "tool"),
    [
        ("Skipped: missing tool: npm", "npm"),
        ("redis-server is not there", "redis-server"),
        ("Skipped: missing tool: extra programs (celery)", "extra programs"),
        ("could not import 'rocksdict'", None),
        ("a node-like thing", None),
    ],
)
def test_reason(reason: str, tool: str | None) -> None:
    assert missing_tool(reason) == tool
