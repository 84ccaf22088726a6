"""A call: one command, run in a context, and its value. No client, no bytes, no gates.

A command outside EXEC is run by dispatch: it may wait for the disk and go on in slices between others. Here a command
runs whole, as EXEC runs its queue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import GeneratorType
from typing import TYPE_CHECKING, Final

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError, FlinError, LimitError
from flin.net.command.command import Command, Flag
from flin.net.run.noting import run_noting
from flin.net.wire.replies import Value, WaitForKeys, last_of

if TYPE_CHECKING:
    from flin.net.run.context import Context
    from flin.net.wire.columns import Column

logger = logging.getLogger(__name__)

INTERNAL_ERROR: Final = "ERR internal error"


def call(context: Context, command: Command, request: list[bytes]) -> Value:
    """Run the command, counted and timed as any other, and return its value; an error is a value too, a
    CommandError."""
    command.calls += 1
    begin_ns = time.perf_counter_ns()
    try:
        value = whole(run_handler(context, command, request))
    except Exception as error:
        value = CommandError(error_text(context, command, error))
        context.services.counters.count_error(str(value))
    note_time(context, command, request, time.perf_counter_ns() - begin_ns)
    show_to_monitors(context, command, request)
    tracker = context.session.tracker
    if tracker is not None:
        context.services.tracking.remember(tracker, tracked_reads(context, command, request))
    return value


def value_of(context: Context, command: Command, request: list[bytes]) -> Value:
    """Run the command once more, neither counted nor timed nor told of, and return its value. Raises whatever its
    handler raises."""
    return whole(command.handler(context, request))


def whole(value: Value) -> Value:
    """The value at the end of its slices. Nobody can wait here: a blocking command that has found nothing gives its
    null."""
    if type(value) is GeneratorType:
        value = last_of(value)
    return value.null if type(value) is WaitForKeys else value


def run_handler(context: Context, command: Command, request: list[bytes]) -> Value:
    """Run the command's handler, and tell of keyspace events if somebody may listen. Raises whatever the handler
    raises."""
    if context.services.config.notified:
        return run_noting(context, command, request)
    return command.handler(context, request)


def run_batch(context: Context, command: Command, columns: list[Column]) -> Sequence[bytes]:
    """Run the batch form of a command that has one. Returns the replies to the first requests, as many as have run: the
    others run one by one, where they wait, or answer what is wrong."""
    assert command.batch is not None
    services = context.services
    begin_ns = time.perf_counter_ns() if services.tick.is_sampled else 0
    try:
        replies = command.batch(context, *columns)
    except (ColdRead, FlinError):
        return ()
    except Exception:
        record_unexpected(context, command)
        return ()
    command.calls += len(replies)
    if begin_ns:
        command.note_time(time.perf_counter_ns() - begin_ns, len(replies))
    return replies


def error_text(context: Context, command: Command, error: Exception) -> str:
    """The error reply for what a handler raised. Called while an exception that is unexpected is handled."""
    command.failed_calls += 1
    if isinstance(error, CommandError):
        return str(error)
    if isinstance(error, CorruptionError):
        return context.services.damage.note(error)
    if isinstance(error, FlinError):  # mostly the disk's: its text says all, a traceback adds nothing
        level = logging.WARNING if isinstance(error, LimitError) else logging.ERROR  # the first is the client's to mend
        logger.log(level, "%s failed: %s", command.name, error)
        return f"ERR {error}"
    record_unexpected(context, command)
    return INTERNAL_ERROR


def record_unexpected(context: Context, command: Command) -> None:
    """Log the traceback of the exception that is being handled."""
    context.services.counters.internal_errors += 1
    logger.exception("an unexpected exception in %s", command.name)


def show_to_monitors(context: Context, command: Command, request: list[bytes]) -> None:
    """Once it has run, unless it is an operator's. A script is shown before what it calls, by its run: here it is shown
    if it has not begun to."""
    services = context.services
    if services.monitors and not command.flags & Flag.ADMIN:
        database, client = context.session.database, client_of(context)
        show = services.monitors.show_missed if command.flags & Flag.SKIP_MONITOR else services.monitors.show
        services.pending.after_step(lambda: show(database, client, request))


def client_of(context: Context) -> str:
    """The client as MONITOR shows it."""
    session = context.session
    own = session.local_address
    return f"unix:{own.removesuffix(':0')}" if own.startswith("/") else session.address


def tracked_reads(context: Context, command: Command, request: list[bytes]) -> list[bytes]:
    """The keys that the command reads and the client tracks, for client-side caching. (Those of a script are read by
    its own commands.)"""
    tracker = context.session.tracker
    if tracker is None or not tracker.remembers or not command.flags & Flag.READONLY or command.group == "scripting":
        return []
    return [request[position] for position in command.keys.positions(request)]


def note_time(context: Context, command: Command, request: list[bytes], nanoseconds: int) -> None:
    """Count the time for commandstats, LATENCY and SLOWLOG."""
    microseconds = nanoseconds // 1000
    command.note_time(nanoseconds, 1)
    services = context.services
    latency_threshold = services.config.latency_monitor_threshold
    if 0 < latency_threshold * 1000 <= microseconds:
        event = b"fast-command" if command.flags & Flag.FAST else b"command"
        services.latency.add(event, context.now_ms, microseconds // 1000)
    threshold = services.config.slowlog_log_slower_than
    if 0 <= threshold <= microseconds and not command.flags & Flag.SKIP_SLOWLOG:
        session = context.session
        services.slowlog.add(
            request, microseconds, context.now_ms, session.address, session.name, services.config.slowlog_max_len
        )
