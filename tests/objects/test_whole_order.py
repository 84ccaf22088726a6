"""The order of a sorted set in memory. test_sorted_set.py has its questions; this is what nobody asks for."""

from __future__ import annotations

from flin.objects.whole_order import WholeOrder


def test_members_that_come_and_go_leave_nothing() -> None:
    """A queue by name (ZADD, ZREM), once read in order: what has moved since then is bounded by what is there."""
    scores = {b"%d" % number: float(number) for number in range(100)}
    order = WholeOrder(scores)
    assert len(order.places()) == 100
    for number in range(1000, 3000):
        member = b"%d" % number
        scores[member] = 1.0
        order.moved(member, None)
        order.moved(member, scores.pop(member))
        assert len(order._moved) < 100
    assert [place[8:] for place in order.places()] == sorted(scores, key=scores.__getitem__)
