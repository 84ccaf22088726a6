"""The tables of docs/configuration.md, made of the table of options: `python -m tests.configuration_page`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flin.net.settings.options import ROWS
from flin.net.settings.row import Row, Section
from tests.source import ROOT

PATH: Final = ROOT / "docs" / "configuration.md"
BEGIN: Final = "<!-- made by python -m tests.configuration_page -->\n"
END: Final = "<!-- end -->\n"


def tables() -> str:
    return "\n".join(_table(section) for section in Section)


def _table(section: Section) -> str:
    rows = [row for row in ROWS.values() if row.section is section]
    head = f"### {section.value}\n\n| option | default | values | while running | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(_cells(row))} |\n" for row in rows)


def _cells(row: Row) -> Iterator[str]:
    aliases = "".join(f", `{alias}`" for alias in row.aliases)
    yield f"`{row.name}`{aliases}"
    yield row.default_text
    yield row.kind.values or "text"
    yield "yes" if row.is_running else "no"
    yield row.doc


def with_tables(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main(path: Path = PATH) -> None:
    path.write_text(with_tables(path.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
