"""The fuzzer of the parsers: its corpus for ever, and a short run that is the same every time."""

from __future__ import annotations

import random

import pytest

from fuzz.resp import CORPUS, Failure, check, random_cuts, random_wire, read_case

CASES = 5000
SEED = 11


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.iterdir()))
def test_corpus(name: str) -> None:
    check(*read_case((CORPUS / name).read_bytes()))


def test_random_cases() -> None:
    source = random.Random(SEED)
    for _ in range(CASES):
        wire = random_wire(source)
        check(wire, random_cuts(source, len(wire)))


def test_the_check_finds_a_parser_without_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.net.resp._holds_other_type", lambda wire, joined: False)
    with pytest.raises(Failure):
        check(b"*1\r\n+PING\r\n", [])
