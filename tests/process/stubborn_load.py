"""A load that tries again whatever is refused, started within limits of the shell."""

from __future__ import annotations

import shlex
import sys

from flin.testing.load import EmbeddedLoad
from flin.testing.process import HangError, wait_until


class StubbornLoad(EmbeddedLoad):
    """The load of a writer that tries refused writes again (stubborn_writer.py)."""

    limits = ""
    """`ulimit ...;`"""

    def wait_until_open_or_ended(self) -> None:
        try:
            wait_until(lambda: self.is_open() or self.victim.poll() is not None, "it opens or ends")
        except HangError as error:
            raise HangError(f"{error}, with {self.limits} It printed:\n{self.printed()}") from None

    def _command(self) -> list[str]:
        words = (self.directory, self.sync, self.shards, self.lanes, self._page_path)
        command = [sys.executable, "-m", "tests.process.stubborn_writer", *map(str, words)]
        return ["sh", "-c", f"{self.limits} exec {shlex.join(command)}"] if self.limits else command
