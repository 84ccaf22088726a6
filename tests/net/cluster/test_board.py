"""The board: one page, seen by several who map it."""

from __future__ import annotations

import os

import pytest

from flin.net.cluster import board
from flin.net.cluster.board import AWAY_MS, Board, new_board


@pytest.fixture
def boards() -> list[Board]:
    """The same one, as three workers and their supervisor have it."""
    descriptor = new_board(3)
    found = [Board(descriptor, 3) for _ in range(4)]
    os.close(descriptor)
    return found


def test_who_listens(boards: list[Board]) -> None:
    assert [each.is_heard(number) for number, each in enumerate(boards[:3])] == [False] * 3
    boards[1].set_listening(1, True)
    assert [each.is_heard(number) for number, each in enumerate(boards[:3])] == [True, False, True]
    assert [each.listeners(number) for number, each in enumerate(boards[:3])] == [[1], [], [1]]
    boards[0].set_listening(0, True)
    boards[2].set_listening(2, True)
    assert boards[1].listeners(1) == [0, 2]
    boards[1].set_listening(1, False)
    assert boards[0].listeners(0) == [2]
    boards[3].clear(2)
    assert boards[0].is_heard(1)
    assert not boards[0].is_heard(0)


def test_who_is_away(boards: list[Board], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**12]
    monkeypatch.setattr(board, "_now_ms", lambda: now[0])
    supervisor = boards[3]
    assert [supervisor.is_away(number) for number in range(3)] == [True] * 3
    for number in (0, 1):
        boards[number].beat(number)
        supervisor.set_ready(number)
    assert [boards[2].is_away(number) for number in range(3)] == [False, False, True]
    now[0] += AWAY_MS
    boards[0].beat(0)
    assert not boards[2].is_away(1)
    now[0] += 1
    assert [boards[2].is_away(number) for number in range(3)] == [False, True, True], "its loop does not run"
    boards[1].beat(1)
    assert not boards[2].is_away(1), "it goes on"
    supervisor.clear(1)
    assert boards[2].is_away(1)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_places_do_not_touch_each_other(count: int) -> None:
    descriptor = new_board(count)
    made = Board(descriptor, count)
    os.close(descriptor)
    for number in range(0, count, 7):
        made.beat(number)
        made.set_ready(number)
    assert [number for number in range(count) if not made.is_away(number)] == list(range(0, count, 7))
    assert made.listeners(-1) == []
    for number in range(0, count, 3):
        made.set_listening(number, True)
    assert made.listeners(-1) == list(range(0, count, 3))
    assert [number for number in range(count) if not made.is_away(number)] == list(range(0, count, 7))
