"""The lines between workers, as their supervisor lays them: a pair of connected sockets for every two that live.

It shares a control socket with each worker, and sends it its ends through that (net/serve/neighbours.py reads them). A
worker that starts gets one to each that lives, and each of those gets the other end, so a worker that is started again
is connected anew. The supervisor keeps none of the ends, reads nothing, and is on no message's way. On a node of a
cluster it keeps one to each worker, for what goes to other nodes and comes from them (hub.py).
"""

from __future__ import annotations

import logging
import socket
from typing import Final, Protocol

from flin.net.serve.neighbours import NUMBER

logger = logging.getLogger(__name__)


MAX_NODE_MESSAGE_BYTES: Final = 16 << 20
"""Channel and payload of a message that goes to other nodes: as much as a value may have in a cluster. Each supervisor
on its way holds it whole."""


class OtherNodes(Protocol):
    """The hub, as the lines know it."""

    @property
    def number(self) -> int:
        """Its place among the workers."""

    def attach(self, worker: int, end: socket.socket) -> None:
        """Take the end of the line to a worker that starts."""


class Lines:
    """The control sockets of the workers that live. hub: has a line to each of them, too."""

    def __init__(self, hub: OtherNodes | None = None) -> None:
        self._controls: dict[int, socket.socket] = {}
        self._hub = hub

    def add(self, number: int) -> socket.socket:
        """A worker is about to start. Returns its side of its control socket, to be closed once it has inherited it.
        Raises OSError."""
        own, theirs = socket.socketpair()
        own.setblocking(False)
        for other, control in self._controls.items():
            _connect(number, own, other, control)
        if self._hub is not None:
            _connect_hub(number, own, self._hub)
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


def _connect_hub(number: int, control: socket.socket, hub: OtherNodes) -> None:
    """Lay the line between a worker and the hub, if that can be."""
    try:
        end, others = socket.socketpair()
        with others:
            socket.send_fds(control, [NUMBER.pack(hub.number)], [others.fileno()])
        hub.attach(number, end)
    except OSError as error:
        logger.error("worker %d and other nodes do not get each other's messages: %s", number, error)
