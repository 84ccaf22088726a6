"""Scores of sorted sets: as bytes that sort as they do, as text, and ranges of them and of members.

The ordered form of a score is 8 bytes: a double's bits, big-endian, with the sign bit set where the score is not
negative, and with all bits turned where it is. So keys that hold it are in the order of scores, from -inf to inf. Of
x >= 0 these are the bits of -x (0.10 µs; by integers 0.31). There is one zero, as -0 and 0 are one score, and no NaN.

Texts are read as C's strtod reads them, as Redis does: strictly as a score, more freely as an end of a range. They are
written with 17 significant digits, which give the same double again, and as few as `0.10000000000000001` allows.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from operator import ne, neg
from typing import Final, NamedTuple, cast

from flin.errors import ConflictError, CorruptionError

_PACK = struct.Struct(">d").pack
_UNPACK = struct.Struct(">d").unpack
_TURNED: Final = bytes(range(255, -1, -1))

_INF: Final = math.inf
_SPACE: Final = b" \t\n\v\f\r"

# Texts of strtod's whole grammar; Python's own also takes `1_0` and digits of other scripts.
_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_HEXADECIMAL = re.compile(rb"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?").fullmatch
_INFINITE = re.compile(rb"[+-]?inf(?:inity)?", re.IGNORECASE).fullmatch
_SHORT: Final = 15
"""Digits of a number that is exact as a double."""
_MOST_WHOLE: Final = 2.0**62


# The ordered form.


def encode_score(score: float) -> bytes:
    """Its ordered 8 bytes. ConflictError for NaN."""
    score += 0.0  # of -0 this makes 0
    if score >= 0.0:
        return _PACK(-score)
    if score < 0.0:
        return _PACK(score).translate(_TURNED)
    raise ConflictError("a score is not a number (NaN)")


def decode_score(ordered: bytes) -> float:
    """What `encode_score` was given. CorruptionError for bytes that it never gives."""
    if len(ordered) != 8:
        raise CorruptionError("a score", len(ordered), f"it has {len(ordered)} bytes, not 8")
    score: float = -_UNPACK(ordered)[0] if ordered[0] >= 0x80 else _UNPACK(ordered.translate(_TURNED))[0]
    if score != score or (score == 0.0 and ordered[0] < 0x80):
        raise CorruptionError("a score", 0, "it is NaN, or the zero below zero")
    return score


def encode_scores(scores: Sequence[float]) -> list[bytes]:
    """`encode_score` of each; none of them is -0. In C where none is negative."""
    if len(scores) < 2 or not min(scores) >= 0.0:
        return list(map(encode_score, scores))
    number = len(scores)
    return _cut(struct.pack(f">{number}d", *map(neg, scores)), number)


def decode_scores(ordered: Sequence[bytes]) -> list[float]:
    """`decode_score` of each. In C where none is negative."""
    if len(ordered) > 1 and min(ordered) >= b"\x80" and set(map(len, ordered)) == {8}:
        scores = list(map(neg, struct.unpack(f">{len(ordered)}d", b"".join(ordered))))
        if not any(map(ne, scores, scores)):
            return scores
    return list(map(decode_score, ordered))


def _cut(ordered: bytes, number: int) -> list[bytes]:
    return list(struct.unpack("8s" * number, ordered))


# Texts.


def score_text(score: float) -> bytes:
    """As Redis 7.0 answers it: `3`, `0.10000000000000001`, `1e+20`, `inf`."""
    return b"%.17g" % score


def small_score_text(score: float) -> bytes:
    """As ZSCAN of Redis 7.0 answers it of a sorted set that is small by its thresholds: whole to 2**62."""
    return b"%d" % score if abs(score) <= _MOST_WHOLE and score == int(score) else score_text(score)


def maybe_parse_score(text: bytes) -> float | None:
    """The score, or None for what Redis calls not a valid float: NaN too, and what is too large or too near to zero."""
    if text.isdigit() and len(text) <= _SHORT:
        return float(text)
    score = _maybe_number(text)
    if score is None or _INFINITE(text):
        return score
    if score in (_INF, -_INF) or (score == 0.0 and not _is_zero(text)):
        return None
    return score + 0.0


def maybe_parse_scores(texts: Sequence[bytes]) -> list[float] | None:
    """`maybe_parse_score` of each; None if one is none."""
    if max(map(len, texts)) <= _SHORT and min(map(len, texts)) and b"".join(texts).isdigit():
        return list(map(float, texts))
    scores = list(map(maybe_parse_score, texts))
    return None if None in scores else cast("list[float]", scores)


def _maybe_number(text: bytes) -> float | None:
    if _DECIMAL(text) or _INFINITE(text):
        return float(text)
    if _HEXADECIMAL(text):
        try:
            return float.fromhex(text.decode())
        except OverflowError:
            return -_INF if text[:1] == b"-" else _INF
    return None


def _is_zero(text: bytes) -> bool:
    """Whether all digits before an exponent are zeros."""
    if _HEXADECIMAL(text):
        digits = text.lower().partition(b"x")[2].partition(b"p")[0]
    else:
        digits = text.lower().partition(b"e")[0]
    return not digits.strip(b"+-0.")


# Ranges.


class ScoreRange(NamedTuple):
    """Scores from minimum to maximum, without an end that is open."""

    minimum: float
    maximum: float
    minimum_is_open: bool = False
    maximum_is_open: bool = False

    def __contains__(self, score: object) -> bool:
        assert isinstance(score, float)
        return (self.minimum < score if self.minimum_is_open else self.minimum <= score) and (
            score < self.maximum if self.maximum_is_open else score <= self.maximum
        )

    @property
    def is_empty(self) -> bool:
        """Whether no score can lie in it."""
        return self.minimum > self.maximum or (
            self.minimum == self.maximum and (self.minimum_is_open or self.maximum_is_open)
        )

    def bounds(self) -> tuple[bytes, bytes]:
        """(start, stop), start inclusive, of ordered score and member together. Start is not below stop if it is empty.

        No member begins below the first bytes of all, so a score's next one is where the scores above it begin."""
        start, stop = encode_score(self.minimum), encode_score(self.maximum)
        return _next(start) if self.minimum_is_open else start, stop if self.maximum_is_open else _next(stop)


def _next(ordered: bytes) -> bytes:
    """The 8 bytes after these: they exist even after inf, since NaN's bits lie there."""
    return (int.from_bytes(ordered, "big") + 1).to_bytes(8, "big")


def parse_score_range(minimum: bytes, maximum: bytes) -> ScoreRange:
    """Ends as ZRANGEBYSCORE takes them: `1.5`, `(1.5`, `-inf`, `+inf`. ConflictError if one is none."""
    (low, low_is_open), (high, high_is_open) = _parse_end(minimum), _parse_end(maximum)
    return ScoreRange(low, high, low_is_open, high_is_open)


def _parse_end(text: bytes) -> tuple[float, bool]:
    """The score and whether it is excluded. Redis reads it as a C string: up to a zero byte, after any spaces, nothing
    as 0; what is too large is infinite, and what is too near to zero is zero."""
    is_open = text[:1] == b"("
    number = text[is_open:].partition(b"\0")[0]
    if not number:
        return 0.0, is_open
    score = _maybe_number(number.lstrip(_SPACE))
    if score is None:
        raise ConflictError("an end of a range is not a float")
    return score + 0.0, is_open


class LexRange(NamedTuple):
    """Members from start (inclusive) to stop (exclusive), as bytes. None lies above all members."""

    start: bytes | None
    stop: bytes | None

    def __contains__(self, member: object) -> bool:
        assert isinstance(member, bytes)
        return self.start is not None and self.start <= member and (self.stop is None or member < self.stop)

    @property
    def is_empty(self) -> bool:
        """Whether no member can lie in it."""
        return self.start is None or (self.stop is not None and self.start >= self.stop)


def parse_lex_range(minimum: bytes, maximum: bytes) -> LexRange:
    """Ends as ZRANGEBYLEX takes them: `[a`, `(a`, `-`, `+`. ConflictError if one is none."""
    return LexRange(_parse_lex_end(minimum, is_maximum=False), _parse_lex_end(maximum, is_maximum=True))


def _parse_lex_end(text: bytes, *, is_maximum: bool) -> bytes | None:
    """Where a range begins that has it as its minimum, or stops that has it as its maximum."""
    first, rest = text[:1], text[1:]
    if first in (b"[", b"("):
        # Nothing lies between a member and the same one with a zero byte after it.
        return rest + b"\0" if (first == b"[") is is_maximum else rest
    if first in (b"-", b"+") and rest[:1] in (b"", b"\0"):
        return b"" if first == b"-" else None
    raise ConflictError("an end of a range of members begins with neither [ nor ( and is neither - nor +")
