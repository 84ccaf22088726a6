"""The peer of a socket: its address, and whether it has hung up, as the kernel knows before the event loop does.

The loop hears of an end in its next round, and while a transport is paused not at all. The address is asked for when
somebody wants to see it: for a client that connects for each request that would be a tenth of the work.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from typing import Any, Final

from flin.net.client.clients import is_loopback

_ENDS: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)
"""POLLRDHUP (Linux): the peer sends nothing more, though there may be bytes to read before its end."""


class TransportPeer:
    """The client of a transport: see session.Peer."""

    __slots__ = ("_address", "_host", "_local_address", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._address = self._local_address = ""  # nobody has asked for it
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self._host: str = name[0]
        else:  # a Unix socket's address is not known any more once it is closed
            self._host = ""
            self._address, self._local_address = address_of(transport, "peername"), address_of(transport, "sockname")

    @property
    def address(self) -> str:
        if not self._address:
            self._address = address_of(self._transport, "peername")
        return self._address

    @property
    def local_address(self) -> str:
        if not self._local_address:
            self._local_address = address_of(self._transport, "sockname")
        return self._local_address

    @property
    def is_local(self) -> bool:
        return self._host.startswith("127.") or is_loopback(self.address)

    @property
    def descriptor(self) -> int:
        return descriptor_of(self._transport)


def has_hung_up(descriptor: int) -> bool:
    """Whether the peer has closed its side or reset the connection; one system call, about 1 µs. -1: no socket."""
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, _ENDS)
    return bool(poll.poll(0))


def descriptor_of(transport: asyncio.Transport) -> int:
    """-1: no socket."""
    peer = transport.get_extra_info("socket")
    return -1 if peer is None else peer.fileno()


def address_of(transport: asyncio.Transport, what: str) -> str:
    """`host:port`, `[host]:port` as Redis prints it; of a Unix socket, for both ends, the absolute `PATH:0`."""
    name: Any = transport.get_extra_info(what)
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family == socket.AF_UNIX:
        return f"{os.fsdecode(peer.getsockname())}:0"
    if isinstance(name, tuple) and len(name) >= 2:
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(name or "?:0")
