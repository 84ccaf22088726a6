"""Versions: numbers for collections that become spread, each given once, whatever crashes or is refused.

A version that came twice would show the elements of a dead collection in a new one. So versions are leased: the entry
NEXT_VERSION says from where on none was given yet. It goes into every batch that takes a version beyond what a commit
is known to have covered, a thousand at once; a batch that is refused or rolled back leaves only a gap.

Example: NEXT_VERSION is 0. The first collection takes 0, and its batch says 1024. Is the batch refused, the next one
takes 1 and says 1024 again. After a crash the next open begins at 1024.
"""

from __future__ import annotations

from typing import Final

LEASED: Final = 1024
"""Versions of one lease: with 18 bytes of the WAL for each, it costs nothing."""


class Versions:
    """`next`: what NEXT_VERSION says, or 0."""

    def __init__(self, next_version: int) -> None:
        self._next = next_version
        self._committed = next_version  # no commit holds a version from here on
        self._said = next_version  # what the pending batch says, if it says anything

    def take(self) -> tuple[int, int | None]:
        """A version, and what NEXT_VERSION must say in the same batch; None: nothing."""
        version = self._next
        self._next += 1
        if version < self._committed:
            return version, None
        self._said = version - version % LEASED + LEASED
        return version, self._said

    def committed(self, said: int) -> None:
        """A commit holds a NEXT_VERSION that says this."""
        self._committed = max(self._committed, said)
