"""A worker: one server of a cluster, in a process that its supervisor has started.

    standard input    its assignment, one line; then nothing. Its end is the end of the supervisor, however that came
    standard output   reports: that it is ready, or why it ends
    standard error    inherited; every line of the log says which worker it is from

Without its supervisor it ends as if it had been told to: nobody would start it again, and its port and its directory
would be in the way of the next supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from flin.admin.attendant import line_attendant
from flin.cluster.workers.assignment import Report, decode_assignment, encode_report
from flin.engine.disk.descriptor import above_standard
from flin.errors import FlinError
from flin.net.cluster.board import Board
from flin.net.serve.listeners import BoundSockets
from flin.net.serve.neighbours import Neighbours
from flin.net.server import Server, serve

logger = logging.getLogger(__name__)


def main() -> int:
    lifeline, reports = take_streams()
    assignment = decode_assignment(read_line(lifeline))
    for each in assignment.descriptors:  # the lock among them: held to the end of this process, and of no other
        os.set_inheritable(each, False)
    options = assignment.options
    assert options.topology is not None
    board = Board(assignment.board, len(options.topology.nodes))
    os.close(assignment.board)
    try:
        return serve(
            options,
            name=f"worker {options.topology.own}",
            bound=BoundSockets(sockets_of(assignment.plain), sockets_of(assignment.tls)),
            neighbours=Neighbours(board, socket.socket(fileno=assignment.control), options.topology.own),
            when_ready=lambda server, recovered, seconds: _begin(server, lifeline, reports, recovered),
            attend=None if assignment.page is None else line_attendant(socket.socket(fileno=assignment.page)),
        )
    except (FlinError, OSError, ValueError) as error:  # ValueError: options that the engine refuses
        report(reports, Report(failure=str(error)))
        return 1


def _begin(server: Server, lifeline: int, reports: int, recovered: int) -> None:
    """Clients are answered."""
    watch_lifeline(lifeline, server.request_stop)
    report(reports, Report(recovered=recovered))


def watch_lifeline(lifeline: int, on_end: Callable[[], None]) -> None:
    """on_end: called on this loop when the supervisor has ended."""

    def look() -> None:
        if not os.read(lifeline, 1):
            loop.remove_reader(lifeline)
            logger.warning("the supervisor is gone: ending, too")
            on_end()

    loop = asyncio.get_running_loop()
    loop.add_reader(lifeline, look)


def report(reports: int, what: Report) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone, which the lifeline tells
        os.write(reports, encode_report(what))


def read_line(source: int) -> bytes:
    """The first line of the pipe; nothing follows it."""
    data = b""
    while not data.endswith(b"\n"):
        piece = os.read(source, 1 << 16)
        if not piece:
            sys.exit(1)  # the supervisor has died meanwhile
        data += piece
    return data


def sockets_of(descriptors: tuple[int, ...]) -> tuple[socket.socket, ...]:
    return tuple(socket.socket(fileno=each) for each in descriptors)


def take_streams() -> tuple[int, int]:
    """The pipes, moved away from the standard streams: what a library prints must not look like a report."""
    lifeline, reports = above_standard(os.dup(0)), above_standard(os.dup(1))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return lifeline, reports
