"""Functions that are transactions: `@db.transactional()`, of an engine, of a part of one, and of a typed view."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from operator import index
from random import uniform
from time import sleep
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from flin.errors import ConflictError

FIRST_WAIT_SECONDS: Final = 0.0005
"""The most before the first retry, time for fifty commits; each later retry waits up to twice as long. How long is left
to chance, since two that have met would else meet again."""

MOST_DOUBLINGS: Final = 7
"""Then it is 64 ms: another twenty threads have had their turn at the interpreter."""


class Attempt(Protocol):
    """A transaction of any kind."""

    @property
    def conflict(self) -> str | None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


T = TypeVar("T", bound=Attempt)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Instance = TypeVar("Instance")


class Transactional(Generic[T, Parameters, Result]):
    """A function that runs in a transaction, again if that is in conflict; what `Engine.transactional` makes of it."""

    __name__: str  # the function's

    def __init__(
        self,
        begin: Callable[[], T],
        function: Callable[Concatenate[T, Parameters], Result],
        retries: int,
    ) -> None:
        if any(is_lazy(function) for is_lazy in (iscoroutinefunction, isgeneratorfunction, isasyncgenfunction)):
            raise TypeError(
                "a transaction is over when its function returns, so that may not be a coroutine or generator"
            )
        self._begin = begin
        self._function = function
        self._retries = retries
        update_wrapper(self, function)

    def __call__(self, *arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        for attempt in range(self._retries + 1):
            if attempt:
                sleep(uniform(0, FIRST_WAIT_SECONDS * 2 ** min(attempt - 1, MOST_DOUBLINGS)))
            transaction = self._begin()
            try:
                with transaction:
                    return self._function(transaction, *arguments, **named)
            except ConflictError:
                if transaction.conflict is None or attempt == self._retries:  # the first: it is about a value
                    raise
        raise AssertionError("there is at least one attempt")

    def __get__(self, instance: object, owner: type | None = None) -> Transactional[T, ..., Result]:
        """As a method: `self` comes first, then the transaction."""
        method = self._function
        bound = method.__get__(instance, owner) if hasattr(method, "__get__") else method

        def unbound(transaction: T, instance: object, *arguments: Any, **named: Any) -> Result:
            return method(instance, transaction, *arguments, **named)  # type: ignore[arg-type]

        return Transactional(self._begin, unbound if bound is method else bound, self._retries)


class Decorator(Generic[T]):
    """`Engine.transactional(…)`: makes a function a transaction."""

    def __init__(self, begin: Callable[[], T], retries: int) -> None:
        self._begin = begin
        self._retries = index(retries)
        if self._retries < 0:
            raise ValueError(f"retries must not be negative, but is {retries}")

    @overload
    def __call__(
        self, function: Callable[Concatenate[T, Parameters], Result]
    ) -> Transactional[T, Parameters, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Instance, T, Parameters], Result]
    ) -> Callable[Concatenate[Instance, Parameters], Result]: ...
    def __call__(self, function: Callable[..., Result]) -> Callable[..., Result]:
        return Transactional(self._begin, function, self._retries)
