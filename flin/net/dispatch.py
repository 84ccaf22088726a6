"""From requests to replies: finds the command, passes the gates, runs the handler, collects its reply.

The gates are driven by the command's flags and the session's state, never by a command's name. `session.is_open` joins
those that are usually open, so that an ordinary request tests one boolean and its arity.

This module knows no transport. It runs on a `Client` until the requests are used up or something must be waited for,
and says which.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import GeneratorType
from typing import TYPE_CHECKING, Final, Protocol

from flin.engine.sstable import ColdRead
from flin.errors import CommandError, CorruptionError, FlinError, LimitError, StorageError
from flin.net.command import Command, Flag
from flin.net.pending import BATCH_BYTES
from flin.net.registry import BRIEF, find
from flin.net.replies import (
    NULL_ARRAY,
    QUEUED,
    SHOWN_BYTES,
    Reply,
    Slices,
    Value,
    last_of,
    shown,
    too_large_reply,
    wrong_arity,
)
from flin.net.resp import encode_error
from flin.net.session import NO_NAME
from flin.net.unsynced import EVERYTHING

if TYPE_CHECKING:
    from flin.net.alike import Column
    from flin.net.context import Context
    from flin.net.session import Session

logger = logging.getLogger(__name__)

LARGE_REPLY_BYTES: Final = 4096
"""Replies up to here are not summed: 256 of them, a connection's turn, are its budget of 1 MiB."""

OUTPUT_BUDGET_BYTES: Final = 1 << 20
"""A connection that said so much lets the others run."""

RERUNS: Final = 3
"""After so many cold reads a command reads on the loop: the cache is too small to hold its keys together."""

HEADERS: Final = tuple(b"$%d\r\n" % length for length in range(LARGE_REPLY_BYTES + 1))
"""Of bulks: a lookup costs 20 ns, formatting 100."""

QUEUED_OVERHEAD_BYTES: Final = 200
"""Of one queued request: its list, its tuple and the objects of its arguments."""

INTERNAL_ERROR: Final = "ERR internal error"


class Wait:
    """Why a connection cannot go on; its later requests wait behind it. `load` runs in a reader thread first."""

    __slots__ = ("load",)

    def __init__(self, load: Callable[[], None] | None = None) -> None:
        self.load = load


class WaitForDisk(Wait):
    """A cold read: run `load` in a reader thread, then the same request again."""

    __slots__ = ("attempt", "has_waited", "request")

    load: Callable[[], None]

    def __init__(self, request: list[bytes], load: Callable[[], None], attempt: int, has_waited: bool) -> None:
        super().__init__(load)
        self.request = request
        self.attempt = attempt
        self.has_waited = has_waited  # for the writers' sake, as below: it need not wait again


class WaitForSlices(Wait):
    """A command in slices: advance the generator between other connections' turns."""

    __slots__ = ("attempt", "command", "nanoseconds", "request", "slices")

    def __init__(self, command: Command, request: list[bytes], slices: Slices, attempt: int) -> None:
        super().__init__()
        self.command = command
        self.request = request
        self.slices = slices
        self.nanoseconds = 0
        self.attempt = attempt  # so many cold reads came before


class WaitForWriters(Wait):
    """The engine stalls writers: run the same request again after so long."""

    __slots__ = ("attempt", "delay_seconds", "request")

    def __init__(self, request: list[bytes], delay_seconds: float, attempt: int) -> None:
        super().__init__()
        self.request = request
        self.delay_seconds = delay_seconds
        self.attempt = attempt  # so many cold reads came before


TURN_IS_OVER: Final = Wait()
"""The budget is used up: continue after the other connections."""

STOP: Final = Wait()
"""Nothing more is run on this connection: QUIT, SHUTDOWN."""


STALL_POLL_SECONDS: Final = 0.01
"""How often a stopped writer looks again."""


class StalledError(Exception):
    """A gate holds writers back: try again after so long."""

    def __init__(self, delay_seconds: float) -> None:
        super().__init__(delay_seconds)
        self.delay_seconds = delay_seconds


class Client(Protocol):
    """A connection as dispatch sees it."""

    @property
    def context(self) -> Context: ...

    @property
    def append(self) -> Callable[[bytes], None]:
        """Adds to the output of this tick."""


def run(client: Client, requests: Iterator[list[bytes]]) -> Wait | None:
    """Run the requests in order. None: all have run; else why not, and the rest is still in the iterator.

    Long, because it is the path of every command: a function call more costs 5 % of a pipelined GET.
    """
    context = client.context
    session = context.session
    services = context.services
    if services.tick.is_sampled:
        return _run_sampled(client, requests)
    pending = services.pending
    append = client.append
    find_brief = BRIEF.get
    budget = OUTPUT_BUDGET_BYTES
    for request in requests:
        command = find_brief(request[0])
        if command is None or not session.is_open or not command.minimum <= len(request) <= command.brief_maximum:
            wait = run_gated(client, request)
            if wait is not None:
                return wait
            continue
        command.calls += 1
        try:
            value = command.handler(context, request)
        except Exception as error:
            wait = _handle(client, command, request, error)
            if wait is not None:
                return wait
            continue
        if type(value) is Reply:
            append(value.data)
        elif type(value) is bytes:
            size = len(value)
            if size <= LARGE_REPLY_BYTES:
                append(HEADERS[size])
                append(value)
                append(b"\r\n")
            else:
                append(b"$%d\r\n" % size)
                append(value)
                append(b"\r\n")
                budget -= size
                if budget < 0:
                    return TURN_IS_OVER
        elif type(value) is int:
            append(b":%d\r\n" % value)
        else:
            data = session.encode(value)
            append(data)
            budget -= len(data)
            if budget < 0:
                return TURN_IS_OVER
        if pending.large_bytes >= BATCH_BYTES:
            pending.commit()
    return None


def run_alike(client: Client, name: bytes, columns: list[Column]) -> int:
    """Run one command's requests at once (alike.py), if it can; how many of the first are done: `run` does the rest."""
    context = client.context
    command = BRIEF.get(name)
    if command is None or command.batch is None or len(columns) + 1 != command.minimum or not context.session.is_open:
        return 0
    begin_ns = time.perf_counter_ns() if context.services.tick.is_sampled else 0
    try:
        done, data = command.batch(context, *columns)
    except Exception:
        _record_unexpected(context, command)
        return 0
    command.calls += done
    if begin_ns:
        command.note_time(time.perf_counter_ns() - begin_ns, done)
    if done:
        client.append(data)
    return done


def shown_by(context: Context, requests: Sequence[list[bytes]]) -> int:
    """In `always`: up to which position the WAL must be synced before the replies to these requests, which have just
    run, may leave. Reads of named keys are judged by their keys; whatever else has run (a write, a walk over keys, a
    count, anything about a transaction) waits for everything committed so far."""
    unsynced = context.services.pending.unsynced
    assert unsynced is not None
    if context.session.queue is not None:
        return EVERYTHING
    stored: set[bytes] = set()
    for request in requests:
        command = find(request[0])
        # What a command that only reads and names keys shows of the store is these keys' entries.
        if command is None or not command.flags & Flag.READONLY or not command.keys.first:
            return EVERYTHING
        stored.update(context.keyspace.stored(request[position]) for position in command.keys.positions(request))
    return unsynced.shown_by(stored)


def _run_sampled(client: Client, requests: Iterator[list[bytes]]) -> Wait | None:
    """`run`, with a look at the clock before and after every request."""
    for request in requests:
        wait = run_gated(client, request)
        if wait is not None:
            return wait
    return None


def resume(client: Client, wait: Wait) -> Wait | None:
    """Go on with what was waited for; None once that command has its reply."""
    if type(wait) is WaitForSlices:
        return _advance(client, wait)
    if type(wait) is WaitForDisk:
        return run_gated(client, wait.request, attempt=wait.attempt + 1, has_waited=wait.has_waited)
    if type(wait) is WaitForWriters:
        return run_gated(client, wait.request, attempt=wait.attempt, has_waited=True)
    return None


def run_gated(client: Client, request: list[bytes], *, attempt: int = 0, has_waited: bool = False) -> Wait | None:
    """One request through all gates, timed, its reply appended."""
    context = client.context
    session = context.session
    context.has_waited = has_waited
    command = None
    try:
        command = resolve(request)
        check_arity(command, request)
        _check_gates(context, command, has_waited=has_waited)
    except CommandError as error:
        _refuse(client, command, error)
        return None
    except StalledError as stalled:
        return WaitForWriters(request, stalled.delay_seconds, attempt)
    session.last_name = command.name.encode()
    if session.queue is not None and not command.is_unqueued:
        session.queue.append((command, request))
        session.queue_bytes += sum(map(len, request)) + QUEUED_OVERHEAD_BYTES
        client.append(QUEUED.data)
        return None
    return _run_timed(client, command, request, attempt)


def resolve(request: list[bytes]) -> Command:
    """The command or subcommand of a request. Raises CommandError as Redis words it."""
    command = find(request[0])
    if command is None:
        raise _unknown_command(request)
    if command.subcommands is not None and len(request) > 1:
        sub = command.subcommands.get(request[1].lower())
        if sub is None:
            name = command.name.upper()
            raise CommandError(f"ERR unknown subcommand '{shown(request[1])}'. Try {name} HELP.")
        command = sub
    return command


def check_arity(command: Command, request: list[bytes]) -> None:
    if not command.minimum <= len(request) <= command.maximum:
        raise wrong_arity(command.name)


def run_transaction(context: Context, request_of_exec: list[bytes]) -> Value:
    """EXEC: see Context.run_transaction. Cold reads happen before the first command; then reads block."""
    session = context.session
    queue = session.queue
    assert queue is not None
    if session.queue_failed:
        context.end_transaction()
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    if session.is_dirty or _has_expired_watch(session):
        context.end_transaction()
        return NULL_ARRAY
    if any(command.is_write for command, _ in queue):
        try:
            _check_writes(context, has_waited=context.has_waited)
        except CommandError as error:
            context.end_transaction()
            raise CommandError(f"EXECABORT Transaction discarded because of: {error}") from None
    try:
        for command, request in queue:
            for position in command.keys.positions(request):
                # Damage is the reply of the command that meets it, as any error is; the others run.
                with suppress(CorruptionError, StorageError):
                    context.keyspace.entry(request[position])
    except ColdRead:
        raise  # and EXEC runs again
    except Exception:
        context.end_transaction()
        raise
    session.queue = None  # handlers see that they run
    session.unwatch()
    session.remarks.append((request_of_exec, queue))
    services = context.services
    pending = services.pending
    savepoint = pending.savepoint()
    services.block_reads(blocking=True)
    pending.in_transaction = True
    try:
        replies = _run_queue(context, queue)
        pending.check_size(services.config.largest_commit_bytes)
        return replies
    except LimitError as error:
        pending.roll_back(savepoint)
        services.maybe_refresh()
        logger.error("exec failed: %s", error)
        raise CommandError(f"EXECABORT Transaction discarded because of: {error}") from None
    finally:
        services.block_reads(blocking=False)
        pending.in_transaction = False
        context.end_transaction()


def _run_queue(context: Context, queue: list[tuple[Command, list[bytes]]]) -> list[Reply]:
    """LimitError as soon as the replies are too much for one: nothing larger is ever held."""
    most_bytes = context.services.config.largest_reply_bytes
    replies: list[Reply] = []
    size = 0
    for command, request in queue:
        value = _run_queued(context, command, request)
        data = context.session.encode(value)  # by now: HELLO may be among them
        size += len(data)
        if size > most_bytes:
            raise too_large_reply(size, most_bytes)
        replies.append(Reply(data))
    return replies


def _run_queued(context: Context, command: Command, request: list[bytes]) -> Value:
    """Timed as outside: SLOWLOG and commandstats show what an EXEC consists of."""
    command.calls += 1
    begin_ns = time.perf_counter_ns()
    try:
        value = command.handler(context, request)
        if type(value) is GeneratorType:
            value = last_of(value)
    except Exception as error:
        value = CommandError(_text_of(context, command, error))
        context.services.counters.count_error(str(value))
    _note_time(context, command, request, time.perf_counter_ns() - begin_ns)
    return value


def _run_timed(client: Client, command: Command, request: list[bytes], attempt: int) -> Wait | None:
    context = client.context
    command.calls += 1
    begin_ns = time.perf_counter_ns()
    if attempt > RERUNS:
        context.services.block_reads(blocking=True)
    try:
        value = command.handler(context, request)
    except Exception as error:
        wait = _handle(client, command, request, error, attempt, context.has_waited)
        if wait is None:
            _note_time(context, command, request, time.perf_counter_ns() - begin_ns)
        return wait
    finally:
        if attempt > RERUNS:
            context.services.block_reads(blocking=False)
    if type(value) is GeneratorType:
        return _advance(client, WaitForSlices(command, request, value, attempt))
    _note_time(context, command, request, time.perf_counter_ns() - begin_ns)
    return _answer(client, command, value)


def _answer(client: Client, command: Command, value: Value) -> Wait | None:
    """Append a reply and look at what a command may have changed."""
    context = client.context
    session = context.session
    data = session.encode(value)
    most_bytes = context.services.config.largest_reply_bytes
    if len(data) > most_bytes:
        _fail(client, command, too_large_reply(len(data), most_bytes))
        return None
    client.append(data)
    if session.close_after_reply:
        return STOP
    pending = context.services.pending
    if pending.is_full:
        pending.commit()
    return TURN_IS_OVER if len(data) > OUTPUT_BUDGET_BYTES // 4 else None


def _advance(client: Client, wait: WaitForSlices) -> Wait | None:
    """One slice."""
    context = client.context
    begin_ns = time.perf_counter_ns()
    if wait.attempt > RERUNS:
        context.services.block_reads(blocking=True)
    try:
        wait.load = next(wait.slices)
        return wait
    except StopIteration as finished:
        value = finished.value
    except Exception as error:
        again = _handle(client, wait.command, wait.request, error, wait.attempt, context.has_waited)
        if again is None:
            _note_time(context, wait.command, wait.request, wait.nanoseconds + time.perf_counter_ns() - begin_ns)
        return again
    finally:
        wait.nanoseconds += time.perf_counter_ns() - begin_ns
        if wait.attempt > RERUNS:
            context.services.block_reads(blocking=False)
    _note_time(context, wait.command, wait.request, wait.nanoseconds)
    return _answer(client, wait.command, value)


def _handle(
    client: Client,
    command: Command,
    request: list[bytes],
    error: Exception,
    attempt: int = 0,
    has_waited: bool = False,
) -> Wait | None:
    """What a handler raised."""
    if isinstance(error, ColdRead | StalledError):
        command.calls -= 1  # it runs again
    if isinstance(error, ColdRead):
        client.context.services.counters.cold_reads += 1
        load = _load_all(client.context, command, request, error.load)
        return WaitForDisk(request, load, attempt, has_waited)
    if isinstance(error, StalledError):
        return WaitForWriters(request, error.delay_seconds, attempt)
    _fail(client, command, error)
    return None


def _fail(client: Client, command: Command, error: Exception) -> None:
    """The reply is an error."""
    text = _text_of(client.context, command, error)
    client.context.services.counters.count_error(text)
    client.append(encode_error(text))


def _text_of(context: Context, command: Command, error: Exception) -> str:
    """The error reply for what a handler raised. Called while an exception that is unexpected is handled."""
    command.failed_calls += 1
    if isinstance(error, CommandError):
        return str(error)
    if isinstance(error, CorruptionError):
        return context.services.damage.note(error)
    if isinstance(error, FlinError):  # the disk, most often: its text says all, its traceback nothing more
        logger.error("%s failed: %s", command.name, error)
        return f"ERR {error}"
    _record_unexpected(context, command)
    return INTERNAL_ERROR


def _load_all(
    context: Context, command: Command, request: list[bytes], first: Callable[[], None]
) -> Callable[[], None]:
    """A command of several keys, or an EXEC, warms them all in one visit to the thread, or it would run again for each.

    It is given what ColdRead asks for, not the exception: that keeps its frames, and these the state they read."""
    queue = context.session.queue if command.flags & Flag.ENDS_QUEUE else None
    requests = [(command, request)] if queue is None else queue
    stored = [context.keyspace.stored(of[position]) for each, of in requests for position in each.keys.positions(of)]
    if len(stored) < 2:
        return first
    read = context.services.store.read

    def load() -> None:
        first()
        for key in stored:
            read(key)

    return load


def _check_gates(context: Context, command: Command, *, has_waited: bool) -> None:
    """Raises CommandError, in Redis's order, or StalledError. Inside MULTI an error fails EXEC."""
    session = context.session
    if not session.is_authenticated and not command.flags & Flag.NO_AUTH:
        raise CommandError("NOAUTH Authentication required.")
    if session.queue is not None and command.flags & Flag.NO_MULTI:
        raise CommandError("ERR Command not allowed inside a transaction")
    if command.is_write and not context.services.is_open:
        _check_writes(context, has_waited=has_waited or session.queue is not None)


def _check_writes(context: Context, *, has_waited: bool) -> None:
    """Whether the engine takes writes now."""
    store = context.services.store
    stall = store.stall()
    reason = store.read_only_reason or (store.obstacle if stall.stopped else None)
    if reason is not None:
        raise CommandError(
            f"MISCONF Flin cannot write to disk, so commands that modify the data set are refused: {reason}"
        )
    if stall.stopped:
        raise StalledError(STALL_POLL_SECONDS)
    if stall.delay_seconds and not has_waited:
        raise StalledError(stall.delay_seconds)


def _refuse(client: Client, command: Command | None, error: CommandError) -> None:
    """A request that does not pass the gates: a transaction fails by it, and EXEC itself ends it."""
    context = client.context
    session = context.session
    text = str(error)
    if command is None:
        session.last_name = NO_NAME
    else:
        command.rejected_calls += 1
        session.last_name = command.name.encode()
    if command is not None and command.flags & Flag.ENDS_QUEUE:
        context.end_transaction()
        text = f"EXECABORT Transaction discarded because of: {text.removeprefix('ERR ')}"
    else:
        session.queue_failed = session.queue is not None
    context.services.counters.count_error(text)
    client.append(encode_error(text))


def _unknown_command(request: list[bytes]) -> CommandError:
    shown_args = ""
    for argument in request[1:]:
        if len(shown_args) >= SHOWN_BYTES:
            break
        shown_args += f"'{shown(argument[: SHOWN_BYTES - len(shown_args)])}' "
    return CommandError(f"ERR unknown command '{shown(request[0])}', with args beginning with: {shown_args}")


def _has_expired_watch(session: Session) -> bool:
    return any(was_there and not keyspace.exists(key) for keyspace, key, was_there in session.watched)


def _note_time(context: Context, command: Command, request: list[bytes], nanoseconds: int) -> None:
    microseconds = nanoseconds // 1000
    command.note_time(nanoseconds, 1)
    services = context.services
    threshold = services.config.slowlog_log_slower_than
    if 0 <= threshold <= microseconds and not command.flags & Flag.SKIP_SLOWLOG:
        session = context.session
        services.slowlog.add(
            request, microseconds, context.now_ms, session.address, session.name, services.config.slowlog_max_len
        )


def _record_unexpected(context: Context, command: Command) -> None:
    """Called while the exception is handled: its traceback goes to the diagnostics."""
    context.services.counters.internal_errors += 1
    logger.exception("an unexpected exception in %s", command.name)
