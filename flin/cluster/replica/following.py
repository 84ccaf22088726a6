"""What a replica applies: entries of its group's log, as commits of its own store, on the loop.

The log's thread decodes; the loop commits, a few milliseconds at a time. The thread is not woken when an entry is
applied, which would cost more than to apply it; it waits while much is not applied yet, and while the store stalls.

Nearly all that an entry costs a follower are the wake-ups of the two threads. So after a few entries the thread lets
some more come before it reads on, and those share the wake-ups, and a commit. No reply of a leader waits for a
follower; who reads from one may see what is older by that pause. One that takes over does not pause.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from flin.cluster.etcd.key_value import Unavailable
from flin.cluster.log.follower import Follower, LoggedCommit
from flin.cluster.log.replicated_log import PAGE_ENTRIES, RETRY_SECONDS, Following, Numbered, ReplicatedLog
from flin.cluster.replica.clock_skew import ClockSkew
from flin.engine.options import wall_clock_ms
from flin.errors import FlinError
from flin.net.run.foreign import apply_foreign

if TYPE_CHECKING:
    from flin.cluster.log.leader import GroupLog
    from flin.engine.tree.store import Store
    from flin.net.server import Server

logger = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.002
"""How long the loop applies before it looks at its clients."""

STALL_POLL_SECONDS: Final = 0.01

MAX_BEHIND_BYTES: Final = 1 << 20
"""How much of the log may be read and not applied yet: sixteen of the largest entries."""

GATHER_SECONDS: Final = 0.05
"""Twenty reads a second, however many entries come. Six groups on a busy machine, some 30 entries a second each: with
20 ms a follower saves nothing, with 50 ms a third of its time."""

FEW_ENTRIES: Final = PAGE_ENTRIES
FEW_BYTES: Final = 1 << 17
"""After so much it reads on at once, since it is behind. A page of a list has no more entries, a receive twice the
bytes."""


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
        self.skew: Final = ClockSkew()
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
        self._is_paused = threading.Event()
        self._read_bytes = 0
        self._queue: deque[LoggedCommit | Future[None]] = deque()  # who waits for all that was read is told in its turn
        self._is_scheduled = False  # `_commit` will be called
        self._failure: Exception | None = None

    @property
    def next_number(self) -> int:
        """That of the first entry that was not read."""
        return self._follower.next_number

    def begin(self, server: Server) -> None:
        """Apply from now on; server: the one that follows."""
        self._server = server
        self._is_paused.clear()
        self._following = self._log.follow(self.next_number, self._receive)

    def resume(self, server: Server, index: int) -> None:
        """Apply again what comes after this entry: the replica has led up to it."""
        self._follower = Follower(self._log, index)
        self.begin(server)

    def end(self) -> None:
        """Nothing is applied once this has returned. Not on the loop, which must run on meanwhile."""
        self._has_ended.set()
        self.pause()
        with suppress(Exception):  # who was to be told of that has been told
            self._wait_until_applied()

    def pause(self) -> None:
        """Read no more, and do not wait for more."""
        self._is_paused.set()
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
        self._wait_until_applied()
        return not self._has_ended.is_set()

    def _receive(self, told: list[Numbered] | FlinError) -> None:
        if isinstance(told, FlinError):
            self._on_failure(told)
            return
        try:
            self._apply(told)
        except Exception as error:  # the outermost frame of a thread
            self._failure = error  # entries may have been read and not applied: nobody takes over behind them
            self._on_failure(error)
            raise
        if len(told) < FEW_ENTRIES and sum(len(each.entry.data) for each in told) < FEW_BYTES:
            self._is_paused.wait(GATHER_SECONDS)

    def _apply(self, entries: list[Numbered]) -> None:
        commits = self._follower.take_all(entries)
        self._read_bytes += sum(commit.size for commit in commits)
        self._queue.extend(commits)
        while self._store.stall() and not self._has_ended.is_set():
            time.sleep(STALL_POLL_SECONDS)
        self._schedule()
        if self._read_bytes - self.log_bytes > MAX_BEHIND_BYTES:
            self._wait_until_applied()

    def _wait_until_applied(self) -> None:
        """All that was read so far. Not on the loop. Raises why it is not."""
        applied: Future[None] = Future()
        self._queue.append(applied)
        self._schedule()
        applied.result()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon_threadsafe(self._commit)

    def _commit(self) -> None:
        """On the loop."""
        self._is_scheduled = False  # first: what is added from here on may be missed here
        queue, until = self._queue, time.monotonic() + TURN_SECONDS
        while queue:
            each = queue.popleft()
            if isinstance(each, Future):
                each.set_result(None) if self._failure is None else each.set_exception(self._failure)
            elif self._failure is None and not self._has_ended.is_set():
                self._commit_one(each)
            if queue and time.monotonic() > until:
                self._schedule()
                return

    def _commit_one(self, commit: LoggedCommit) -> None:
        try:
            if commit.points or commit.ranges:
                apply_foreign(self._server.services, commit.points, commit.ranges)
        except Exception as error:  # the outermost frame of a callback
            logger.exception("the log cannot be applied up to entry %d", commit.number)
            self._failure = error
            self._on_failure(error)
            return
        self._group_log.note_applied(commit.number, commit.clock_ms)
        self.log_bytes += commit.size
        self.skew.note(wall_clock_ms() - commit.clock_ms, time.monotonic())
