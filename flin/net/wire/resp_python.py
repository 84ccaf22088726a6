"""The request parser in pure Python: inline commands, the fall-back for hiredis, and the oracle of the tests.

Layout of a request:  `*N CRLF` then N times `$L CRLF <L bytes> CRLF`; anything that does not begin with `*` is an
inline command: words on one line that ends with LF or CRLF, quoted as in redis-cli.

It gives the same requests for any cutting of the same bytes. As in Redis 7.0 the two bytes after a bulk are not
checked, and a count below one is skipped. Every error is final: after it nothing is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flin.errors import ProtocolError, drop_traceback
from flin.net.wire.numbers import maybe_int64

LINE_BYTES: Final = 64 * 1024
"""The longest inline command and the longest line that announces a count (Redis: PROTO_INLINE_MAX_SIZE)."""

TLS_HELLO: Final = 0x16
"""The first byte of a TLS handshake record; no inline command begins with a control character."""

MIN_TAKEN_ARGUMENTS: Final = 64
"""The least number of missing arguments for which the look at a window of them pays."""

WINDOW_BYTES: Final = 1 << 16

ONE_BY_ONE: Final = 256
"""Arguments that are taken singly after a window that held few: a window costs as much as some hundred of them."""

_HEADERS: Final = {length: b"$%d" % length for length in range(4097)}

CROSS_PROTOCOL_WORDS: Final = (b"post", b"host:")
"""First words of HTTP lines: somebody made a browser talk to this port."""


ARGUMENT_OVERHEAD_BYTES: Final = 48
"""Bytes of an argument that waits for the rest of its request: the object and its place in the list."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of a request. It may have as many arguments as Redis counts; their bytes are bounded as they arrive."""

    arguments: int = (1 << 31) - 1
    bulk_bytes: int = 512 * 1024 * 1024


TRUSTED: Final = RequestLimits()
UNTRUSTED: Final = RequestLimits(arguments=10, bulk_bytes=16 * 1024)
"""Before authentication, as in Redis."""


class CrossProtocolError(ProtocolError):
    """Another protocol's first words: the connection closes without an answer."""


class PythonParser:
    """Feed bytes, take requests. `error` is set once and for all, after the requests before it were given."""

    __slots__ = (
        "_argument_bytes",
        "_arguments",
        "_buffer",
        "_bulk",
        "_missing",
        "_position",
        "error",
        "limits",
        "trusted_limits",
    )

    def __init__(self, limits: RequestLimits = TRUSTED, trusted_limits: RequestLimits = TRUSTED) -> None:
        self.limits = limits
        self.trusted_limits = trusted_limits  # beyond these a request is always wrong; beyond `limits`, for now
        self.error: ProtocolError | None = None
        self._buffer = bytearray()
        self._position = 0  # the first byte not yet parsed
        self._arguments: list[bytes] = []  # of the request that is being parsed
        self._argument_bytes = 0  # what these cost
        self._missing = 0  # arguments of it that are still to come; 0: between two requests
        self._bulk = -1  # length of the announced bulk, -1: none announced

    @property
    def buffered_bytes(self) -> int:
        """Bytes held for a request that is not complete."""
        return len(self._buffer) - self._position + self._argument_bytes

    @property
    def is_empty(self) -> bool:
        return self._position == len(self._buffer) and not self._missing

    def feed(self, data: bytes, limit: int = 1 << 30) -> list[list[bytes]]:
        """The requests that are complete now, at most `limit`; call again with b"" for the rest."""
        self._buffer += data
        requests: list[list[bytes]] = []
        try:
            while self.error is None and len(requests) < limit:
                request = self._maybe_request()
                if request is None:
                    break
                if request:
                    requests.append(request)
        except ProtocolError as error:
            drop_traceback(error)
            self.error = error
        if self.error is not None:
            self._buffer.clear()
            self._position = 0
        elif self._position:
            del self._buffer[: self._position]
            self._position = 0
        return requests

    def _maybe_request(self) -> list[bytes] | None:
        """The next request (empty: to be skipped), or None until more bytes arrive."""
        if not self._missing:
            if self._position == len(self._buffer):
                return None
            first = self._buffer[self._position]
            if first != 0x2A:  # *
                return self._maybe_inline(first)
            line = self._maybe_line("too big mbulk count string")
            if line is None:
                return None
            count = maybe_int64(line[1:])
            if count is None or count > self.trusted_limits.arguments:
                raise ProtocolError("Protocol error: invalid multibulk length")
            if count > self.limits.arguments:
                raise ProtocolError("Protocol error: unauthenticated multibulk length")
            if count <= 0:
                return []
            self._missing = count
        return self._maybe_arguments()

    def _maybe_arguments(self) -> list[bytes] | None:
        buffer = self._buffer
        one_by_one = 0
        while self._missing:
            if self._missing >= MIN_TAKEN_ARGUMENTS and self._bulk < 0 and not one_by_one:
                if self._take_many() >= MIN_TAKEN_ARGUMENTS:
                    continue
                one_by_one = ONE_BY_ONE
            one_by_one = max(0, one_by_one - 1)
            if self._bulk < 0:
                line = self._maybe_line("too big bulk count string")
                if line is None:
                    return None
                self._bulk = self._bulk_length(line)
            start = self._position
            stop = start + self._bulk
            if len(buffer) < stop + 2:
                return None
            with memoryview(buffer) as view:  # or a value would be copied twice
                self._arguments.append(bytes(view[start:stop]))
            self._argument_bytes += self._bulk + ARGUMENT_OVERHEAD_BYTES
            self._position = stop + 2
            self._bulk = -1
            self._missing -= 1
        arguments = self._arguments
        self._arguments = []
        self._argument_bytes = 0
        return arguments

    def _take_many(self) -> int:
        """Take a window's arguments at once, up to the first that is long or holds a line end. Returns how many.

        Split at line ends, headers and arguments alternate as long as no argument holds one, and each header must be
        the one of its argument's length. 300,000 arguments of 8 bytes: 0.6 s one by one, 0.1 s like this."""
        with memoryview(self._buffer) as view:
            window = bytes(view[self._position : self._position + WINDOW_BYTES])
        parts = window.split(b"\r\n", 2 * self._missing)
        del parts[-1]  # the rest after the last line end is cut, or the next request
        values = parts[1::2]
        headers = parts[: 2 * len(values) : 2]
        expected = list(map(_HEADERS.get, map(len, values)))
        number = len(values)
        if headers != expected:
            number = next(place for place in range(number) if headers[place] != expected[place])
            del values[number:], headers[number:]
        size = sum(map(len, values))
        self._arguments += values
        self._argument_bytes += size + number * ARGUMENT_OVERHEAD_BYTES
        self._position += size + sum(map(len, headers)) + 4 * number
        self._missing -= number
        return number

    def _bulk_length(self, line: bytes) -> int:
        if line[:1] != b"$":
            raise ProtocolError(f"Protocol error: expected '$', got '{_character(line)}'")
        length = maybe_int64(line[1:])
        if length is None or not 0 <= length <= self.trusted_limits.bulk_bytes:
            raise ProtocolError("Protocol error: invalid bulk length")
        if length > self.limits.bulk_bytes:
            raise ProtocolError("Protocol error: unauthenticated bulk length")
        return length

    def _maybe_line(self, too_long: str) -> bytes | None:
        """The line up to CRLF, consumed with it."""
        end = self._buffer.find(b"\r\n", self._position, self._position + LINE_BYTES + 2)
        if end < 0:
            # A CR at the very end of the window may still become a line of exactly LINE_BYTES.
            if len(self._buffer) - self._position >= LINE_BYTES + 2:
                raise ProtocolError(f"Protocol error: {too_long}")
            return None
        line = bytes(self._buffer[self._position : end])
        self._position = end + 2
        return line

    def _maybe_inline(self, first: int) -> list[bytes] | None:
        if first == TLS_HELLO:
            raise CrossProtocolError("a TLS handshake")
        end = self._buffer.find(b"\n", self._position, self._position + LINE_BYTES + 1)
        if end < 0:
            if len(self._buffer) - self._position > LINE_BYTES:
                raise ProtocolError("Protocol error: too big inline request")
            return None
        line = bytes(self._buffer[self._position : end])
        self._position = end + 1
        words = split_words(line.removesuffix(b"\r"))
        if words is None:
            raise ProtocolError("Protocol error: unbalanced quotes in request")
        if words and words[0].lower() in CROSS_PROTOCOL_WORDS:
            raise CrossProtocolError("HTTP")
        if len(words) > self.limits.arguments:
            raise ProtocolError("Protocol error: unauthenticated multibulk length")
        return words


_SPACES = b" \t\n\v\f\r"  # may stand between words
_WORD_ENDS = b" \t\n\r"  # end a word that is not quoted: Redis's splitter takes fewer here
_UNUSUAL = frozenset(b"\"'\v\f")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_ESCAPES = {ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord("b"): b"\b", ord("a"): b"\a"}


def split_words(line: bytes) -> list[bytes] | None:
    """The words of an inline command; "…" with C escapes and '…' quote. None if a quote is left open."""
    line = line.partition(b"\0")[0]  # Redis hands the line on as a C string
    if _UNUSUAL.isdisjoint(line):
        return line.split()
    words: list[bytes] = []
    position = 0
    while True:
        while position < len(line) and line[position] in _SPACES:
            position += 1
        if position == len(line):
            return words
        taken = _take_word(line, position)
        if taken is None:
            return None
        word, position = taken
        words.append(word)


def _take_word(line: bytes, position: int) -> tuple[bytes, int] | None:
    """A word that begins here, and where it ends."""
    word = bytearray()
    while position < len(line) and line[position] not in _WORD_ENDS:
        character = line[position]
        if character in b"\"'":
            end = _take_quoted(line, position, word)
            # A closing quote must be followed by a space or the end.
            if end is None or (end < len(line) and line[end] not in _SPACES):
                return None
            return bytes(word), end
        word.append(character)
        position += 1
    return bytes(word), position


def _take_quoted(line: bytes, position: int, word: bytearray) -> int | None:
    """Append the text between the quote here and its end to the word. Returns the position after the closing quote."""
    quote = line[position]
    position += 1
    while position < len(line):
        character = line[position]
        if character == quote:
            return position + 1
        if character == 0x5C and position + 1 < len(line):  # a backslash
            following = line[position + 1]
            if quote == 0x27:  # inside '…' only \' is an escape
                if following == quote:
                    word.append(quote)
                    position += 2
                    continue
            elif following == 0x78 and len(line) > position + 3 and _HEX.issuperset(line[position + 2 : position + 4]):
                word.append(int(line[position + 2 : position + 4], 16))
                position += 4
                continue
            else:
                word += _ESCAPES.get(following, bytes((following,)))
                position += 2
                continue
        word.append(character)
        position += 1
    return None


def _character(line: bytes) -> str:
    """The first byte as it may stand in an error."""
    return line[:1].replace(b"\r", b" ").replace(b"\n", b" ").decode("latin-1")
