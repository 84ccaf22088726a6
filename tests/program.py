"""A program that a test runs beside itself, and whose output it can wait for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flin.testing.process import PATIENCE_SECONDS, children, kill, wait_until
from tests.source import ROOT


class Program:
    """A program, by default in Python, whose folder is its working directory."""

    def __init__(
        self, folder: Path, command: list[str], *, executable: str = sys.executable, **environment: str
    ) -> None:
        number = len(list(folder.glob("*.out")))
        self.output = folder / f"{Path(command[-1]).name[:40]}-{number}.out"
        everything = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT), **environment}
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [executable, *command], cwd=folder, env=everything, stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.pid = self._process.pid

    def printed(self) -> str:
        return self.output.read_text(errors="replace")  # its last character may be there in part

    def found(self, pattern: str) -> str:
        """Wait until it has printed this. Returns the last group, or all of it."""
        wait_until(lambda: re.search(pattern, self.printed()) or self._process.poll() is not None, pattern)
        matched = re.search(pattern, self.printed())
        assert matched is not None, self.printed()
        return matched[matched.re.groups]

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def wait(self) -> str:
        """What it has printed when it has ended by itself, without an error."""
        code = self._process.wait(PATIENCE_SECONDS)
        assert code == 0, self.printed()
        return self.printed()

    def kill(self) -> None:
        """kill -9 of it and of all that it has started; nothing if it has ended, since its number may be another's."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.poll() is not None:
            return
        family = [self.pid]
        for pid in family:
            family += children(pid)
        for pid in family:
            kill(pid)
        self._process.wait()

    def wait_for_code(self) -> int:
        """The exit code when it has ended by itself."""
        return self._process.wait(PATIENCE_SECONDS)

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code after this signal."""
        self._process.send_signal(number)
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            self.kill()


@contextmanager
def running(
    folder: Path, command: list[str], *, executable: str = sys.executable, **environment: str
) -> Iterator[Program]:
    """The program, which is told to end with the block, and then must not fail; it may have been killed."""
    program = Program(folder, command, executable=executable, **environment)
    try:
        yield program
    finally:
        assert program.end() in (0, -signal.SIGTERM, -signal.SIGKILL), program.printed()
