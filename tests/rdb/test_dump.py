"""Payloads: the version and the checksum, in one go and in slices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import FlinError, LimitError, PayloadError, PayloadFooterError
from flin.rdb import body, dump
from flin.rdb.crc64 import crc64
from flin.rdb.value import Hash, List, String, Value
from tests.rdb.samples import LZF_LONG, MOST_BYTES
from tests.rdb.values import VALUES, sealed


@given(VALUES)
def test_both_ways(value: Value) -> None:
    payload = dump.encode(value)
    assert dump.decode(payload, MOST_BYTES) == value


def test_in_slices() -> None:
    value = Hash({b"%d" % number: bytes(number % 300) for number in range(500)})
    covered = body.encode(value) + dump.VERSION_BYTES
    crc = 0
    for start in range(0, len(covered), 1000):
        crc = crc64(covered[start : start + 1000], crc)
    payload = covered + dump.stored(crc)
    assert payload == dump.encode(value)
    dump.check(payload, crc)
    assert dump.decode_checked(payload, MOST_BYTES) == value


@pytest.mark.parametrize("version", [0, 1, 6, 9, 10])
def test_older_versions(version: int) -> None:
    assert dump.decode(sealed(b"\x00\x01a", version), MOST_BYTES) == String(b"a")


@pytest.mark.parametrize("version", [11, 12, 65535])
def test_newer_versions(version: int) -> None:
    with pytest.raises(PayloadFooterError, match=f"version {version} is newer than 10"):
        dump.decode(sealed(b"\x00\x01a", version), MOST_BYTES)


@pytest.mark.parametrize("payload", [b"", b"\x00", sealed(b"")[1:]])
def test_no_footer(payload: bytes) -> None:
    with pytest.raises(PayloadFooterError, match="hold no footer"):
        dump.decode(payload, MOST_BYTES)


def test_nothing_but_a_footer() -> None:
    with pytest.raises(PayloadError) as raised:
        dump.decode(sealed(b""), MOST_BYTES)
    assert not isinstance(raised.value, PayloadFooterError)


def test_limit() -> None:
    with pytest.raises(LimitError):
        dump.decode(sealed(b"\x00" + LZF_LONG), 99)


def test_every_damage_is_seen() -> None:
    payload = dump.encode(List([b"a", b"12", b"x" * 70]))
    for place in range(len(payload)):
        for bit in range(8):
            changed = payload[:place] + bytes([payload[place] ^ 1 << bit]) + payload[place + 1 :]
            with pytest.raises(PayloadFooterError):
                dump.decode(changed, MOST_BYTES)
        with pytest.raises(PayloadFooterError):
            dump.decode(payload[:place], MOST_BYTES)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(PayloadFooterError):
        dump.decode(data, MOST_BYTES)
    try:
        dump.decode(sealed(data), 1 << 20)
    except FlinError as error:
        assert isinstance(error, PayloadError | LimitError)
        assert not isinstance(error, PayloadFooterError)
