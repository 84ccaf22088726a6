"""Merging sorted runs into one, slice by slice; newest wins. Scans, snapshots and compactions all read through this.

A slice reaches to the smallest of the last keys of the pages at hand, so that no later page can hold a key of it. If
only one source has keys in a slice, they pass as they are; else all go into one dict, oldest first, and one `sorted`
(timsort finds the ascending pieces: 65-94 ns a key, against 100-280 in `heapq.merge`).

Range deletes of a source hide entries of older sources. Each page is cut by the lists of all newer sources, of which
only the boundaries between its keys are looked at; if a page is hidden whole, its source begins anew after the range
that hides it. Tombstones come out like other entries: the caller knows whether older entries remain that they must
hide.

If merge operands (a reserved kind) are ever to be combined, `_join` is the place: it sees all sources' entries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final

from flin.engine.boundaries import Boundaries, cut_page, skip, skip_back
from flin.engine.entry import Entry, Page
from flin.errors import CorruptionError

FEW: Final = 8
"""Newer entries up to which they are inserted into a head: 0.7 to 2.3 µs for 10 to 100 entries, where a dict and a sort
of all take 2.4 to 9."""


class Passed:
    """The number of keys that a merge has left out because they are hidden."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys = 0


class Source:
    """One run: its pages in the order of the scan, and its range deletes, which hide entries of older sources.

    `begin_at` gives the pages from a key on (in a reverse scan: below a key), if the source can leap."""

    __slots__ = ("begin_at", "deleted", "entries", "hidden", "keys", "pages", "passed")

    def __init__(
        self,
        pages: Iterable[Page],
        deleted: Boundaries = (),
        begin_at: Callable[[bytes], Iterator[Page]] | None = None,
        passed: Passed | None = None,
    ) -> None:
        self.pages = iter(pages)
        self.deleted = deleted
        self.begin_at = begin_at
        self.hidden: Sequence[Boundaries] = ()  # the range deletes of newer sources
        self.passed = passed
        self.keys: list[bytes] = []  # the page at hand, always ascending
        self.entries: list[Entry] = []

    def load(self, reverse: bool) -> bool:
        """Take the next page that is not empty; False at the end."""
        while not self.keys:
            page = next(self.pages, None)
            if page is None:
                return False
            if reverse:
                page = page[0][::-1], page[1][::-1]
            self.keys, self.entries = self._visible(page, reverse) if self.hidden else page
        return True

    def _visible(self, page: Page, reverse: bool) -> Page:
        """The part of an ascending page that is not hidden. After a page that is hidden whole, the next one begins
        after the range that hides it."""
        kept = page
        for boundaries in self.hidden:
            kept = cut_page(kept, boundaries)
        keys = page[0]
        if self.passed is not None:
            self.passed.keys += len(keys) - len(kept[0])
        if keys and not kept[0] and self.begin_at is not None:
            bound = skip_back(self.hidden, keys[0]) if reverse else skip(self.hidden, keys[-1])
            if bound != (keys[0] if reverse else keys[-1]):
                self.pages = self.begin_at(bound)
        return kept

    def take_through(self, bound: bytes) -> Page:
        """Remove and return the entries up to and including the bound."""
        cut = bisect_right(self.keys, bound)
        if cut == len(self.keys):
            return self.take_all()
        taken = self.keys[:cut], self.entries[:cut]
        self.keys, self.entries = self.keys[cut:], self.entries[cut:]
        return taken

    def take_from(self, bound: bytes) -> Page:
        """Remove and return the entries from the bound on."""
        cut = bisect_left(self.keys, bound)
        if cut == 0:
            return self.take_all()
        taken = self.keys[cut:], self.entries[cut:]
        self.keys, self.entries = self.keys[:cut], self.entries[:cut]
        return taken

    def take_all(self) -> Page:
        taken = self.keys, self.entries
        self.keys, self.entries = [], []
        return taken


def merge_pages(sources: Sequence[Source], *, reverse: bool = False, dead: Boundaries = ()) -> Iterator[Page]:
    """Pages of the merged run, from sources ordered newest first. Pages are never empty.

    Sources are loaded as they are needed, and their pages are those of the chosen direction. Keys in `dead` are hidden
    in all of them.
    """
    hidden: tuple[Boundaries, ...] = (dead,) if dead else ()
    for source in sources:
        source.hidden = hidden
        if source.deleted:
            hidden = (*hidden, source.deleted)
    live = [source for source in sources if source.load(reverse)]
    while len(live) > 1:
        if reverse:
            bound = max([source.keys[0] for source in live])
            slices = [source.take_from(bound) for source in live]
        else:
            bound = min([source.keys[-1] for source in live])
            slices = [source.take_through(bound) for source in live]
        taken = [piece for piece in slices if piece[0]]
        if not taken:  # else an endless loop: the page that sets the bound does not reach it
            raise CorruptionError("a table", 0, "the keys of a data block are not in order; verify() names the file")
        keys, entries = _join(taken)
        yield (keys[::-1], entries[::-1]) if reverse else (keys, entries)
        live = [source for source in live if source.keys or source.load(reverse)]
    if live:
        last = live[0]
        while last.load(reverse):
            keys, entries = last.take_all()
            yield (keys[::-1], entries[::-1]) if reverse else (keys, entries)


def join_heads(heads: Sequence[Page], count: int) -> Page:
    """The first `count` entries (or all, if fewer) of runs ordered oldest first, each given by its first `count`
    entries. A head may lack entries that lie above `count` keys of another."""
    if len(heads) < 2:
        return heads[0] if heads else ([], [])
    if len(heads) == 2 and len(heads[1][0]) <= FEW:
        return _inserted(*heads[0], *heads[1], count)
    merged: dict[bytes, Entry] = {}
    for keys, entries in heads:
        merged.update(zip(keys, entries))  # noqa: B905  `strict` costs more than it is worth for ten pairs
    ordered = sorted(merged)
    del ordered[count:]
    return ordered, list(map(merged.__getitem__, ordered))


def _inserted(
    keys: list[bytes], entries: list[Entry], newer: list[bytes], newer_entries: list[Entry], count: int
) -> Page:
    """A head with a few newer entries put in their places."""
    keys, entries = keys[:], entries[:]
    for key, entry in zip(newer, newer_entries):  # noqa: B905  as above
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            entries[at] = entry
        else:
            keys.insert(at, key)
            entries.insert(at, entry)
    del keys[count:], entries[count:]
    return keys, entries


def _join(slices: list[Page]) -> Page:
    """Join slices ordered newest first into one ascending page."""
    if len(slices) == 1:
        return slices[0]
    merged: dict[bytes, Entry] = {}
    for keys, entries in reversed(slices):
        merged.update(zip(keys, entries, strict=True))
    ordered = sorted(merged)
    if len(ordered) < 2:
        return ordered, list(merged.values())
    return ordered, list(itemgetter(*ordered)(merged))  # 20 ns an entry less than a map over __getitem__
