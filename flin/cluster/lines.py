"""The lines between workers, as their supervisor lays them: a pair of connected sockets for every two that live.

It shares a control socket with each worker, and sends it its ends through that (net/serve/neighbours.py reads them). A
worker that starts gets one to each that lives, and each of those gets the other end, so a worker that is started again
is connected anew. The supervisor keeps none of the ends, reads nothing, and is on no message's way.
"""

from __future__ import annotations

import logging
import socket

from flin.net.serve.neighbours import NUMBER

logger = logging.getLogger(__name__)


class Lines:
    """The control sockets of the workers that live."""

    def __init__(self) -> None:
        self._controls: dict[int, socket.socket] = {}

    def add(self, number: int) -> socket.socket:
        """A worker is about to start. Returns its side of its control socket, to be closed once it has inherited it.
        Raises OSError."""
        own, theirs = socket.socketpair()
        own.setblocking(False)
        for other, control in self._controls.items():
            _connect(number, own, other, control)
        self._controls[number] = own
        return theirs

    def discard(self, number: int) -> None:
        """The worker has ended, or could not be started: its lines end with it."""
        if control := self._controls.pop(number, None):
            control.close()


def _connect(number: int, control: socket.socket, other: int, others_control: socket.socket) -> None:
    """Lay the line between two workers. If one cannot take its end (it hangs, and those of many restarts wait for it;
    no file is left), there is none until one of them starts again: no message of PUBLISH passes between them."""
    try:
        ends = socket.socketpair()
        with ends[0], ends[1]:
            socket.send_fds(control, [NUMBER.pack(other)], [ends[0].fileno()])
            socket.send_fds(others_control, [NUMBER.pack(number)], [ends[1].fileno()])
    except OSError as error:
        logger.error("workers %d and %d do not get each other's messages: %s", number, other, error)
