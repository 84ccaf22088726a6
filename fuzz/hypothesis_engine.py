"""Search by hypothesis, if atheris is not installed: random bytes, and changed inputs of the corpus.

It knows nothing of coverage, so it adds nothing to the working corpus. A finding is shortened as with any engine, not
by hypothesis, which would take a late reply for a flaky test.
"""

from __future__ import annotations

import sys
import time
from typing import Final

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fuzz.surface import Surface, files_in, tell

BATCH: Final = 1000
"""Inputs from one seed; hypothesis remembers a batch's inputs to avoid them."""

MOST_BYTES: Final = 400


def search(surface: Surface, seconds: float, inputs: int | None, seed: int) -> int:
    """Search. Returns 1 at a finding, 0 at the end of the time or of the inputs."""
    deadline = time.monotonic() + seconds
    one_input = surface.one_input()
    starts = [path.read_bytes() for path in [*surface.inputs(), *files_in(surface.working)]]
    ran = 0
    finding: tuple[bytes, Exception] | None = None

    def is_over() -> bool:
        return finding is not None or time.monotonic() >= deadline or (inputs is not None and ran >= inputs)

    def call(data: bytes) -> None:
        nonlocal ran, finding
        if not is_over():
            ran += 1
            try:
                one_input(data)
            except Exception as error:  # whatever escapes is what is looked for
                finding = data, error

    for data in starts:
        call(data)
    while not is_over():
        hypothesis.seed(seed)(_settings(hypothesis.given(_changed(starts))(call)))()
        seed += 1
        print(f"#{ran}", file=sys.stderr, flush=True)
    print(f"#{ran}", file=sys.stderr, flush=True)
    if finding is not None:
        tell(surface, one_input, *finding)
    return int(finding is not None)


_settings = settings(max_examples=BATCH, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@st.composite
def _changed(draw: st.DrawFn, starts: list[bytes]) -> bytes:
    if not starts or draw(st.booleans()):
        return draw(st.binary(max_size=MOST_BYTES))
    data = draw(st.sampled_from(starts))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=8)) + data[at + draw(st.integers(0, 8)) :]
    return data
