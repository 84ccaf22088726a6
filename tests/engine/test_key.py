"""Keys and slots: stored forms, their order, namespaces, and slots as Redis Cluster has them. Entries with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import TOMBSTONE, Entry, make_entry, value_at
from flin.engine.key import (
    KEYS_END,
    USER_END,
    is_counted,
    namespace_of,
    namespace_prefix,
    prefix_stop,
    stored_key,
    user_key,
)
from flin.engine.slot import SLOTS, hash_tag, shard_of, shard_of_stored, slot_of

keys = st.one_of(st.binary(max_size=8), st.binary(max_size=4).map(lambda rest: b"\xff" + rest))


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        (b"", b""),
        (b"a", b"a"),
        (b"\xfe\xff", b"\xfe\xff"),
        (b"\xff", b"\xff\0"),
        (b"\xff\0", b"\xff\0\0"),
        (b"\xff\x01x", b"\xff\0\x01x"),
        (b"\xff\xff", b"\xff\0\xff"),
    ],
)
def test_stored_key(key: bytes, stored: bytes) -> None:
    assert stored_key(key) == stored
    assert user_key(stored) == key


@given(keys, keys, st.integers(1, 65535))
def test_stored_keys_keep_their_order(one: bytes, other: bytes, namespace: int) -> None:
    stored, other_stored = stored_key(one), stored_key(other)
    assert user_key(stored) == one
    assert (stored < other_stored) == (one < other)
    assert stored < USER_END <= namespace_prefix(namespace) + one < KEYS_END
    assert namespace_of(stored) == 0
    assert namespace_of(namespace_prefix(namespace) + one) == namespace


@given(keys, keys)
def test_prefix_stop(prefix: bytes, key: bytes) -> None:
    stop = prefix_stop(prefix)
    assert key.startswith(prefix) == (key >= prefix and (stop is None or key < stop))
    assert (prefix + key).startswith(prefix)
    assert stop is None or prefix + key < stop


# Slots: values from CLUSTER KEYSLOT of Redis Cluster.


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"", 0),
        (b"foo", 12182),
        (b"bar", 5061),
        (b"hello", 866),
        (b"123456789", 12739),
        (b"{foo}bar", 12182),
        (b"x{foo}y{bar}", 12182),
        (b"{bar", 4015),
    ],
)
def test_slot_of(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (b"plain", b"plain"),
        (b"{user1000}.following", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"}{", b"}{"),
        (b"{", b"{"),
        (b"{}", b"{}"),
    ],
)
def test_hash_tag(key: bytes, tag: bytes) -> None:
    assert hash_tag(key) == tag


@given(keys, st.sampled_from([1, 2, 4, 16, 64, 1024]), st.integers(1, 0x7FFF) | st.just(0xFFFF))
def test_shards(key: bytes, shards: int, namespace: int) -> None:
    shard = shard_of(key, shards)
    assert 0 <= shard < shards
    assert shard == slot_of(key) // (SLOTS // shards)
    assert shard_of_stored(stored_key(key), shards) == shard
    assert shard_of_stored(namespace_prefix(namespace) + key, shards) == shard, "one key, one shard, in every database"


@given(st.integers(0x8000, 0xFFFE), st.integers(0, SLOTS - 1), st.binary(max_size=9), st.sampled_from([1, 4, 16, 1024]))
def test_a_piece_names_its_slot(namespace: int, slot: int, rest: bytes, shards: int) -> None:
    stored = namespace_prefix(namespace) + slot.to_bytes(2, "big") + rest
    assert not is_counted(stored)
    assert shard_of_stored(stored, shards) == slot * shards // SLOTS


@pytest.mark.parametrize("rest", [b"", b"\xff", b"\xff\xff", b"\x40\x00"])
def test_a_piece_with_a_slot_that_is_none_has_a_shard(rest: bytes) -> None:
    assert 0 <= shard_of_stored(namespace_prefix(0x8000) + rest, 16) < 16


@pytest.mark.parametrize(
    "stored", [b"", b"\xff\x00", namespace_prefix(1), namespace_prefix(0x7FFF), namespace_prefix(0xFFFF)]
)
def test_all_others_count(stored: bytes) -> None:
    assert is_counted(stored)


# Entries.


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        (b"v", b"v"),
        (b"", b""),
        (None, None),
        (TOMBSTONE, None),
        ((b"v", 0, 0), b"v"),
        ((b"v", 101, 0), b"v"),
        ((b"v", 100, 0), None),
        ((b"v", 99, 0), None),
        ((b"v", 0, 1), None),
        ((b"v", 101, 1), None),
    ],
)
def test_value_at(entry: Entry | None, value: bytes | None) -> None:
    assert value_at(entry, 100) == value


def test_make_entry_is_as_small_as_it_can_be() -> None:
    assert make_entry(b"v") == b"v"
    assert make_entry(b"v", 5) == (b"v", 5, 0)
    assert make_entry(b"v", 0, 7) == (b"v", 0, 7)
