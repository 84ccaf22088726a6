"""The slots of a server: one key, and columns of keys, beside the plain computation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.net.cluster.own_slots import OwnSlots, keys_in
from flin.net.cluster.slots import SLOTS, slot_of

HALF = OwnSlots(0, SLOTS // 2 - 1)

_pieces = st.sampled_from([b"{", b"}", b"{}", b"{a}", b"{b}", b"a", b"b", b"{{a}}", b"}{"]) | st.binary(max_size=4)
_keys = st.lists(_pieces, max_size=5).map(b"".join)
_rows = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[_keys] * width), min_size=1, max_size=9))


def is_own(key: bytes) -> bool:
    return slot_of(key) < SLOTS // 2


@given(_keys)
def test_a_key_is_own_if_its_slot_is(key: bytes) -> None:
    assert HALF.has(key) == HALF.has_slot(slot_of(key)) == is_own(key)


@given(st.lists(_keys, max_size=9))
def test_the_keys_in_a_slot(keys: list[bytes]) -> None:
    for slot in {*map(slot_of, keys), 0, SLOTS - 1}:
        assert keys_in(slot, keys) == [key for key in keys if slot_of(key) == slot]


@given(_rows)
def test_rows_of_own_keys_lead(rows: list[tuple[bytes, ...]]) -> None:
    number = HALF.leading([*zip(*rows, strict=True)])
    assert all(is_own(row[0]) and len(set(map(slot_of, row))) == 1 for row in rows[:number])
    if number < len(rows):
        own, *others = rows[number]
        assert not is_own(own) or others  # rows of one own key are all found


@pytest.mark.parametrize("form", [b"k%03d", b"{%03d}", b"a{%03d}b", b"{%03d}{a}", b"{}%03d", b"%03d}", b"{{%03d}}"])
def test_columns_of_one_layout(form: bytes) -> None:
    keys = [form % number for number in range(400)]
    for start in range(len(keys)):
        column = keys[start : start + 40]
        expected = next((at for at, key in enumerate(column) if not is_own(key)), len(column))
        assert HALF.leading([column]) == expected
    same = [key for key in keys if is_own(key)]
    assert HALF.leading([same, [*reversed(same)]]) == 0
    assert HALF.leading([same, same, same]) == len(same) > 0


@pytest.mark.parametrize(("tag", "other", "is_own"), [(b"b", b"a", True), (b"a", b"b", False)])
def test_columns_of_one_tag(tag: bytes, other: bytes, is_own: bool) -> None:
    keys = [b"x{%b}%d" % (tag, number) for number in range(30)]
    number = len(keys) if is_own else 0
    assert HALF.leading([keys]) == HALF.leading([keys, keys[::-1]]) == number
    for at in range(len(keys)):  # one key among them has another tag
        column = [*keys[:at], b"x{%b}" % other, *keys[at + 1 :]]
        assert HALF.leading([column]) == (at if is_own else int(at == 0))
        assert HALF.leading([keys, column]) == (at if is_own else 0)
