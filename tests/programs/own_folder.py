"""Packages whose pins clash with the others': each in a folder of its own, before all others on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.source import ROOT


def path_with(folder: Path, *packages: str, dependencies: bool = True) -> str:
    """Install them into the folder with pip. Returns the PYTHONPATH of a program that uses them."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*pip, *([] if dependencies else ["--no-deps"]), *packages], check=True, timeout=600)
    return os.pathsep.join((str(folder), str(ROOT)))
