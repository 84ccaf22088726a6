"""The longest common subsequence of two strings, as LCS needs it: its length, itself, and where its parts lie.

The table L(i, j) of the lengths for the first i bytes of `a` and the first j of `b` is kept by its differences: row i
is a number whose bit j-1 is *clear* where L(i, j) = L(i, j-1) + 1. One addition makes a row of the row before (Hyyrö,
"Bit-parallel LCS-length computation revisited", 2004), so a row of 10,000 bytes costs a few microseconds. The way back
through the table chooses as Redis does, so among several longest ones it finds the same.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple

SLICE_CELLS: Final = 2_000_000
"""Cells of the table that are filled before others run: a millisecond or two."""

ROW_CELLS: Final = 500
"""The cost of a row, however short, in cells."""

SLICE_STEPS: Final = 8192
"""Steps of the way back, some 0.2 microseconds each."""


class Match(NamedTuple):
    """A stretch that both strings share; both ends are included."""

    a_first: int
    a_last: int
    b_first: int
    b_last: int

    @property
    def size(self) -> int:
        return self.a_last - self.a_first + 1


class LongestCommon:
    """What two strings share: `length` after `fill` is done, then `subsequence` and `matches` (last first) after
    `trace`."""

    def __init__(self, a: bytes, b: bytes) -> None:
        self._a = a
        self._b = b
        self._width = (len(b) + 7) // 8
        self._rows = bytearray()
        self.length = 0
        self.subsequence = b""
        self.matches: list[Match] = []

    def fill(self, *, keeps_rows: bool) -> Generator[None, None, None]:
        """Make the table, in slices; `trace` needs its rows."""
        a, b = self._a, self._b
        if not a or not b:
            return
        everything = (1 << len(b)) - 1
        places: dict[int, int] = {}
        for byte in set(a):
            places[byte] = _places(b, byte)
            yield
        row = everything
        step = max(1, SLICE_CELLS // (len(b) + ROW_CELLS))
        for start in range(0, len(a), step):
            for byte in a[start : start + step]:
                shared = row & places[byte]
                row = (row + shared | row - shared) & everything
                if keeps_rows:
                    self._rows += row.to_bytes(self._width, "little")
            yield
        self.length = len(b) - row.bit_count()

    def trace(self) -> Generator[None, None, None]:
        """Go back through the table, in slices."""
        a, b, rows, width = self._a, self._b, self._rows, self._width
        i, j = len(a), len(b)
        common = bytearray()
        a_end = b_end = -1  # the end of the match that is being read; -1: there is none
        steps = 0
        while i and j:
            steps += 1
            if steps % SLICE_STEPS == 0:
                yield
            if a[i - 1] == b[j - 1]:
                if a_end < 0:
                    a_end, b_end = i, j
                i -= 1
                j -= 1
                common.append(a[i])
                if i and j:
                    continue
            if a_end >= 0:
                self.matches.append(Match(i, a_end - 1, j, b_end - 1))
                a_end = -1
            if i and j:
                if rows[(i - 1) * width + (j - 1 >> 3)] >> (j - 1 & 7) & 1:
                    j -= 1
                else:
                    i -= 1
        common.reverse()
        self.subsequence = bytes(common)


def _places(text: bytes, byte: int) -> int:
    """A number with a bit for each place of the byte."""
    digits = bytearray(b"0" * 256)
    digits[byte] = ord("1")
    return int(text.translate(digits)[::-1], 2)
