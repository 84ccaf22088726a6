"""The fuzzer of the parsers: a short run that is the same every time, and what its check finds."""

from __future__ import annotations

import random

import pytest

from fuzz.resp import Failure, check, one_input, random_cuts, random_wire, read_case

CASES = 5000
SEED = 11


def test_random_cases() -> None:
    source = random.Random(SEED)
    for _ in range(CASES):
        wire = random_wire(source)
        check(wire, random_cuts(source, len(wire)))


def test_the_check_finds_a_parser_without_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.net.wire.requests._holds_other_type", lambda wire, joined: False)
    with pytest.raises(Failure):
        check(b"*1\r\n+PING\r\n", [])


def test_an_input_without_cuts_is_fed_byte_by_byte() -> None:
    assert read_case(b"PING") == (b"PING", [0, 1, 2, 3])
    assert read_case(b"2 900 x\n\nPING") == (b"PING", [2, 4])
    one_input(bytes(range(128, 256)))
