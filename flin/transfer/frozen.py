"""A store as of one moment, as far as an export reads it: what others write meanwhile is not in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from flin.engine.entry import Entry, Live, Page
from flin.engine.read.read_state import live_pages
from flin.engine.snapshot import Snapshot


class FrozenStore:
    """What the server's databases ask of a store (net/batch/store.py) to read, over a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot: Final = snapshot
        self.read: Final = snapshot._read
        self.read_nowait: Final = snapshot._read
        self.now_ms: Final = snapshot._now_ms

    def newest_entries(self) -> None:
        """None: `read` knows all."""
        return

    def older_entries(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return [None] * len(keys)

    def in_tables(self, keys: Sequence[bytes], *, values: bool = True) -> list[Live | None]:
        return [self.read(key, values=values) for key in keys]

    def read_near(self, keys: Sequence[bytes], *, nowait: bool = False) -> list[Live | None]:
        return self.in_tables(keys)

    def freeze(self) -> None:
        """Nothing: it is frozen."""

    def pages(
        self, state: None, start: bytes, stop: bytes, reverse: bool = False, *, values: bool = True
    ) -> Iterator[Page]:
        return live_pages(self._snapshot._pages(start, stop, reverse, None, values=values))

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False, nowait: bool = False) -> Page:
        keys: list[bytes] = []
        entries: list[Any] = []
        for page in self.pages(None, start, stop, reverse):
            keys += page[0]
            entries += page[1]
            if len(keys) >= count:
                break
        return keys[:count], entries[:count]
