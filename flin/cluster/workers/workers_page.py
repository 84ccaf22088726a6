"""The operator's page of several workers: the supervisor serves it, and asks each of them over a line of its own.

A line is a pair of connected Unix sockets, of which the worker inherits one; it answers there from when it is ready.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from flin.admin.checkpoint_path import checkpoint_path
from flin.admin.line import RemoteSource
from flin.admin.source import AskError, Source
from flin.cluster.workers.group_copies import copy_groups
from flin.cluster.workers.groups import Group
from flin.errors import FlinError

if TYPE_CHECKING:
    from flin.admin.server import Page


class WorkersPage:
    def __init__(self, page: Page, directory: str, groups: Sequence[Group]) -> None:
        self._page = page
        self._directory = directory
        self._groups = groups
        self._sources = [RemoteSource(number) for number in range(len(groups))]
        self._ends: dict[int, socket.socket] = {}

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        async with self._page.served(self._sources, self._copy):
            yield
        for number in range(len(self._sources)):
            self.discard(number)

    def add(self, number: int) -> socket.socket:
        """A worker is about to start. Returns its side of its line, to be closed once it has inherited it. OSError."""
        own, theirs = socket.socketpair()
        self._ends[number] = own
        return theirs

    def source(self, number: int) -> Source:
        """Where this worker is asked; it may not be there."""
        return self._sources[number]

    def note_ready(self, number: int) -> None:
        self._sources[number].attach(self._ends.pop(number))

    def note_waiting(self, number: int, what: str) -> None:
        """It is starting, and waits for this."""
        self._sources[number].waits_for = what

    def waiting(self) -> dict[int, str]:
        """What each worker waits for that does."""
        return {number: each.waits_for for number, each in enumerate(self._sources) if each.waits_for}

    def discard(self, number: int) -> None:
        """The worker has ended, or could not be started. Idempotent."""
        if end := self._ends.pop(number, None):
            end.close()
        self._sources[number].waits_for = ""
        self._sources[number].detach()

    async def _copy(self, name: str, sources: Sequence[Source]) -> dict[str, Any]:
        """A checkpoint of every group, in a directory of groups."""
        loop, path, made = asyncio.get_running_loop(), checkpoint_path(self._directory, name), []

        def copy(group: Group, to: str) -> None:
            asked = sources[group.number].ask("checkpoint", {"path": to})
            made.append(asyncio.run_coroutine_threadsafe(asked, loop).result())

        try:
            await asyncio.to_thread(copy_groups, self._groups, path, copy)
        except AskError:
            raise
        except FlinError as error:
            raise AskError(f"the checkpoint failed: {error}") from error
        return {
            "path": path,
            "files": sum(each["files"] for each in made),
            "copied_bytes": sum(each["copied_bytes"] for each in made),
        }
