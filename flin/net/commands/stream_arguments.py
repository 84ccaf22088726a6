"""How commands over streams read their arguments: ids, intervals of ids, and how to trim.

An id is `<ms>-<number>`; where the number is left out, the command says which one is meant. Redis reads numbers of 64
bits as C's strtoull does, which takes spaces, a sign and leading zeros.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flin.errors import CommandError
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import syntax_error
from flin.objects.layout import stream_id
from flin.objects.meta import NO_ID
from flin.objects.stream_id import MAX_ID, next_id, previous_id
from flin.objects.stream_trimming import Trimming

MAX_NUMBER: Final = (1 << 64) - 1

_MAX_ID_BYTES: Final = 127
_LOOSE: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)")

_MOST_LIMIT: Final = 1_000_000
_LIMIT_WITHOUT_NODES: Final = 10_000
_LIMIT_NODES: Final = 100
"""Without LIMIT `~` deletes at most a hundred nodes, and no more than a million entries; 10,000 if nodes have no
bound: figures of Redis."""


def invalid_id() -> CommandError:
    return CommandError("ERR Invalid stream ID specified as stream command argument")


def parse_id(text: bytes, number: int = 0) -> bytes:
    """An id; `-` is the least, `+` the greatest. number: where it is left out."""
    if text == b"-":
        return NO_ID
    if text == b"+":
        return MAX_ID
    return parse_strict_id(text, number)


def parse_strict_id(text: bytes, number: int = 0) -> bytes:
    """An id, neither `-` nor `+`."""
    ms, given = _parts(text)
    return stream_id(_u64(ms), number if given is None else _u64(given))


def parse_new_id(text: bytes) -> tuple[bytes, bool]:
    """XADD's: whether the number is given, too: it is not in `5-*`."""
    ms, given = _parts(text)
    if given == b"*":
        return stream_id(_u64(ms), 0), False
    return stream_id(_u64(ms), 0 if given is None else _u64(given)), True


def _parts(text: bytes) -> tuple[bytes, bytes | None]:
    if len(text) > _MAX_ID_BYTES:
        raise invalid_id()
    ms, dash, number = text.partition(b"\0")[0].partition(b"-")
    return ms, number if dash else None


def _u64(text: bytes) -> int:
    number = maybe_int64(text)
    if number is None:
        loose = _LOOSE.fullmatch(text)
        number = int(loose[2]) if loose else -1
        if loose and number <= MAX_NUMBER and loose[1] == b"-":
            number = -number & MAX_NUMBER
    if not 0 <= number <= MAX_NUMBER:
        raise invalid_id()
    return number


def parse_start(text: bytes) -> bytes:
    """The first id of an interval; behind `(` the one above."""
    if len(text) < 2 or text[:1] != b"(":
        return parse_id(text)
    id_ = parse_strict_id(text[1:])
    if id_ == MAX_ID:
        raise CommandError("ERR invalid start ID for the interval")
    return next_id(id_)


def parse_stop(text: bytes) -> bytes:
    """The last id of an interval; behind `(` the one below."""
    if len(text) < 2 or text[:1] != b"(":
        return parse_id(text, MAX_NUMBER)
    id_ = parse_strict_id(text[1:], MAX_NUMBER)
    if id_ == NO_ID:
        raise CommandError("ERR invalid end ID for the interval")
    return previous_id(id_)


# XADD, XTRIM.


@dataclass(slots=True)
class AddOptions:
    """What stands before XADD's fields; not to be changed."""

    trimming: Trimming | None = None
    makes_stream: bool = True
    id_: bytes | None = None
    """None: `*`."""
    has_number: bool = True
    fields_at: int = 0
    """The position of the first field."""


_NO_OPTIONS: Final = AddOptions(fields_at=3)


class _Trim:
    """Trimming options, as they come."""

    def __init__(self) -> None:
        self.most: int | None = None
        self.least_id: bytes | None = None
        self.is_approximate = False
        self.limit: int | None = None

    def take(self, args: list[bytes], at: int) -> int:
        """The position behind the option at `at`, or `at` if it is none of these. CommandError."""
        name, left = args[at].upper(), len(args) - 1 - at
        if name in {b"MAXLEN", b"MINID"} and left:
            return self._strategy(name, args, at, left)
        if name == b"LIMIT" and left:
            self.limit = parse_int64(args[at + 1])
            if self.limit < 0:
                raise CommandError("ERR The LIMIT argument must be >= 0.")
            return at + 2
        return at

    def _strategy(self, name: bytes, args: list[bytes], at: int, left: int) -> int:
        if self.most is not None or self.least_id is not None:
            raise CommandError("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        at += 1
        self.is_approximate = left >= 2 and args[at] == b"~"
        if left >= 2 and args[at] in {b"~", b"="}:
            at += 1
        if name == b"MINID":
            self.least_id = parse_strict_id(args[at])
            return at + 1
        self.most = parse_int64(args[at])
        if self.most < 0:
            raise CommandError("ERR The MAXLEN argument must be >= 0.")
        return at + 1

    def finished(self, node: int, *, must_trim: bool) -> Trimming | None:
        """node: entries in a node, 0: no bound. None: nothing is trimmed, unless it must be."""
        if self.most is None and self.least_id is None:
            if self.limit:
                raise CommandError("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
            if must_trim:
                raise CommandError("ERR syntax error, XTRIM must be called with a trimming strategy")
        if self.limit is not None and not self.is_approximate:
            raise CommandError("ERR syntax error, LIMIT cannot be used without the special ~ option")
        if self.most is None and self.least_id is None:
            return None
        if not self.is_approximate:
            return Trimming(self.most, self.least_id)
        limit = self.limit
        if limit is None:
            limit = min(_LIMIT_NODES * node, _MOST_LIMIT) or _LIMIT_WITHOUT_NODES
        return Trimming(self.most, self.least_id, node or MAX_NUMBER, limit)


def parse_add(args: list[bytes], node: int) -> AddOptions:
    """XADD's options and id. node: entries in a node, for `~`."""
    if args[2] == b"*":  # as nearly always
        return _NO_OPTIONS
    if len(args) > 5 and args[5] == b"*" and len(args[2]) + len(args[3]) + len(args[4]) <= _USUAL_BYTES:
        return _usual_options(args[2], args[3], args[4], node)
    return _parse_add(args, node)


_USUAL_BYTES: Final = 64
"""Options that take more are not kept; `MAXLEN ~` and the longest number take 27."""


@lru_cache(maxsize=64)
def _usual_options(name: bytes, how: bytes, most: bytes, node: int) -> AddOptions:
    """`MAXLEN ~ 1000 *` is the same in each of thousands of requests: it is read once."""
    return _parse_add([b"", b"", name, how, most, b"*"], node)


def _parse_add(args: list[bytes], node: int) -> AddOptions:
    trim, found = _Trim(), AddOptions()
    at = 2
    while at < len(args):
        if args[at] == b"*":
            break
        after = trim.take(args, at)
        if after > at:
            at = after
        elif args[at].upper() == b"NOMKSTREAM":
            found.makes_stream = False
            at += 1
        else:
            found.id_, found.has_number = parse_new_id(args[at])
            break
    found.trimming = trim.finished(node, must_trim=False)
    found.fields_at = at + 1
    return found


def parse_trim(args: list[bytes], node: int) -> Trimming:
    """XTRIM's options."""
    trim = _Trim()
    at = 2
    while at < len(args):
        after = trim.take(args, at)
        if after == at:
            raise syntax_error()
        at = after
    trimming = trim.finished(node, must_trim=True)
    assert trimming is not None
    return trimming
