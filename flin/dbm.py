"""The interface of the standard library's `dbm` modules, over a database of Flin: `flin.dbm.open(file, flag)`.

Keys and values may be str, which are stored as UTF-8; bytes come back. What differs from the standard modules: `file`
is a directory, a write is safe if the process is killed, keys are in order, and the errors have a cause that says more.
A Shelf of the standard library takes it, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, MutableMapping
from functools import wraps
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar, cast

import flin.engine
from flin.errors import ClosedError, FlinError

__all__ = ["error", "open"]

Flag: TypeAlias = Literal["r", "w", "c", "n"]
Key: TypeAlias = str | bytes
Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

Call = TypeVar("Call", bound=Callable[..., Any])

_FLAGS: Final = ("r", "w", "c", "n")


class error(OSError):  # noqa: N801  # the name that every dbm module has
    """What any call may raise, as `dbm.error` promises; its `__cause__` is the engine's own error."""


def _with_dbm_errors(call: Call) -> Call:
    """The call, raising `error` for the engine's errors."""

    @wraps(call)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except ClosedError as closed:
            raise error("DBM object has already been closed") from closed
        except FlinError as failed:
            raise error(str(failed)) from failed

    return cast("Call", told)


class Database(MutableMapping[bytes, bytes]):
    """An open database, as `dbm.open` returns one. Close it, or use it by `with`."""

    def __init__(self, engine: flin.engine.Engine, *, is_read_only: bool) -> None:
        self._engine = engine
        self._is_read_only = is_read_only

    @_with_dbm_errors
    def __getitem__(self, key: Key) -> bytes:
        return self._engine[_encoded(key)]

    @_with_dbm_errors
    def __setitem__(self, key: Key, value: Key) -> None:
        self._writable()[_encoded(key)] = _encoded(value)

    @_with_dbm_errors
    def __delitem__(self, key: Key) -> None:
        del self._writable()[_encoded(key)]

    @_with_dbm_errors
    def __contains__(self, key: object) -> bool:
        return _encoded(key) in self._engine

    @_with_dbm_errors
    def get(self, key: Key, default: Any = None) -> Any:
        return self._engine.get(_encoded(key), default)

    @_with_dbm_errors
    def setdefault(self, key: Key, default: Key = b"") -> bytes:
        return self._writable().setdefault(_encoded(key), _encoded(default))

    @_with_dbm_errors
    def pop(self, key: Key, *default: Any) -> Any:
        return self._writable().pop(_encoded(key), *default)

    @_with_dbm_errors
    def __len__(self) -> int:
        self._engine._check_open()
        return len(self._engine)

    @_with_dbm_errors
    def __iter__(self) -> Iterator[bytes]:
        return iter(self._engine)

    @_with_dbm_errors
    def keys(self) -> list[bytes]:  # type: ignore[override]  # a list, as of every dbm module
        return list(self._engine)

    @_with_dbm_errors
    def items(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        return list(self._engine.items())

    @_with_dbm_errors
    def values(self) -> list[bytes]:  # type: ignore[override]
        return list(self._engine.values())

    iterkeys = __iter__

    @_with_dbm_errors
    def clear(self) -> None:
        self._writable().clear()

    @_with_dbm_errors
    def sync(self) -> None:
        """Make everything written so far safe from a power cut, too."""
        self._engine.sync()

    @_with_dbm_errors
    def reorganize(self) -> None:
        """Make the files as small as they can be."""
        self._writable().compact()

    @_with_dbm_errors
    def close(self) -> None:
        """Close it. A second call does nothing."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _writable(self) -> flin.engine.Engine:
        if self._is_read_only:
            raise error("The database is opened for reading only")
        return self._engine


def open(file: Path, flag: Flag = "r", mode: int = 0o666) -> Database:
    """Open the database in the directory `file`: "r" to read one that is there, "w" to write, too, "c" to create it if
    it is not there, "n" to begin with an empty one, whatever is there. `mode`: the permissions of a new directory;
    who may read it may also enter it.

    One process at a time writes; for another one `error` says which. With "r" any number read beside it what was there
    when they opened it."""
    if flag not in _FLAGS:
        raise ValueError(f"flag must be one of {', '.join(_FLAGS)}, not {flag!r}")
    try:
        if flag in ("c", "n"):
            _make_directory(file, mode, replaces_a_file=flag == "n")
        engine = flin.engine.open(file, create=flag in ("c", "n"), read_only=flag == "r")
    except FlinError as failed:
        raise error(str(failed)) from failed
    try:
        if flag == "n":
            engine.clear()
    except BaseException:
        engine.close()
        raise
    return Database(engine, is_read_only=flag == "r")


def _make_directory(file: Path, mode: int, *, replaces_a_file: bool) -> None:
    if replaces_a_file and os.path.isfile(file):
        os.unlink(file)
    try:
        os.mkdir(file, mode | (mode & 0o444) >> 2)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(file).st_mode):
            raise error(f"{os.fsdecode(file)} is no directory, so it is no database of Flin") from None


def _encoded(key: object) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if not isinstance(key, bytes):
        raise TypeError(f"keys and values must be str or bytes, not {type(key).__name__}")
    return key
