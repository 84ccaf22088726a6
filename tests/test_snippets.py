"""Every piece of Python in the tutorial, the pages for users and those about moving runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.source import ROOT

MOVING = {path.name for path in (ROOT / "docs" / "moving").glob("*.md")}
MOVING -= {"redis.md"}  # it has commands for a shell: tests/transfer/test_document.py runs them
PAGES = ["index.md", "tutorial.md", "failovers.md", *sorted(f"moving/{name}" for name in MOVING)]
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page: str) -> list[tuple[int, str]]:
    """The Python of a page, each with the number of the line before it."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start()) + 1, found[1]) for found in SNIPPET.finditer(text)]


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, in one namespace and an empty directory."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "snippets"}
    for line, source in snippets(page):
        exec(compile("\n" * line + source, f"docs/{page}", "exec"), names)


def test_the_pages_have_snippets() -> None:
    counts = {page: len(snippets(page)) for page in PAGES}
    assert counts["tutorial.md"] >= 8
    assert all(counts.values()), counts
