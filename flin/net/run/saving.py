"""SAVE, BGSAVE and BGREWRITEAOF: what they mean here, and how the last of each ended.

Every write is in the write-ahead log before it is answered, so there is no snapshot to write: to save is to make the
log durable, which the sync mode `always` does before each answer, `interval` each second, and `never` not at all; and
to add a backup, if there is a directory of backups. To rewrite is to compact: one run of tables without anything that
was overwritten or deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

from flin.engine.thread_start import start_thread
from flin.errors import ClosedError, CommandError, FlinError

if TYPE_CHECKING:
    from flin.net.batch.store import StoreLike

logger = logging.getLogger(__name__)

IN_PROGRESS: Final = "ERR Background save already in progress"


def _nothing() -> None:
    """A server without a directory of backups."""


class Work:
    """One kind of work in the background: whether it is under way, and how the last one ended."""

    def __init__(self) -> None:
        self.is_running = False
        self.began = 0.0  # by the monotonic clock
        self.seconds = -1  # of the last one; -1: there was none
        self.is_good = True
        self.times = 0

    def carry_out(self, act: Callable[[], None]) -> None:
        self.began = monotonic()
        try:
            act()
        except BaseException:
            self.is_good = False
            raise
        self.is_good = True
        self.times += 1
        self.seconds = int(monotonic() - self.began)

    def present_seconds(self) -> int:
        """How long the one that is under way has taken; -1: none is."""
        return int(monotonic() - self.began) if self.is_running else -1


class Saving:
    def __init__(
        self,
        store: StoreLike,
        compact: Callable[[], None],
        call_soon: Callable[[Callable[[], None]], object],
        back_up: Callable[[], None] = _nothing,
    ):
        """compact, back_up: block, any thread. call_soon: the loop's; what it calls runs after the present tick's
        commit."""
        self._store = store
        self._compact = compact
        self._back_up = back_up
        self._turn = Lock()  # one save at a time
        self._call_soon = call_soon
        self.saved_at_seconds = store.now_ms() // 1000  # what recovery found is durable
        self.save = Work()
        self.compaction = Work()

    def save_now(self) -> None:
        """Make durable what is committed, and back it up. Blocks; any thread. CommandError if another save is under
        way; StorageError, ReadOnlyError and what else a backup raises."""
        if not self._turn.acquire(blocking=False):
            raise CommandError(IN_PROGRESS)
        try:
            self._save(self._back_up)
        finally:
            self._turn.release()

    def sync_now(self) -> None:
        """Only make durable what is committed. Blocks; any thread. Raises StorageError, ReadOnlyError."""
        self._save(_nothing)

    def _save(self, then: Callable[[], None]) -> None:
        now_ms = self._store.now_ms()

        def act() -> None:
            self._store.sync()
            then()

        self.save.carry_out(act)
        self.saved_at_seconds = now_ms // 1000

    def begin_save(self) -> bool:
        """Save in a thread what this tick commits, too. Returns False if that is under way already."""
        return self._begin(self.save, self.save_now, "flin-save")

    def begin_compaction(self) -> bool:
        """Compact the database in a thread. Returns False if that is under way already."""
        return self._begin(self.compaction, self._compact_now, "flin-rewrite")

    def _compact_now(self) -> None:
        self.compaction.carry_out(self._compact)

    def _begin(self, work: Work, act: Callable[[], None], name: str) -> bool:
        if work.is_running:
            return False
        work.is_running = True
        work.began = monotonic()

        def run() -> None:
            try:
                act()
            except ClosedError:
                logger.info("%s ended with the server: the directory is as whole as before", name)
            except FlinError as error:
                logger.error("%s failed: %s", name, error)
            except Exception:
                logger.exception("%s failed", name)
            finally:
                work.is_running = False

        def begin() -> None:
            try:
                # A daemon: the end of the process does not wait for a compaction, which loses nothing.
                start_thread(Thread(target=run, name=name, daemon=True))
            except (MemoryError, RuntimeError) as error:  # there are too many threads
                work.is_good = work.is_running = False
                logger.error("%s failed: no thread could be started: %s", name, error)

        self._call_soon(begin)
        return True
