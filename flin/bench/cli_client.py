"""redis-cli as a client: one request, or as many as a pipe brings. It knows replies of every shape."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from typing import Final

from flin.bench.server_process import ServerError

PROGRAM: Final = "redis-cli"
TIMEOUT_SECONDS: Final = 600.0

_SUMMARY: Final = re.compile(rb"errors: (\d+), replies: (\d+)")


def encode(*words: bytes) -> bytes:
    """A request."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def pour(port: int, requests: Iterable[bytes]) -> int:
    """Send encoded requests, as fast as they are answered; how many they were. ServerError if one got an error."""
    command = [PROGRAM, "-p", str(port), "--pipe"]
    done = subprocess.run(command, input=b"".join(requests), capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    summary = _SUMMARY.search(done.stdout)
    if summary is None or int(summary[1]):
        raise ServerError(f"{PROGRAM} --pipe: {(done.stderr or done.stdout).decode().strip()[-200:]}")
    return int(summary[2])


def ask(port: int, *words: str) -> str:
    """The reply to one request, as redis-cli prints it for programs."""
    done = subprocess.run(
        [PROGRAM, "-p", str(port), *words], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    if done.returncode or done.stdout.startswith("ERR"):
        raise ServerError(f"{PROGRAM} {' '.join(words)}: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout.strip()
