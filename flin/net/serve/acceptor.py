"""Accepting clients: a connection for each, or a refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flin.net.serve.connection import ClusterConnection, Connection, FollowerConnection
from flin.net.wire.resp import encode_error

if TYPE_CHECKING:
    from flin.net.run.services import Services
    from flin.net.serve.cold import ColdReads


class Acceptor(asyncio.Protocol):
    """The protocol of each client of a listener until it has a transport: then it makes the connection."""

    __slots__ = ("_cold", "_loop", "_services")

    def __init__(self, services: Services, cold: ColdReads, loop: asyncio.AbstractEventLoop) -> None:
        self._services = services
        self._cold = cold
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass. (`cast` is a call.)
        plain: asyncio.Transport = transport  # type: ignore[assignment]
        plain.set_protocol(accept(self._services, self._cold, self._loop, plain))


def accept(
    services: Services, cold: ColdReads, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport
) -> Connection:
    """The connection of a new client. One that is turned away is told so, and closes."""
    kind = Connection if services.slot_gate is None else ClusterConnection
    if services.role is not None and not services.role.is_leading:
        kind = FollowerConnection
    connection = kind(services, cold, loop, transport)
    services.counters.connections += 1
    refusal = services.clients.refusal_of(connection.session)
    if refusal is None:
        services.clients.admitted[connection.session.id] = connection
    else:
        services.counters.rejected_connections += 1
        transport.write(encode_error(refusal))
        connection.close()
    return connection
