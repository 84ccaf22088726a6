"""The file of the data keys: written whole, opened by one key alone, and every damage is noticed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.disk import data_keys
from flin.engine.disk.cipher import derived
from flin.engine.disk.data_keys import DataKeys
from flin.errors import CorruptionError, FormatVersionError, LimitError, WrongKeyError
from flin.testing import SimulatedDisk

KEY, OTHER = bytes(range(32)), bytes(32)
KEYS = DataKeys({1: b"a" * 32, 4: b"b" * 32})


def encoded(keys: DataKeys = KEYS) -> bytes:
    return data_keys.encode(keys, KEY, os.urandom)


def test_both_ways() -> None:
    assert data_keys.decode(encoded(), KEY, "k") == KEYS
    assert encoded() != encoded()
    assert b"a" * 8 not in encoded()


def test_hkdf() -> None:
    """The first test case of RFC 5869, its first 32 bytes."""
    found = derived(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert found.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_another_key_is_told_from_damage() -> None:
    data = encoded()
    with pytest.raises(WrongKeyError, match="another key"):
        data_keys.decode(data, OTHER, "k")
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatVersionError)) as caught:
            data_keys.decode(bytes(damaged), KEY, "k")
        assert caught.type is (FormatVersionError if 64 <= bit < 96 and bit > 64 else CorruptionError)
    for size in range(len(data)):
        with pytest.raises(CorruptionError):
            data_keys.decode(data[:size], KEY, "k")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for each in (data, data_keys.MAGIC + b"\1\0\0\0" + data):
        with pytest.raises((CorruptionError, FormatVersionError)):
            data_keys.decode(each, KEY, "k")


def test_numbers() -> None:
    assert KEYS.current == 4
    more = KEYS.with_another(b"c" * 32)
    assert (more.current, list(more.by_number)) == (5, [1, 4, 5])
    assert list(more.only({1, 9}).by_number) == [1, 5]
    with pytest.raises(LimitError):
        DataKeys({data_keys.MAX_NUMBER: KEY}).with_another(KEY)


def test_the_users_key() -> None:
    assert data_keys.key_of(KEY) == data_keys.key_of(lambda: KEY) == KEY
    with pytest.raises(ValueError, match="must have 32 bytes, not 5"):
        data_keys.key_of(b"short")
    with pytest.raises(TypeError, match="must be bytes"):
        data_keys.key_of("a passphrase" * 3)  # type: ignore[arg-type]


def test_written_and_read() -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    disk.write("/db/KEYS.new", b"left by a crash")
    data_keys.write(disk, "/db", KEYS, KEY, os.urandom)
    assert data_keys.read(disk, "/db", KEY) == KEYS
    assert disk.names("/db") == ["KEYS"]
