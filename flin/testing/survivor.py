"""Opens the database that a killed process has left, and checks the promise."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import flin.engine
from flin.engine.disk.file_name import LOCK, MANIFEST, maybe_parse
from flin.testing.lane import Lanes, Violation


def check_copy(directory: Path, lanes: Lanes, least: Sequence[int], most: Sequence[int]) -> None:
    """Check a copy, so that the next process meets what the killed one left, and not what the check did. The copy of a
    database that fails stays next to it (`.checked`)."""
    copy = directory.with_name(f"{directory.name}.checked")
    shutil.rmtree(copy, ignore_errors=True)
    if directory.exists():
        shutil.copytree(directory, copy)
    check(copy, lanes, least, most)
    shutil.rmtree(copy)


def check(directory: Path, lanes: Lanes, least: Sequence[int], most: Sequence[int]) -> None:
    """Violation if it does not open, holds no prefix with all that was promised, or contradicts itself."""
    try:
        engine = flin.engine.open(directory, runner="inline", memory_limit=1 << 20)
    except Exception as error:  # whatever it is: the database had to open
        raise Violation(f"it does not open: {type(error).__name__}: {error}") from error
    with engine:
        found = dict(engine.scan())
        check_state(found, lanes.recover(found, least, most))
        backwards = list(engine.scan(reverse=True))
        if backwards != list(reversed(found.items())):
            raise Violation("a scan backwards shows something else")
        wrong = [key for key, value in found.items() if engine.get(key) != value]
        if wrong:
            raise Violation(f"gets show something else than scans: {wrong[:5]}")
        if len(engine) != len(found):
            raise Violation(f"{len(found)} keys are there, {len(engine)} are counted")
        problems = list(engine.verify())
        if problems:
            raise Violation(f"verify: {problems}")
    strangers = [path.name for path in directory.iterdir() if not _is_known(path.name)]
    if strangers:
        raise Violation(f"files that are none of Flin's: {strangers}")


def check_state(found: dict[bytes, bytes], expected: dict[bytes, bytes]) -> None:
    if found != expected:
        keys = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
        shown = [(key, _short(found.get(key)), _short(expected.get(key))) for key in keys[:5]]
        raise Violation(f"{len(keys)} keys differ from what the commits left: found and expected: {shown}")


def _short(value: bytes | None) -> bytes | None:
    return value if value is None or len(value) <= 40 else value[:37] + b"..."


def _is_known(name: str) -> bool:
    return name in (LOCK, MANIFEST) or maybe_parse(name) is not None
