"""Redis's glob patterns: which keys `KEYS`, `SCAN … MATCH` and pattern subscriptions mean.

`*` is any run of bytes, `?` one byte, `[a-z]` one of a set, `[^…]` one outside it, `\\x` the byte x itself. The rest
follows Redis to the byte: a set without `]` ends with the pattern, `]` cannot be first in a set, ranges may be given
backwards and compare bytes as signed numbers, a lone backslash at the end is itself.

Theory. Stars cut a pattern into segments of fixed length. The first is anchored at the key's start, the last at its
end, and for those between them the leftmost place is always good enough: nothing is ever tried twice, where Redis's
recursion may take exponential time. A literal segment is found by `bytes.find`, which is linear; one with sets costs
its length times the key's at worst, and that product has a limit.

This module knows bytes and patterns only: no keys, no sessions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import takewhile
from typing import Final, NamedTuple, TypeAlias

from flin.errors import CommandError

_SPECIAL: Final = re.compile(rb"[*?\[\\]")
_STAR: Final = b"*"[0]
_QUESTION: Final = b"?"[0]
_BACKSLASH: Final = b"\\"[0]
_DASH: Final = b"-"[0]
_CLOSE: Final = b"]"[0]

# Redis 7.0.15 lets no pattern with more stars than this match anything (its guard against endless recursion).
_MAX_STARS: Final = 1000
# Bytes of wildcards, escapes and sets in one pattern, at 1 µs each to read and compile, and the cost of a set beyond
# its bytes. The longest pattern holds the server for some 10 ms.
_MAX_STEPS: Final = 10_000
_SET_STEPS: Final = 50
# Key bytes times segment bytes that one search may cost at worst: 5 ms at 5 ns for each.
_MAX_SEARCH: Final = 1 << 20


class Glob(NamedTuple):
    """A pattern ready for use."""

    literal: bytes | None
    """The only key that can match, if the pattern has no wildcard."""
    prefix: bytes
    """The prefix of every matching key: ordered storage need not look elsewhere."""
    matches: Callable[[bytes], bool]
    """Raises CommandError if a long key would make the search too costly."""
    searched: int = 0
    """Steps that a key may cost for each of its bytes, if the pattern holds sets between stars; else 0."""


class _Segment(NamedTuple):
    length: int
    literal: bytes | None
    regex: re.Pattern[bytes] | None  # None, too, if any bytes of that length match
    prefix: bytes = b""  # what every match begins with


# Every call of a SCAN loop brings the same pattern. Few and short ones are kept: patterns are a client's bytes.
_KEPT_PATTERNS: Final = 64
_KEPT_BYTES: Final = 1024


def compile_glob(pattern: bytes) -> Glob:
    """Raises CommandError for a pattern that takes too many steps to read."""
    return _kept(pattern) if len(pattern) <= _KEPT_BYTES else _compile(pattern)


def _compile(pattern: bytes) -> Glob:
    if pattern == b"*":
        return Glob(None, b"", _always)
    if _SPECIAL.search(pattern) is None:
        return Glob(pattern, pattern, pattern.__eq__)
    segments = _segments(pattern)
    if len(segments) - 1 > _MAX_STARS + (not segments[-1].length):
        return Glob(None, b"", _never)
    first = segments[0]
    prefix = first.prefix
    if len(segments) == 1:
        literal = first.literal
        return Glob(literal, prefix, literal.__eq__ if literal is not None else _whole(first))
    if len(segments) == 2 and first.literal and not segments[1].length:
        return Glob(None, prefix, lambda key: key.startswith(prefix))
    if not any(segment.length for segment in segments):
        return Glob(None, b"", bool)  # several stars and nothing else: Redis matches all but the empty key
    searched = max([segment.length for segment in segments[1:-1] if segment.regex], default=0)
    return Glob(None, prefix, _several(segments, searched), searched)


_kept = lru_cache(maxsize=_KEPT_PATTERNS)(_compile)


def _always(key: bytes) -> bool:
    return True


def _never(key: bytes) -> bool:
    return False


def _whole(segment: _Segment) -> Callable[[bytes], bool]:
    length, regex = segment.length, segment.regex
    if regex is None:
        return lambda key: len(key) == length
    fullmatch = regex.fullmatch
    return lambda key: len(key) == length and fullmatch(key) is not None


def _several(segments: list[_Segment], searched: int) -> Callable[[bytes], bool]:
    """The test of a key against segments with stars between them."""
    first, *middle, last = segments
    least = sum(segment.length for segment in segments)

    def matches(key: bytes) -> bool:
        stop = len(key) - last.length
        if len(key) < least or not _is_at(first, key, 0) or not _is_at(last, key, stop):
            return False
        if len(key) * searched > _MAX_SEARCH:
            raise CommandError("ERR the pattern takes too many steps on a long key")
        position = first.length
        for segment in middle:
            position = _find(segment, key, position, stop)
            if position < 0:
                return False
        return True

    return matches


def _is_at(segment: _Segment, key: bytes, position: int) -> bool:
    if segment.literal is not None:
        return key.startswith(segment.literal, position)
    return segment.regex is None or segment.regex.match(key, position) is not None


def _find(segment: _Segment, key: bytes, start: int, stop: int) -> int:
    """Where the leftmost match inside key[start:stop] ends, or -1."""
    if segment.literal is not None:
        found = key.find(segment.literal, start, stop)
        return found + segment.length if found >= 0 else -1
    if segment.regex is None:
        return start + segment.length if start + segment.length <= stop else -1
    match = segment.regex.search(key, start, stop)
    return match.end() if match else -1


# Reading a pattern. An element is a run of literal bytes, a number of arbitrary bytes, or one set of bytes.

_Element: TypeAlias = bytes | int | frozenset[int]


def _segments(pattern: bytes) -> list[_Segment]:
    """The pattern cut at its stars: one segment more than there are stars (neighbouring stars are one)."""
    segments: list[_Segment] = []
    elements: list[_Element] = []
    position = steps = 0
    while position < len(pattern):
        found = _SPECIAL.search(pattern, position)
        start = found.start() if found else len(pattern)
        if start > position:
            elements.append(pattern[position:start])
        if found is None:
            break
        position, element = _read_special(pattern, start)
        steps += position - start + _SET_STEPS * isinstance(element, frozenset)
        if steps > _MAX_STEPS:
            raise CommandError("ERR the pattern has too many wildcards")
        if element is not None:
            elements.append(element)
        elif elements or not segments:
            segments.append(_segment(elements))
            elements = []
    segments.append(_segment(elements))
    return segments


def _read_special(pattern: bytes, position: int) -> tuple[int, _Element | None]:
    """The position after the special byte's element, and the element (None: a star)."""
    special = pattern[position]
    position += 1
    if special == _STAR:
        return position, None
    if special == _QUESTION:
        return position, 1
    if special == _BACKSLASH and position < len(pattern):
        return position + 1, pattern[position : position + 1]
    return (position, b"\\") if special == _BACKSLASH else _read_set(pattern, position)


def _read_set(pattern: bytes, position: int) -> tuple[int, frozenset[int]]:
    """Read the set whose [ stands before the position. The order of the tests is Redis's, and odd patterns depend on
    it."""
    inverted = pattern[position : position + 1] == b"^"
    position += inverted
    members: set[int] = set()
    while position < len(pattern):
        byte, left = pattern[position], len(pattern) - position
        if byte == _BACKSLASH and left >= 2:
            members.add(pattern[position + 1])
            position += 2
        elif byte == _CLOSE:
            position += 1
            break
        elif left >= 3 and pattern[position + 1] == _DASH:
            low, high = sorted((_signed(byte), _signed(pattern[position + 2])))
            members.update(value & 0xFF for value in range(low, high + 1))
            position += 3
        else:
            members.add(byte)
            position += 1
    return position, _ALL_BYTES - members if inverted else frozenset(members)


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


_ALL_BYTES: Final = frozenset(range(256))


def _segment(elements: list[_Element]) -> _Segment:
    length = sum(_element_length(element) for element in elements)
    prefix = b"".join(element for element in takewhile(_is_literal, elements) if isinstance(element, bytes))
    if all(map(_is_literal, elements)):
        return _Segment(length, prefix, None, prefix)
    if all(isinstance(element, int) for element in elements):
        return _Segment(length, None, None)
    source = b"".join(
        b"." * element if isinstance(element, int) else _set_source(element) if isinstance(element, frozenset)
        else re.escape(element)
        for element in elements
    )  # fmt: skip
    return _Segment(length, None, re.compile(source, re.DOTALL), prefix)


def _is_literal(element: _Element) -> bool:
    return isinstance(element, bytes)


def _element_length(element: _Element) -> int:
    if isinstance(element, bytes):
        return len(element)
    return element if isinstance(element, int) else 1


def _set_source(members: frozenset[int]) -> bytes:
    """A set as a regular expression, by its ranges; one without members matches nowhere."""
    starts = sorted(byte for byte in members if byte - 1 not in members)
    stops = sorted(byte for byte in members if byte + 1 not in members)
    ranges = b"".join(b"\\x%02x-\\x%02x" % ends for ends in zip(starts, stops, strict=True))
    return b"[" + ranges + b"]" if members else b"(?!)"
