"""The ports of the workers, bound before any of them starts.

The supervisor keeps what it has bound, so a worker that is started again gets the port that clients know, and clients
that come meanwhile wait in the queue of the socket. Nobody listens before the first worker does: a port that accepts
connections has a server behind it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from flin.net.settings.options import ConfigError, ServerOptions

STEP: Final = 100
"""Between the ports of two workers: small numbers after the first are often other servers of the same machine."""

MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class WorkerSockets:
    """Those of one worker, bound; a way in that is not wanted has none."""

    plain: tuple[socket.socket, ...]
    tls: tuple[socket.socket, ...]

    @property
    def port(self) -> int:
        return _port_of(self.plain)

    @property
    def tls_port(self) -> int:
        return _port_of(self.tls)

    @property
    def numbers(self) -> tuple[list[int], list[int]]:
        """The descriptors, plain ones and those for TLS."""
        return [each.fileno() for each in self.plain], [each.fileno() for each in self.tls]

    def close(self) -> None:
        for each in (*self.plain, *self.tls):
            each.close()


def turn_away(sockets: Iterable[socket.socket]) -> None:
    """Nobody listens on these any more, in any process: who connects is refused, and goes elsewhere, instead of waiting
    in the queue of a worker that is not there. They stay bound, and whoever listens on them again is heard."""
    for each in sockets:
        with suppress(OSError):  # it is closed; or still bound, unless any free port was asked for
            # On Linux a shutdown of a socket on which nobody listens fails, and is kept all the same: whatever is
            # accepted there later would be shut down from its beginning on.
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                address = each.getsockname()
                each.shutdown(socket.SHUT_RDWR)
                each.bind(address)


def _port_of(sockets: tuple[socket.socket, ...]) -> int:
    return int(sockets[0].getsockname()[1]) if sockets else 0


def planned_ports(options: ServerOptions) -> list[tuple[int | None, int | None]]:
    """For each worker its port and its TLS port; 0: a free one; None: none. ConfigError if they cannot be.

    >>> planned_ports(ServerOptions(port=6380, workers=3))
    [(6380, None), (6480, None), (6580, None)]
    """
    plan = [
        (
            _nth(options.port, number) if options.listens_on_tcp else None,
            None if options.tls_port is None else _nth(options.tls_port, number),
        )
        for number in range(options.workers)
    ]
    wanted = [port for pair in plan for port in pair if port]
    for port in wanted:
        if port > MAX_PORT:
            raise ConfigError(f"worker {options.workers - 1} would need port {port}: choose a lower port")
        if wanted.count(port) > 1:
            raise ConfigError(f"port {port} would be a worker's port and a worker's TLS port: they are {STEP} apart")
    return plan


def _nth(port: int, number: int) -> int:
    return port and port + STEP * number


def bind_all(options: ServerOptions) -> list[WorkerSockets]:
    """Bind the ports of all workers; none stays bound if one cannot be. Raises ConfigError, which names it."""
    bound: list[WorkerSockets] = []
    try:
        for number, (port, tls_port) in enumerate(planned_ports(options)):
            plain = () if port is None else _bind(options.bind, port, number)
            bound.append(WorkerSockets(plain, ()))
            if tls_port is not None:
                bound[-1] = WorkerSockets(plain, _bind(options.bind, tls_port, number))
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _bind(hosts: tuple[str, ...], port: int, number: int) -> tuple[socket.socket, ...]:
    """Bind one port on every address. Port 0: any that is free, the same on all of them."""
    made: list[socket.socket] = []
    for host in hosts:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                if (opened := _maybe_socket(family, kind, protocol)) is None:
                    continue
                made.append(opened)
                opened.bind((address[0], port, *address[2:]))
                port = _port_of((opened,))
        except OSError as error:
            for each in made:
                each.close()
            reason = error.strerror or error
            raise ConfigError(f"cannot listen on {host} port {port}, that of worker {number}: {reason}") from error
    if not made:
        raise ConfigError(f"cannot listen on {' '.join(hosts)}: this machine has no such addresses")
    return tuple(made)


def _maybe_socket(family: int, kind: int, protocol: int) -> socket.socket | None:
    """None where the kernel does not know the family: a name may stand for an address of IPv6 all the same."""
    try:
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise
        return None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:  # its plain twin is bound by itself
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
