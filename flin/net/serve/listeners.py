"""The listeners: where clients come in. Plain TCP, TLS and a Unix socket, each if it is asked for."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flin.net.serve.acceptor import Acceptor, accept
from flin.net.serve.certificates import tls_context
from flin.net.serve.handshakes import Handshakes
from flin.net.serve.tls_transport import TlsTransport
from flin.net.serve.unix_socket import UnixSocket
from flin.net.settings.options import ConfigError

if TYPE_CHECKING:
    from flin.net.run.services import Services
    from flin.net.serve.cold import ColdReads
    from flin.net.settings.options import ServerOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BoundSockets:
    """What another process has bound for this one, which needs to bind nothing then. Nobody listens on them yet."""

    plain: tuple[socket.socket, ...] = ()
    tls: tuple[socket.socket, ...] = ()


class Listeners:
    """`open`, then `close`, on one loop. `port` and `tls_port` are the real ones once it is open; 0: none."""

    def __init__(
        self,
        options: ServerOptions,
        services: Services,
        cold: ColdReads,
        loop: asyncio.AbstractEventLoop,
        bound: BoundSockets,
    ) -> None:
        self._options = options
        self._bound = bound
        self._services = services
        self._cold = cold
        self._loop = loop
        self._servers: list[asyncio.Server] = []
        self._unix_socket: UnixSocket | None = None
        self._acceptor = Acceptor(services, cold, loop)
        self.handshakes = Handshakes(loop)
        self.tls_clients: set[TlsTransport] = set()
        self._context: ssl.SSLContext
        self.port = 0
        self.tls_port = 0

    async def open(self) -> None:
        """Raises ConfigError where an address cannot be had or a certificate cannot be read; then nothing is open."""
        options = self._options
        try:
            if options.tls_port is not None:
                self._context = tls_context(options)
            if options.listens_on_tcp:
                self.port = await self._listen(self._plain_client, options.port, self._bound.plain)
            if options.tls_port is not None:
                self.tls_port = await self._listen(self._tls_client, options.tls_port, self._bound.tls)
            if options.unixsocket:
                await self._listen_on_unix_socket(os.path.abspath(options.unixsocket))
        except ConfigError:
            self.close()
            raise

    async def _listen(
        self, protocol: Callable[[], asyncio.Protocol], port: int, bound: tuple[socket.socket, ...]
    ) -> int:
        places: list[dict[str, Any]] = [{"sock": each} for each in bound]
        for place in places or [{"host": host} for host in self._options.bind]:
            if "host" in place:
                place["port"] = port
            try:
                server = await self._loop.create_server(protocol, backlog=self._options.tcp_backlog, **place)
            except OSError as error:
                host = place.get("host") or place["sock"].getsockname()[0]
                raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
            self._servers.append(server)
            # Port 0 asked for any free one: further addresses get the same.
            port = server.sockets[0].getsockname()[1]
            for listening in server.sockets:
                # Accepted sockets inherit both options.
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _keep_alive(listening, self._options.tcp_keepalive)
        return port

    async def _listen_on_unix_socket(self, path: str) -> None:
        options = self._options
        self._unix_socket = UnixSocket(path, int(options.unixsocketperm, 8), options.tcp_backlog)
        self._servers.append(
            await self._loop.create_unix_server(
                self._plain_client, sock=self._unix_socket.socket, backlog=options.tcp_backlog
            )
        )

    def _plain_client(self) -> Acceptor:
        return self._acceptor

    def _tls_client(self) -> asyncio.Protocol:
        services = self._services
        waiting = len(self.handshakes)
        is_full = (
            len(self.tls_clients) >= services.config.tls_maxclients
            or len(services.clients.admitted) + waiting >= services.config.maxclients
        )
        if is_full:  # as in Redis it is not told why: that would take a handshake
            services.counters.connections += 1
            services.counters.rejected_connections += 1
            return _Turned()
        client = TlsTransport(
            self._context,
            self.handshakes,
            partial(accept, services, self._cold, self._loop),
            self.tls_clients.discard,
        )
        self.tls_clients.add(client)
        return client

    def reload(self) -> None:
        """SIGHUP: read the certificates again, for new connections. If they are wrong, the old ones stay."""
        if self._options.tls_port is None:
            return
        try:
            self._context = tls_context(self._options)
        except ConfigError as error:
            logger.error("the certificates were not read again, the old ones stay in use: %s", error)
        else:
            logger.info("the certificates were read again")

    @property
    def places(self) -> str:
        """Where it listens, for the line at the start."""
        hosts = " ".join(self._options.bind)
        places = [f"{hosts} port {self.port}"] if self.port else []
        if self.tls_port:
            places.append(f"{hosts} TLS port {self.tls_port}")
        if self._unix_socket is not None:
            places.append(f"unixsocket {self._unix_socket.path}")
        return ", ".join(places)

    def close(self) -> None:
        """Accept nobody any more. Idempotent."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.handshakes.close()
        if self._unix_socket is not None:
            self._unix_socket.remove()
            self._unix_socket = None


class _Turned(asyncio.Protocol):
    """Closes a client that is turned away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _keep_alive(listening: socket.socket, idle_seconds: int) -> None:
    """Find dead peers as Redis does: after the idle time, three probes, a third of it apart."""
    if idle_seconds <= 0:
        return
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, min(idle_seconds, 32_767))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, min(max(1, idle_seconds // 3), 32_767))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
