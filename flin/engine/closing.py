"""Closing an engine: once, whoever asks, and resumable after an interrupt.

    begin      writes are refused
    stop       the background ends, after the flush under way
    flush      what is in memory, unless it should stay in the WAL
    end        the runner, the WAL's end, the directory's lock

Each step is idempotent. So if an interrupt ends a close, the next one continues it. A close that comes while another is
under way waits for that.

A call that re-enters (reentry.py) cannot close: the interrupted call may hold any lock. A thread closes once that call
has ended. It is no `threading.Thread`: the start of one waits for a lock of that module, which the interrupted call may
hold. The interpreter waits for it at its exit.
"""

from __future__ import annotations

import _thread
import atexit
import logging
from threading import Lock, RLock

from flin.engine.background.compactor import Compactor
from flin.engine.background.runner import Runner
from flin.engine.reentry import holds_lock, is_reentered, times_held
from flin.engine.tree.closed_state import CLOSED_STATE
from flin.engine.tree.store import Store
from flin.errors import FlinError, ReentrantCallError

logger = logging.getLogger("flin.engine")

_under_way: dict[int, Lock] = {}  # held by closing threads, until they end


class Closing:
    """The end of one engine. It outlives an engine that is dropped."""

    def __init__(self, store: Store, compactor: Compactor, runner: Runner) -> None:
        self._store = store
        self._compactor = compactor
        self._runner = runner
        self._turn = RLock()
        self._times_held = times_held(self._turn)  # not a flag: an interrupt could leave it set
        self._has_flushed = False
        self._failure: Exception | None = None  # a thread's, for the next caller

    def close(self, flush: bool) -> None:
        """Close; in a call that re-enters, return once a thread has begun to wait for the outer call."""
        if self._store.has_ended and self._failure is None:
            return
        if is_reentered():
            self._close_later(flush)
        else:
            self._close_now(flush)

    def drop(self) -> None:
        """Close an engine that was dropped: without a flush; errors only go to the diagnostics."""
        try:
            self.close(flush=False)
        except FlinError:
            logger.exception("%s was not closed, and could not be closed well", self._store.directory)

    @holds_lock
    def _close_now(self, flush: bool) -> None:
        with self._turn:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if not self._store.has_ended and self._times_held() == 1:  # else it is under way, in this thread
                self._close(flush)

    def _close(self, flush: bool) -> None:
        store = self._store
        store.begin_close()
        try:
            self._compactor.stop()
            may_flush = store.read_only_reason is None and store.state is not CLOSED_STATE
            if flush and may_flush and not self._has_flushed:
                self._has_flushed = True  # or it was interrupted: then the WAL keeps what is in no table
                store.seal()
                while self._compactor.flush_once():
                    pass
        finally:
            self._runner.close()
            self._compactor.stop()  # in case the first was interrupted: no thread may work on after the end
            self._compactor.discard_flushes()
            store.end_close()

    def _close_later(self, flush: bool) -> None:
        self._store.begin_close()
        ended = Lock()
        ended.acquire()
        _under_way[id(ended)] = ended
        try:
            _thread.start_new_thread(self._close_in_thread, (flush, ended))
        except RuntimeError as error:  # no thread can start: there are too many, or the interpreter is ending
            del _under_way[id(ended)]
            raise ReentrantCallError("close()") from error

    def _close_in_thread(self, flush: bool, ended: Lock) -> None:
        try:
            self._close_now(flush)
        except Exception as error:  # the outermost frame of a thread: the next close() raises it, if there is one
            logger.exception("%s could not be closed well", self._store.directory)
            self._failure = error
        finally:
            del _under_way[id(ended)]
            ended.release()


def _wait_for_threads() -> None:
    for ended in list(_under_way.values()):
        ended.acquire()


atexit.register(_wait_for_threads)
