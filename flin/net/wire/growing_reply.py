"""An array, a map or a set that is too long to hold as values: each page is encoded as it comes and then forgotten.

The number of elements stands at the head of a reply and is known last, so the head is made last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flin.net.wire.replies import Reply, Value, too_large_reply


class GrowingReply:
    """One reply of a command in slices, encoded for the session's protocol."""

    def __init__(self, encode: Callable[[Value], bytes], most_bytes: int) -> None:
        """most_bytes: LimitError as soon as the reply would be larger."""
        self._encode = encode
        self._most_bytes = most_bytes
        self._parts: list[bytes] = [b""]  # the first one is the head
        self._bytes = 0
        self._count = 0

    def size_bytes(self) -> int:
        """So far."""
        return self._bytes

    def add(self, elements: Sequence[Value]) -> None:
        """Append the elements of a page. Raises LimitError."""
        data = self._encode(list(elements))
        data = data[data.index(b"\r\n") + 2 :]  # without the head of this page
        self._bytes += len(data)
        if self._bytes > self._most_bytes:
            raise too_large_reply(self._bytes, self._most_bytes)
        self._count += len(elements)
        self._parts.append(data)

    def array(self) -> Reply:
        return self._finished(b"*%d\r\n" % self._count)

    def map(self, *, is_resp3: bool) -> Reply:
        """A map of keys and values that were added by turns; in RESP2 it is an array."""
        return self._finished(b"%%%d\r\n" % (self._count // 2)) if is_resp3 else self.array()

    def set(self, *, is_resp3: bool) -> Reply:
        """A set; in RESP2 it is an array."""
        return self._finished(b"~%d\r\n" % self._count) if is_resp3 else self.array()

    def _finished(self, head: bytes) -> Reply:
        self._parts[0] = head
        return Reply(b"".join(self._parts))
