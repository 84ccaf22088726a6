"""The documentation's site: `sphinx-build -W docs build/site` (extra `docs`) makes it, and a warning is an error.

Pages are the Markdown files of this folder, which read well without it, too. The reference is made from docstrings.
"""

import re

import flin

project = "Flin"
author = "The Flin authors"
copyright = author
version = release = flin.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["curves"]
html_theme = "furo"
html_title = "Flin"
html_static_path: list[str] = []

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
# Links to sources and examples lead out of the site; they hold in a copy of the repository.
suppress_warnings = ["myst.xref_missing", "myst.header"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}

BACK_TICKS = re.compile(r"(?<![`:])`((?:[^`\n]|\n(?!\n))+)`(?![`_])")


def setup(app: object) -> None:
    """Docstrings are plain text with Markdown's back-ticks, which reStructuredText writes twice."""
    app.connect("autodoc-process-docstring", _literal)  # type: ignore[attr-defined]


def _literal(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    lines[:] = BACK_TICKS.sub(r"``\1``", "\n".join(lines)).split("\n")
