"""What others write while a command reads in slices (many_keys.py): the pending batch feeds it each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from flin.engine.boundaries import Boundaries, covers, joined
from flin.engine.entry import Entry


class BatchNotes(Protocol):
    """Who is told of each batch."""

    def note(self, pending: Mapping[bytes, Entry], deleted: Boundaries) -> None:
        """A batch is about to be committed, or to fail."""


class Journal:
    """The journal of one running command."""

    __slots__ = ("_changed", "_deleted")

    def __init__(self) -> None:
        self._changed: set[bytes] = set()  # stored keys
        self._deleted: Boundaries = ()

    def note(self, pending: Mapping[bytes, Entry], deleted: Boundaries) -> None:
        """Note a batch that is about to be committed, or to fail: the running command reads its keys again."""
        self._changed.update(pending)
        if deleted:
            self._deleted = joined(self._deleted, deleted)

    def take(self, keys: Sequence[bytes], stored: Callable[[bytes], bytes]) -> list[int]:
        """The positions of the keys that were changed since the last call, or since the journal began."""
        changed, deleted = self._changed, self._deleted
        self._changed, self._deleted = set(), ()
        if not changed and not deleted:
            return []
        return [position for position, key in enumerate(map(stored, keys)) if key in changed or covers(deleted, key)]
