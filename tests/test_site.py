"""The documentation's site is made without a warning, and holds what its pages promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import flin.engine
from tests.source import ROOT
from tests.tool import needs_package


@pytest.mark.slow
def test_the_site_is_made(tmp_path: Path) -> None:
    for package in ("sphinx", "furo", "myst_parser"):
        needs_package(package)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    for name in flin.engine.__all__:
        assert f'id="flin.engine.{name}"' in reference or f'id="flin.errors.{name}"' in reference, name
    for page in ("index", "tutorial", "moving/plyvel", "crash-safety"):
        assert (tmp_path / "site" / f"{page}.html").is_file()
