"""The rank index against a sorted list: any changes, whole or while it is being made."""

from __future__ import annotations

import random
from bisect import bisect_left, insort

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flin.objects import rank_index
from flin.objects.rank_index import NEW, RankIndex


def _rank(index: RankIndex, keys: list[bytes], key: bytes) -> int:
    """As an owner finds it: it reads the piece."""
    piece = index.piece_of(key)
    return piece.before + sum(piece.start <= each < key for each in keys)


def _key(index: RankIndex, keys: list[bytes], rank: int) -> bytes:
    piece, offset = index.at(rank)
    return [key for key in keys if piece.start <= key and (piece.stop is None or key < piece.stop)][offset]


def _agrees(index: RankIndex, keys: list[bytes]) -> None:
    index._check()
    assert len(index) == len(keys)
    before = 0
    for piece in index.pieces():
        stop = len(keys) if piece.stop is None else bisect_left(keys, piece.stop)
        assert (piece.before, piece.size) == (before, stop - before)
        assert bisect_left(keys, piece.start) == before
        before = stop
    assert before == len(keys)


def _divide_large(index: RankIndex, keys: list[bytes]) -> None:
    for piece in list(index.pieces()):
        if piece.size > rank_index.MOST:
            index.split(piece.start, keys[piece.before : piece.before + piece.size])
    assert index.huge == set()
    assert all(piece.size <= rank_index.MOST for piece in index.pieces())


@pytest.mark.parametrize("slice_", [1, 100, NEW, 1000, 5000])
def test_made_in_slices(slice_: int) -> None:
    keys = [b"%06d" % number for number in range(5000)]
    index = RankIndex.made(keys[at : at + slice_] for at in range(0, len(keys), slice_))
    _agrees(index, keys)
    assert [piece.size for piece in index.pieces()] == [NEW] * 78 + [8]
    for rank in (0, 1, NEW - 1, NEW, 2500, 4999):
        assert _key(index, keys, rank) == keys[rank]
        assert _rank(index, keys, keys[rank]) == rank
    for rank in (-1, 5000):
        with pytest.raises(IndexError):
            index.at(rank)


def test_an_empty_one() -> None:
    index = RankIndex.made([])
    _agrees(index, [])
    assert index.piece_of(b"any") == (b"", None, 0, 0)
    with pytest.raises(IndexError):
        index.at(0)
    index.add(b"")
    index.add(b"x")
    _agrees(index, [b"", b"x"])


def test_a_queue_leaves_nothing_behind() -> None:
    """Keys added at the end and removed at the beginning: pieces come and go."""
    keys = [b"%08d" % number for number in range(20_000)]
    index = RankIndex.made([keys[:2000]])
    for number in range(2000, 20_000):
        index.add(keys[number])
        index.remove(keys[number - 2000])
    _agrees(index, keys[-2000:])
    assert len(list(index.pieces())) <= 34


@pytest.mark.parametrize("step", [1, -1])
def test_keys_that_come_in_order_need_no_reads(step: int) -> None:
    keys = [b"%06d" % number for number in range(3000)]
    index = RankIndex.made([])
    for key in keys[::step]:
        index.add(key)
    _agrees(index, keys)
    assert {piece.size for piece in index.pieces()} == {NEW, 3000 % NEW}


def _made_large(more: int) -> tuple[RankIndex, list[bytes]]:
    """With so many keys between the first one and the second."""
    keys = [b"0", *(b"1%06d" % number for number in range(more)), *(b"2%06d" % number for number in range(NEW))]
    index = RankIndex.made([keys[:1] + keys[more + 1 :]])
    for key in keys[1 : more + 1]:
        index.add(key)
    _agrees(index, keys)
    return index, keys


def test_a_large_piece_is_divided_evenly() -> None:
    index, keys = _made_large(300)
    assert index.huge == set()
    assert [piece.size for piece in index.pieces()] == [364, 1]
    _divide_large(index, keys)
    _agrees(index, keys)
    assert [piece.size for piece in index.pieces()] == [52] * 7 + [1]


def test_a_huge_piece_is_divided_from_its_beginning() -> None:
    index, keys = _made_large(2000)
    assert index.huge == {b""}
    for _ in range(2):
        (start,) = index.huge
        piece = index.piece_of(start)
        index.split(start, keys[piece.before : piece.before + 1000])
        _agrees(index, keys)
    assert index.huge == set()
    for key in keys[NEW * 5 + 10 : 1990]:
        index.remove(key)
    _agrees(index, keys[: NEW * 5 + 10] + keys[1990:])


def test_a_huge_piece_that_loses_keys_is_huge_no_longer() -> None:
    index, keys = _made_large(500)
    assert index.huge == {b""}
    for key in keys[:200]:
        index.remove(key)
    assert index.huge == set()
    _agrees(index, keys[200:])


def test_a_huge_first_piece_that_keys_come_below() -> None:
    index, keys = _made_large(600)
    for key in (b"!1", b"!0"):
        index.add(key)
        keys.insert(0, key)
        _agrees(index, keys)
    assert index.huge == {b"0"}


def test_an_empty_piece_joins_even_a_large_one() -> None:
    keys = [b"%06d" % number for number in range(3 * NEW)]
    index = RankIndex.made([keys])
    for place, more in ((NEW, 440), (2 * NEW + 1, 500)):
        for number in range(more):
            keys.append(keys[place - 1] + b"%d" % number)
            index.add(keys[-1])
    keys.sort()
    gone = [key for key in keys if keys[0] <= b"%06d" % NEW <= key < b"%06d" % (2 * NEW)]
    for key in gone:
        index.remove(key)
    keys = [key for key in keys if key not in set(gone)]
    _agrees(index, keys)
    assert [piece.size for piece in index.pieces()] == [504, 564]
    assert index.huge == {b"%06d" % (2 * NEW)}
    for key in [key for key in keys if key < b"%06d" % (2 * NEW)]:
        index.remove(key)
        keys.remove(key)
    _agrees(index, keys)
    assert index.huge == {b""}, "it has no piece before it"
    _divide_large(index, keys)
    _agrees(index, keys)


def test_changes_at_random() -> None:
    chance = random.Random(3)
    keys = sorted({chance.randbytes(4) for _ in range(20_000)})
    index = RankIndex.made([keys])
    for step in range(20_000):
        key = chance.randbytes(4)
        place = bisect_left(keys, key)
        if step < 10_000 and keys[place : place + 1] != [key]:
            keys.insert(place, key)
            index.add(key)
        elif step >= 10_000:
            index.remove(keys.pop(chance.randrange(len(keys))))
        if step % 997 == 0:
            _agrees(index, keys)
            _divide_large(index, keys)
            rank = chance.randrange(len(keys))
            assert _key(index, keys, rank) == keys[rank]
    _agrees(index, keys)


@pytest.fixture
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_index, "MOST", 8)
    monkeypatch.setattr(rank_index, "NEW", 6)
    monkeypatch.setattr(rank_index, "HUGE", 12)
    monkeypatch.setattr(rank_index, "_LEAST", 2)
    monkeypatch.setattr(rank_index, "_GROUP", 3)


class Changes(RuleBasedStateMachine):
    """With pieces of at most 8 keys, and the whole collection read again in slices of 5 while others change it."""

    def __init__(self) -> None:
        super().__init__()
        self.index = RankIndex()
        self.keys: list[bytes] = []

    @initialize(keys=st.sets(st.binary(max_size=2), max_size=60))
    def begin(self, keys: set[bytes]) -> None:
        self.keys = sorted(keys)

    @precondition(lambda self: not self.index.is_whole)
    @rule()
    def read_on(self) -> None:
        last = self.index.last
        rest = [key for key in self.keys if last is None or key > last]
        self.index.extend(rest[:5])
        if not rest[5:]:
            self.index.finish()

    @rule(key=st.binary(max_size=2))
    def change(self, key: bytes) -> None:
        if key in self.keys:
            self.keys.remove(key)
            self.index.remove(key)
        else:
            insort(self.keys, key)
            self.index.add(key)

    @precondition(lambda self: self.index.is_whole)
    @rule()
    def divide(self) -> None:
        _divide_large(self.index, self.keys)

    @precondition(lambda self: self.index.is_whole and self.index.huge)
    @rule(count=st.integers(7, 12))
    def divide_the_beginning(self, count: int) -> None:
        piece = self.index.piece_of(min(self.index.huge))
        self.index.split(piece.start, self.keys[piece.before :][:count])

    @invariant()
    def agrees(self) -> None:
        self.index._check()
        if self.index.is_whole:
            _agrees(self.index, self.keys)
            for rank, key in enumerate(self.keys):
                assert _key(self.index, self.keys, rank) == key
                assert _rank(self.index, self.keys, key) == rank


@pytest.mark.usefixtures("_small_pieces")
def test_any_changes() -> None:
    run_state_machine_as_test(Changes, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))


@given(st.lists(st.binary(max_size=3), unique=True))
def test_any_keys(keys: list[bytes]) -> None:
    keys.sort()
    _agrees(RankIndex.made([keys]), keys)
