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


AS_FAST: Final = Target(1)
SUSTAINED: Final = Target(1, enough=200_000)
THREADS: Final = Target(0.6)
"""Threads of one interpreter write one after the other; the peers' bindings release its lock while they write."""

EMBEDDED: Final = {
    "fillrandom 100 B": Target(1.7),
    "fillbatch 100 B": Target(2),
    "fillrandom 1 KiB": Target(1.2),
    "fillbatch 1 KiB": Target(1.2),
    "overwrite 1 KiB": Target(1.2),
    "readhot 100 B": Target(2),
    "readhot 1 KiB": Target(2),
    "readmissing 100 B": Target(1.5),
    "readrandom 100 B": Target(1.1),
    "ycsb-e 1 KiB": Target(0.8),
}
"""What the interpreter allows, by row; the others are as fast as the faster peer."""

PLAIN: Final = {"set": Target(1), "get": Target(0.85), "mset": Target(0.9), "mget": Target(0.9)}
PIPELINED: Final = {"set": Target(1.1), "get": Target(0.85), "incr": Target(0.7)}
ONE_CONNECTION: Final = {"set": Target(0.85), "get": Target(0.95)}
"""By redis-benchmark's names; of Redis with its append-only file."""


def of_embedded(row: str) -> Target:
    """The target of a row, named with its value size."""
    return EMBEDDED.get(row, AS_FAST)


def of_served(test: str, connections: int, pipeline: int) -> Target:
    targets = ONE_CONNECTION if connections == 1 else PIPELINED if pipeline > 1 else PLAIN
    return targets.get(test, AS_FAST)
