"""The exit codes of `flin`; every `--help` shows the table."""

from __future__ import annotations

from typing import Final

OK: Final = 0
PROBLEMS: Final = 1
USAGE: Final = 2
LOCKED: Final = 3
SIGNALLED: Final = 128
"""Plus the number of the signal that ended the process, as shells report it."""
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells report it."""
BROKEN_PIPE: Final = 141
"""128 and the number of SIGPIPE: the reader of the output has gone."""

TABLE: Final = """\
exit codes:
  0    done, no problem
  1    problems were found, or the operation failed; stderr or the output names them
  2    wrong usage: an unknown option, no such file or directory, a missing package
  3    another process has the directory open; the message names its pid
  130  interrupted (Ctrl-C)
  141  the reader of the output has gone
  143  ended by SIGTERM (129: by SIGHUP); what was begun is cleaned up"""
