"""The head of a scan: the first entries of the runs and memtables, from each no more than the scan is likely to need.

Theory. Of the first fifty entries of eight runs, each run has about six. If each decoded fifty, that would be eight
times too many. So each is first asked for its share by its size, and some more; what they give is complete up to the
smallest of their last keys. While that is too little, the one that ends there is asked for more.

Entries hidden by a newer run's range deletes are left out before they count, and a hidden stretch is leapt over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from flin.engine.boundaries import Boundaries, cut_page, skip
from flin.engine.entry import Entry, Page

_MARGIN: Final = 4
"""Entries in addition to 1.5 times the share: with both, four of five scans are done after one round."""

_MIN_COUNT: Final = 24
"""Below this count, or with two runs, the shares would save less than the check costs that they suffice."""


_ROUNDS: Final = 5
"""Rounds of asking for visible entries, each for twice as many, from 16 on: 500 before the scan takes pages."""

_Head = TypeVar("_Head", Page, Page | None)


class TooMuchHidden(Exception):  # not an error: only the pages tell how the scan begins
    """Raised by `visible_head`."""


def visible_head(
    ask: Callable[[bytes, bytes, int], _Head], hidden: Sequence[Boundaries], start: bytes, stop: bytes, count: int
) -> _Head:
    """The answer of `ask` without hidden entries; None if `ask` answers None. Raises TooMuchHidden."""
    keys: list[bytes] = []
    entries: list[Entry] = []
    wanted = count
    for _ in range(_ROUNDS):
        start = skip(hidden, start)
        if start >= stop:
            return keys, entries
        page = ask(start, stop, wanted)
        if page is None:
            return page
        kept: Page = page
        for boundaries in hidden:
            kept = cut_page(kept, boundaries)
        missing = count - len(keys)
        keys += kept[0][:missing]
        entries += kept[1][:missing]
        if len(keys) == count or len(page[0]) < wanted:
            return keys, entries
        start = page[0][-1] + b"\0"  # the next possible key
        wanted = max(2 * wanted, 16)
    raise TooMuchHidden


class HeadOf(NamedTuple):
    """A run or a frozen memtable: a function that gives the first entries of [start, stop), up to a count; its size."""

    ask: Callable[[bytes, bytes, int], Page]
    entry_count: int


def head_pages(sources: Sequence[HeadOf], start: bytes, stop: bytes, count: int) -> list[Page]:
    """The first entries of each source, oldest first, as `join_heads` needs them for `count`."""
    if len(sources) < 3 or count < _MIN_COUNT:
        return _in_turn(sources, start, stop, count)
    total = sum(source.entry_count for source in sources) or 1
    shares = [min(count, 3 * count * source.entry_count // (2 * total) + _MARGIN) for source in sources]
    pages = [source.ask(start, stop, share) for source, share in zip(sources, shares, strict=True)]
    going = [len(page[0]) == share for page, share in zip(pages, shares, strict=True)]
    more = max(_MARGIN, count // len(sources))
    while any(going):
        bound, slowest = min((page[0][-1], index) for index, page in enumerate(pages) if going[index])
        complete = [page[0][: bisect_right(page[0], bound)] for page in pages]
        if sum(map(len, complete)) >= count and len(set().union(*complete)) >= count:
            for (keys, entries), kept in zip(pages, complete, strict=True):
                del keys[len(kept) :], entries[len(kept) :]
            break
        keys, entries = pages[slowest]
        more_keys, more_entries = sources[slowest].ask(bound + b"\0", stop, more)
        keys += more_keys
        entries += more_entries
        going[slowest] = len(more_keys) == more
    return [page for page in pages if page[0]]


def _in_turn(sources: Sequence[HeadOf], start: bytes, stop: bytes, count: int) -> list[Page]:
    """Ask the oldest first: it is the largest, and entries above its `count` keys need not be read from the others."""
    pages = []
    for ask, _ in sources:
        page = ask(start, stop, count)
        if page[0]:
            pages.append(page)
            if len(page[0]) == count:
                stop = page[0][-1] + b"\0"  # the next possible key
    return pages
