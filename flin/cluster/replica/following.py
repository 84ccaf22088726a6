"""What a replica applies: entries of its group's log, each whole one as one commit of its own store, on the loop.

The log's thread decodes; the loop commits, a few milliseconds at a time. The thread waits for it, so no more is read
meanwhile than what is applied, and while the store stalls nothing is read.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from flin.cluster.etcd.key_value import Unavailable
from flin.cluster.log.follower import Follower, LoggedCommit
from flin.cluster.log.replicated_log import RETRY_SECONDS, Following, Numbered, ReplicatedLog
from flin.engine.options import wall_clock_ms
from flin.errors import FlinError
from flin.net.run.foreign import apply_foreign

if TYPE_CHECKING:
    from flin.cluster.log.leader import GroupLog
    from flin.engine.tree.store import Store
    from flin.net.server import Server

TURN_SECONDS: Final = 0.002
"""How long the loop applies before it looks at its clients."""

STALL_POLL_SECONDS: Final = 0.01


class Applying:
    """One run, from an index on."""

    def __init__(
        self,
        log: ReplicatedLog,
        group_log: GroupLog,
        store: Store,
        index: int,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[Exception], None],
    ) -> None:
        """on_failure: told, in any thread, why the log is followed no more."""
        self.skew_ms = 0
        self.log_bytes = 0
        """What has been applied."""
        self._log = log
        self._group_log = group_log
        self._store = store
        self._follower = Follower(log, index)
        self._loop = loop
        self._on_failure = on_failure
        self._server: Server
        self._following: Following | None = None
        self._has_ended = threading.Event()

    @property
    def next_number(self) -> int:
        """That of the first entry that was not read."""
        return self._follower.next_number

    def begin(self, server: Server) -> None:
        """Apply from now on; server: the one that follows."""
        self._server = server
        self._following = self._log.follow(self.next_number, self._receive)

    def resume(self, server: Server, index: int) -> None:
        """Apply again what comes after this entry: the replica has led up to it."""
        self._follower = Follower(self._log, index)
        self.begin(server)

    def end(self) -> None:
        """Nothing is applied once this has returned. Not on the loop, which must run on meanwhile."""
        self._has_ended.set()
        self.pause()

    def pause(self) -> None:
        if self._following is not None:
            self._following.stop()

    def catch_up(self) -> bool:
        """Apply all that is in the log by now, after `pause`. Not on the loop. False: `end` was called meanwhile.
        Raises what reading and applying raise."""
        is_end = False
        while not is_end:
            if self._has_ended.is_set():
                return False
            try:
                page = self._log.read(self.next_number)
            except Unavailable:
                self._has_ended.wait(RETRY_SECONDS)
                continue
            self._apply(page.entries)
            is_end = page.is_end
        return True

    def _receive(self, told: list[Numbered] | FlinError) -> None:
        if isinstance(told, FlinError):
            self._on_failure(told)
            return
        try:
            self._apply(told)
        except Exception as error:  # the outermost frame of a thread
            self._on_failure(error)
            raise

    def _apply(self, entries: list[Numbered]) -> None:
        self.log_bytes += sum(len(each.entry.data) for each in entries)
        taken = map(self._follower.take, entries)
        commits = deque([commit for commit in taken if commit is not None])
        while self._store.stall() and not self._has_ended.is_set():
            time.sleep(STALL_POLL_SECONDS)
        done: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._commit, commits, done)
        done.result()

    def _commit(self, commits: deque[LoggedCommit], done: Future[None]) -> None:
        """On the loop."""
        until = time.monotonic() + TURN_SECONDS
        try:
            while commits:
                commit = commits.popleft()
                if commit.points or commit.ranges:
                    apply_foreign(self._server.services, commit.points, commit.ranges)
                self._group_log.note_applied(commit.number, commit.clock_ms)
                if not commits:
                    self.skew_ms = wall_clock_ms() - commit.clock_ms
                elif time.monotonic() > until:
                    self._loop.call_soon(self._commit, commits, done)
                    return
        except Exception as error:  # the outermost frame of a callback: the thread that waits raises it
            done.set_exception(error)
            return
        done.set_result(None)
