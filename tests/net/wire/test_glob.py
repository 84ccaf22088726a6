"""Globs: by a table, against a plain recursive matcher, and with patterns that make a recursive one explode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import CommandError
from flin.net.wire.glob import compile_glob

CASES: list[tuple[bytes, list[bytes], list[bytes]]] = [
    (b"*", [b"", b"a", b"\n\xff"], []),
    (b"**", [b"a"], [b""]),
    (b"", [b""], [b"a"]),
    (b"a", [b"a"], [b"", b"b", b"aa"]),
    (b"a*", [b"a", b"ab", b"a\n"], [b"", b"ba"]),
    (b"*a", [b"a", b"ba"], [b"", b"ab"]),
    (b"*a*", [b"a", b"bab"], [b"", b"b"]),
    (b"a*b*c", [b"abc", b"a-b-c", b"abbc", b"abcbc"], [b"ac", b"abcd", b"acb"]),
    (b"ab*ba", [b"abba", b"ab-ba"], [b"aba"]),
    (b"?", [b"a", b"\n"], [b"", b"ab"]),
    (b"h?llo", [b"hello", b"hallo"], [b"hllo", b"heello"]),
    (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo"]),
    (b"h[^e]llo", [b"hallo"], [b"hello"]),
    (b"h[a-b]llo", [b"hallo", b"hbllo"], [b"hcllo"]),
    (b"[c-a]", [b"a", b"b", b"c"], [b"d"]),
    (b"[a-]", [b"]", b"^", b"a"], [b"-", b"b"]),  # a range from ] to a, and no end
    (b"[-a]", [b"-", b"a"], [b"b"]),
    (b"[]a]", [], [b"]", b"a", b"]a]", b"a]"]),  # an empty set: nothing matches
    (b"[^]", [b"a", b"]"], [b"", b"aa"]),
    (b"[abc", [b"a", b"c"], [b"d"]),
    (b"[", [], [b"", b"["]),
    (b"[\\]]", [b"]"], [b"\\"]),
    (b"[\\", [b"\\"], [b"["]),
    (b"[a-\xff]", [b"\xff", b"\x00", b"a", b"A"], [b"b", b"\x80"]),  # bytes are signed: -1 to 97
    (b"\\*", [b"*"], [b"a", b"\\*"]),
    (b"a\\", [b"a\\"], [b"a"]),
    (b"\\a\\?", [b"a?"], [b"ab"]),
    (b"*[ab]?c*", [b"a-c", b"--b-c--"], [b"ac", b"a--c"]),
    (b"*??", [b"ab", b"abc"], [b"a"]),
    (b"**a", [b"a", b"ba"], [b"b"]),
]


@pytest.mark.parametrize(("pattern", "matching", "others"), CASES, ids=[repr(case[0]) for case in CASES])
def test_table(pattern: bytes, matching: list[bytes], others: list[bytes]) -> None:
    glob = compile_glob(pattern)
    assert [key for key in [*matching, *others] if glob.matches(key)] == matching
    assert all(key.startswith(glob.prefix) for key in matching)
    assert all(_plain(pattern, key) for key in matching)


@pytest.mark.parametrize(
    ("pattern", "literal", "prefix"),
    [
        (b"abc", b"abc", b"abc"),
        (b"a\\*b", b"a*b", b"a*b"),
        (b"a\\*b*", None, b"a*b"),
        (b"user:*:name", None, b"user:"),
        (b"[a]b", None, b""),
        (b"*", None, b""),
        (b"a?", None, b"a"),
        (b"a\\?b[0-9]c*", None, b"a?b"),
        (b"?a", None, b""),
    ],
)
def test_what_a_search_may_skip(pattern: bytes, literal: bytes | None, prefix: bytes) -> None:
    assert compile_glob(pattern)[:2] == (literal, prefix)


patterns = st.lists(st.sampled_from([b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"a", b"b", b"\xff", b"[a-b]"]))


@given(patterns.map(b"".join), st.text("ab-]^\\", max_size=8).map(str.encode) | st.binary(max_size=4))
def test_against_the_plain_version(pattern: bytes, key: bytes) -> None:
    glob = compile_glob(pattern)
    matches = glob.matches(key)
    assert matches == _plain(pattern, key)
    assert not matches or key.startswith(glob.prefix)
    assert glob.literal is None or matches == (key == glob.literal)


def test_many_stars_take_linear_time() -> None:
    """A recursive matcher would need more steps than there are atoms."""
    assert not compile_glob(b"a*" * 500 + b"b").matches(b"a" * 100_000)
    assert compile_glob(b"a*" * 500 + b"b").matches(b"a" * 100_000 + b"b")
    assert not compile_glob(b"*[ab]" * 150 + b"c").matches(b"a" * 100_000)


def test_redis_matches_nothing_beyond_a_thousand_stars() -> None:
    assert compile_glob(b"*a" * 1000 + b"*").matches(b"a" * 2000)
    assert not compile_glob(b"*a" * 1001 + b"*").matches(b"a" * 2000)


def test_budgets() -> None:
    with pytest.raises(CommandError, match="too many wildcards"):
        compile_glob(b"[abc]" * 100_000)
    with pytest.raises(CommandError, match="too many steps"):
        compile_glob(b"*" + b"[ab]" * 150 + b"*").matches(b"a" * 10_000)
    compile_glob(b"*" + b"x" * 1_000_000 + b"*").matches(b"y" * 2_000_000)


def _plain(pattern: bytes, key: bytes) -> bool:
    """Match one step at a time, by the pattern's rules."""
    if not pattern or not key:
        # A star left over at the key's end is fine after something that matched, see below; alone it is not.
        return (not pattern and not key) or pattern == b"*"
    first, rest = pattern[:1], pattern[1:]
    if first == b"*":
        rest = rest.lstrip(b"*")
        return not rest or any(_plain(rest, key[start:]) for start in range(len(key)))
    if first == b"[":
        found, rest = _plain_set(rest, key[0])
    elif first == b"?":
        found = True
    else:
        literal, rest = (rest[:1], rest[1:]) if first == b"\\" and rest else (first, rest)
        found = literal == key[:1]
    if not found:
        return False
    return not rest.lstrip(b"*") if len(key) == 1 else _plain(rest, key[1:])


def _plain_set(rest: bytes, byte: int) -> tuple[bool, bytes]:
    inverted = rest.startswith(b"^")
    rest = rest[inverted:]
    found = False
    while rest:
        if rest.startswith(b"\\") and len(rest) > 1:
            found |= rest[1] == byte
            rest = rest[2:]
        elif rest.startswith(b"]"):
            return found != inverted, rest[1:]
        elif len(rest) > 2 and rest[1:2] == b"-":
            ends = [end - 256 * (end > 127) for end in (rest[0], rest[2], byte)]
            found |= min(ends[:2]) <= ends[2] <= max(ends[:2])
            rest = rest[3:]
        else:
            found |= rest[0] == byte
            rest = rest[1:]
    return found != inverted, rest
