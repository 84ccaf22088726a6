"""A fault of a simulated disk."""

from __future__ import annotations

import errno
from dataclasses import dataclass


@dataclass(slots=True)
class Fault:
    """A fault that makes calls fail. Append it to `SimulatedDisk.faults` to arm it.

    The call that fails is the n-th from now among those whose operation is named (all that can fail, if none is).
    """

    after: int
    """The number of calls that succeed before it."""
    code: int = errno.EIO
    operations: frozenset[str] = frozenset()
    sticky: bool = False
    """Whether every such call fails from then on, not just one."""
    late: bool = False
    """Whether the call takes effect and fails all the same, as on a network disk."""
    taken: int | None = None
    """An append takes this many bytes and returns the number; the next append fails with the code, unless that is 0."""
    error: type[BaseException] | None = None
    """Raised instead of an OSError, for what is no fault of the disk, like MemoryError or an interrupt."""
    fired: int = 0
    """How often the fault struck."""
    struck: str = ""
    """The operation that the fault struck last."""

    def strikes(self, operation: str) -> bool:
        if (self.operations and operation not in self.operations) or (self.fired and not self.sticky):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.fired += 1
        self.struck = operation
        return True
