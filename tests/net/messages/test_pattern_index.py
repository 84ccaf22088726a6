"""The index of patterns finds what trying all of them finds, and tries few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flin.net.messages.pattern_index import PatternIndex, PrefixIndex, matches_channel
from flin.net.wire.glob import compile_glob

NAMES = st.text("ab*", max_size=4).map(str.encode)
PATTERNS = st.text("ab*?[]\\^", max_size=4).map(str.encode)


@given(st.lists(st.tuples(PATTERNS, st.booleans())), NAMES)
def test_the_index_finds_what_trying_all_finds(changes: list[tuple[bytes, bool]], name: bytes) -> None:
    index = PatternIndex()
    kept: set[bytes] = set()
    for pattern, is_added in changes:
        if is_added:
            index.add(pattern)
            kept.add(pattern)
        else:
            index.discard(pattern)
            kept.discard(pattern)
    assert bool(index) == bool(kept)
    found = index.matching(name)
    assert sorted(found) == sorted(pattern for pattern in kept if matches_channel(compile_glob(pattern), name))


def test_only_patterns_under_a_prefix_of_the_name_are_tried() -> None:
    index = PatternIndex()
    for number in range(1000):
        index.add(b"user:%03d:*" % number)
    assert index.matching(b"user:123:x") == [b"user:123:*"]
    assert [len(patterns) for patterns in index._prefixes.under(b"user:123:x")] == [1]
    assert index.matching(b"user:12") == []


def test_prefixes_of_a_name() -> None:
    index: PrefixIndex[int] = PrefixIndex()
    assert not index
    for number, prefix in enumerate((b"", b"a", b"ab", b"b")):
        index.put(prefix, number)
    assert sorted(index.under(b"abc")) == [0, 1, 2]
    assert sorted(index.under(b"a")) == [0, 1]
    for prefix in (b"", b"a", b"ab", b"b", b"x"):
        index.discard(prefix)
    assert not index
    assert index.get(b"a") is None


def test_a_pattern_that_would_search_for_too_long_does_not_match() -> None:
    index = PatternIndex()
    index.add(b"*" + b"[ab]" * 100 + b"*")
    assert index.matching(b"a" * 200)
    assert not index.matching(b"a" * 100_000)
