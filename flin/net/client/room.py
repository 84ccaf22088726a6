"""Whether there is room for more data. Where there is none, commands that may need room (denyoom) are refused.

Those that only take away (DEL, EXPIRE, LPOP) go on, so that whoever is told that it is full can do something about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flin.errors import CommandError
from flin.net.client.clients import ServerClosure

if TYPE_CHECKING:
    from flin.net.client.clients import Clients


class Room:
    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._refusals: dict[str, str] = {}  # by cause: the reply

    def refuse(self, cause: str, reply: str) -> None:
        """From now on there is no room, by this cause. reply: what clients are told."""
        self._refusals[cause] = reply
        self._clients.close_gates(ServerClosure.NO_ROOM)

    def allow(self, cause: str) -> None:
        """This cause is over."""
        if self._refusals.pop(cause, None) is not None and not self._refusals:
            self._clients.open_gates(ServerClosure.NO_ROOM)

    def check(self) -> None:
        """Raises CommandError where there is no room."""
        for reply in self._refusals.values():
            raise CommandError(reply)
