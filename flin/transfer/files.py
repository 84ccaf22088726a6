"""Whole files: a database that is open into one of any form, and one of any form into it."""

from __future__ import annotations

import io
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import IO, Any, Final, Literal, TypeAlias, cast, get_args
from weakref import WeakSet

from flin.engine.disk.fs import AnyPath
from flin.engine.engine import Engine
from flin.engine.options import wall_clock_ms
from flin.errors import ConflictError, CorruptionError, ImportDataError
from flin.rdb.file import is_head
from flin.transfer import command_file, compact, ndjson, rdb_file, request_file
from flin.transfer.exporting import items
from flin.transfer.importing import Import
from flin.transfer.record import Item, Record, Request

Form: TypeAlias = Literal["ndjson", "jsonl", "compact", "rdb", "resp"]
"""The first two are two names of one."""

FORMS: Final = get_args(Form)

HEAD_BYTES: Final = 8

_importing: Final[WeakSet[Engine]] = WeakSet()
_lock: Final = Lock()


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has done."""

    added: int
    """Keys."""
    expired: int
    """Keys whose time was over: they were left out."""
    skipped: int
    """Keys that were there already, with `skip`."""
    libraries: int
    """Libraries of functions."""
    cut: ImportDataError | CorruptionError | None = None
    """With `partial`: where the file is damaged or ends too early; what came before was imported."""


def export_to(db: Engine, target: AnyPath | IO[bytes], *, form: Form = "ndjson") -> int:
    """Write every key, as it is now, into a file: a path, where it is whole or not there, or an open binary file.
    Others may write into the database meanwhile. Returns the number of keys. OSError; what reading raises."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    with db.snapshot() as snapshot:
        if not isinstance(target, str | bytes | os.PathLike):
            return write_items(items(snapshot), target, form)
        with written_whole(os.fsdecode(target)) as file:
            return write_items(items(snapshot), file, form)


def import_from(db: Engine, source: AnyPath | IO[bytes], *, skip: bool = False, partial: bool = False) -> Imported:
    """Add the keys of a file that `export_to` or `flin export` has written, of lines of JSON, of a dump.rdb or an
    append-only file of Redis. A key
    that is there is replaced; with `skip` it stays. Durable on return.

    ImportDataError or CorruptionError names the place at which the file is none; the keys before it are there then.
    With `partial` that is no error, and `cut` of the result tells. ConflictError: another import into this database is
    under way. What writes raise."""
    with _alone(db), _opened(source) as (file, path):
        adding = Import(db, path, skips=skip)
        cuts: list[ImportDataError | CorruptionError] = []
        found = items_of(file, path)
        adding.add_all(up_to_damage(found, cuts.append) if partial else found)
    return Imported(adding.added, adding.expired, adding.skipped, adding.libraries, *cuts)


@contextmanager
def _alone(db: Engine) -> Iterator[None]:
    """Two imports at once would give their collections the same numbers."""
    with _lock:
        if db in _importing:
            raise ConflictError("another import into this database is under way")
        _importing.add(db)
    try:
        yield
    finally:
        with _lock:
            _importing.discard(db)


@contextmanager
def _opened(source: AnyPath | IO[bytes]) -> Iterator[tuple[IO[bytes], str]]:
    if isinstance(source, str | bytes | os.PathLike):
        with open(source, "rb") as file:
            yield file, os.fsdecode(source)
        return
    path = str(getattr(source, "name", "the file"))
    if hasattr(source, "peek"):
        yield source, path
        return
    buffered = io.BufferedReader(cast(Any, source))
    try:
        yield buffered, path
    finally:
        buffered.detach()  # else it would be closed, too


# Of any form.


def write_items(found: Iterator[Item], file: IO[bytes], form: str) -> int:
    """Write a whole file of a form. Returns the number of keys. Forms of Flin have no libraries."""
    if form == "rdb":
        return rdb_file.write(found, file)
    if form == "resp":
        return command_file.write(found, file)
    records = (item for item in found if isinstance(item, Record))
    return compact.write(records, file) if form == "compact" else ndjson.write(records, file)


def items_of(file: IO[bytes], path: str) -> Iterator[Item | Request]:
    """Its first bytes say of which form it is. An RDB file may go on with requests: old append-only files do."""
    head = cast(io.BufferedReader, file).peek(HEAD_BYTES)[:HEAD_BYTES]
    if head == compact.MAGIC:
        yield from compact.read(file, path)
    elif is_head(head):
        data = _mapped(file)
        stop = yield from rdb_file.read(data, path)
        if stop < len(data) and not request_file.is_head(data[stop : stop + 1]):
            raise ImportDataError(path, f"offset {stop}", "the file goes on after its end")
        yield from request_file.read(data, path, stop)
    elif request_file.is_head(head):
        yield from request_file.read(_mapped(file), path)
    else:
        yield from ndjson.read(file, path, wall_clock_ms())


def up_to_damage(
    found: Iterator[Item | Request], tell: Callable[[ImportDataError | CorruptionError], object]
) -> Iterator[Item | Request]:
    """The items before the first place at which the file is none, which is told."""
    try:
        yield from found
    except (ImportDataError, CorruptionError) as error:
        tell(error)


def _mapped(file: IO[bytes]) -> bytes:
    """The file, mapped into memory: a value in RDB does not say how long it is. A pipe is written to a file before."""
    with suppress(io.UnsupportedOperation):
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return cast(bytes, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    with tempfile.TemporaryFile() as spooled:
        shutil.copyfileobj(file, spooled)
        spooled.flush()
        return cast(bytes, mmap.mmap(spooled.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def written_whole(path: str) -> Iterator[IO[bytes]]:
    """A file that has its name once all of it is durable."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
