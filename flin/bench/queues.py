"""Queues that stay short while millions of jobs pass through them, with a restart in the middle: the cost of one
operation, for the curve of that name. It must stay the same: what was taken must not be in anybody's way.

Each queue is a collection in a server of its own, holds WAITING jobs at all times, and gets BURST pushes and BURST
pops in turn. Costs are the server's processor time, its helper processes included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flin.bench.cli_client import ask, encode, pour
from flin.bench.processes import cpu_seconds
from flin.bench.server_process import ServerError, ServerProcess

WAITING: Final = 1000
BURST: Final = 100
KEY: Final = b"queue"

_JOB: Final = b"job " * 5


@dataclass(frozen=True, slots=True)
class Queue:
    push: Callable[[int], bytes]
    """The request that puts the job with this number."""
    pop: bytes
    """The request that takes a job."""
    size: str
    """The command that counts the jobs."""


QUEUES: Final = {
    "LPUSH and RPOP": Queue(lambda _: encode(b"LPUSH", KEY, _JOB), encode(b"RPOP", KEY), "LLEN"),
    "ZADD and ZPOPMIN": Queue(
        lambda number: encode(b"ZADD", KEY, b"%d" % number, b"job %d" % number), encode(b"ZPOPMIN", KEY), "ZCARD"
    ),
    "XADD and XTRIM": Queue(
        lambda _: encode(b"XADD", KEY, b"*", b"job", _JOB), encode(b"XTRIM", KEY, b"MAXLEN", b"%d" % WAITING), "XLEN"
    ),
    "SADD and SPOP": Queue(lambda number: encode(b"SADD", KEY, b"job %d" % number), encode(b"SPOP", KEY), "SCARD"),
}


def measure(queue: Queue, directory: str, operations: int, points: int) -> Iterator[tuple[int, float]]:
    """After each of so many points: operations so far, and microseconds of one since the last point."""
    each = max(1, operations // points // (2 * BURST)) * 2 * BURST
    server = ServerProcess("flin", str(Path(directory)))
    server.start()
    try:
        pour(server.port, map(queue.push, range(WAITING)))
        pushed = WAITING
        for point in range(1, points + 1):
            if point == points // 2 + 1:
                server.stop()
                server.start()
            before = cpu_seconds(server.pid)
            pour(server.port, _bursts(queue, pushed, each // (2 * BURST)))
            pushed += each // 2
            yield point * each, 1e6 * (cpu_seconds(server.pid) - before) / each
        held = int(ask(server.port, queue.size, KEY.decode()))
        if held != WAITING:
            raise ServerError(f"the queue holds {held} jobs, not {WAITING}")
    finally:
        server.kill()


def _bursts(queue: Queue, first: int, bursts: int) -> Iterator[bytes]:
    for burst in range(bursts):
        begin = first + burst * BURST
        yield from map(queue.push, range(begin, begin + BURST))
        yield queue.pop * BURST
