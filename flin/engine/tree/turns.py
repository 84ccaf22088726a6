"""Turns: who may write, and who must wait. The commit lock, and the checks before each write.

The lock is reentrant: a signal handler or finalizer that writes in the middle of a commit must not wait for it. Work
under way is marked by `_blocked`, which every write checks anyway; a write that re-enters then is put off, and the
outer call commits it as it ends (reentry.py). A mark that an interrupt has left only costs the next write a second
look.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from time import monotonic, sleep
from typing import Final, TypeVar

from flin.engine.disk.directory_lock import DIRECTORY_LOST
from flin.engine.entry import Entry, Range
from flin.engine.options import Options
from flin.engine.reentry import holds_lock, is_held, is_reentered
from flin.engine.tree.listeners import Listeners
from flin.engine.tree.stall import LOOK_SECONDS, Stall
from flin.engine.tree.watchers import Watchers
from flin.engine.tree.write_control import WriteControl
from flin.engine.wal.writer import WalWriter
from flin.errors import CLOSED_TEXT, ClosedError, FlinError, ReadOnlyError, StallTimeout, StorageError

Result = TypeVar("Result")

GIVE_WAY_SECONDS: Final = (0.0, 0.0005, 0.001, *(0.003,) * 40)
"""The pauses of a writer that gives way. The first only lets go of the interpreter, which is enough if the other thread
is in the middle of a write; the rest make an eighth of a second, longer than a busy machine keeps a thread waiting."""


class Turns:
    """The writers of a store, one at a time."""

    _wal: WalWriter
    _seal_check: int

    def __init__(self, options: Options) -> None:
        self.options = options
        self.listeners = Listeners()
        self.watchers = Watchers()
        # Guarded by the commit lock, as are the state, the WAL and the open generation. The lock knows its owner, so a
        # call that re-enters can tell.
        self._commit_lock = RLock()
        self._control = WriteControl(self._commit_lock)
        self._must_wait = False  # writers must look: closed, read-only or stalled
        self._blocked = False  # writers must look, or this is the middle of something under the commit lock

    @property
    @abstractmethod
    def directory(self) -> str: ...

    @abstractmethod
    def _commit(self, points: Mapping[bytes, Entry], ranges: Sequence[Range] = (), plain: bool | None = None) -> int:
        """Make a commit that was put off."""

    # Under the commit lock, and taking it.

    @holds_lock
    def _exclusively(self, act: Callable[[], Result]) -> Result:
        """Act under the commit lock, without writes that re-enter. (Written out in `_active_heads`.)"""
        try:
            with self._commit_lock:
                before, self._blocked = self._blocked, True
                try:
                    return act()
                finally:
                    self._blocked = before or self._must_wait
        finally:
            if self._control.put_off:
                self._commit_put_off()

    def _give_way(self) -> None:
        """Called before the lock is taken, if another thread may hold it: pause until it is free, if that is soon.

        Who waits for a lock owns it before it has the interpreter again. So once threads queue for the lock, each write
        ends in a switch of threads, for as long as they write: 64 threads then need 14 µs for a put, else 4. Without a
        queue a thread makes some thousand writes in its turn at the interpreter."""
        if self._control.times_held():  # it re-enters
            return
        for pause in GIVE_WAY_SECONDS:
            # Only its repr tells whether another thread holds an RLock. The mark alone may be old.
            if self._must_wait or not repr(self._commit_lock).startswith("<locked"):
                return
            sleep(pause)

    def _may_write(self) -> bool:
        """Called if writers must look: waits while they must wait. False for a write that re-enters while its own
        thread is in the middle of something."""
        if self._control.times_held() > 1:
            self._check_writable()
            return False
        self._blocked = True
        self._drain()
        self._look_again()
        if self._must_wait:
            try:
                self._wait_until_writable()
            except BaseException:  # an interrupt: it may come when the lock is released and not yet taken again
                if not is_held(self._commit_lock):
                    self._commit_lock.acquire()
                raise
        return True

    def _look_again(self) -> None:
        """Compute whether writers must wait."""
        self._must_wait = self._control.stops(stall_writers=self.options.stall_writers)

    def _do_later(self, points: Mapping[bytes, Entry], ranges: Sequence[Range], plain: bool | None) -> int:
        """Put a commit off until the outer call has ended. That notices it as every write checks whether to seal; and
        if another write comes first, that notices it as every write checks whether to wait."""
        self._control.put_off.append((points, ranges, plain))
        self._must_wait = True
        self._seal_check = -1
        return self._wal.position

    @holds_lock
    def _commit_put_off(self, raised: BaseException | None = None) -> None:
        """Called as a call ends: commit the writes that were put off in it. A refusal is raised, or noted on the
        exception of the call itself."""
        with self._commit_lock:
            if self._control.times_held() > 1:
                return  # a call further out will
            self._blocked = True
            try:
                self._drain()
            except FlinError as refused:
                if raised is None:
                    raise
                raised.add_note(f"and a write that was put off until now failed: {refused}")
            finally:
                self._look_again()
                self._blocked = self._must_wait

    def _drain(self) -> None:
        refused: FlinError | None = None
        while self._control.put_off:
            position = self._wal.position
            try:
                if self._control.read_only_reason is not None:
                    raise ReadOnlyError(self._control.read_only_reason)
                self._commit(*self._control.put_off[0])
            except FlinError as error:
                refused = refused or error
            except BaseException:  # an interrupt: commits that are not made yet stay
                if self._wal.position != position:
                    del self._control.put_off[0]
                raise
            del self._control.put_off[0]
        if refused is not None:
            refused.add_note("a signal handler or finalizer wrote this; it was put off until the outer call had ended")
            raise refused

    # Waiting.

    @property
    def read_only_reason(self) -> str | None:
        """Why writes are refused until the next open; None: they are not."""
        return self._control.read_only_reason

    @property
    def background_error(self) -> BaseException | None:
        """Why the background's last job failed; None: it is not blocked."""
        return self._control.background_error

    @property
    def stall_waits(self) -> int:
        """How often writers waited for the background."""
        return self._control.stall_waits

    @property
    def stall_seconds(self) -> float:
        """How long writers waited for the background, in total."""
        return self._control.stall_seconds

    def stall(self) -> Stall:
        return self._control.stall

    def make_read_only(self, reason: str) -> None:
        """Refuse writes from now on; the first reason stays."""
        self._exclusively(lambda: self._fail(reason))

    def _fail(self, reason: str) -> None:
        if self._control.read_only_reason is None:
            self._control.read_only_reason = reason
        self._must_wait = True
        self._control.writable.notify_all()

    def _lose_directory(self) -> None:
        """Do what `make_read_only` does, without the lock: the caller may hold another. Waiting writers look by
        themselves."""
        self._control.read_only_reason = self._control.read_only_reason or DIRECTORY_LOST
        self._must_wait = self._blocked = True

    def set_background_error(self, error: BaseException | None) -> None:
        """Set why the background's last job failed (None: it is not blocked). Writers that wait for it are told."""
        self._control.background_error = error
        self._exclusively(self._control.writable.notify_all)

    def _check_writable(self) -> None:
        self.check_open()
        if self._control.read_only_reason is not None:
            raise ReadOnlyError(self._control.read_only_reason)

    def _wait_until_writable(self) -> None:
        """Wait under the commit lock, which is released meanwhile. After a wait everything is checked again."""
        control = self._control
        began = monotonic()  # the wall clock may jump
        deadline = began + self.options.stall_timeout_ms / 1000
        # All may be waiting for the outer call of one that re-enters.
        waits = self.options.stall_writers and not is_reentered(levels=3)
        was_delayed = False
        while True:
            self._check_writable()
            stall = control.stall
            if not waits or not stall or (was_delayed and not stall.stopped):
                return
            control.stall_waits += 1
            if not stall.stopped:
                was_delayed = True
                control.writable.wait(stall.delay_seconds)
                control.stall_seconds += stall.delay_seconds
                continue
            if control.background_error is not None:
                error = control.background_error
                raise StorageError("write more into", self.directory, error) from error
            if monotonic() >= deadline:
                raise StallTimeout(f"waited {self.options.stall_timeout_ms} ms: {stall.reason}")
            self._help_background()
            if control.stall.stopped:
                control.writable.wait(LOOK_SECONDS)
            began, before = monotonic(), began
            control.stall_seconds += began - before

    def _help_background(self) -> None:
        """Without threads the stopped writer itself does the due work; its failure is the writer's error."""
        self._commit_lock.release()
        try:
            self.listeners.on_stopped()
        finally:
            self._commit_lock.acquire()

    # Closing.

    @property
    def closed(self) -> bool:
        return self._control.is_closed

    def check_open(self) -> None:
        if self._control.is_closed:
            raise ClosedError(CLOSED_TEXT)
