"""The merge of a working corpus into the corpus: few and small inputs that reach what the corpus does not.

An input reaches every pair of lines of Flin that followed each other in one call, in any thread. libFuzzer counts more
finely (how often, and every comparison), which finds more and keeps hundreds; a corpus that pytest replays must be
short.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fuzz.surface import OneInput, Surface, files_in, write_input

MOST_BYTES: Final = 1024
"""The most bytes of an input that is taken: larger ones are mostly not needed."""

Step = tuple[str, int, int]
"""A file, a line, and the line of the same call that came next."""


class Tracer:
    """The steps of one input after another."""

    def __init__(self, folder: Path) -> None:
        self._prefix = str(folder)
        self._steps: set[Step] = set()

    def steps(self, one_input: OneInput, data: bytes) -> set[Step]:
        self._steps = set()
        sys.settrace(self._call)
        try:
            one_input(data)
        finally:
            sys.settrace(None)
        return self._steps

    def follow_threads(self) -> None:
        """Trace threads that start from now on: servers start when they are first needed."""
        threading.settrace(self._call)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(self._prefix):
            return None
        before = 0

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                self._steps.add((file, before, frame.f_lineno))
                before = frame.f_lineno
            return step

        return step


def merge(surface: Surface, most: int) -> int:
    """Take at most `most` inputs. Returns the exit code, 0."""
    import flin

    tracer = Tracer(Path(str(flin.__file__)).parent)
    tracer.follow_threads()
    one_input = surface.one_input()
    seen: set[Step] = set()
    for path in surface.inputs() * 2:  # what happens once in a process, such as an import, counts for no input
        seen |= tracer.steps(one_input, path.read_bytes())
    before = len(seen)
    candidates: dict[bytes, set[Step]] = {}
    for path in files_in(surface.working):
        data = path.read_bytes()
        if len(data) <= MOST_BYTES and (new := tracer.steps(one_input, data) - seen):
            candidates[data] = new
    taken = 0
    while candidates and taken < most:
        data = max(candidates, key=lambda data: (len(candidates[data]), -len(data)))
        write_input(surface.corpus, data)
        taken += 1
        new = candidates.pop(data)
        seen |= new
        candidates = {other: left for other, steps in candidates.items() if (left := steps - new)}
    print(f"{surface.name}: {taken} inputs taken, {len(seen) - before} steps more than the {before} before")
    return 0
