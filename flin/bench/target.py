"""The target of each row: the figures that Flin is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Target:
    ratio: float  # to the faster peer
    enough: float = 0.0  # operations per second that are enough whatever the peers do; 0: there is no such rate

    def is_reached(self, ratio: float | None, rate: float | None) -> bool | None:
        """Whether the target is reached; None if nothing was measured."""
        if self.enough and rate is not None and rate >= self.enough:
            return True
        return None if ratio is None else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{self.ratio:g}" if not self.enough else f"{self.ratio:g} or {self.enough:,.0f}/s"


EMBEDDED: Final = {"fillrandom": Target(2), "fillbatch": Target(2), "readhot": Target(2)}
"""Where the interpreter is no hindrance, Flin must be twice as fast as the faster peer; elsewhere as fast."""

AS_FAST: Final = Target(1)
SUSTAINED: Final = Target(1, enough=200_000)
PIPELINED_GET: Final = Target(0.9)

ONE_CONNECTION: Final = Target(round(1 / 1.3, 2))
"""A single client's median latency may be 1.3 times that of Redis."""


def of_embedded(row: str) -> Target:
    return EMBEDDED.get(row, AS_FAST)


def of_served(test: str, connections: int, pipeline: int) -> Target:
    if connections == 1:
        return ONE_CONNECTION
    return PIPELINED_GET if test == "get" and pipeline > 1 else AS_FAST
