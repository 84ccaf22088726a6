"""A server with its page, in a thread, over a real engine; and one request over a connection of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

import flin.engine
from flin.admin.attendant import attendant, page_of
from flin.engine.engine import store_of
from flin.net.server import Server
from flin.testing.process import PATIENCE_SECONDS
from tests.net.serving import ServerThread

TOKEN = "correct-horse-battery-staple"


class Paged(ServerThread):
    """`with Paged(tmp_path) as server:` answers HTTP on `server.page_port`."""

    def __init__(self, folder: Any, token: str | None = TOKEN, **options: Any) -> None:
        if token is not None:
            (folder / "token").write_text(token + "\n")
            options["http_token_file"] = str(folder / "token")
        self.engine = flin.engine.open(str(folder / "db"), runner="inline", value_cache=False, stall_writers=False)
        super().__init__(store_of(self.engine), **{"http": "127.0.0.1:0", "dir": str(folder / "db"), **options})
        self.page_port = 0

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            page = page_of(self.options)
            self.page_port = page.port
            self.server = Server(self.options, self.store)
            await self.server.start(self.engine.stats, compact=self.engine.compact)
            self.port = self.server.port
            async with attendant(page)(self.server, self.engine):
                self._ready.set()
                await self.server.wait()
                await self.server.stop()
        finally:
            self.engine.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """What a request is answered. Headers: with underscores. POSTs have the token and are JSON unless they say
        otherwise; an empty header is not sent."""
        sent = {"Host": f"127.0.0.1:{self.page_port}"}
        if method == "POST":
            sent |= {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return request(self.page_port, method, path, data, {name: value for name, value in sent.items() if value})

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.page_port), timeout=PATIENCE_SECONDS)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def request(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()
