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
    """Calls that still succeed before it."""
    code: int = errno.EIO
    operations: frozenset[str] = frozenset()
    sticky: bool = False
    """Every such call fails from then on, not just one."""
    late: bool = False
    """The call takes effect and fails all the same, as over a network disk."""
    taken: int | None = None
    """An append takes this many bytes and returns the number; the next append fails with the code, unless that is 0."""
    error: type[BaseException] | None = None
    """Raised instead of an OSError: what is no fault of the disk, like MemoryError or an interrupt."""
    fired: int = 0
    """How often it struck."""
    struck: str = ""
    """The operation that it struck last."""

    def strikes(self, operation: str) -> bool:
        if (self.operations and operation not in self.operations) or (self.fired and not self.sticky):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.fired += 1
        self.struck = operation
        return True
