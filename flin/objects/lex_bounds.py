"""Where a range of members (`[a`, `(c`) lies in the order of a sorted set, as bounds of places.

Such ranges are meant for sets whose members all have one score: then the members are in the order of their bytes. Of
others Redis promises nothing. Here they get what its small ones get, at any size: from the first member that is not
below the range as long as none is above it.
"""

from __future__ import annotations

from flin.objects.layout import SCORE_BYTES
from flin.objects.score import LexRange
from flin.objects.spread_order import SpreadOrder
from flin.objects.whole_order import WholeOrder

Order = WholeOrder | SpreadOrder

Bounds = tuple[bytes, bytes | None]
"""Start (inclusive) and stop (exclusive; None: no bound)."""

NOTHING: Bounds = (b"", b"")


def lex_bounds(order: Order, lex: LexRange, *, reverse: bool = False) -> Bounds:
    """The bounds of what such a range answers; in reverse it is looked for from the last member on."""
    ends = [*order.from_rank(0, 1), *order.from_rank(0, 1, reverse=True)]
    if lex.start is None or lex.is_empty or not ends:
        return NOTHING
    score = ends[0][:SCORE_BYTES]
    if score == ends[1][:SCORE_BYTES]:
        return score + lex.start, None if lex.stop is None else score + lex.stop
    first, last = (place[SCORE_BYTES:] for place in ends)
    if last < lex.start or (lex.stop is not None and first >= lex.stop):
        return NOTHING
    return _run_down(order, lex) if reverse else _run_up(order, lex)


def _run_up(order: Order, lex: LexRange) -> Bounds:
    start: bytes | None = None
    assert lex.start is not None
    for places in order.parts(b"", None):
        for place in places:
            member = place[SCORE_BYTES:]
            if start is None and member >= lex.start:
                start = place
            if start is not None and lex.stop is not None and member >= lex.stop:
                return start, place
    return NOTHING if start is None else (start, None)


def _run_down(order: Order, lex: LexRange) -> Bounds:
    stop: bytes | None = None
    before = b""
    assert lex.start is not None
    for places in order.parts(b"", None, reverse=True):
        for place in places:
            member = place[SCORE_BYTES:]
            if stop is None and (lex.stop is None or member < lex.stop):
                stop = place + b"\0"
            if stop is not None and member < lex.start:
                return before or stop, stop
            before = place
    return NOTHING if stop is None else (b"", stop)
