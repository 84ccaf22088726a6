"""An error as one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys

from flin.cli import exit_code
from flin.errors import LockedError


def report(error: Exception) -> int:
    """For a FlinError or an OSError."""
    return fail(_text_of(error), exit_code.LOCKED if isinstance(error, LockedError) else exit_code.PROBLEMS)


def fail(reason: object, code: int) -> int:
    print(f"flin: {reason}", file=sys.stderr)
    return code


def _text_of(error: Exception) -> str:
    """The error's text; of an OSError, the file and what is wrong with it, without the number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)
