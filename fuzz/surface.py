"""One surface of Flin that takes bytes or commands: its fuzzer, its corpora, and a finding's way into them.

A module of the package `fuzz` with a function `one_input` is a surface's fuzzer. Next to it is its corpus,
`corpus/NAME`, which pytest replays; the working corpus, `.fuzz/NAME` in the folder above, belongs to one machine.
This module imports nothing of Flin: modules that are imported before the engine imports them are not instrumented.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import fuzz

OneInput = Callable[[bytes], object]

SHORTEN_SECONDS: Final = 20.0


class UnusableError(Exception):
    """A fuzzer cannot run here: something must be installed."""


@dataclass(frozen=True)
class Surface:
    name: str
    file: Path

    @property
    def corpus(self) -> Path:
        return self.file.parent / "corpus" / self.name

    @property
    def working(self) -> Path:
        return self.file.parent.parent / ".fuzz" / self.name

    def inputs(self) -> list[Path]:
        """The corpus."""
        return files_in(self.corpus)

    def module(self) -> ModuleType:
        return importlib.import_module(f"fuzz.{self.name}")

    def one_input(self) -> OneInput:
        module = self.module()
        for tool in getattr(module, "TOOLS", ()):
            if shutil.which(tool) is None:
                raise UnusableError(f"{self.name} needs {tool}")
        one_input: OneInput = module.one_input
        return one_input

    def keep(self, data: bytes) -> Path:
        """Put the input into the corpus, forever."""
        return write_input(self.corpus, data)


def surfaces() -> dict[str, Surface]:
    """The surfaces by name."""
    files = [file for folder in fuzz.__path__ for file in sorted(Path(folder).glob("*.py"))]
    found = [file for file in files if "\ndef one_input(" in file.read_text(encoding="utf-8")]
    return {file.stem: Surface(file.stem, file) for file in found}


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file())


def write_input(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


# A finding.


def tell(surface: Surface, one_input: OneInput, data: bytes, error: Exception) -> None:
    """Keep the input, shortened, and print how it fails and the command that replays it."""
    path = surface.keep(shortened(one_input, data, type(error)))
    traceback.print_exception(error, file=sys.stdout)
    print(
        f"\nFOUND in {surface.name}: {type(error).__name__}\nkept as {path}\n{replay_command(surface, path)}",
        flush=True,
    )


def replay_command(surface: Surface, path: Path) -> str:
    return f"replay it:  python -m fuzz {surface.name} {os.path.relpath(path)}"


def shortened(one_input: OneInput, data: bytes, kind: type[Exception], seconds: float = SHORTEN_SECONDS) -> bytes:
    """The input without the bytes that this kind of error does not need, as far as the time allows."""
    deadline = time.monotonic() + seconds
    size = len(data)
    while size:
        start = 0
        while start < len(data) and time.monotonic() < deadline:
            without = data[:start] + data[start + size :]
            if _fails(one_input, without, kind):
                data = without
            else:
                start += size
        size //= 2
    return data


def _fails(one_input: OneInput, data: bytes, kind: type[Exception]) -> bool:
    try:
        one_input(data)
    except kind:
        return True
    except Exception:  # another finding: one at a time
        return False
    return False
