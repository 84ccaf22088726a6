"""Which arguments of a request are keys, and what happens to each."""

from __future__ import annotations

import pytest

import flin.net.commands.every  # noqa: F401 - declares them
from flin.net.command.command import Command
from flin.net.command.key_specs import KEY_SPECS, READS, WRITES, KeyFlag, flag_names, needs
from flin.net.command.registry import find_for, with_subcommands
from tests.net.differential import schedule


def touched(line: str) -> str:
    request = line.encode().split(b" ")
    found = find_for(request)
    assert found is not None
    touches = [(position, use.flags) for use, positions in found.touches(request) for position in positions]
    return "; ".join(f"{position} {' '.join(flag_names(flags))}" for position, flags in touches)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET k", "1 RO access"),
        ("SET k v", "1 OW update"),
        ("SET k v EX 5 gEt", "1 RW access update"),
        ("BITFIELD k GET u8 0", "1 RO access"),
        ("BITFIELD k OVERFLOW wrap GET u8 0", "1 RO access"),
        ("BITFIELD k GET u8 0 INCRBY u8 0 1", "1 RW access update"),
        ("BITFIELD k GET u8", "1 RW access update"),
        ("EXISTS a b", "1 RO; 2 RO"),
        ("MSET a 1 b 2", "1 OW update; 3 OW update"),
        ("BLPOP a b 0", "1 RW access delete; 2 RW access delete"),
        ("LCS a b", "1 RO access; 2 RO access"),
        ("ZUNIONSTORE to 2 a b", "1 OW update; 3 RO access; 4 RO access"),
        ("ZUNION 3 a b", ""),
        ("ZUNION x a b", ""),
        ("XREAD COUNT 1 STREAMS a b 0 0", "4 RO access; 5 RO access"),
        ("GEORADIUS k 0 0 1 m STORE to", "1 RO access; 7 OW update"),
        ("GEORADIUS k 0 0 1 m STORE a STORE b", "1 RO access; 7 OW update; 9 OW update"),
        ("SORT k BY w_* GET g_* STORE to", "1 RO access; 7 OW update"),
        ("SORT k STORE a STORE b", "1 RO access; 5 OW update"),
        ("MEMORY USAGE k", "2 RO"),
        ("PING k", ""),
    ],
)
def test_touches(line: str, expected: str) -> None:
    assert touched(line) == expected


def test_requests_that_are_too_short_name_no_keys() -> None:
    """redis.acl_check_cmd in a script asks about them."""
    for found in with_subcommands():
        for words in range(1, found.minimum):
            request = [b"1"] * words
            touches = [position for _, positions in found.touches(request) for position in positions]
            assert all(position < words for position in touches), found


def test_every_command_with_keys_says_what_it_does_with_them() -> None:
    """A command without specifications is one without keys: nothing is hidden from the rules of users."""
    for found in with_subcommands():
        if found.group == "pubsub":  # sharded channels stand in the place of keys, for Redis's cluster
            assert not found.keys.positions([found.name.encode(), b"a", b"b"])
            continue
        if any(spec.flags & KeyFlag.NOT_KEY for spec in found.key_specs):
            continue  # of sharded channels
        has_keys = bool(found.keys.first or found.keys.find)
        assert bool(found.key_specs) == has_keys, f"{found}: add it to key_specs.py, or declare its keys"


def test_only_keys_are_those_that_the_specifications_name() -> None:
    for found in with_subcommands():
        if found.only_key is None:
            continue
        position, wanted, most = found.only_key
        request = [b"1"] * min(most, max(found.minimum, position + 1) + 3)
        ((use, (at,)),) = found.touches(request)
        assert (at, use.needs) == (position, wanted), found


def test_no_key_of_a_command_escapes_its_specifications() -> None:
    """Whatever a command itself takes for keys is among those that rules are asked about."""
    seen: set[Command] = set()
    for request in schedule(20_261_129, 2):
        found = find_for(request.words)
        if found is None or not found.minimum <= len(request.words) <= found.maximum:
            continue
        own = set(found.keys.positions(request.words))
        touched = {position for _, positions in found.touches(request.words) for position in positions}
        assert own <= touched, request.words
        seen.add(found)
    assert len(seen) > 150


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (KeyFlag.RO, 0),
        (KeyFlag.RO | KeyFlag.ACCESS, READS),
        (KeyFlag.RM | KeyFlag.DELETE, WRITES),
        (KeyFlag.RW | KeyFlag.INSERT, WRITES),
        (KeyFlag.RW | KeyFlag.ACCESS | KeyFlag.UPDATE, READS | WRITES),
    ],
)
def test_what_a_user_needs(flags: KeyFlag, wanted: int) -> None:
    assert needs(flags) == wanted


def test_a_keyword_is_looked_for_backwards_too() -> None:
    first, behind = KEY_SPECS["migrate"]
    request = b'MIGRATE h 1 "" 0 9 KEYS a b'.split(b" ")
    assert first.positions(request) == range(3, 4)
    assert behind.positions(request) == range(7, 9)
    assert behind.positions(request[:6]) == range(0)
