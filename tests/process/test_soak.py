"""A server under mixed load stays within its bounds (flin/testing/soak.py); and the program notices a fault."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from flin.testing import soak
from flin.testing.soak import EXTRA_DESCRIPTORS, EXTRA_FILES, EXTRA_MIB, Soak

SOAK_SECONDS = float(os.environ.get("FLIN_SOAK_SECONDS", "180"))
"""The time of the slow test. The faults that it is made for show by then: memory held by objects that only a full run
of the garbage collector frees."""


def _run(tmp_path: Path, seconds: float) -> tuple[int, str]:
    out = io.StringIO()
    return soak.main(["--seconds", str(seconds), "--directory", str(tmp_path)], out), out.getvalue()


def test_a_moment_of_it(tmp_path: Path) -> None:
    code, said = _run(tmp_path, 1)
    assert code == 0, said
    assert int(re.match(r"(\d+) commands", said)[1]) > 100  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.long(180)
def test_minutes_of_it(tmp_path: Path) -> None:
    code, said = _run(tmp_path, SOAK_SECONDS)
    assert code == 0, said


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (Soak(1, 64 + EXTRA_MIB + 1, 0, 0), "MiB of private memory"),
        (Soak(1, 0, EXTRA_FILES + 1, 0), "files beyond the tables"),
        (Soak(1, 0, 0, EXTRA_DESCRIPTORS + 1), "open files beyond"),
    ],
)
def test_it_tells(report: Soak, problem: str) -> None:
    assert Soak(1, 64 + EXTRA_MIB, EXTRA_FILES, EXTRA_DESCRIPTORS).problems(64) == []
    (found,) = report.problems(64)
    assert problem in found
