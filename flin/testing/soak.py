"""Mixed load on a real server for minutes or hours: its memory and its files stay within bounds all along.

    python -m flin.testing.soak --seconds 3600

Six clients read, write, expire, count, walk and reconnect, over more keys than the caches hold, while flushes and
compactions run. Every few seconds the server's private memory, its open files and its directory are checked. Private
memory may exceed `--memory-limit-mib` by 100 MiB; the directory may hold 12 files beyond the tables that are named
(segments, manifests, outputs of jobs, tables that a reader is about to release), and the process may have 100 files
open beyond those tables. The exit status is 1 if it was more. Private memory is the kernel's figure (Linux).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any, Final, TextIO

from flin.testing.process import PATIENCE_SECONDS

CLIENTS: Final = 6
KEYS: Final = 300_000
LOOK_SECONDS: Final = 5.0

EXTRA_MIB: Final = 100
"""For the interpreter, its modules, and what the limit does not count: some 50 MiB, and as much again for safety."""

EXTRA_FILES: Final = 12
EXTRA_DESCRIPTORS: Final = 100


@dataclass
class Soak:
    """The highest value of each figure in a run."""

    commands: int = 0
    private_mib: int = 0
    extra_files: int = 0
    extra_descriptors: int = 0

    def problems(self, memory_limit_mib: int) -> list[str]:
        found = []
        if self.private_mib > memory_limit_mib + EXTRA_MIB:
            found.append(f"{self.private_mib} MiB of private memory, the bound is {memory_limit_mib + EXTRA_MIB}")
        if self.extra_files > EXTRA_FILES:
            found.append(f"{self.extra_files} files beyond the tables that are named, the bound is {EXTRA_FILES}")
        if self.extra_descriptors > EXTRA_DESCRIPTORS:
            found.append(f"{self.extra_descriptors} open files beyond the tables, the bound is {EXTRA_DESCRIPTORS}")
        return found

    def look(self, pid: int, directory: Path, info: dict[str, Any]) -> None:
        """Look at the server as it is now."""
        named = int(info["engine_tables_files"])
        self.commands = int(info["total_commands_processed"])
        self.private_mib = max(self.private_mib, private_bytes(pid) >> 20)
        self.extra_files = max(self.extra_files, len(os.listdir(directory)) - named)
        self.extra_descriptors = max(self.extra_descriptors, len(os.listdir(f"/proc/{pid}/fd")) - named)


def private_bytes(pid: int) -> int:
    """Memory that the process shares with no other."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith(("Private_Clean", "Private_Dirty")))


def soak(directory: Path, seconds: float, memory_limit_mib: int = 64, clients: int = CLIENTS) -> Soak:
    """Run the load for this time. Raises the errors that a client meets, and AssertionError if the server ends."""
    import redis

    command = [sys.executable, "-m", "flin", "serve", "--port", "0", "--dir", str(directory)]
    command += ["--memory-limit", f"{memory_limit_mib}mb"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().partition(" port ")[2].partition(":")[0])
        stop, failures = Event(), list[BaseException]()
        threads = [Thread(target=_client, args=(port, number, stop, failures)) for number in range(clients)]
        try:
            for thread in threads:
                thread.start()
            report, deadline = Soak(), time.monotonic() + seconds
            with redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS) as probe:
                while not failures and time.monotonic() < deadline:
                    time.sleep(min(LOOK_SECONDS, seconds / 2))
                    assert server.poll() is None, "the server has ended"
                    report.look(server.pid, directory, probe.info("all"))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            server.terminate()
        if failures:
            raise failures[0]
        return report


def _client(port: int, number: int, stop: Event, failures: list[BaseException]) -> None:
    import redis

    source = Random(number)
    client = redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS)
    try:
        while not stop.wait(0.002):
            pipeline = client.pipeline(transaction=source.random() < 0.1)
            for _ in range(source.choice((1, 5, 50))):
                _add_request(pipeline, source)
            pipeline.execute()
            if source.random() < 0.01:
                client.close()
                client = redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS)
    except BaseException as error:
        failures.append(error)
    finally:
        client.close()


def _add_request(pipeline: Any, source: Random) -> None:
    """Add a request. Some keys are far more frequent than others (a Pareto distribution)."""
    key = b"k%d" % (int(source.paretovariate(0.6) * 1000) % KEYS)
    kind = source.random()
    if kind < 0.4:
        pipeline.get(key)
    elif kind < 0.7:
        value = source.randbytes(source.choice((20, 100, 100, 1000)))
        pipeline.set(key, value, px=source.choice((None, None, 500, 20_000)))
    elif kind < 0.8:
        pipeline.delete(key)
    elif kind < 0.85:
        pipeline.incr(b"c%d" % source.randrange(1000))
    elif kind < 0.9:
        pipeline.expire(key, source.randrange(1, 100))
    elif kind < 0.92:
        pipeline.append(b"a%d" % source.randrange(50), b"x" * 20)
    elif kind < 0.95:
        pipeline.scan(0, count=50)
    elif kind < 0.99:
        pipeline.mget([b"k%d" % source.randrange(KEYS) for _ in range(10)])
    else:
        pipeline.delete(b"a%d" % source.randrange(50))


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flin.testing.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default 600)")
    parser.add_argument("--memory-limit-mib", type=int, default=64, help="of the server (default 64)")
    parser.add_argument("--directory", type=Path, help="for the database (default: a temporary one)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        directory = (chosen.directory or Path(scratch)) / "soak"
        report = soak(directory, chosen.seconds, chosen.memory_limit_mib)
    print(
        f"{report.commands} commands in {chosen.seconds:.0f} s at a limit of {chosen.memory_limit_mib} MiB: at most "
        f"{report.private_mib} MiB of private memory, {report.extra_files} files and {report.extra_descriptors} open "
        "files beyond the tables that are named",
        file=out,
    )
    problems = report.problems(chosen.memory_limit_mib)
    for problem in problems:
        print(f"too much: {problem}", file=out)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
