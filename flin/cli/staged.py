"""A new directory that is a database once all is there, and otherwise as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flin.cluster.resize.staging import Staging
from flin.engine.disk.file_name import UNFINISHED
from flin.engine.disk.fs import OsFileSystem


@contextmanager
def staged(path: str) -> Iterator[str]:
    """The directory in which to make it. What ends the block by an exception leaves nothing."""
    is_new = not os.path.lexists(path)
    staging = Staging(path, 1, OsFileSystem())
    (inside,) = staging.begin()
    try:
        yield inside
        staging.finish()
    except BaseException:
        shutil.rmtree(os.path.join(path, UNFINISHED), ignore_errors=True)
        if is_new:
            with suppress(OSError):  # somebody has put something else there
                os.rmdir(path)
        raise
