"""The page's server: aiohttp on the loop that is there, within the bounds of guard.py."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from flin.admin.access import access_of
from flin.admin.checkpoint_path import checkpoint_path
from flin.admin.endpoints import Copy, Endpoints, Extension
from flin.admin.guard import KEEPALIVE_SECONDS, MAX_CONNECTIONS, MAX_HEAD_BYTES, Guard
from flin.admin.source import Source
from flin.net.settings.http_address import parse_http_address
from flin.net.settings.options import ConfigError, ServerOptions

logger = logging.getLogger(__name__)

END_SECONDS: Final = 1.0
"""For requests that are being answered when the server ends; a profile may take longer, and is lost."""


class Page:
    """Its address is taken from the start on, so that one that cannot be had is told before anything else begins."""

    def __init__(self, options: ServerOptions) -> None:
        """Raises ConfigError."""
        self._access = access_of(options)
        self._directory = options.dir
        self._bound = _bound_to(*parse_http_address(options.http))
        self._extension: Extension | None = None
        self._context: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return int(self._bound.getsockname()[1])

    def extend(self, extension: Extension, context: ssl.SSLContext | None) -> None:
        """Before it is served: with further paths, and over TLS if there is a context."""
        self._extension, self._context = extension, context
        secrets, closed = {extension.prefix: extension.secret}, tuple(extension.streaming)
        self._access = replace(self._access, secrets=secrets, closed_paths=closed)

    @asynccontextmanager
    async def served(self, sources: Sequence[Source], copy: Copy | None = None) -> AsyncIterator[None]:
        """Answer while the block runs. copy: how a checkpoint of several groups is made."""
        guards: dict[Any, Guard] = {}
        runner = web.AppRunner(
            Endpoints(sources, self._access, guards, copy or self._copy, self._extension).application(),
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            shutdown_timeout=END_SECONDS,
        )
        await runner.setup()
        protocols = runner.server
        assert protocols is not None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Guard(protocols(), guards), sock=self._bound, backlog=MAX_CONNECTIONS, ssl=self._context
        )
        host, port = self._bound.getsockname()[:2]
        scheme = "http" if self._context is None else "https"
        logger.info("the page and metrics are at %s://%s:%d/", scheme, f"[{host}]" if ":" in host else host, port)
        try:
            yield
        finally:
            server.close()
            await runner.cleanup()

    async def _copy(self, name: str, sources: Sequence[Source]) -> dict[str, Any]:
        made: dict[str, Any] = await sources[0].ask("checkpoint", {"path": checkpoint_path(self._directory, name)})
        return made


def _bound_to(host: str, port: int) -> socket.socket:
    bound: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise ConfigError(f"cannot serve HTTP on {host} port {port}: {error.strerror}") from error
    return bound
