"""The views that `keys()`, `items()` and `values()` return: like those of a dict, in key order, each read by one scan.

They are sets like the standard library's: `db.keys() & wanted`, `db.items() - other.items()` make plain sets.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Protocol


class Scanned(Protocol):
    """The calls of a mapping in key order (view.View) that its views need."""

    def scan(self, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]: ...

    def __reversed__(self) -> Iterator[bytes]: ...


class Keys(KeysView[bytes]):
    _mapping: Scanned

    def __reversed__(self) -> Iterator[bytes]:
        return reversed(self._mapping)


class Items(ItemsView[bytes, bytes]):
    """Pairs by one scan, not by a lookup for each key."""

    _mapping: Scanned

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.scan()

    def __reversed__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.scan(reverse=True)


class Values(ValuesView[bytes]):
    _mapping: Scanned

    def __iter__(self) -> Iterator[bytes]:
        return (value for _, value in self._mapping.scan())

    def __reversed__(self) -> Iterator[bytes]:
        return (value for _, value in self._mapping.scan(reverse=True))
