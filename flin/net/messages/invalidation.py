"""An invalidation: the message that tells a client which cached keys are old, in both of its forms.

    >2 invalidate [key …]                          RESP3
    *3 message __redis__:invalidate [key …]        RESP2, to a client that another one redirects to, and is subscribed

In place of the keys stands a null when all of them are old.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from flin.net.messages.message import Message, message_of
from flin.net.wire.resp import encode_bulks

_PUSHED: Final = b">2\r\n$10\r\ninvalidate\r\n"
_PUBLISHED: Final = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
_NULLS: Final = {2: b"$-1\r\n", 3: b"_\r\n"}


class Invalidation:
    """Each form is made once, for all who get it."""

    def __init__(self, what: bytes, batch: int) -> None:
        """batch: the number of the batch that wrote the keys."""
        self._what = what
        self._batch = batch

    @cached_property
    def pushed(self) -> Message:
        return message_of(_PUSHED + self._what, self._batch)

    @cached_property
    def published(self) -> Message:
        return message_of(_PUBLISHED + self._what, self._batch)


def of_keys(keys: Sequence[bytes], batch: int) -> Invalidation:
    return Invalidation(b"*%d\r\n" % len(keys) + encode_bulks(keys), batch)


def of_everything(protocol: int, batch: int) -> Invalidation:
    """The null is that of the protocol of the client that tracks, as in Redis, whoever is told in its place."""
    return Invalidation(_NULLS[protocol], batch)


def redirection_is_broken(client: int, batch: int) -> Message:
    """The client that was to be told in its place is gone."""
    return message_of(b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % client, batch)
