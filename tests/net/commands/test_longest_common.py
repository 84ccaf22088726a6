"""The longest common subsequence against the table that its definition gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from flin.net.commands import longest_common
from flin.net.commands.longest_common import LongestCommon

STRINGS = some.one_of(some.binary(max_size=40), some.text("abc", max_size=40).map(str.encode))


def solved(a: bytes, b: bytes) -> LongestCommon:
    common = LongestCommon(a, b)
    for _ in common.fill(keeps_rows=True):
        pass
    for _ in common.trace():
        pass
    return common


def plain(a: bytes, b: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Computed with the whole table, and back through it as in Redis: the subsequence and the places of its bytes."""
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            same = a[i - 1] == b[j - 1]
            lengths[i][j] = lengths[i - 1][j - 1] + 1 if same else max(lengths[i - 1][j], lengths[i][j - 1])
    i, j, found = len(a), len(b), []
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            found.append((i, j))
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return bytes(a[i] for i, _ in reversed(found)), found


@given(STRINGS, STRINGS)
def test_it_is_the_one_that_the_table_gives(a: bytes, b: bytes) -> None:
    common = solved(a, b)
    subsequence, places = plain(a, b)
    assert (common.subsequence, common.length) == (subsequence, len(subsequence))
    spread = [(match.a_last - step, match.b_last - step) for match in common.matches for step in range(match.size)]
    assert spread == places
    for later, earlier in zip(common.matches, common.matches[1:], strict=False):
        assert (earlier.a_last + 1, earlier.b_last + 1) != (later.a_first, later.b_first), "one stretch, not two"


def test_long_strings_are_worked_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longest_common, "SLICE_CELLS", 10_000)
    monkeypatch.setattr(longest_common, "SLICE_STEPS", 100)
    a, b = b"ab" * 500, b"ba" * 400
    common = LongestCommon(a, b)
    assert len(list(common.fill(keeps_rows=True))) > 100
    assert len(list(common.trace())) >= 8
    assert common.subsequence == plain(a, b)[0]


@pytest.mark.parametrize(("a", "b"), [(b"", b""), (b"", b"x"), (b"x", b""), (b"a", b"b")])
def test_nothing_in_common(a: bytes, b: bytes) -> None:
    common = solved(a, b)
    assert (common.length, common.subsequence, common.matches) == (0, b"", [])
