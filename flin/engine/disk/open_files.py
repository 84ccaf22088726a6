"""Which tables are open: a bounded number in the whole process, however many there are in its databases.

A table takes one descriptor while it is open: that of its mapping (before CPython 3.13 a mapping keeps a copy), and
one more only if blocks are read past the mapping (`get_nowait`, expiries). Tables are opened at first use. The bound
is a quarter of what the operating system allows the process, so that the WAL, sockets and the program's own files
always find room.

Theory. CLOCK: the table that was opened first is closed first, unless it was read since its last turn. Closing only
forgets it: readers that still use it keep it, and it is opened again at its next use. A scan uses a table of each run
that it merges until it has passed it: up to 48 in each shard, if compaction is behind (stall.py). So a limit of fewer
than some 100 files may be too low for scans during heavy writing.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Final, Protocol, TypeVar

from flin.engine.disk.descriptor import givers
from flin.engine.disk.fs import FileSystem, Mapped, ReadableFile, after_fork_in_child, descriptor_limit
from flin.engine.disk.sealed_files import SealedMapping, SealedReadableFile
from flin.engine.reentry import holds_lock
from flin.errors import CLOSED_TEXT, ClosedError

SHARE: Final = 4
"""Tables get one descriptor in four."""

MAX_FILES: Final = 4096
"""More would only cost memory: these are 128 GB in tables of 32 MB, and only a part of a database is read often."""

_CHANCES: Final = 8
"""The most tables that are passed over in a row because they were read lately: to look at one costs up to 0.2 ms."""


Result = TypeVar("Result")


class Opened(Protocol):
    """An object that holds a descriptor."""

    def was_used(self) -> bool:
        """Whether it was read since the last call."""

    def let_go(self) -> None:
        """Close it, until its next use."""


def max_open_files() -> int:
    """The bound. The operating system is asked each time, since a program may raise its limit: 1 µs."""
    return max(1, min(MAX_FILES, descriptor_limit() // SHARE))


class OpenFiles:
    """Bounds the tables that all databases of the process have open. Threads may share it."""

    def __init__(self, limit: Callable[[], int] = max_open_files) -> None:
        self.limit = limit
        self._clock: deque[weakref.ref[Opened]] = deque()
        self._lock = RLock()  # a signal handler may read, in the thread that is opening a table

    @holds_lock
    def __len__(self) -> int:
        with self._lock:
            return sum(reference() is not None for reference in self._clock.copy())

    @holds_lock
    def add(self, opened: Opened) -> None:
        """Note that it holds a descriptor now; others are closed if there are too many."""
        with self._lock:
            limit = self.limit()
            if len(self._clock) >= limit:
                self._shrink(limit - 1)
            self._clock.append(weakref.ref(opened))

    @holds_lock
    def discard(self, opened: Opened) -> None:
        """Note that it has closed by itself."""
        with self._lock, suppress(ValueError):  # it was removed meanwhile
            # One call: during a loop a call that re-enters could change the deque. There is one weak reference to each,
            # which is found by identity.
            self._clock.remove(weakref.ref(opened))

    @holds_lock
    def shed(self) -> bool:
        """The process has no descriptor left: close half of the tables. False if there was none."""
        with self._lock:
            before = len(self._clock)
            self._shrink(before // 2)
            return before > 0

    def forget(self) -> None:
        """In a forked child: forget all, since it must not read what the parent has open."""
        self._lock = RLock()
        self._clock.clear()

    def _shrink(self, limit: int) -> None:
        for _ in range(len(self._clock)):  # a dead reference takes no place
            reference = self._maybe_oldest()
            if reference is not None and reference() is not None:
                self._clock.append(reference)
        chances = _CHANCES
        while len(self._clock) > limit:
            reference = self._maybe_oldest()
            opened = None if reference is None else reference()
            if reference is None or opened is None:
                continue
            if chances and opened.was_used():
                chances -= 1
                self._clock.append(reference)
                continue
            opened.let_go()

    def _maybe_oldest(self) -> weakref.ref[Opened] | None:
        """Take the oldest, by one call: a call that re-enters may have emptied the clock since its length was read."""
        with suppress(IndexError):
            return self._clock.popleft()
        return None


OPEN_FILES: Final = OpenFiles()
after_fork_in_child(OPEN_FILES.forget)
givers.append(OPEN_FILES.shed)


class TableFile:
    """A `ReadableFile` that has a descriptor only while it is read past its mapping. For any number of threads.

    A file is not closed under a thread that reads it: the last such thread closes it. `maps=False`: for callers that
    read all of it by `pread`; then the mapping is empty, and takes no second descriptor."""

    def __init__(self, fs: FileSystem, path: str, files: OpenFiles = OPEN_FILES, *, maps: bool = True) -> None:
        self.path: Final = path
        self._fs: Final = fs
        self._files: Final = files
        self._maps: Final = maps
        self._file: ReadableFile | None = None
        self._used = False
        self._has_ended = False
        self._lock = RLock()

    def size(self) -> int:
        return self._by_path(self._fs.file_size)

    def pread(self, size: int, offset: int) -> bytes:
        """What `ReadableFile.pread` gives. (Written out in table.value_files.OpenValueFile.value.)"""
        return self._opened().pread(size, offset)

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        self._used = True
        file = self._file or self._opened()  # the call costs as much as all else here
        return file.pread_nowait(size, offset)

    def will_need(self, size: int, offset: int) -> None:
        self._opened().will_need(size, offset)

    def map(self) -> Mapped:
        """Map the file; only the mapping stays open then."""
        if not self._maps:
            return b""
        mapped = self._opened().map()
        self.close()
        return mapped

    def maybe_sealed(self) -> SealedMapping | None:
        """The mapping of a sealed file; only that stays open then. None of a plain one."""
        file = self._opened()
        if not self._maps or not isinstance(file, SealedReadableFile):
            return None
        mapping = file.mapping()
        self.close()
        return mapping

    def close(self) -> None:
        """Close it until it is read again."""
        if self._file is not None:
            self._files.discard(self)
        self.let_go()

    def end(self) -> None:
        """Called before its directory's lock is released: another database may be there afterwards. From now on reads
        raise ClosedError, if the file is not open. No lock is taken: in a forked child its holder may not exist."""
        self._has_ended = True

    def was_used(self) -> bool:
        used, self._used = self._used, False
        return used

    def let_go(self) -> None:
        self._file = None

    @holds_lock
    def _opened(self) -> ReadableFile:
        self._used = True
        file = self._file
        if file is None:
            with self._lock:
                file = self._file
                if file is None:
                    file = self._file = self._by_path(self._fs.open)
                    self._files.add(self)
        return file

    def _by_path(self, call: Callable[[str], Result]) -> Result:
        """Make the call with the path. ClosedError if the directory may have been another by then."""
        try:
            result = call(self.path)
        except OSError:
            if self._has_ended:
                raise ClosedError(CLOSED_TEXT) from None
            raise
        if self._has_ended:
            raise ClosedError(CLOSED_TEXT)
        return result
