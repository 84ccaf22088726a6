"""Requests of Redis's protocol in a file, as clients send them and as append-only files have them. Pure.

*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nk\\r\\n      a request: how many words, then each with its length
#TS:1764400000\\r\\n                       between two requests: when they came, in an append-only file; passed over
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flin.errors import ImportDataError
from flin.transfer.record import Request

MOST_WORDS: Final = 1 << 20
"""More than any client sends at once: Redis takes no more."""

_MOST_DIGITS: Final = 12
_CUT: Final = "the last request is cut off: `redis-check-aof --fix` shortens the file to what is whole"


def is_head(data: bytes) -> bool:
    return data[:1] in (b"*", b"#")


def read(data: bytes, path: str, start: int = 0) -> Iterator[Request]:
    """The requests from an offset on; data: the bytes of a file, or the file mapped into memory. ImportDataError with
    the offset of what is none, and at the end if the last request or transaction is not whole."""
    at, end = start, len(data)
    begun: int | None = None  # where a transaction began that has no EXEC yet
    while at < end:
        begin = at
        if data[at] == ord("#"):
            at = _line_end(data, at, path) + 2
            continue
        count, at = _number(data, at, b"*", path)
        if not 0 < count <= MOST_WORDS:
            raise ImportDataError(path, f"offset {begin}", f"no request has {count} words")
        words = []
        for _ in range(count):
            size, at = _number(data, at, b"$", path)
            if size > end - at - 2:
                raise ImportDataError(path, f"offset {begin}", _CUT)
            words.append(data[at : at + size])
            at += size
            if data[at : at + 2] != b"\r\n":
                raise ImportDataError(path, f"offset {at}", "a word is longer than it says")
            at += 2
        name = words[0].upper() if len(words[0]) <= len(b"DISCARD") else b""
        if name == b"MULTI":
            begun = begin
        elif name in (b"EXEC", b"DISCARD"):
            begun = None
        yield Request(words, f"offset {begin}")
    if begun is not None:
        raise ImportDataError(
            path, f"offset {begun}", "a transaction has no EXEC: `redis-check-aof --fix` leaves it out"
        )


def _number(data: bytes, at: int, mark: bytes, path: str) -> tuple[int, int]:
    """The number of a line that begins with a mark, and where the next line begins."""
    stop = _line_end(data, at, path)
    digits = data[at + 1 : min(stop, at + 2 + _MOST_DIGITS)]
    if data[at : at + 1] != mark or not digits.isdigit() or len(digits) > _MOST_DIGITS:
        shown = data[at : min(stop, at + 20)]
        raise ImportDataError(path, f"offset {at}", f"{mark.decode()} and a number were expected, not {shown!r}")
    return int(digits), stop + 2


def _line_end(data: bytes, at: int, path: str) -> int:
    stop = data.find(b"\r\n", at, at + 100)
    if stop < 0:
        is_cut = len(data) - at < 100
        raise ImportDataError(path, f"offset {at}", _CUT if is_cut else "a line does not end")
    return stop
