"""Bytes that have come and are not used yet, in a file: first in, first out."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO, Self


class Backlog:
    """`put` at its end, `take` from its beginning. OSError if the disk is full."""

    def __init__(self) -> None:
        self._file: IO[bytes]
        self._taken = 0
        self._end = 0

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def __bool__(self) -> bool:
        return self._taken < self._end

    def put(self, data: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(data)
        self._end += len(data)

    def take(self, size: int) -> bytes:
        """At most so many bytes; none if all are taken."""
        if not self:
            return b""
        self._file.seek(self._taken)
        data = self._file.read(size)
        self._taken += len(data)
        if not self:  # the room on the disk is free again
            self._file.truncate(0)
            self._taken = self._end = 0
        return data
