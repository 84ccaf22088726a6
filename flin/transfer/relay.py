"""Requests of another server, run by a running one in their order: in pipelines, whose replies are looked at."""

from __future__ import annotations

from collections import deque
from typing import Final

from flin.errors import PeerError
from flin.transfer.link import Link, Reply, pack
from flin.transfer.record import Request

PIPELINE_REQUESTS: Final = 1000
"""Requests whose replies were not looked at yet: the server need not wait for the next one."""


class Relay:
    """`run` requests, then `settle`; `requests` counts them."""

    def __init__(self, link: Link) -> None:
        self._link: Final = link
        self._sent: Final[deque[Request]] = deque()
        self.requests = 0

    def run(self, request: Request) -> None:
        """PeerError if the server answers one with an error, this or an earlier one."""
        self._link.send(pack([request.words]))
        self._sent.append(request)
        self.requests += 1
        if len(self._sent) >= PIPELINE_REQUESTS:
            self._read(PIPELINE_REQUESTS // 2)

    def settle(self) -> None:
        """All are run."""
        self._read(len(self._sent))

    def _read(self, count: int) -> None:
        for reply in self._link.replies(count):
            request = self._sent.popleft()
            error = self._maybe_error(reply)
            if error is not None:
                name = request.words[0][:50].decode(errors="replace")
                raise PeerError(str(self._link.address), f"it answers {name} at {request.place} with: {error}")

    def _maybe_error(self, reply: Reply) -> Reply | None:
        """The error that it is, or that one of a transaction has."""
        if self._link.is_error(reply):
            return reply
        if type(reply) is list:
            return next((found for each in reply if (found := self._maybe_error(each)) is not None), None)
        return None
