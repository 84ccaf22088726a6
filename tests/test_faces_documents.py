"""The pages on the faces of an engine: every example is run as it is written, in the order of its page."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from tests.source import ROOT

PAGES = {"views.md": 40, "aio.md": 9, "as-a-cache.md": 15}
"""And how many examples each has at least."""


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_the_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```pycon\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("```pycon")
    test = doctest.DocTestParser().get_doctest("".join(blocks), {}, name, name, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=said.append)
    assert not said, "".join(said)
    assert len(test.examples) >= PAGES[name]
