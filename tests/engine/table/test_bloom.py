"""The filter: no false negatives, few false positives, and its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.table import bloom
from flin.errors import CorruptionError


def plain_contains(words: list[int], key: bytes) -> bool:
    """The rule of the format, bit by bit."""
    hashed = bloom.hash_key(key)
    word = words[hashed % len(words)]
    mask = bloom.MASKS[hashed % 4096]
    return all(word >> bit & 1 for bit in range(64) if mask >> bit & 1)


@given(st.sets(st.binary(max_size=12)), st.sets(st.binary(max_size=12)), st.integers(4, 16))
def test_never_a_false_no(keys: set[bytes], others: set[bytes], bits: int) -> None:
    words = bloom.build(map(bloom.hash_key, keys), len(keys), bits)
    assert all(bloom.contains(words, bloom.hash_key(key)) for key in keys)
    for key in others:
        assert bloom.contains(words, bloom.hash_key(key)) == plain_contains(list(words), key)
    assert bloom.decode(bloom.encode(words), "t", 0) == words


@pytest.mark.parametrize(("bits", "at_most"), [(8, 0.05), (12, 0.015), (16, 0.006)])
def test_few_false_yeses(bits: int, at_most: float) -> None:
    hashes = [bloom.hash_key(b"key %d" % index) for index in range(40_000)]
    words = bloom.build(hashes[:20_000], 20_000, bits)
    assert sum(bloom.contains(words, hashed) for hashed in hashes[20_000:]) < at_most * 20_000


def test_many_at_once_are_answered_as_one_by_one() -> None:
    keys = [b"%d" % number for number in range(2000)]
    hashes = list(map(bloom.hash_key, keys))
    words = bloom.build(hashes[:1000], 1000, 10)
    passed = bloom.let_through(words, hashes, bloom.masks_of(hashes))
    assert passed == [bloom.contains(words, hashed) for hashed in hashes]


def test_the_masks_are_part_of_the_format() -> None:
    assert {mask.bit_count() for mask in bloom.MASKS} == {6}
    assert [f"{mask:016x}" for mask in bloom.MASKS[:2]] == ["0000940002002800", "3000000044400010"]
    assert bloom.hash_key(b"flin") == 0x1A84DFF3
    assert len(bloom.build([], 0, 12)) == 1


def test_damage_is_found() -> None:
    data = bloom.encode(bloom.build([1, 2, 3], 3, 12))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptionError):
            bloom.decode(bytes(damaged), "t", 0)
    for size in range(len(data)):
        with pytest.raises(CorruptionError):
            bloom.decode(data[:size], "t", 0)
