"""What others write while a command reads in slices (many_keys.py): fed by the tick with each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flin.engine.entry import Entry, Range, covers


class Journal:
    """Of one running command."""

    __slots__ = ("_changed", "_ranges")

    def __init__(self) -> None:
        self._changed: set[bytes] = set()  # stored keys
        self._ranges: list[Range] = []

    def note(self, pending: Mapping[bytes, Entry], ranges: Sequence[Range]) -> None:
        """A batch that is about to be committed, or to fail: whoever read from it reads again."""
        self._changed.update(pending)
        self._ranges += ranges

    def take(self, keys: Sequence[bytes], stored: Callable[[bytes], bytes]) -> list[int]:
        """The positions of the keys that were changed since the last call, or since the journal began."""
        changed, ranges = self._changed, self._ranges
        self._changed, self._ranges = set(), []
        if not changed and not ranges:
            return []
        return [position for position, key in enumerate(map(stored, keys)) if key in changed or covers(ranges, key)]
