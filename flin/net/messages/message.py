"""A message: what a client is sent without having asked for it, encoded for its protocol.

It stands among the replies of the tick that made it, in order, and leaves with them. No request belongs to it, so it is
told apart by its type where replies are matched with requests (client/transcript.py). If the engine refuses the batch
in which it was made, or the WAL cannot be synced, it is dropped: it may tell of what was never there.
"""

from __future__ import annotations

from typing import Final

OF_NO_BATCH: Final = -1
"""The batch of a message that tells of nothing written here: no refusal takes it along."""


class Message(bytes):
    """One object for all who get it in the same protocol. `batch` is the number of the pending batch of its moment."""

    batch: int


def message_of(data: bytes, batch: int) -> Message:
    """A whole frame of the protocol as a message."""
    message = Message(data)
    message.batch = batch
    return message
