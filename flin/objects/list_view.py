"""A list as an embedded program reads it: a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from flin.engine.buffers import BytesLike, as_bytes
from flin.objects.list import List
from flin.objects.reading import Reading


class ListView(Sequence[bytes]):
    """Elements in their order. A slice is a plain list; an iteration sees one state. See TypedKeys for absent keys."""

    def __init__(self, reading: Reading, key: BytesLike) -> None:
        self._reading = reading
        self._key = as_bytes("a key", key)
        self._found()

    def _found(self) -> List | None:
        return self._reading.find(self._key, List)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        found = self._found()
        ranks = range(0 if found is None else len(found))[place]
        if found is None:
            return []
        if isinstance(ranks, int):
            return found.at(ranks)
        if not ranks:
            return []
        first, last = min(ranks[0], ranks[-1]), max(ranks[0], ranks[-1])
        elements = found.between(first, last + 1)
        return [elements[rank - first] for rank in ranks] if ranks.step != 1 else elements

    def __len__(self) -> int:
        found = self._found()
        return 0 if found is None else len(found)

    def __iter__(self) -> Iterator[bytes]:
        found = self._found()
        if found is None:
            return iter(())
        return (element for page in found.frozen_pages(0, len(found)) for element in page)

    def __repr__(self) -> str:
        return f"<ListView {self._key!r}>"
