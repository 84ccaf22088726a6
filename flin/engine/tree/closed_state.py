"""The state of a closed store, and the closing of stores in a forked child."""

from __future__ import annotations

import weakref
from typing import Any, Final, NoReturn, Protocol

from flin.engine.disk.fs import after_fork_in_child
from flin.errors import CLOSED_TEXT, ClosedError


class ClosedState:
    """Every use of it raises ClosedError, so that no read has to check first whether the store is open."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ClosedError(CLOSED_TEXT)


CLOSED_STATE: Final[Any] = ClosedState()


class Forkable(Protocol):
    def forked(self) -> None: ...


_open: weakref.WeakSet[Forkable] = weakref.WeakSet()


def close_in_forked_child(store: Forkable) -> None:
    """Call `forked` in every child that this process forks while the store exists."""
    _open.add(store)


def _close_all() -> None:
    for store in list(_open):
        store.forked()


after_fork_in_child(_close_all)
