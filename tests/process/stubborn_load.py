"""A load that tries again whatever is refused, started within limits of the shell."""

from __future__ import annotations

import shlex
import sys

from flin.testing.load import EmbeddedLoad


class StubbornLoad(EmbeddedLoad):
    """The load of a writer that tries refused writes again (stubborn_writer.py)."""

    limits = ""
    """`ulimit ...;`"""

    def _command(self) -> list[str]:
        words = (self.directory, self.sync, self.shards, self.lanes, self._page_path)
        command = [sys.executable, "-m", "tests.process.stubborn_writer", *map(str, words)]
        return ["sh", "-c", f"{self.limits} exec {shlex.join(command)}"] if self.limits else command
