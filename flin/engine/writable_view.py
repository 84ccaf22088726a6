"""The write calls of a mapping, which an engine, a write batch and a transaction share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from math import ceil
from typing import Any, Final, Self, TypeAlias, TypeVar, overload

from flin.engine.buffers import BytesLike, as_bytes
from flin.engine.entry import TOMBSTONE, Entry, Live, is_alive
from flin.engine.pairs import Pairs
from flin.engine.view import View, slice_bounds
from flin.errors import ConflictError

NO_DEFAULT: Final = object()

MAX_EXPIRY_MS: Final = 2**63 - 1
"""As in Redis; the files have 64 bits for expiries."""

Ttl: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""

_MILLISECOND: Final = timedelta(milliseconds=1)

Default = TypeVar("Default")


class WritableView(View, MutableMapping[bytes, bytes]):
    """`db[key] = value`, `del db[key]`, `db |= other`.

    There is no `db | other`, which would read everything into memory. If you want that, write `dict(db) | other`.
    """

    @abstractmethod
    def put(self, key: BytesLike, value: BytesLike) -> None: ...

    @abstractmethod
    def put_many(self, pairs: Pairs) -> None: ...

    @abstractmethod
    def _update(self, key: BytesLike, decide: Callable[[Live | None], Entry | None]) -> None:
        """Read a key, decide on its new entry and write that. `decide` returns None to change nothing."""

    @overload
    def pop(self, key: BytesLike) -> bytes: ...
    @overload
    def pop(self, key: BytesLike, default: Default) -> bytes | Default: ...
    def pop(self, key: BytesLike, default: object = NO_DEFAULT) -> object:
        """Delete the key and return its value. If it is absent: the default, or KeyError if there is no default."""
        now_ms = self._now_ms()
        taken: bytes | None = None

        def take(entry: Live | None) -> Entry | None:
            nonlocal taken
            taken = self._value_at(entry, now_ms)
            return None if taken is None else TOMBSTONE

        self._update(key, take)
        if taken is not None:
            return taken
        if default is NO_DEFAULT:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[bytes, bytes]:
        """Delete the smallest key and return it with its value. KeyError if there is none."""
        while (key := self.first()) is not None:
            value = self.pop(key, None)
            if value is not None:  # else another thread took it in between
                return key, value
        raise KeyError("the database is empty")

    def setdefault(self, key: BytesLike, default: BytesLike = b"") -> bytes:
        """Return the value of the key. If it is absent, set it to the default first. ConflictError if it holds a
        collection."""
        now_ms = self._now_ms()
        result = wanted = as_bytes("a value", default)

        def set_if_absent(entry: Live | None) -> Entry | None:
            nonlocal result
            value = self._string_at(entry, now_ms)
            result = wanted if value is None else value
            return wanted if value is None else None

        self._update(key, set_if_absent)
        return result

    def __setitem__(self, key: BytesLike, value: BytesLike) -> None:
        self.put(key, value)

    @abstractmethod
    def _delete_bounds(self, start: bytes, stop: bytes) -> None:
        """Delete what is between two stored keys."""

    def __delitem__(self, key: BytesLike | slice) -> None:
        """Delete the key, or raise KeyError. `del db[start:stop]` deletes the keys from start (inclusive) to stop
        (exclusive), one small write, however many there are."""
        try:
            self.pop(key)  # type: ignore[arg-type]  # of a slice it says what follows
        except TypeError:
            if not isinstance(key, slice):
                raise
            self._delete_bounds(*slice_bounds(key))

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Do as `put_many` does. A keyword cannot name a key, since keys are bytes."""
        if named:
            raise TypeError(f"a key must be bytes, not the name {next(iter(named))}: pass a mapping or pairs")
        self.put_many(other)

    def __ior__(self, other: Pairs) -> Self:
        """`db |= other` does the same as `db.update(other)`."""
        self.put_many(other)
        return self

    def _string_at(self, entry: Live | None, now_ms: int) -> bytes | None:
        """`_value_at` for a call that may replace what it finds. ConflictError for a collection."""
        value = self._value_at(entry, now_ms)
        if value is None and is_alive(entry, now_ms):
            raise ConflictError("the key holds a collection")
        return value

    def _expires_at_ms(self, ttl: Ttl) -> int:
        """The expiry for a ttl, rounded up to the millisecond. ValueError if it is not above 0."""
        try:
            ttl_ms = ceil(ttl * 1000)  # type: ignore[arg-type]  # of a timedelta it fails, and numbers pay nothing
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(ttl, timedelta):
                ttl_ms = -(-ttl // _MILLISECOND)
            elif isinstance(error, TypeError):
                raise TypeError(f"ttl must be a number of seconds or a timedelta, not {ttl!r}") from None
            else:  # not a number, or infinite
                ttl_ms = 0
        if ttl_ms <= 0:
            raise ValueError(f"ttl must be a number of seconds above 0, not {ttl!r}")
        expires_at_ms = self._now_ms() + ttl_ms or 1  # 0 would mean: none
        if expires_at_ms > MAX_EXPIRY_MS:
            raise ValueError(f"ttl {ttl!r} is too far in the future")
        return expires_at_ms
