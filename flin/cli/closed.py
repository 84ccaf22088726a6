"""A database that no other process has open, opened as a program would open it; and what to do if one has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flin import engine
from flin.engine import Engine
from flin.errors import LockedError

HINT = (
    "or let that process make the copy: a server with --backup-dir by BGSAVE, a program by db.backup(path) or "
    "db.checkpoint(path)"
)


@contextmanager
def opened(directory: str, key: bytes | None = None, *, create: bool = False) -> Iterator[Engine]:
    """It is closed without a flush, which would cost more than most commands: what is in its WAL stays there."""
    database = engine.open(directory, create=create, runner="thread", encryption_key=key)
    try:
        yield database
    finally:
        database.close(flush=False)


@contextmanager
def hint_if_locked(hint: str = HINT) -> Iterator[None]:
    """What to do, in a LockedError's text."""
    try:
        yield
    except LockedError as error:
        error.args = (f"{error}; {hint}",)
        raise
