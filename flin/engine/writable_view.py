"""The write calls of a mapping, which an engine and a write batch share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import MutableMapping
from math import ceil
from typing import Any, Final, Self, TypeVar, overload

from flin.engine.buffers import BytesLike
from flin.engine.pairs import Pairs
from flin.engine.view import View

NO_DEFAULT: Final = object()

MAX_EXPIRY_MS: Final = 2**63 - 1
"""As in Redis; the files have 64 bits for expiries."""

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
        """Do as `put_many` does. A keyword cannot name a key, since keys are bytes."""
        if named:
            raise TypeError(f"a key must be bytes, not the name {next(iter(named))}: pass a mapping or pairs")
        self.put_many(other)

    def __ior__(self, other: Pairs) -> Self:
        """`db |= other` does the same as `db.update(other)`."""
        self.put_many(other)
        return self

    def _expires_at_ms(self, ttl: float) -> int:
        """The expiry for a ttl in seconds, rounded up to the millisecond. ValueError if it is not above 0."""
        try:
            ttl_ms = ceil(ttl * 1000)
        except TypeError:
            raise TypeError(f"ttl must be a number of seconds, not {ttl!r}") from None
        except (ValueError, OverflowError):  # not a number, or infinite
            ttl_ms = 0
        if ttl_ms <= 0:
            raise ValueError(f"ttl must be a number of seconds above 0, not {ttl!r}")
        expires_at_ms = self._now_ms() + ttl_ms or 1  # 0 would mean: none
        if expires_at_ms > MAX_EXPIRY_MS:
            raise ValueError(f"ttl {ttl!r} is too far in the future")
        return expires_at_ms
