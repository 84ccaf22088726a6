"""Every error that Flin raises on purpose, grouped by who must act.

Operator: the disk or its files need attention. Caller: the program that called Flin must change its call. Client: a
client of the server sent something that gets an error reply.
"""

from __future__ import annotations

from errno import ENOENT
from typing import Any, Final


class FlinError(Exception):
    """The base class: `except FlinError` catches everything that Flin raises on purpose.

    All of them can be copied and pickled, so that they get from the worker of a process pool to its caller."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default the constructor is called with `args`, the finished text; ours take the text's parts. If a worker
        # sends an error that cannot be rebuilt, its pool waits forever.
        return _made_again, (type(self), self.args, self.__dict__)


def drop_traceback(error: BaseException) -> None:
    """Call it for an error that is kept. Its frames hold the states, tables and connections that they worked with, and
    often the keeper of the error, so that all of them would stay until a full run of the garbage collector."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _made_again(kind: type[FlinError], args: tuple[Any, ...], attributes: dict[str, Any]) -> FlinError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


# Operator: the disk, its files or another process.


class CorruptionError(FlinError):
    """Bytes on disk are not those that Flin wrote there."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: corrupt at offset {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class StorageError(FlinError):
    """The operating system refused an operation on a file."""

    def __init__(self, operation: str, path: str, cause: BaseException | str) -> None:
        super().__init__(f"cannot {operation} {path}: {cause}")
        self.operation = operation
        self.path = path
        self.errno: int | None = getattr(cause, "errno", None)


class NoDatabaseError(StorageError):
    """There is no database at the path, and none may be created."""

    def __init__(self, operation: str, path: str, cause: BaseException | str) -> None:
        super().__init__(operation, path, cause)
        self.errno = ENOENT


class FencedError(StorageError):
    """A replica's log takes no more writes from it, for good: another replica leads. Writes that the log does not have
    yet were not made, and will never be."""

    def __init__(self, path: str, cause: BaseException | str) -> None:
        super().__init__("append to the log of", path, cause)


class FormatVersionError(FlinError):
    """A file was written by a newer Flin, or needs a package that is not installed."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class LockedError(FlinError):
    """Another engine has the directory open."""

    def __init__(self, path: str, pid: int | None, started_at: str | None, in_this_process: bool = False) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        since = "" if started_at is None else f" since {started_at}"
        where, what = f"open in {holder}{since}", "close it there first"
        if in_this_process:
            where, what = f"already open in this process{since}", "share that handle, or close it first"
        super().__init__(f"{path} is {where}; {what}")
        self.path = path
        self.pid = pid
        self.started_at = started_at
        self.in_this_process = in_this_process


class ReadOnlyError(FlinError):
    """Writes are refused; the reason says why. Reads continue."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the engine is read-only: {reason}")
        self.reason = reason


class EncryptionError(FlinError):
    """A database cannot be opened because of its encryption: a key is missing, or there is one too many, or the package
    that encrypts. The text says what to do."""


class WrongKeyError(EncryptionError):
    """The key is not the one that the database was encrypted with. Nothing was changed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was sealed with another key than the one that was given")
        self.path = path


class PeerError(FlinError):
    """A server that a command asks (`flin import`, `flin stats`) cannot be reached, refuses a command, or is gone."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class WorkerError(FlinError):
    """A worker of `flin serve --workers` cannot be started, or did not end well; the text says which, and why."""


class HelperDiedError(FlinError):
    """The helper process ended in the middle of a job. Its files are removed; the job is run again."""


class JobFailedError(FlinError):
    """A background job raised an unexpected exception; the text is its traceback. It is a bug, or memory ran out."""


# Caller: the program that uses Flin.


CLOSED_TEXT: Final = "the engine is closed (or belongs to the parent of this forked process)"


class ClosedError(FlinError):
    """The engine, snapshot or batch was closed, or belongs to the parent of a forked process."""


class ReentrantCallError(FlinError):
    """A signal handler, `__del__` or weakref callback made a call inside another call of the database in its own
    thread, for which it would have to wait. Nothing was changed: make the call when the outer one has ended."""

    def __init__(self, call: str) -> None:
        super().__init__(
            f"{call} was asked for inside another call of the database in the same thread (by a signal handler, "
            f"__del__ or a weakref callback), and cannot wait for that one: ask when it has ended"
        )
        self.call = call


class ConflictError(FlinError):
    """A value is not what the operation needs. Example: an increment of text.

    Or somebody has written what a transaction has read: begin it once more (docs/transactions.md)."""


class StallTimeout(FlinError):
    """A write waited longer than `stall_timeout_ms` for flushes and compactions to catch up."""


class CodecError(FlinError, ValueError):
    """A typed view cannot encode a key (NaN, say), or finds bytes that are not of its type."""


class ImportDataError(FlinError):
    """A line or a record of a file that is to be imported is none."""

    def __init__(self, path: str, place: str, reason: str) -> None:
        super().__init__(f"{path}, {place}: {reason}")
        self.path = path
        self.place = place
        self.reason = reason


class FeedGapError(FlinError):
    """A feed cannot begin, or go on, where it should: events in between are no longer kept."""

    def __init__(self, since: int, first_kept: int, last: int) -> None:
        if since > last:
            reason = f"the database ends at {last}: it has lost what was not synced, or is another one"
        else:
            reason = f"the first event that is kept is {first_kept} (see wal_retention)"
        super().__init__(f"cannot go on after event {since}: {reason}. Read what you need anew, then watch from there")
        self.since = since
        self.first_kept = first_kept
        self.last = last


class LimitError(FlinError):
    """Something is larger than Flin allows."""

    def __init__(self, what: str, size: int, maximum: int) -> None:
        super().__init__(f"{what} is {size}, the maximum is {maximum}")
        self.what = what
        self.size = size
        self.maximum = maximum


# Client: a peer of the server.


class ProtocolError(FlinError):
    """The bytes are not a request: the client gets one error reply, then the connection is closed."""


class CommandError(FlinError):
    """A command gets an error reply; the connection stays open. The text begins with its RESP prefix (`ERR …`)."""


class ScriptError(CommandError):
    """A script failed by its own doing: what it wrote stays, as in Redis."""


class ScriptAborted(FlinError):
    """A script was stopped from outside: it leaves nothing behind. What is raised says why: time, a kill, memory."""


class ScriptOutOfMemory(ScriptAborted):
    """A script needed more than its Lua may have."""


class PayloadError(FlinError):
    """The bytes that a client sent as a value are none. Example: RESTORE with a hash that has a field twice."""

    def __init__(self, what: str, offset: int, reason: str) -> None:
        super().__init__(f"bad {what} at offset {offset}: {reason}")
        self.what = what
        self.offset = offset
        self.reason = reason


class PayloadFooterError(PayloadError):
    """The version of a payload is too new, or its checksum is not that of its bytes."""
