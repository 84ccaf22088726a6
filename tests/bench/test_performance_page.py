"""docs/performance.md shows what `flin bench steps` and `flin bench curves` measure."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from flin.bench import curves, steps

DOCS = Path(__file__).parents[2] / "docs"


def named_steps(page: str) -> list[tuple[str, str, str]]:
    """Operation, step and bound, from the tables under each operation's heading."""
    part = page.partition("\n## Step by step\n")[2].partition("\n## ")[0]
    found = []
    for section in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
        operation = section.partition("\n")[0]
        rows = re.findall(r"^\| (.+?) +\| +(.+?) \| +[\d,]+ \|$", section, flags=re.MULTILINE)
        found += [(operation, step, bound) for step, bound in rows]
    return found


def test_the_page_has_every_step_with_a_figure() -> None:
    page = (DOCS / "performance.md").read_text()
    assert named_steps(page) == [(step.operation, step.name, step.bound) for step in steps.STEPS]


def test_a_step_without_a_figure_is_none() -> None:
    rows = "| step | bound by | ns |\n| - | -: | -: |\n| its frame | memory | 1,234 |\n| gone | memory | - |\n"
    assert named_steps(f"# A\n\n## Step by step\n\n### put\n\n{rows}\n## B\n") == [("put", "its frame", "memory")]


def test_the_page_shows_every_curve() -> None:
    page = (DOCS / "performance.md").read_text()
    for name in curves.CURVES:
        assert f"](curves/{name}.svg)" in page
        assert ElementTree.parse(DOCS / "curves" / f"{name}.svg").getroot().tag.endswith("svg")
