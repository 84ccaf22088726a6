"""The plainest database that answers like an engine, or a part or typed view of one: a dict, sorted at each call.

`do` makes one call of it and of the real one, and compares the answers, or that both raise the same kind of error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from flin.engine.codec import Codec, key_codec, value_codec
from flin.errors import ConflictError

Entries: TypeAlias = dict[bytes, tuple[bytes, int]]
"""Key → value, and when it expires (ms, 0: never)."""

Call: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any]]
"""Name, arguments, named arguments."""

LEAST, MOST = -(2**63), 2**63 - 1


class Oracle:
    """The API over `entries`, of which it sees those below the prefix; keys and values are of the types."""

    def __init__(
        self, entries: Entries, now_ms: int, prefix: bytes = b"", key: Any = bytes, value: Any = bytes
    ) -> None:
        self.entries = entries
        self.now_ms = now_ms
        self.prefix = prefix
        self.key: Codec[Any] = key_codec(key)
        self.value: Codec[Any] = value_codec(value)

    # What there is.

    def raw(self) -> dict[bytes, bytes]:
        """Keys without the prefix, in order, with their values, as bytes."""
        length = len(self.prefix)
        return {
            key[length:]: value
            for key, (value, at) in sorted(self.entries.items())
            if key.startswith(self.prefix) and (not at or at > self.now_ms)
        }

    def all(self) -> list[tuple[Any, Any]]:
        return [(self.key.decode(key), self.value.decode(value)) for key, value in self.raw().items()]

    def _bound(self, key: Any) -> bytes:
        return getattr(self.key, "encode_bound", self.key.encode)(key)

    def _beginning(self, prefix: Any) -> bytes:
        return self.key.encode_prefix(prefix)  # type: ignore[attr-defined, no-any-return]

    def _expiry(self, ttl: float | None) -> int:
        return 0 if ttl is None else self.now_ms + round(ttl * 1000)

    def _set(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> None:
        self.entries[self.prefix + key] = value, expires_at_ms

    def _kept(self, key: bytes) -> int:
        return self.entries[self.prefix + key][1] if key in self.raw() else 0

    def _drop(self, is_gone: Callable[[bytes], bool]) -> None:
        length = len(self.prefix)
        for key in [*self.entries]:
            if key.startswith(self.prefix) and is_gone(key[length:]):
                del self.entries[key]

    # Reads.

    def get(self, key: Any, default: Any = None) -> Any:
        found = self.raw().get(self.key.encode(key))
        return default if found is None else self.value.decode(found)

    def get_many(self, keys: Iterable[Any]) -> list[Any]:
        return [self.get(key) for key in keys]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return dict(self.scan(start=key.start, stop=key.stop))
        return self.value.decode(self.raw()[self.key.encode(key)])

    def __contains__(self, key: Any) -> bool:
        return self.key.encode(key) in self.raw()

    def ttl(self, key: Any) -> float | None:
        at = self._kept(self.key.encode(key))
        return (at - self.now_ms) / 1000 if at else None

    def scan(
        self,
        *,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        include_start: bool = True,
        include_stop: bool = False,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[Any, Any]]:
        low = None if start is None else self._bound(start)
        high = None if stop is None else self._bound(stop)
        beginning = b"" if prefix is None else self._beginning(prefix)
        found = [
            (self.key.decode(key), self.value.decode(value))
            for key, value in self.raw().items()
            if key.startswith(beginning)
            and (low is None or key > low or (include_start and key == low))
            and (high is None or key < high or (include_stop and key == high))
        ]
        found = found[::-1] if reverse else found
        return found if limit is None else found[:limit]

    def scan_keys(self, **how: Any) -> list[Any]:
        return [key for key, _ in self.scan(**how)]

    def first(self) -> Any:
        return next(iter(self.scan_keys()), None)

    def last(self) -> Any:
        return next(iter(self.scan_keys(reverse=True)), None)

    def next_key(self, key: Any) -> Any:
        return next(iter(self.scan_keys(start=key, include_start=False)), None)

    def prev_key(self, key: Any) -> Any:
        return next(iter(self.scan_keys(stop=key, reverse=True)), None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.scan_keys())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self.scan_keys(reverse=True))

    def __len__(self) -> int:
        return len(self.raw())

    def keys(self) -> list[Any]:
        return self.scan_keys()

    def items(self) -> list[tuple[Any, Any]]:
        return self.all()

    def values(self) -> list[Any]:
        return [value for _, value in self.all()]

    # Writes.

    def put(self, key: Any, value: Any, *, ttl: float | None = None) -> None:
        self._set(self.key.encode(key), self.value.encode(value), self._expiry(ttl))

    __setitem__ = put

    def put_many(self, pairs: Iterable[tuple[Any, Any]], *, ttl: float | None = None) -> None:
        for key, value in pairs:
            self.put(key, value, ttl=ttl)

    def update(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self.put_many(pairs)

    def delete(self, key: Any) -> None:
        self.entries.pop(self.prefix + self.key.encode(key), None)

    def delete_many(self, keys: Iterable[Any]) -> None:
        for key in keys:
            self.delete(key)

    def delete_range(self, start: Any, stop: Any) -> None:
        low, high = self._bound(start), self._bound(stop)
        self._drop(lambda key: low <= key < high)

    def delete_prefix(self, prefix: Any) -> None:
        beginning = self._beginning(prefix)
        self._drop(lambda key: key.startswith(beginning))

    def clear(self) -> None:
        self._drop(lambda key: True)

    def pop(self, key: Any, *default: Any) -> Any:
        if key not in self:
            if default:
                return default[0]
            raise KeyError(key)
        found = self[key]
        self.delete(key)
        return found

    def popitem(self) -> tuple[Any, Any]:
        key = self.first()
        if not self.raw():
            raise KeyError("empty")
        return key, self.pop(key)

    def setdefault(self, key: Any, default: Any) -> Any:
        if key not in self:
            self.put(key, default)
        return self[key]

    def __delitem__(self, key: Any) -> None:
        if isinstance(key, slice):
            low = b"" if key.start is None else self._bound(key.start)
            high = None if key.stop is None else self._bound(key.stop)
            self._drop(lambda raw: low <= raw and (high is None or raw < high))
        else:
            self.pop(key)

    # Read and write as one.

    def incr(self, key: Any, delta: int = 1, *, ttl: float | None = None) -> int:
        raw = self.key.encode(key)
        old = self.raw().get(raw)
        try:
            number = 0 if old is None else int(old)
        except ValueError:
            raise ConflictError("no number") from None
        total = number + delta
        if (old is not None and b"%d" % number != old) or not (LEAST <= number <= MOST and LEAST <= total <= MOST):
            raise ConflictError("no number of 64 bits")
        self._set(raw, b"%d" % total, self._expiry(ttl) if old is None else self._kept(raw))
        return total

    def put_if_absent(self, key: Any, value: Any, *, ttl: float | None = None) -> bool:
        return self.compare_and_set(key, None, value, ttl=ttl)

    def compare_and_set(self, key: Any, expected: Any, new: Any, *, ttl: float | None = None) -> bool:
        held = self.raw().get(self.key.encode(key))
        if held != (None if expected is None else self.value.encode(expected)):
            return False
        self.delete(key)
        if new is not None:
            self.put(key, new, ttl=ttl)
        return True

    def expire(self, key: Any, ttl: float) -> bool:
        raw = self.key.encode(key)
        if raw in self.raw():
            self._set(raw, self.raw()[raw], self._expiry(ttl))
            return True
        return False

    def persist(self, key: Any) -> bool:
        raw = self.key.encode(key)
        if not self._kept(raw):
            return False
        self._set(raw, self.raw()[raw])
        return True


def do(real: Any, oracle: Oracle, call: Call) -> None:
    """Make the call of both, and compare. AssertionError."""
    name, arguments, named = call
    expected, answer = [_answer(each, name, arguments, named) for each in (oracle, real)]
    assert _same(answer, expected), f"{call} of {real!r}: {answer!r}, right is {expected!r}"


def plain(found: Any) -> Any:
    """An answer as something that can be compared: what is read lazily is read."""
    if hasattr(found, "items") and not isinstance(found, dict):
        return dict(found.items())
    is_whole = isinstance(found, str | bytes | int | float | tuple | list | dict | None)
    return found if is_whole else list(found)


def _answer(target: Any, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return plain(getattr(target, name)(*arguments, **named))
    except (KeyError, ConflictError) as error:
        return KeyError if isinstance(error, KeyError) else ConflictError


def _same(answer: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(answer, float):
        return abs(answer - expected) < 1e-6
    return type(answer) is type(expected) and bool(answer == expected)
