"""docs/options.md, made of the docstrings of `flin.engine.Options`: `python -m tests.options_page` writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from inspect import getsource, signature
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, get_args, get_origin, get_type_hints

import flin.engine
from flin.engine import Options
from flin.engine.options import parse_bytes
from tests.source import ROOT

PATH: Final = ROOT / "docs" / "options.md"

HEAD: Final = """# Options

All options of `flin.engine.open(path, …)`, by name. A wrong one is a TypeError or ValueError that names it, before
anything is opened. The defaults are meant to be right; the options that most programs look at come first: how much a
power cut may take (`sync`), and how much memory the database may use (`memory_limit`). Example:

```python
import flin.engine

with flin.engine.open("data", sync="always", memory_limit="64mb") as db:
    db.put(b"key", b"value")  # it survives a power cut when this line has ended
```

This page is made of the docstrings in `flin/engine/options.py` by `python -m tests.options_page`.

| option | default | values | meaning |
|---|---|---|---|
"""


def page() -> str:
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows())


def _rows() -> Iterator[tuple[str, str, str, str]]:
    told = dict(_docstrings())
    types = get_type_hints(Options, include_extras=True)
    for option in fields(Options):
        if option.name not in signature(flin.engine.open).parameters:
            continue  # a replica's
        default, text = told[option.name]
        yield f"`{option.name}`", f"`{default}`", _values(types[option.name], str(option.type)), text


def _values(kind: object, written: str) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f'`"{value}"`' for value in get_args(kind))
    return f"`{written}`".replace("|", "\\|")


def _docstrings() -> Iterator[tuple[str, tuple[str, str]]]:
    """By option: its default as the source writes it, and its docstring."""
    tree = ast.parse(getsource(Options))
    definition = tree.body[0]
    assert isinstance(definition, ast.ClassDef)
    for node, following in pairwise(definition.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        assert isinstance(following, ast.Expr), f"the option {node.target.id} has no docstring"
        assert isinstance(following.value, ast.Constant), f"the option {node.target.id} has no docstring"
        text = " ".join(str(following.value.value).split())
        assert node.value is not None
        yield node.target.id, (_default(node.value), text)


def _default(value: ast.expr) -> str:
    if isinstance(value, ast.Call):  # field(default_factory=…)
        return f"{ast.unparse(value.keywords[0].value)}()"
    written = ast.unparse(value)
    if written == "256 << 20":
        assert parse_bytes("256mb") == 256 << 20
        return '"256mb"'
    return written.replace("'", '"')


def main(path: Path = PATH) -> None:
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
