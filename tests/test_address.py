"""URLs of servers: what they name, and what is said of those that are none, without their password."""

from __future__ import annotations

import pytest

from flin.address import Address, is_address, parse


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("redis://h", Address("h", 6379), "redis://h:6379"),
        ("redis://h:7000/3", Address("h", 7000, database=3), "redis://h:7000/3"),
        ("redis://:p%40ss@h/", Address("h", 6379, password="p@ss"), "redis://h:6379"),
        ("rediss://user:secret@h:1", Address("h", 1, is_tls=True, user="user", password="secret"), "rediss://user@h:1"),
        ("redis://[::1]:7/0", Address("::1", 7, database=0), "redis://[::1]:7/0"),
        ("unix:///run/r%20s.sock", Address("", 0, "/run/r s.sock"), "unix:///run/r s.sock"),
        ("redis+unix://u:p@/run/s?db=2", Address("", 0, "/run/s", False, "u", "p", 2), "unix://u@/run/s?db=2"),
    ],
)
def test_an_address(text: str, address: Address, shown: str) -> None:
    assert is_address(text)
    assert parse(text) == address
    assert str(address) == shown
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("redis://", "names no host"),
        ("redis://:secret@h:99999", "no number from 0"),
        ("redis://h:x", "no number from 0"),
        ("redis://h/three", "'three' is no number of a database"),
        ("redis://h?db=3", "comes after the port"),
        ("redis://h/1?timeout=5", "no other parameter"),
        ("unix://", "whole path"),
        ("unix://host/run/s", "whole path"),
        ("unix:///run/s?db=x", "'x' is no number"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        parse(text)
    assert "secret" not in str(raised.value)


def test_what_is_none() -> None:
    assert not any(map(is_address, ["data", "/tmp/redis", "C:", "http://h", "redis:h", ""]))
