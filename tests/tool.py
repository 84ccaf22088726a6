"""Outside programs that some tests need: if one is missing, a test is skipped, with its name; in CI it fails."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any, Final

import pytest

TOOLS: Final = (
    "redis-server", "redis-cli", "redis-benchmark", "node", "npm", "mkfs.ext4", "atheris", "chromium",
    "chromedriver", "extra programs", "etcd",
)  # fmt: skip
"""The tools that .ci/run installs. Python packages of the bench extra are not among them: their tests may be skipped
anywhere."""

_NAMED: Final = re.compile(r"(?<![\w-])(" + "|".join(TOOLS) + r")(?![\w-])")


def needs_tool(name: str) -> str:
    """The program's path; skips the test (or, at the top of a file, its whole module) if it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"missing tool: {name}", allow_module_level=True)
    return path


def needs_package(module: str) -> Any:
    """A module of the extra `programs`; skips the test if it is missing."""
    return pytest.importorskip(module, reason=f"missing tool: extra programs ({module})")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


def missing_tool(reason: str) -> str | None:
    """The tool that a skip's reason names, if it names one."""
    named = _NAMED.search(reason)
    return named[1] if named else None
