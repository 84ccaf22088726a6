"""A real server for tests: `flin serve` in a process of its own, on a free port or a Unix socket.

    with served() as server:
        client = redis.Redis.from_url(server.url)

It needs no pytest, and ends with the block, or with the test's process, however that ends.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.parse import quote

Setting = str | int | bool | Path | Sequence[str]

PORTS: Final = range(10_000, 32_000)
"""Below those that systems give to clients (from 32,768 on): a client that tries to reach the server while it is down
could take its port, or even meet itself there."""

TRIES: Final = 5
"""Ports that are tried. Of these 22,000 few are taken, so a second one is rare."""

START_SECONDS: Final = 60.0
"""It is ready in some 0.3 s. Recovery of a large directory takes longer, and so does a machine with much to do."""

END_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.005

_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from flin.cli.lifeline import main; main(sys.argv[2], int(sys.argv[3]), sys.argv[4:])"
)
"""With the search path of the test, so that both run the same Flin."""

_READY: Final = re.compile(r"flin \S+ is ready on ")
_TAKEN: Final = re.compile(r"cannot listen on \S+ port \d+: .*in use", re.IGNORECASE)


class ServedError(RuntimeError):
    """The server did not start, or it ended by itself. The text holds what it has printed."""


class ServedServer:
    """What `served` gives. It runs, unless `kill()` or `stop()` was called; `restart()` starts it again."""

    port: int
    """0 if there is a Unix socket alone."""

    socket: Path | None
    """Its Unix socket."""

    directory: Path
    """Its database."""

    def __init__(
        self, folder: Path, directory: Path, port: int | None, socket: Path | None, settings: dict[str, Setting | None]
    ) -> None:
        self.directory = directory
        self.socket = socket
        self.port = port or 0
        self._folder = folder
        self._log = folder / "server.log"
        self._password = str(settings.get("requirepass") or "")
        self._words = _words_of(settings)
        self._process: subprocess.Popen[bytes] | None = None
        if port is not None or socket is not None:
            self._start()
        else:
            self._start_on_a_free_port()

    @property
    def url(self) -> str:
        """For redis-py and what is built on it (Django, Celery …), with the password if there is one."""
        password = quote(self._password, safe="")
        if self.port:
            return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        return f"unix://{self.socket}?db=0{f'&password={password}' if password else ''}"

    @property
    def logs(self) -> str:
        """What it has printed, since its first start."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process: SIGSTOP makes a server that hangs. ServedError if it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise ServedError(f"the server does not run; restart() starts it. It has printed:\n{self.logs}")
        return self._process.pid

    def kill(self) -> None:
        """kill -9. What was answered is there after `restart()`, as after the crash of any Flin server."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _end(process)

    def stop(self) -> None:
        """End it cleanly, as SIGTERM does. ServedError if it ends with an error, or had done so."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            code = process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ServedError(
                f"the server did not end within {END_SECONDS:g} s, and was killed:\n{self.logs}"
            ) from None
        finally:
            _end(process)
        if code:
            raise ServedError(f"the server ended with {code}. It has printed:\n{self.logs}")

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port, with the same data and options."""
        self.stop()
        self._start()

    def _start_on_a_free_port(self) -> None:
        for left in reversed(range(TRIES)):
            self.port = random.choice(PORTS)
            try:
                self._start()
            except ServedError as error:
                if not (left and _TAKEN.search(str(error))):
                    raise
            else:
                break

    def _start(self) -> None:
        with self._log.open("ab") as log:
            printed = log.tell()
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the test, which may go on with the server (pdb)
            )
        try:
            self._wait_until_ready(self._process, printed)
        except BaseException:
            self.kill()
            raise

    def _command(self) -> list[str]:
        boot = [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(self._folder), str(os.getpid())]
        words = ["--config", "", "--port", str(self.port), "--dir", str(self.directory)]  # not the program's own file
        words += [] if self.socket is None else ["--unixsocket", str(self.socket)]
        return [*boot, "serve", *words, *self._words]

    def _wait_until_ready(self, process: subprocess.Popen[bytes], printed: int) -> None:
        deadline = monotonic() + START_SECONDS
        while True:
            code = process.poll()  # before its output is read: then that is all of it
            said = self._log.read_bytes()[printed:].decode(errors="replace")
            if _READY.search(said):
                return
            if code is not None:
                raise ServedError(f"the server ended with {code} before it was ready. It has printed:\n{said}")
            if monotonic() > deadline:
                raise ServedError(f"the server is not ready after {START_SECONDS:g} s. It has printed:\n{said}")
            sleep(POLL_SECONDS)


@contextmanager
def served(
    directory: str | os.PathLike[str] | None = None,
    *,
    port: int | None = None,
    socket: str | os.PathLike[str] | bool = False,
    **options: Setting | None,
) -> Iterator[ServedServer]:
    """Run a server while the block does.

    directory: of its data, made if needed; None for one that is removed at the end (and that is not synced, unless
    another `sync` is given: it has no power cut to outlive). port: None for a free one. socket: a path, or True for one
    in a folder of its own; then there is no port unless one is given. Options are those of `flin serve`, with
    underscores: `sync="always"`, `memory_limit="64mb"`, `requirepass="secret"`.

    ServedError if it does not start, or if it has ended before the block, with an error."""
    with tempfile.TemporaryDirectory(prefix="flin-served-") as name:
        folder = Path(name)
        if directory is None:
            options = {"sync": "never", **options}
        place = folder / "data" if directory is None else Path(directory).absolute()
        path = folder / "socket" if socket is True else Path(os.fspath(socket)).absolute() if socket else None
        server = ServedServer(folder, place, port, path, options)
        try:
            yield server
        except BaseException:
            server.kill()
            raise
        server.stop()


def _words_of(settings: dict[str, Setting | None]) -> list[str]:
    """As on the command line."""
    words: list[str] = []
    for name, value in settings.items():
        if value is None:
            continue
        values = [value] if isinstance(value, str | int | Path) else value
        for each in values:
            text = ("no", "yes")[each] if isinstance(each, bool) else str(each)
            words += [f"--{name.replace('_', '-')}", text]
    return words


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
