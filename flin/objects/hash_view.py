"""A hash as an embedded program reads it: a mapping."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import overload

from flin.engine.buffers import BytesLike, Default, as_bytes
from flin.objects.hash import Hash
from flin.objects.reading import Reading


class HashView(Mapping[bytes, bytes]):
    """Fields and values, in no promised order. An iteration sees one state. See TypedKeys for absent keys."""

    def __init__(self, reading: Reading, key: BytesLike) -> None:
        self._reading = reading
        self._key = as_bytes("a key", key)
        self._found()

    def _found(self) -> Hash | None:
        return self._reading.find(self._key, Hash)

    @overload
    def get(self, field: BytesLike) -> bytes | None: ...
    @overload
    def get(self, field: BytesLike, default: Default) -> bytes | Default: ...
    def get(self, field: BytesLike, default: object = None) -> object:
        found = self._found()
        value = None if found is None else found.get(as_bytes("a field", field))
        return default if value is None else value

    def __getitem__(self, field: BytesLike) -> bytes:
        value = self.get(field)
        if value is None:
            raise KeyError(field)
        return value

    def __contains__(self, field: object) -> bool:
        return self.get(as_bytes("a field", field)) is not None

    def __len__(self) -> int:
        found = self._found()
        return 0 if found is None else len(found)

    def __iter__(self) -> Iterator[bytes]:
        return (field for field, _ in self._pairs())

    def items(self) -> ItemsView[bytes, bytes]:
        return _Items(self)

    def values(self) -> ValuesView[bytes]:
        return _Values(self)

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        found = self._found()
        return iter(()) if found is None else (pair for page in found.pages() for pair in page.items())

    def __repr__(self) -> str:
        return f"<HashView {self._key!r}>"


class _Items(ItemsView[bytes, bytes]):
    """Pairs by one scan, not by a look-up for each field."""

    _mapping: HashView

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping._pairs()


class _Values(ValuesView[bytes]):
    _mapping: HashView

    def __iter__(self) -> Iterator[bytes]:
        return (value for _, value in self._mapping._pairs())
