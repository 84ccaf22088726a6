"""The files of Redis's append-only directory, in their order: what its manifest says. Pure.

    file appendonly.aof.1.base.rdb seq 1 type b       what there was when it was rewritten last
    file appendonly.aof.1.incr.aof seq 1 type i       what came after, in one file or several
    file appendonly.aof.0.incr.aof seq 0 type h       history: not read

A name with spaces is quoted.
"""

from __future__ import annotations

import shlex
from typing import Final

from flin.errors import ImportDataError

SUFFIX: Final = ".manifest"


def files_in(manifest: bytes, path: str) -> list[str]:
    """The names of its files: the base, then the increments. ImportDataError names a line that is none."""
    bases: list[str] = []
    increments: list[tuple[int, str]] = []
    for number, line in enumerate(manifest.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, sequence, kind = _parsed(line, path, number)
        if kind == "b":
            bases.append(name)
        elif kind == "i":
            increments.append((sequence, name))
    if len(bases) > 1 or increments != sorted(increments):
        raise ImportDataError(path, "its files", "it has several bases, or increments that are not in their order")
    return [*bases, *(name for _, name in increments)]


def _parsed(line: bytes, path: str, number: int) -> tuple[str, int, str]:
    try:
        words = shlex.split(line.decode())
        found = dict(zip(words[::2], words[1::2], strict=True))
        name, sequence, kind = found["file"], int(found["seq"]), found["type"]
    except (ValueError, KeyError) as error:
        raise ImportDataError(path, f"line {number}", f"it names no file, seq and type: {line!r}") from error
    if "/" in name or kind not in ("b", "i", "h"):
        raise ImportDataError(path, f"line {number}", f"{name!r} lies elsewhere, or {kind!r} is no type")
    return name, sequence, kind
