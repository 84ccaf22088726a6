"""A database with keys and values of Python's types instead of bytes: `db.typed(key=str, value="json")`.

A typed view encodes what it is given and decodes what it returns (codec.py); all else is done by what is below: an
engine, a snapshot, a batch, or a part of one. It keeps the order of keys, so scans have typed bounds.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeVar, Unpack, cast, overload

from flin.engine.codec import INT_VALUE, Codec, key_codec, value_codec
from flin.engine.mapping_views import Items, Keys, Values
from flin.engine.put_options import PutOptions, SyncOption
from flin.engine.transactional import Decorator
from flin.engine.writable_view import Ttl

K = TypeVar("K")
V = TypeVar("V")
Default = TypeVar("Default")

_NO_DEFAULT = object()


class TypedView(Mapping[K, V]):
    """All read calls, of typed keys and values: a mapping in the order of its keys.

    A key or value that is not of its type raises TypeError. One that is, but cannot be encoded, raises a ValueError;
    bytes that are none of the codec's raise CodecError, which is one."""

    def __init__(self, below: Any, key: Codec[K], value: Codec[V]) -> None:
        """`below`: a view of bytes, whose calls this one has."""
        self._below = below
        self._codecs = key, value
        self._encode_key, self._decode_key = key.encode, key.decode
        self._encode, self._decode = value.encode, value.decode

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | Default) -> V | Default: ...
    def get(self, key: K, /, default: object = None) -> object:
        """The value of the key, or the default."""
        data = self._below.get(self._encode_key(key))
        return default if data is None else self._decode(data)

    def get_many(self, keys: Iterable[K]) -> list[V | None]:
        """The values of the keys, in the order of the keys; None for each absent key."""
        found = self._below.get_many([*map(self._encode_key, keys)])
        return [None if data is None else self._decode(data) for data in found]

    @overload
    def __getitem__(self, key: K) -> V: ...
    @overload
    def __getitem__(self, key: slice) -> TypedView[K, V]: ...
    def __getitem__(self, key: K | slice) -> V | TypedView[K, V]:
        if isinstance(key, slice):
            return TypedView(self._below[self._bounds(key)], *self._codecs)
        data = self._below.get(self._encode_key(key))
        if data is None:
            raise KeyError(key)
        return self._decode(data)

    def __contains__(self, key: object) -> bool:
        return self._encode_key(cast("K", key)) in self._below

    def ttl(self, key: K) -> float | None:
        """The seconds until the key expires; None if it does not expire, or is absent."""
        seconds: float | None = self._below.ttl(self._encode_key(key))
        return seconds

    def scan(
        self,
        *,
        prefix: Any = None,
        start: K | None = None,
        stop: K | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[K, V]]:
        """(key, value) pairs in key order, as `scan` of an engine. `prefix`: the beginning of a str or of bytes, or the
        first elements of a tuple. Bounds of tuples may be first elements, too."""
        pairs = self._below.scan(
            **self._encoded(prefix, start, stop),
            include_start=include_start,
            include_stop=include_stop,
            reverse=reverse,
            limit=limit,
        )
        decode_key, decode = self._decode_key, self._decode
        return ((decode_key(key), decode(value)) for key, value in pairs)

    def scan_keys(
        self,
        *,
        prefix: Any = None,
        start: K | None = None,
        stop: K | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[K]:
        """The keys of a scan with these arguments, without values."""
        keys = self._below.scan_keys(
            **self._encoded(prefix, start, stop),
            include_start=include_start,
            include_stop=include_stop,
            reverse=reverse,
            limit=limit,
        )
        return map(self._decode_key, keys)

    def first(self) -> K | None:
        """The smallest key, or None if there is none."""
        return next(self.scan_keys(limit=1), None)

    def last(self) -> K | None:
        """The largest key, or None if there is none."""
        return next(self.scan_keys(reverse=True, limit=1), None)

    def next_key(self, key: K) -> K | None:
        """The smallest key above this one; this key need not exist."""
        return next(self.scan_keys(start=key, include_start=False, limit=1), None)

    def prev_key(self, key: K) -> K | None:
        """The largest key below this one; this key need not exist."""
        return next(self.scan_keys(stop=key, reverse=True, limit=1), None)

    def __iter__(self) -> Iterator[K]:
        return self.scan_keys()

    def __reversed__(self) -> Iterator[K]:
        return self.scan_keys(reverse=True)

    def __len__(self) -> int:
        return len(self._below)

    def __bool__(self) -> bool:
        return bool(self._below)

    def keys(self) -> KeysView[K]:
        return cast("KeysView[K]", Keys(cast("Any", self)))

    def items(self) -> ItemsView[K, V]:
        return cast("ItemsView[K, V]", Items(cast("Any", self)))

    def values(self) -> ValuesView[V]:
        return cast("ValuesView[V]", Values(cast("Any", self)))

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled: one process has the database open")

    def _encoded(self, prefix: Any, start: Any, stop: Any) -> dict[str, bytes | None]:
        return {
            "prefix": None if prefix is None else self._encode_prefix(prefix),
            "start": None if start is None else self._encode_bound(start),
            "stop": None if stop is None else self._encode_bound(stop),
        }

    def _encode_bound(self, key: Any) -> bytes:
        encode = getattr(self._codecs[0], "encode_bound", self._encode_key)
        data: bytes = encode(key)
        return data

    def _encode_prefix(self, prefix: Any) -> bytes:
        encode = getattr(self._codecs[0], "encode_prefix", None)
        if encode is None:
            raise TypeError("only str, bytes and tuples have prefixes: use start and stop")
        data: bytes = encode(prefix)
        return data

    def _bounds(self, wanted: slice) -> slice:
        """A slice of typed keys as one of bytes."""
        start, stop = [None if key is None else self._encode_bound(key) for key in (wanted.start, wanted.stop)]
        return slice(start, stop, wanted.step)


class TypedWrites(TypedView[K, V], MutableMapping[K, V]):
    """And the write calls that an engine and a batch have."""

    def put(self, key: K, value: V, **options: Unpack[PutOptions]) -> None:
        """Set the key."""
        self._below.put(self._encode_key(key), self._encode(value), **options)

    def put_many(self, pairs: Mapping[K, V] | Iterable[tuple[K, V]], **options: Unpack[PutOptions]) -> None:
        """Set all the keys in one atomic commit."""
        listed = pairs.items() if isinstance(pairs, Mapping) else pairs
        self._below.put_many([(self._encode_key(key), self._encode(value)) for key, value in listed], **options)

    def delete(self, key: K, **options: Unpack[SyncOption]) -> None:
        """Delete the key, if it is there."""
        self._below.delete(self._encode_key(key), **options)

    def delete_many(self, keys: Iterable[K], **options: Unpack[SyncOption]) -> None:
        """Delete those of the keys that are there, in one atomic commit."""
        self._below.delete_many([*map(self._encode_key, keys)], **options)

    def delete_range(self, start: K, stop: K, **options: Unpack[SyncOption]) -> None:
        """Delete the keys from start (inclusive) to stop (exclusive)."""
        self._below.delete_range(self._encode_bound(start), self._encode_bound(stop), **options)

    def delete_prefix(self, prefix: Any, **options: Unpack[SyncOption]) -> None:
        """Delete the keys that begin with the prefix, as `scan` takes it."""
        self._below.delete_prefix(self._encode_prefix(prefix), **options)

    def clear(self) -> None:
        """Delete every key."""
        self._below.clear()

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, /, default: V | Default) -> V | Default: ...
    def pop(self, key: K, /, default: object = _NO_DEFAULT) -> object:
        """Delete the key and return its value. If it is absent: the default, or KeyError if there is no default."""
        data = self._below.pop(self._encode_key(key), None)
        if data is not None:
            return self._decode(data)
        if default is _NO_DEFAULT:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Delete the smallest key and return it with its value. KeyError if there is none."""
        key, data = self._below.popitem()
        return self._decode_key(key), self._decode(data)

    def setdefault(self, key: K, default: V) -> V:
        """Return the value of the key. If it is absent, set it to the default first."""
        return self._decode(self._below.setdefault(self._encode_key(key), self._encode(default)))

    def __setitem__(self, key: K, value: V) -> None:
        self.put(key, value)

    def __delitem__(self, key: K | slice) -> None:
        if isinstance(key, slice):
            del self._below[self._bounds(key)]
        else:
            self.pop(key)

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Do as `put_many` does; names are keys, as those of a dict."""
        self.put_many({**dict(other), **named} if named else other)

    def __ior__(self, other: Mapping[K, V] | Iterable[tuple[K, V]]) -> Self:
        self.put_many(other)
        return self


class _Closable:
    """What is used by `with` ends what is below."""

    _below: Any

    def __enter__(self) -> Self:
        self._below.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._below.__exit__(kind, error, trace)


class TypedSnapshot(_Closable, TypedView[K, V]):
    """A snapshot of typed keys and values."""

    def close(self) -> None:
        """Close the snapshot itself."""
        self._below.close()


class TypedBatch(_Closable, TypedWrites[K, V]):
    """A batch of typed keys and values: its commit is that of the batch below."""

    @property
    def writes(self) -> int:
        """The number of writes of the whole batch."""
        count: int = self._below.writes
        return count

    def commit(self) -> None:
        self._below.commit()

    def discard(self) -> None:
        self._below.discard()


class TypedUpdates(TypedWrites[K, V]):
    """And the calls that read a key and write it as one, which an engine and a transaction have."""

    def incr(self, key: K, delta: int = 1, *, ttl: Ttl | None = None) -> int:
        """Add to the number that the key holds, and return the sum. For `value=int` alone."""
        if self._codecs[1] is not cast("Any", INT_VALUE):
            raise TypeError("incr needs a view with value=int")
        total: int = self._below.incr(self._encode_key(key), delta, ttl=ttl)
        return total

    def put_if_absent(self, key: K, value: V, *, ttl: Ttl | None = None) -> bool:
        """Set the key if it is absent. True if it was set."""
        return self.compare_and_set(key, None, value, ttl=ttl)

    def compare_and_set(self, key: K, expected: V | None, new: V | None, *, ttl: Ttl | None = None) -> bool:
        """If the key holds `expected` (None: if it is absent), set it to `new` (None: delete it). True if it did. It
        compares the bytes of the values."""
        held, then = [None if value is None else self._encode(value) for value in (expected, new)]
        done: bool = self._below.compare_and_set(self._encode_key(key), held, then, ttl=ttl)
        return done

    def expire(self, key: K, ttl: Ttl) -> bool:
        """Let the key expire in `ttl`. False if it is absent."""
        done: bool = self._below.expire(self._encode_key(key), ttl)
        return done

    def persist(self, key: K) -> bool:
        """Remove the expiry of the key. False if it is absent or has none."""
        done: bool = self._below.persist(self._encode_key(key))
        return done


class TypedTransaction(TypedBatch[K, V], TypedUpdates[K, V]):
    """A transaction of typed keys and values: its commit is that of the transaction below."""

    @property
    def conflict(self) -> str | None:
        """The first conflict that was found; then it cannot commit any more."""
        found: str | None = self._below.conflict
        return found


class TypedEngine(TypedUpdates[K, V]):
    """An engine's calls with typed keys and values. It has no end of its own: it is closed with the engine."""

    def transaction(self, *, sync: bool | None = None) -> TypedTransaction[K, V]:
        """`with view.transaction() as t`: reads and writes as one, as `Engine.transaction`."""
        return TypedTransaction(self._below.transaction(sync=sync), *self._codecs)

    def transactional(self, *, retries: int = 10, sync: bool | None = None) -> Decorator[TypedTransaction[K, V]]:
        """`@view.transactional(retries=10)`: as `Engine.transactional`; the function gets a typed transaction."""
        return Decorator(lambda: self.transaction(sync=sync), retries)

    def write_batch(self, *, sync: bool | None = None) -> TypedBatch[K, V]:
        """`with view.write_batch() as batch`: its writes become one atomic commit."""
        return TypedBatch(self._below.write_batch(sync=sync), *self._codecs)

    def snapshot(self) -> TypedSnapshot[K, V]:
        """`with view.snapshot() as then`: all read calls, on the data as it is now."""
        return TypedSnapshot(self._below.snapshot(), *self._codecs)


# The call that makes them, for each kind of what may be below.


class TypedSnapshots:
    """The call `typed` of snapshots."""

    @overload
    def typed(self, *, key: type[K] | Codec[K], value: type[V] | Codec[V]) -> TypedSnapshot[K, V]: ...
    @overload
    def typed(self, *, key: type[K] | Codec[K], value: Literal["json"]) -> TypedSnapshot[K, Any]: ...
    def typed(self, *, key: Any, value: Any) -> Any:
        """All read calls with keys and values of these types: see `Engine.typed`."""
        return TypedSnapshot(self, key_codec(key), value_codec(value))


class TypedBatches:
    """The call `typed` of batches."""

    @overload
    def typed(self, *, key: type[K] | Codec[K], value: type[V] | Codec[V]) -> TypedBatch[K, V]: ...
    @overload
    def typed(self, *, key: type[K] | Codec[K], value: Literal["json"]) -> TypedBatch[K, Any]: ...
    def typed(self, *, key: Any, value: Any) -> Any:
        """The batch with keys and values of these types: see `Engine.typed`."""
        return TypedBatch(self, key_codec(key), value_codec(value))


class TypedTransactions(TypedBatches):
    """The call `typed` of transactions."""

    @overload
    def typed(self, *, key: type[K] | Codec[K], value: type[V] | Codec[V]) -> TypedTransaction[K, V]: ...
    @overload
    def typed(self, *, key: type[K] | Codec[K], value: Literal["json"]) -> TypedTransaction[K, Any]: ...
    def typed(self, *, key: Any, value: Any) -> Any:
        """The transaction with keys and values of these types: see `Engine.typed`."""
        return TypedTransaction(self, key_codec(key), value_codec(value))


class TypedEngines:
    """The call `typed` of engines."""

    @overload
    def typed(self, *, key: type[K] | Codec[K], value: type[V] | Codec[V]) -> TypedEngine[K, V]: ...
    @overload
    def typed(self, *, key: type[K] | Codec[K], value: Literal["json"]) -> TypedEngine[K, Any]: ...
    def typed(self, *, key: Any, value: Any) -> Any:
        """The database with keys and values of these types: `ages = db.typed(key=str, value=int)`, then `ages["Ada"] =
        36`. Keys: bytes, str, int, float, datetime, UUID, or tuples of these (`key=tuple[str, int]`), in their order.
        Values: bytes, str, int, float, or "json". Or an object with `encode` and `decode`."""
        return TypedEngine(self, key_codec(key), value_codec(value))
