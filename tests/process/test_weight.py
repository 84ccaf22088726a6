"""Millions of collections, and large ones, within the memory limit (flin/testing/weight.py), at a smaller scale."""

from __future__ import annotations

import io
import re

import pytest

from flin.testing import weight

SMALLEST_LIMIT_MB = 17
SMALLER_EXTRA_MB = 80
"""For 100,000 elements: an idle server has 35, and each element that is held some 150 bytes or more."""


def _run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    return weight.main(["--memory-limit-mb", str(SMALLEST_LIMIT_MB), *arguments], out), out.getvalue()


def test_a_moment_of_it() -> None:
    code, said = _run(
        "--keys", "500", "--elements", "1100", "--reads", "50", "--stages", "many-hash,fill-stream,group,results-stream"
    )
    assert code == 0, said
    own = [float(line.split()[0]) for line in said.splitlines() if re.match(r" +\d+ +\d+ +\d+ ", line)]
    assert len(own) >= 12, said
    assert all(20 < megabytes < SMALLEST_LIMIT_MB + 150 for megabytes in own), said


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["many", "hash", "set", "zset", "list", "stream,group", "results"])
def test_within_the_limit(stages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight, "EXTRA_BYTES", SMALLER_EXTRA_MB * weight.MB)
    chosen = [
        name
        for name in weight.STAGES
        if any(word in name for word in stages.split(",")) and ("results" in name) == (stages == "results")
    ]
    code, said = _run("--keys", "60000", "--elements", "100000", "--reads", "5000", "--stages", ",".join(chosen))
    assert code == 0, said


def test_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight, "EXTRA_BYTES", -weight.MB)
    code, said = _run("--keys", "50", "--elements", "100", "--reads", "5", "--stages", "many-hash")
    assert code == 1, said
    assert said.endswith(f"the bound is {SMALLEST_LIMIT_MB - 1}\n")
