"""A process with a database under load, embedded or served, and a record of its answers that survives it.

    load = ServedLoad(Path("db"), "interval", shards=1, lanes=4)
    load.start()                 # again and again on one directory
    load.wait_until_open()
    load.victim.kill()
    load.reap()

Embedded: killed_writer.py, which says in a shared page how far it got. Served: `flin serve`, and clients in this
process, one thread and one connection each: pipelines on a bare socket, and, where it is installed, redis-py.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import IO, Any, Final

from flin.engine.disk.file_name import LOCK
from flin.testing import process
from flin.testing.killed_writer import Page
from flin.testing.lane import (
    VALUE_THRESHOLD,
    Violation,
    commit_of,
    counter_key,
    counter_value,
    parse_counter,
    writes_between,
)
from flin.testing.process import PATIENCE_SECONDS, wait_until

PIPELINE: Final = 16
"""Commits that a client sends at once."""

PATIENT_LANES: Final = 4
"""Except in `always`, the clients of lanes from this one on send one commit at a time: a server runs what many of them
send together."""

END_SECONDS: Final = 10.0
"""A server that was killed closes its connections before it has ended: for so long it may be without a turn."""


class Load(ABC):
    """One directory; a process at a time."""

    in_flight: int
    """The most unanswered commits of a lane that may be there."""

    def __init__(self, directory: Path, sync: str, shards: int, lanes: int) -> None:
        self.directory = directory
        self.sync = sync
        self.shards = shards
        self.lanes = lanes
        self.floor: list[int] = [0] * lanes
        """Commits of each lane that were answered by processes that have ended, or were found there."""
        self.starts = 0  # processes started since the last recover()
        self.opened_at = 0.0
        self._victim: subprocess.Popen[bytes] | None = None
        self._begin: list[int] = []

    @property
    def victim(self) -> subprocess.Popen[bytes]:
        assert self._victim is not None, "nothing runs"
        return self._victim

    @property
    def helpers(self) -> list[int]:
        return process.children(self.victim.pid)

    def start(self) -> None:
        """Start a new process, which opens the directory."""
        self.starts += 1
        self._prepare()
        output = self.output.open("ab")
        with output:
            self._victim = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def wait_until_locked(self) -> None:
        """Wait until the process is about to open the database: recovery begins then."""
        lock = self.directory / LOCK
        needle = f'"pid": {self.victim.pid},'
        wait_until(lambda: self._is_gone() or (lock.exists() and needle in lock.read_text()), "it takes the lock")

    def wait_until_open(self) -> None:
        """Wait until the process answers, and begin the load."""
        wait_until(lambda: self._is_gone() or self.is_open(), "it opens")
        self._check_alive()
        self.opened_at = time.monotonic()
        self._begin = self.answered()
        self._drive()

    def wait_for_commits(self, commits: int) -> None:
        """Wait until this many more commits than now are answered."""
        goal = sum(self.answered()) + commits
        wait_until(lambda: sum(self.answered()) >= goal or self._is_gone(), f"{commits} commits are answered")
        self._check_alive()

    def writes_per_second(self) -> float:
        """Writes per second answered since the process opened."""
        answered = self.answered()
        seconds = time.monotonic() - self.opened_at
        pairs = enumerate(zip(self._begin, answered, strict=True))
        return sum(writes_between(lane, begin, end) for lane, (begin, end) in pairs) / seconds

    def reap(self) -> None:
        """Collect the process, which was killed or is ending, its helpers, and the clients."""
        self.victim.wait(PATIENCE_SECONDS)
        self._collect()
        self.floor = self.answered()
        self._victim = None

    def stop(self) -> None:
        """End the process, whatever it does; for cleaning up."""
        if self._victim is not None:
            self._victim.kill()
            self.reap()

    def bounds(self) -> tuple[list[int], list[int]]:
        """For each lane: the commits that must be there, and those that may be."""
        return self.floor, [number + self.in_flight * self.starts for number in self.floor]

    def recover(self, recovered: Sequence[int]) -> None:
        """The directory was checked: this many commits of each lane are there."""
        self.floor = list(recovered)
        self.starts = 0

    def printed(self) -> str:
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return text[-2000:]

    @property
    def output(self) -> Path:
        """The file with what the processes printed."""
        return self.directory.with_name(f"{self.directory.name}.out")

    def _is_gone(self) -> bool:
        return self.victim.poll() is not None

    def _check_alive(self) -> None:
        if self._is_gone():
            raise Violation(f"the process ended by itself with {self.victim.returncode}: {self.printed()}")

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def is_open(self) -> bool: ...

    @abstractmethod
    def answered(self) -> list[int]: ...

    @abstractmethod
    def _drive(self) -> None:
        """Begin writing."""

    @abstractmethod
    def _collect(self) -> None:
        """The process has ended."""

    @abstractmethod
    def end_cleanly(self) -> None:
        """Make the process close the database and end, and collect it; Violation if it fails."""

    def _check_end(self) -> None:
        if self.victim.wait(PATIENCE_SECONDS):
            raise Violation(f"it ended with {self.victim.returncode}: {self.printed()}")
        self.reap()


class EmbeddedLoad(Load):
    in_flight = 1

    def _command(self) -> list[str]:
        words = (self.directory, self.sync, self.shards, self.lanes, self._page_path)
        return [sys.executable, "-m", "flin.testing.killed_writer", *map(str, words)]

    def _prepare(self) -> None:
        self._page = Page(self._page_path, self.lanes, create=True)
        for lane, number in enumerate(self.floor):
            self._page.set_answered(lane, number)

    def is_open(self) -> bool:
        return self._page.is_open

    def answered(self) -> list[int]:
        return self._page.answered() if self.starts else self.floor

    def promised(self) -> list[int]:
        return self._page.promised()

    def end_cleanly(self) -> None:
        self._page.set_stop_wanted(True)
        self._check_end()

    @property
    def _page_path(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.page")

    def _drive(self) -> None:
        """Do nothing: the process writes by itself."""

    def _collect(self) -> None:
        """Do nothing: the page stays."""


class ServedLoad(Load):
    in_flight = PIPELINE

    def __init__(
        self,
        directory: Path,
        sync: str,
        shards: int,
        lanes: int,
        options: Sequence[str] = ("--memory-limit", "16mb"),  # the least possible
    ) -> None:
        super().__init__(directory, sync, shards, lanes)
        self._options = options
        self._answered = list(self.floor)
        self._clients: list[Thread] = []
        self._problems: list[str] = []
        self._is_ending = False
        self._printed_before = 0

    @property
    def port(self) -> int:
        """The port; 0 while the server opens."""
        with self.output.open("rb") as file:
            file.seek(self._printed_before)
            found = re.search(rb"is ready on \S+ port (\d+)", file.read())
        return int(found[1]) if found else 0

    def _command(self) -> list[str]:
        words = ["--port", "0", "--dir", str(self.directory), "--sync", self.sync, "--shards", str(self.shards)]
        words += ["--value-threshold", str(VALUE_THRESHOLD), *self._options]
        return [sys.executable, "-m", "flin", "serve", *words]

    def _prepare(self) -> None:
        self._answered = list(self.floor)
        self._is_ending = False
        self._printed_before = self.output.stat().st_size if self.output.exists() else 0

    def is_open(self) -> bool:
        return self.port != 0

    def answered(self) -> list[int]:
        return list(self._answered)

    def end_cleanly(self) -> None:
        self._is_ending = True
        for client in self._clients:
            client.join(PATIENCE_SECONDS)
        self.victim.terminate()
        self._check_end()

    def _drive(self) -> None:
        port = self.port
        has_redis = importlib.util.find_spec("redis") is not None
        for lane in range(self.lanes):
            drive = self._drive_redis if has_redis and lane == self.lanes - 1 and lane else self._drive_socket
            client = Thread(target=self._drive_lane, args=(drive, port, lane), daemon=True)
            self._clients.append(client)
            client.start()

    def _collect(self) -> None:
        self._is_ending = True
        for client in self._clients:
            client.join(PATIENCE_SECONDS)
            if client.is_alive():
                self._problems.append("a client hangs")
        self._clients.clear()
        if self._problems:
            raise Violation(f"a client got what it should not: {self._problems} {self.printed()}")

    def _drive_lane(self, drive: Any, port: int, lane: int) -> None:
        try:
            drive(port, lane)
        except (OSError, EOFError):
            until = time.monotonic() + END_SECONDS
            while not self._is_ending and self._victim is not None and process.is_alive(self._victim.pid):
                if time.monotonic() > until:
                    self._problems.append(f"lane {lane}: the server closed the connection")
                    break
                time.sleep(process.POLL_SECONDS)
        except Exception as error:  # the outermost frame of a thread: it must not get lost
            self._problems.append(f"lane {lane}: {type(error).__name__}: {error}")

    def _drive_socket(self, port: int, lane: int) -> None:
        pipeline = 1 if lane >= PATIENT_LANES and self.sync != "always" else PIPELINE
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as sock, sock.makefile("rb") as replies:
            sock.sendall(request(b"GET", counter_key(lane)))
            self._answered[lane] = number = parse_counter(_read_bulk(replies))[0]
            while not self._is_ending:
                known = self.answered()
                numbers = range(number + 1, number + 1 + pipeline)
                commits = [commit_requests(lane, each, known) for each in numbers]
                sock.sendall(b"".join(b"".join(requests) for requests in commits))
                for number, requests in zip(numbers, commits, strict=True):
                    _read_commit(replies, len(requests))
                    self._answered[lane] = number

    def _drive_redis(self, port: int, lane: int) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS, retry=Retry(NoBackoff(), 0)) as client:
            try:
                self._answered[lane] = number = parse_counter(client.get(counter_key(lane)))[0]
                while not self._is_ending:
                    known = self.answered()
                    pipe = client.pipeline()  # MULTI and EXEC around all of it
                    for each in range(number + 1, number + 1 + PIPELINE):
                        todo = commit_of(lane, each)
                        pipe.mset({**todo.puts, counter_key(lane): counter_value(each, known)})
                        if todo.deletes:
                            pipe.delete(*todo.deletes)
                    pipe.execute()
                    number += PIPELINE
                    self._answered[lane] = number
            except redis.ConnectionError as error:
                raise EOFError from error


def request(*words: bytes) -> bytes:
    """A request in RESP."""
    return b"".join((b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)))


def commit_requests(lane: int, number: int, known: Sequence[int]) -> list[bytes]:
    """The requests of one commit: MSET, or a transaction."""
    todo = commit_of(lane, number)
    pairs = [word for pair in todo.puts.items() for word in pair]
    write = request(b"MSET", *pairs, counter_key(lane), counter_value(number, known))
    if not todo.deletes:
        return [write]
    return [request(b"MULTI"), request(b"DEL", *todo.deletes), write, request(b"EXEC")]


def _read_commit(replies: IO[bytes], requests: int) -> None:
    """Read the replies to one commit: +OK, or +OK +QUEUED +QUEUED and an array of two."""
    lines = [_read_line(replies) for _ in range(1 if requests == 1 else requests + 2)]
    if lines[-1] != b"+OK":
        raise ValueError(f"replied {lines}")


def _read_bulk(replies: IO[bytes]) -> bytes | None:
    size = int(_read_line(replies)[1:])
    return None if size < 0 else replies.read(size + 2)[:-2]


def _read_line(replies: IO[bytes]) -> bytes:
    line = replies.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    if line.startswith(b"-"):
        raise ValueError(line.decode(errors="replace").strip())
    return line[:-2]


def is_supported() -> bool:
    return sys.platform == "linux" and os.path.isdir("/proc/self/task")
