"""Coverage-guided search: atheris, which is libFuzzer over Python's bytecode (`pip install 'flin[fuzz]'`).

Only the modules of Flin are instrumented, as they are imported: nothing may have imported them before. libFuzzer keeps
inputs that reach something new in the working corpus; it ends the process itself, also at a finding.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable

from fuzz.surface import Surface, tell

HANG_SECONDS = 60  # of one input; the slowest of the corpora takes a tenth of a second


def search(surface: Surface, seconds: float, inputs: int | None, seed: int) -> int:
    """Search. Never returns: the process ends with 0, or 1 at a finding; at a hang or with exhausted memory with
    libFuzzer's own codes, when the input is in the corpus already."""
    import atheris

    for folder in (surface.working, surface.corpus):
        folder.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": math.ceil(seconds),
        "runs": -1 if inputs is None else inputs,
        "seed": seed,
        "timeout": HANG_SECONDS,
        "report_slow_units": HANG_SECONDS,  # it would write them to the corpus, where pytest waits for them forever
        "artifact_prefix": f"{surface.corpus}{os.sep}",
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    with atheris.instrument_imports(include=["flin"]):
        one_input = surface.one_input()
        atheris.Setup(
            [sys.argv[0], *arguments, str(surface.working), str(surface.corpus)], _guarded(surface, one_input)
        )
        atheris.Fuzz()
    return 0


def _guarded(surface: Surface, one_input: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def call(data: bytes) -> None:
        try:
            one_input(data)
        except Exception as error:  # whatever escapes is what is looked for
            tell(surface, one_input, data, error)
            os._exit(1)

    return call
