"""Writes the table of metrics into docs/http.md: python -m tests.admin.metrics_page."""

from __future__ import annotations

from flin.admin.metrics import table
from tests.source import ROOT

FIRST = "| metric | kind |"


def page(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(FIRST)
    after = rest.partition("\n\n")[2]
    return before + table() + (f"\n{after}" if after else "")


if __name__ == "__main__":
    path = ROOT / "docs" / "http.md"
    path.write_text(page(path.read_text("utf-8")), "utf-8")
