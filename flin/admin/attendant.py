"""What `flin serve --http` begins beside a server: the page, with the server's life as its own.

The packages of the extra are imported from here on, so that a server without the page never loads them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from flin.admin.line import answer
from flin.admin.source import Answer, LocalSource
from flin.net.settings.options import ConfigError, ServerOptions

if TYPE_CHECKING:
    from flin.admin.server import Page
    from flin.net.server import Attend, Server


def page_of(options: ServerOptions) -> Page:
    """The page, with its address taken and its token read. ConfigError if one of these, or a package, is missing."""
    try:
        from flin.admin.server import Page
    except ModuleNotFoundError as error:
        raise ConfigError(f"http needs {error.name}, which is not installed: pip install 'flin[http]'") from error
    return Page(options)


def attendant(page: Page) -> Attend:
    """For `flin.net.server.serve`."""

    @asynccontextmanager
    async def attend(server: Server, engine: Any) -> AsyncIterator[None]:
        source = LocalSource(server, engine)
        try:
            async with page.served([source]):
                yield
        finally:
            source.close()

    return attend


def line_attendant(end: socket.socket, more: Callable[[Server], Mapping[str, Answer]] = lambda server: {}) -> Attend:
    """For a worker: its supervisor has the page, and asks at the other end of the line. more: further answers of a
    server."""

    @asynccontextmanager
    async def attend(server: Server, engine: Any) -> AsyncIterator[None]:
        source = LocalSource(server, engine, more(server))
        answering = asyncio.ensure_future(answer(end, source))
        try:
            yield
        finally:
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering
            source.close()

    return attend
