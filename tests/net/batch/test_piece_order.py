"""The batch's pieces in order, against a sorted look at the whole batch."""

from __future__ import annotations

from random import Random

import pytest

from flin.engine.entry import TOMBSTONE, Entry
from flin.net.batch import piece_order
from flin.net.batch.piece_order import PieceOrder

PREFIX = b"\xff\x01\x80\x00"


@pytest.mark.parametrize("min_sorted", [0, 10, 48])
def test_pieces_between(min_sorted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_order, "MIN_SORTED", min_sorted)
    random = Random(min_sorted)
    points: dict[bytes, Entry] = {}
    order = PieceOrder(points)

    def piece() -> bytes:
        return PREFIX + b"%02d" % random.randrange(60)

    for _ in range(3000):
        change = random.random()
        if change < 0.4:
            points[piece()] = random.choice([b"value", TOMBSTONE])
        elif change < 0.6:
            points[b"key %d" % random.randrange(20)] = b"value"
        elif change < 0.7:
            gone = piece()
            if points.pop(gone, None) is not None:
                order.gone(gone)
        elif change < 0.71:
            points.clear()
            order.forget()
        else:
            start, stop = sorted((piece(), piece()))
            found = order.between(start, stop)
            assert found == {key: entry for key, entry in points.items() if start <= key < stop}
