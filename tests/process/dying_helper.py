"""A helper process that is killed before its n-th file-system call: background/helper.py over one that counts calls.

    FLIN_TEST_DIE_AT=7 FLIN_TEST_DIED=FILE python -m tests.process.dying_helper

Only the first process that gets that far dies, and leaves FILE; later ones do all their work.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Lock

from flin.engine.background import helper
from flin.engine.disk.fs import Buffer, Mapped, OsAppendFile, OsFileSystem, OsReadableFile
from tests.source import ROOT

DIE_AT = "FLIN_TEST_DIE_AT"
DIED = "FLIN_TEST_DIED"

_lock = Lock()
_calls = 0


def _call() -> None:
    global _calls
    with _lock:
        _calls += 1
        if _calls != int(os.environ[DIE_AT]):
            return
        try:
            os.close(os.open(os.environ[DIED], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


class DyingAppendFile(OsAppendFile):
    def append(self, data: Buffer) -> int:
        _call()
        return super().append(data)

    def sync(self) -> None:
        _call()
        super().sync()

    def close(self) -> None:
        if self._fd >= 0:
            _call()
        super().close()


class DyingReadableFile(OsReadableFile):
    def size(self) -> int:
        _call()
        return super().size()

    def pread(self, size: int, offset: int) -> bytes:
        _call()
        return super().pread(size, offset)

    def map(self) -> Mapped:
        _call()
        return super().map()


class DyingFileSystem(OsFileSystem):
    def create(self, path: str) -> OsAppendFile:
        _call()
        return DyingAppendFile(path)

    def open(self, path: str) -> OsReadableFile:
        _call()
        return DyingReadableFile(path)

    def remove(self, path: str) -> None:
        _call()
        super().remove(path)

    def sync_directory(self, directory: str) -> None:
        _call()
        super().sync_directory(directory)

    def names(self, directory: str) -> list[str]:
        _call()
        return super().names(directory)


def command() -> list[str]:
    """The command with which a runner starts it."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {_BOOT}"]


_BOOT = "from tests.process.dying_helper import main; main()"


def main() -> None:
    vars(helper)["OsFileSystem"] = DyingFileSystem
    helper.main()


if __name__ == "__main__":
    main()
