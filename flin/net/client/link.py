"""A link: a client's connection, as far as its session knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol


class Link(Protocol):
    def output_bytes(self) -> int:
        """Bytes of replies that are not sent yet."""

    def input_bytes(self) -> int:
        """Bytes of requests that are read and not answered yet."""

    def trust(self, trusted: bool) -> None:
        """The client is authenticated from now on, or no longer: the parser's limits follow."""

    def unblock(self, *, with_error: bool) -> bool:
        """CLIENT UNBLOCK: end its wait for a key as its timeout would, or with an error. Returns whether it waited."""

    def push(self, data: bytes) -> None:
        """Send a message, a whole frame, that no request has asked for, with the replies of this tick: never before the
        writes of the tick are in the WAL (in `always`: synced). If they fail, it is dropped."""

    def outlet(self) -> Callable[[bytes], None]:
        """What `push` does for each Message of this tick: the call that adds one. It holds until the tick ends, or the
        connection."""

    def abort(self) -> None:
        """Close now; what was not sent is lost."""


def discard(data: bytes) -> None:
    """Who is gone gets no message."""


class NoLink:
    """Takes the place of a connection that is closed, or that never existed."""

    def output_bytes(self) -> int:
        return 0

    def input_bytes(self) -> int:
        return 0

    def trust(self, trusted: bool) -> None:
        pass

    def unblock(self, *, with_error: bool) -> bool:
        return False

    def push(self, data: bytes) -> None:
        pass

    def outlet(self) -> Callable[[bytes], None]:
        return discard

    def abort(self) -> None:
        pass


NO_LINK: Final = NoLink()
