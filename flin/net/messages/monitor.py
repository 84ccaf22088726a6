"""MONITOR: clients that are shown every command, as Redis writes it. Pure but for whom it pushes to.

    +1339518083.107412 [0 127.0.0.1:60866] "SET" "key" "a\\x00b"

The time is that of the wall clock, in microseconds. Then come the database that is selected afterwards, and the client:
its address, "unix:" and the path of its socket, or "lua" for a call by a script.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final, Protocol


class Receiver(Protocol):
    def push(self, data: bytes) -> None:
        """Send a message with the replies of this tick."""


SCRIPT: Final = "lua"
"""The client of what a script calls."""

_REDACTED: Final = b"(redacted)"

_ESCAPES: Final = {
    **{byte: b"\\x%02x" % byte for byte in range(256) if not 0x20 <= byte <= 0x7E},
    **{byte: b"\\" + bytes([byte]) for byte in b'\\"'},
    **dict(zip(b"\n\r\t\a\b", (b"\\n", b"\\r", b"\\t", b"\\a", b"\\b"), strict=True)),
}

_SPECIAL: Final = re.compile(rb"[^ !#-\[\]-~]")

SHOWN_BYTES: Final = 1 << 18
"""The most bytes of a command's arguments that are shown. A value of 100 MB would keep the server busy for seconds, and
fill the output of each monitor."""

_HAS_SECRETS: Final = frozenset((b"auth", b"hello", b"migrate"))


class Monitors:
    """Those who monitor, by session."""

    def __init__(self) -> None:
        self._receivers: dict[int, Receiver] = {}
        self._newest: list[bytes] = []  # the request that was shown last, beside what scripts call

    def __len__(self) -> int:
        return len(self._receivers)

    def add(self, session_id: int, receiver: Receiver) -> None:
        self._receivers[session_id] = receiver

    def discard(self, session_id: int) -> None:
        self._receivers.pop(session_id, None)

    def show(self, database: int, client: str, request: list[bytes]) -> None:
        """Show a command that has run to everybody."""
        if client != SCRIPT:
            self._newest = request
        line = line_of(time.time_ns() // 1000, database, client, request)
        for receiver in [*self._receivers.values()]:
            receiver.push(line)

    def show_missed(self, database: int, client: str, request: list[bytes]) -> None:
        """Show a script if it was not shown."""
        if self._newest is not request:
            self.show(database, client, request)


def line_of(at_microseconds: int, database: int, client: str, request: list[bytes]) -> bytes:
    """The line of one command; passwords are left out."""
    seconds, microseconds = divmod(at_microseconds, 1_000_000)
    words = b" ".join(map(quoted, _shortened(without_secrets(request))))
    return b"+%d.%06d [%d %b] %b\r\n" % (seconds, microseconds, database, client.encode("latin-1", "replace"), words)


def _shortened(request: list[bytes]) -> Iterator[bytes]:
    room = SHOWN_BYTES
    for number, word in enumerate(request):
        if room <= 0:
            yield b"... (%d more arguments)" % (len(request) - number)
            return
        yield word if len(word) <= room else b"%b... (%d more bytes)" % (word[:room], len(word) - room)
        room -= len(word)


def quoted(text: bytes) -> bytes:
    """The text in double quotes, with Redis's escapes."""
    return b'"%b"' % _SPECIAL.sub(lambda found: _ESCAPES[found[0][0]], text)


def without_secrets(request: list[bytes]) -> list[bytes]:
    """The request with passwords replaced, as Redis replaces them: AUTH, HELLO … AUTH, MIGRATE … AUTH."""
    name = request[0].lower()
    if name not in _HAS_SECRETS:
        return request
    if name == b"auth":
        return [request[0], *[_REDACTED] * (len(request) - 1)]
    shown = [*request]
    for position, word in enumerate(request):
        word = word.lower()
        hidden = 2 if word == b"auth2" or (word == b"auth" and name == b"hello") else word == b"auth"
        for at in range(position + 1, min(position + 1 + hidden, len(shown))):
            shown[at] = _REDACTED
    return shown
