"""What a handler may return, and the few finished replies that need no encoding.

A handler returns plain Python values; `resp.py` turns them into bytes for the session's protocol. A `Reply` holds
bytes that are finished already, and the same in RESP2 and RESP3.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeAlias

from flin.errors import CommandError, LimitError


class Reply:
    """Finished bytes, the same in both protocols. A wrapper, because plain bytes returned by a handler are a bulk."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Reply({self.data!r})"


class Verbatim:
    """Text for people (INFO, LATENCY DOCTOR): a verbatim string in RESP3, a bulk in RESP2. format: three letters."""

    __slots__ = ("format", "text")

    def __init__(self, text: bytes, format: bytes = b"txt") -> None:
        self.text = text
        self.format = format


class BigNumber:
    """The digits of a number of any size, from a script: a bulk in RESP2."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


class Map:
    """A map or a set from a script, whose keys may be anything: what a dict would refuse, or take for equal."""

    __slots__ = ("is_set", "pairs")

    def __init__(self, pairs: list[tuple[Value, Value]], *, is_set: bool) -> None:
        self.pairs = pairs
        self.is_set = is_set


class NullArray:
    """`*-1` in RESP2, `_` in RESP3: what EXEC answers when a watched key was touched."""

    __slots__ = ()


class WaitForKeys:
    """A blocking command has found nothing: its client waits until one of the keys is ready, or the time is over.

    keys: in the selected database. seconds: 0 waits for ever. null: the value where nobody can wait, in EXEC; once the
    time is over it is always a null array, as in Redis 7.0.

    When a key is ready, the command runs again as if that key were its only one: the same handler with the request cut
    to this key, or `again(key)` where that would mean something else now (XREAD's `$`). If it returns a WaitForKeys
    again, nothing has happened: the client keeps its place in the line.

    A key is ready when it holds the type of the command's group. wakes_at_end: when it is deleted or becomes another
    type, too (XREADGROUP). `again` says what is answered then.
    """

    __slots__ = ("again", "keys", "null", "seconds", "wakes_at_end")

    def __init__(
        self,
        keys: list[bytes],
        seconds: float,
        null: Value,
        again: Callable[[bytes], Value] | None = None,
        *,
        wakes_at_end: bool = False,
    ) -> None:
        self.keys = keys
        self.seconds = seconds
        self.null = null
        self.again = again
        self.wakes_at_end = wakes_at_end


Value: TypeAlias = Any
"""One of: Reply, bytes (bulk), int, None (null bulk), bool (RESP2: 1 or 0), float (RESP2: bulk), list or tuple
(array), dict or Map (map; RESP2: flat array), set, frozenset or, in order, the keys of a dict (RESP2: array), Verbatim,
BigNumber, NULL_ARRAY, CommandError (as an element of an array: an error in place), str (simple string; must hold
neither CR nor LF), WaitForKeys, or Slices."""

Slices: TypeAlias = Generator[Any, None, Any]
"""A handler may be a generator: it yields between slices of long work and returns its value at the end. Other
connections are served between two slices; later commands of its own connection wait. Inside EXEC it runs whole. It
yields None, or a load that a reader thread runs before the next slice."""


def too_large_reply(size_bytes: int, most_bytes: int) -> LimitError:
    """The error that a command raises in place of a reply that would not fit into the clients' share of the memory."""
    return LimitError("the size of the reply in bytes", size_bytes, most_bytes)


def last_of(slices: Slices) -> Value:
    """Run a handler in slices without letting others run, and return its value."""
    while True:
        try:
            next(slices)
        except StopIteration as finished:
            return finished.value


OK: Final = Reply(b"+OK\r\n")
PONG: Final = Reply(b"+PONG\r\n")
QUEUED: Final = Reply(b"+QUEUED\r\n")
ZERO: Final = Reply(b":0\r\n")
ONE: Final = Reply(b":1\r\n")
NOTHING: Final = Reply(b"")  # SHUTDOWN: the end of the connection is the answer
EMPTY_ARRAY: Final = Reply(b"*0\r\n")
EMPTY_BULK: Final = Reply(b"$0\r\n\r\n")
NULL_ARRAY: Final = NullArray()

OUT_OF_MEMORY: Final = "OOM command not allowed when used memory > 'maxmemory'."
WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
SYNTAX: Final = "ERR syntax error"
NOT_AN_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_A_FLOAT: Final = "ERR value is not a valid float"
NO_SUCH_KEY: Final = "ERR no such key"

SHOWN_BYTES: Final = 128
"""The length of a client's own bytes inside an error reply, as Redis cuts them."""


def simple(text: bytes) -> Reply:
    """A simple string (`+text`). The text is the server's own: it holds neither CR nor LF."""
    return Reply(b"+" + text + b"\r\n")


def bulk(value: bytes) -> Reply:
    """A bulk string, finished."""
    return Reply(b"$%d\r\n%b\r\n" % (len(value), value))


def bulk_of(parts: Sequence[bytes]) -> Reply:
    """A bulk string of many parts, finished: a long one is copied once."""
    return Reply(b"".join((b"$%d\r\n" % sum(map(len, parts)), *parts, b"\r\n")))


def shown(text: bytes, most_bytes: int = SHOWN_BYTES) -> str:
    """A client's bytes as they may stand inside an error: cut at 128 and at NUL, without CR, LF, in latin-1."""
    return text[:most_bytes].partition(b"\0")[0].replace(b"\r", b" ").replace(b"\n", b" ").decode("latin-1")


def syntax_error() -> CommandError:
    return CommandError(SYNTAX)


def wrong_arity(name: str) -> CommandError:
    return CommandError(f"ERR wrong number of arguments for '{name}' command")
