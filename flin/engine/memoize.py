"""Memoized functions: results kept in a database, by the arguments, until they expire.

    @db.memoize(ttl=300)
    def forecast(city: str, days: int = 3) -> dict[str, float]: ...

A result's key is `memoize`, the function's name, and its arguments with their types: 1, 1.0 and True are three keys,
and so are 0.0 and -0.0; but `f(1)` and `f(x=1)` are one, and all NaNs are. Each part ends by itself (codec.py), so all
results of a function have a prefix of their own.

If several callers want the same result at once, one computes it, and the others wait: threads here, tasks in
aio_memoize.py. An exception is raised to the one who computed; nothing is kept, and another one tries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import wraps
from inspect import isclass, iscoroutinefunction, ismethod, signature
from math import copysign, isnan
from threading import Lock, get_ident
from typing import Any, Final, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, cast, overload

from flin.engine.codec import Codec, key_codec, value_codec
from flin.engine.reentry import holds_lock
from flin.engine.writable_view import Ttl

P = ParamSpec("P")
Result = TypeVar("Result")
R_co = TypeVar("R_co", covariant=True)


class Memoized(Protocol[P, R_co]):
    """A memoized function: called as the function itself, with two calls more."""

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R_co: ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> Callable[..., R_co]: ...
    def __get__(self, instance: object, owner: type, /) -> Any:
        """As a method."""

    def cache_key(self, *arguments: P.args, **named: P.kwargs) -> bytes:
        """The key under which the result for these arguments is kept: `db.delete(f.cache_key(5))` forgets it."""

    def cache_clear(self) -> Any:
        """Forget all results of the function. (Of an `AsyncEngine` it is awaited.)"""


class Memo(Generic[P]):
    """What is known of one memoized function."""

    def __init__(
        self, function: Callable[P, Any], *, name: str | None, value: Any, ttl: Any, ignore: Collection[str]
    ) -> None:
        self._signature = signature(function)
        self._ignored = frozenset(ignore)
        unknown = sorted(self._ignored - self._signature.parameters.keys())
        if unknown:
            raise ValueError(
                f"there is no argument {unknown[0]!r} to ignore: there are {[*self._signature.parameters]}"
            )
        self.prefix: Final = _encoded("memoize") + _encoded(_name_of(function) if name is None else name)
        self.codec: Codec[Any] = value_codec(value)
        self.ttl: Final = ttl
        self.flights: Final = Flights()

    def cache_key(self, *arguments: P.args, **named: P.kwargs) -> bytes:
        bound = self._signature.bind(*arguments, **named)
        bound.apply_defaults()
        ignored = self._ignored
        counted = [(value, name) for name, value in bound.arguments.items() if name not in ignored]
        return self.prefix + b"".join([_encoded(*each) for each in counted])

    def equipped(self, made: Any, db: Any) -> Any:
        """The memoized function with its two calls."""
        made.cache_key = self.cache_key
        made.cache_clear = lambda: db.delete_prefix(self.prefix)
        return made


class Flights:
    """The results that are being computed, each by one caller."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[bytes, tuple[object, Future[bytes | None]]] = {}

    @holds_lock
    def join(self, key: bytes, caller: object) -> Future[bytes | None] | None:
        """What another caller's computation will give (None: nothing, try again). None: this caller must compute, and
        then call `end`."""
        with self._lock:
            found = self._under_way.get(key)
            if found is None:
                self._under_way[key] = caller, Future()
                return None
        if found[0] == caller:
            raise RecursionError("a memoized function has called itself with the same arguments")
        return found[1]

    @holds_lock
    def end(self, key: bytes, data: bytes | None) -> None:
        with self._lock:
            _, future = self._under_way.pop(key)
        future.set_result(data)


class Memoizing:
    """The call `memoize` of an engine and of a part of one."""

    def memoize(
        self,
        *,
        ttl: Ttl | None = None,
        name: str | None = None,
        value: Literal["json"] | type | Codec[Any] = "json",
        ignore: Collection[str] = (),
    ) -> Callable[[Callable[P, Result]], Memoized[P, Result]]:
        """`@db.memoize(ttl=300)`: keep the results of a function, which may be async, for `ttl` seconds (None: for
        good). If several callers want the same one, one computes it and the others wait.

        `name`: of the function, if not its module and name. `value`: as for `typed`; each caller gets what was decoded,
        also the first. `ignore`: names of arguments that do not count, as `{"self"}`. `f.cache_key(…)` is the key of a
        result, `f.cache_clear()` forgets them all."""

        check_ttl(self, ttl)

        def decorate(function: Callable[P, Result]) -> Memoized[P, Result]:
            memo = Memo(function, name=name, value=value, ttl=ttl, ignore=ignore)
            made: Any
            if iscoroutinefunction(function):
                from flin.engine.aio_memoize import memoized_by_tasks  # who memoizes none does not load asyncio

                made = memoized_by_tasks(function, memo, _Awaited(self))
            else:
                made = _memoized(function, memo, self)
            return cast("Memoized[P, Result]", made)

        return decorate


def check_ttl(db: Any, ttl: Ttl | None) -> None:
    """TypeError or ValueError for a wrong one now, and not when the first result is there."""
    if ttl is not None:
        db._expires_at_ms(ttl)


def _name_of(function: Any) -> str:
    name: str = getattr(function, "__qualname__", "<>")
    if name.endswith(">") or (ismethod(function) and not isclass(function.__self__)):
        raise TypeError(f"{function!r} may be one of many of this name: memoize(name=…) tells its results apart")
    return f"{function.__module__}.{name}"


def _memoized(function: Callable[P, Result], memo: Memo[P], db: Any) -> Any:
    def compute(key: bytes, arguments: Any, named: Any) -> bytes:
        data: bytes | None = None
        try:
            data = db.get(key)  # of one who has ended just before
            if data is None:
                computed = memo.codec.encode(function(*arguments, **named))
                db.put(key, computed, ttl=memo.ttl)
                data = computed
            return data
        finally:
            memo.flights.end(key, data)

    @wraps(function)
    def memoized(*arguments: P.args, **named: P.kwargs) -> Result:
        key = memo.cache_key(*arguments, **named)
        data = db.get(key)
        while data is None:
            flight = memo.flights.join(key, get_ident())
            data = compute(key, arguments, named) if flight is None else flight.result()
        result: Result = memo.codec.decode(data)
        return result

    return memo.equipped(memoized, db)


class _Awaited:
    """An engine's calls for a function whose callers are tasks. They do not wait, except for a cold block."""

    def __init__(self, db: Any) -> None:
        self._db = db

    async def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._db.get(key)
        return found

    async def put(self, key: bytes, value: bytes, *, ttl: Any) -> None:
        self._db.put(key, value, ttl=ttl)

    def delete_prefix(self, prefix: bytes) -> None:
        self._db.delete_prefix(prefix)


_TAGS: Final[dict[type, bytes]] = {bool: b"?", int: b"i", float: b"f", str: b"s", bytes: b"b"}
_ENCODE: Final = {kind: key_codec(kind) for kind in (int, float, str, bytes)}


def _encoded(value: Any, name: str = "") -> bytes:
    """An argument: a tag for its type, then itself, so that no two sequences of arguments give the same bytes."""
    kind = type(value)
    if value is None:
        return b"-"
    if kind is bool:
        return b"?1" if value else b"?0"
    if kind is float and (isnan(value) or (value == 0 and copysign(1, value) < 0)):
        return b"n" if value else b"z"  # NaN; -0.0, which functions tell from 0.0
    if kind in _ENCODE:
        data: bytes = cast("Any", _ENCODE[kind]).encode_element(value)
        return _TAGS[kind] + data
    if kind is tuple or kind is list:
        return (b"(" if kind is tuple else b"[") + b"".join([_encoded(each, name) for each in value]) + b")"
    if isinstance(value, Mapping):
        parts = sorted(_encoded(key, name) + _encoded(each, name) for key, each in value.items())
        return b"{" + b"".join(parts) + b")"
    raise TypeError(
        f"the argument {name} of a memoized function must be None, bool, int, float, str, bytes, or a tuple, list or "
        f"dict of these, not {kind.__name__}"
    )
