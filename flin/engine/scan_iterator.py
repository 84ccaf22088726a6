"""The iterators that scans return: the standard library's own, so that no Python frame runs per pair.

They cannot be copied or pickled. A copy would share its place with the original, and skip what the original has taken.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import NoReturn


class Unique:
    """What has a place of its own in the data."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a scan cannot be copied or pickled: begin another one, or make a list of it")


class Paged(Unique, chain):  # type: ignore[type-arg]  # of keys or pairs
    """The items of the pages, one after the other."""

    __slots__ = ()


class Paired(Unique, zip):  # type: ignore[type-arg]  # of keys and values
    """The pairs of one page."""

    __slots__ = ()


class Limited(Unique, islice):  # type: ignore[type-arg]
    """The first items of another iterator, up to a limit."""

    __slots__ = ()
