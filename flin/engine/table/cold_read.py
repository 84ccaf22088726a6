"""The exception of a read that must not wait but would have to."""

from __future__ import annotations

from collections.abc import Callable


class ColdRead(Exception):
    """Raised by `Table.get_nowait`: call `load()` where waiting is allowed, then ask again."""

    def __init__(self, load: Callable[[], None]) -> None:
        super().__init__("the answer needs a read that may wait")
        self.load = load
