"""Requests of another server, run by a running one in their order: in batches, whose replies are looked at."""

from __future__ import annotations

from typing import Final

from flin.errors import PeerError
from flin.transfer.link import Link, Reply, pack
from flin.transfer.record import Request

BATCH_REQUESTS: Final = 1000
BATCH_BYTES: Final = 1 << 16
"""What is sent at once, at most: the server works on one batch while the next is gathered."""


class Relay:
    """`run` requests, `flush` when no more are at hand, then `settle`; `requests` counts them."""

    def __init__(self, link: Link) -> None:
        self._link: Final = link
        self._batch: list[Request] = []  # to be sent
        self._parts: list[bytes] = []  # of it
        self._bytes = 0
        self._sent: list[Request] = []  # whose replies are to come
        self.requests = 0

    def run(self, request: Request) -> None:
        """It is sent with others. PeerError if the server answers an earlier one with an error."""
        packed = request.packed or pack([request.words])
        self._batch.append(request)
        self._parts.append(packed)
        self._bytes += len(packed)
        self.requests += 1
        if len(self._batch) >= BATCH_REQUESTS or self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """All are on their way, and those of the batch before are run. PeerError as above."""
        if not self._batch:
            return
        self._link.send(b"".join(self._parts))
        before, self._sent = self._sent, self._batch
        self._batch, self._parts, self._bytes = [], [], 0
        self._read(before)

    def settle(self) -> None:
        """All are run."""
        self.flush()
        before, self._sent = self._sent, []
        self._read(before)

    def _read(self, requests: list[Request]) -> None:
        for request, reply in zip(requests, self._link.replies(len(requests)), strict=True):
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
