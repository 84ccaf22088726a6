"""The write calls of a mapping, which an engine and a write batch share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import MutableMapping
from typing import Any, Final, Self, TypeVar, overload

from flin.engine.pairs import Pairs
from flin.engine.view import BytesLike, View

NO_DEFAULT: Final = object()
Default = TypeVar("Default")


class WritableView(View, MutableMapping[bytes, bytes]):
    """`db[key] = value`, `del db[key]`, `db |= other`.

    There is no `db | other`, which would read everything into memory. If you want that, write `dict(db) | other`.
    """

    @abstractmethod
    def put(self, key: BytesLike, value: BytesLike) -> None: ...

    @abstractmethod
    def put_many(self, pairs: Pairs) -> None: ...

    @overload
    @abstractmethod
    def pop(self, key: BytesLike) -> bytes: ...
    @overload
    @abstractmethod
    def pop(self, key: BytesLike, default: Default) -> bytes | Default: ...
    @abstractmethod
    def pop(self, key: BytesLike, default: object = NO_DEFAULT) -> object:
        """Delete the key and return its value. If it is absent: the default, or KeyError if there is no default."""

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self.put(key, value)

    def __delitem__(self, key: BytesLike) -> None:
        self.pop(key)

    def update(self, other: Any = (), /, **named: Any) -> None:
        """The same as `put_many`. A keyword cannot name a key, since keys are bytes."""
        if named:
            raise TypeError(f"a key must be bytes, not the name {next(iter(named))}: pass a mapping or pairs")
        self.put_many(other)

    def __ior__(self, other: Pairs) -> Self:
        """`db |= other` does the same as `db.update(other)`."""
        self.put_many(other)
        return self
