"""A refusal: the engine did not take a batch. What it would have changed, and what is said to those who wrote it.

judge.py says which replies may leave then.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from flin.engine.boundaries import Boundaries, covers
from flin.errors import FlinError, LimitError
from flin.net.batch.namespaces import STORED_KEY

MISCONF: Final = (
    "MISCONF Errors writing to the write-ahead log, so this write was not accepted. "
    "Commands that may modify the data set are disabled while it lasts. See the server's diagnostics."
)


LAPSED: Final = "CLUSTERDOWN the lease of this leader has lapsed, so nothing of this was executed"

UNCERTAIN: Final = "UNCERTAIN this write may have been executed"
"""Clients send a request again after CLUSTERDOWN, MOVED or TRYAGAIN, and after a mere close: an INCR would count twice.
This they give to their program."""


class LapsedError(FlinError):
    """A leader writes nothing while somebody else may lead."""

    def __init__(self) -> None:
        super().__init__("the lease of this leader has lapsed")


class Refusal:
    """The refusal of a batch: the stored keys and the ranges that it would have changed, and why it was refused."""

    def __init__(self, keys: Collection[bytes], ranges: Boundaries, error: Exception) -> None:
        self.keys = keys
        self.ranges = ranges
        # A batch that is too large is its writer's fault, and says nothing about the disk.
        self.text = f"ERR {error}" if isinstance(error, LimitError) else MISCONF
        if isinstance(error, LapsedError):
            self.text = LAPSED

    def holds(self, stored: bytes) -> bool:
        """Whether the batch would have changed what this stored key shows."""
        return stored in self.keys or covers(self.ranges, stored) or STORED_KEY in self.keys
