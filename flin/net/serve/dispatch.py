"""From requests to replies: finds the command, passes the gates, runs the handler, collects its reply.

`session.skips_gates` joins the gates (gates.py) that are usually open, so that an ordinary request tests one boolean
and its arity.

This module knows no transport. It runs for a `Caller` until the requests are used up or one must wait, and says which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import GeneratorType
from typing import TYPE_CHECKING, Final, Protocol

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError
from flin.net.batch.pending import BATCH_BYTES
from flin.net.batch.reply_barrier import EVERYTHING
from flin.net.client.session import NO_NAME, Silence
from flin.net.command.command import Command, Flag
from flin.net.command.registry import UNTIMED, find
from flin.net.run.call import error_text, note_time, run_batch, run_handler, show_to_monitors, tracked_reads
from flin.net.run.follower_gate import FollowerGate
from flin.net.run.gates import PausedError, StalledError, check_arity, check_gates, resolve
from flin.net.run.long_script import LONGEST_WAIT_SECONDS, LongScriptError, ScriptRunsError
from flin.net.run.permission import is_limited_by_rules_alone, may_run_columns
from flin.net.run.slot_gate import Redirection
from flin.net.serve.script_waits import WaitForOwnScript, WaitForScript
from flin.net.serve.wait import STOP, TURN_IS_OVER, Wait, WaitForDisk, WaitForPause, WaitForSlices, WaitForWriters
from flin.net.serve.waiting import WaitForReady, after_command
from flin.net.wire.replies import QUEUED, Reply, Value, WaitForKeys, too_large_reply
from flin.net.wire.resp import BULK_HEADERS, encode_error

if TYPE_CHECKING:
    from flin.net.run.context import Context
    from flin.net.wire.columns import Column

LARGE_REPLY_BYTES: Final = 4096
"""Replies up to this size are not added up: 256 of them, a connection's turn, are its budget of 1 MiB."""

OUTPUT_BUDGET_BYTES: Final = 1 << 20
"""A connection with this many bytes of replies in its turn lets the others run."""

RERUNS: Final = 3
"""The most cold reads of a command; after them it reads on the loop: the cache is too small to hold all its keys."""

_READS_KEYS: Final = Flag.READONLY | Flag.SHOWS_MORE

QUEUED_OVERHEAD_BYTES: Final = 200
"""Bytes of one queued request: its list, its tuple and the objects of its arguments."""


class Caller(Protocol):
    """A connection, as far as dispatch knows it: its requests are run, and it gets their replies."""

    @property
    def context(self) -> Context: ...

    @property
    def append(self) -> Callable[[bytes], None]:
        """Adds a reply to the output of this tick."""


def run(caller: Caller, requests: Iterator[list[bytes]]) -> Wait | None:
    """Run the requests in order. None: all have run; else why not, and the rest is still in the iterator.

    Long, because it is the path of every command: one more function call costs 5 % of a pipelined GET.
    """
    context = caller.context
    session = context.session
    services = context.services
    if services.tick.is_sampled:
        return _run_sampled(caller, requests)
    pending = services.pending
    append = caller.append
    find_brief = UNTIMED.get
    budget = OUTPUT_BUDGET_BYTES
    for request in requests:
        command = find_brief(request[0])
        if command is None or not session.skips_gates or not command.minimum <= len(request) <= command.untimed_maximum:
            wait = run_gated(caller, request)
            if wait is not None:
                return wait
            continue
        command.calls += 1
        try:
            value = command.handler(context, request)
        except Exception as error:
            wait = handle(caller, command, request, error)
            if wait is not None:
                return wait
            continue
        if type(value) is Reply:
            append(value.data)
        elif type(value) is bytes:
            size = len(value)
            if size <= LARGE_REPLY_BYTES:
                append(BULK_HEADERS[size])
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
        elif type(value) is GeneratorType:  # of a long string
            return advance(caller, WaitForSlices(command, request, value, 0))
        else:
            data = session.encode(value)
            append(data)
            budget -= len(data)
            if budget < 0:
                return TURN_IS_OVER
        if pending.large_bytes >= BATCH_BYTES:  # or a key is ready: one test for both
            after_command(services)
    return None


def run_columns(caller: Caller, name: bytes, columns: list[Column]) -> int:
    """Run the requests of one command at once (wire/columns.py), if it can. Returns how many are done: `run` does the
    rest."""
    context = caller.context
    command = UNTIMED.get(name)
    if (
        command is None
        or not command.takes_batch(len(columns))
        or len(columns) >= command.untimed_maximum
        or not (context.session.skips_gates or may_run_columns(context, command, columns))
    ):
        return 0
    replies = run_batch(context, command, columns)
    if replies:
        caller.append(b"".join(replies))
    if context.services.waiters.ready:
        after_command(context.services)
    return len(replies)


def run_own(caller: Caller, requests: Iterator[list[bytes]]) -> Wait | None:
    """Do what `run` does, on a node of a cluster: it looks at the keys of each request. A loop of its own, so that
    `run` need not ask; only what is short and usual has its place in it."""
    context = caller.context
    session, services = context.session, context.services
    pending, gate, append, find_brief = services.pending, services.slot_gate, caller.append, UNTIMED.get
    assert gate is not None
    if services.tick.is_sampled:
        return _run_sampled(caller, requests)
    wait: Wait | None = None
    for request in requests:
        command = find_brief(request[0])
        if (
            command is None
            or not session.skips_gates
            or not command.minimum <= len(request) <= command.untimed_maximum
            or not gate.is_open_to(command, request)
        ):
            wait = run_gated(caller, request)
        else:
            command.calls += 1
            try:
                value = command.handler(context, request)
            except Exception as error:
                wait = handle(caller, command, request, error)
            else:
                if type(value) is Reply:
                    append(value.data)
                elif type(value) is bytes and len(value) <= LARGE_REPLY_BYTES:
                    append(b"%b%b\r\n" % (BULK_HEADERS[len(value)], value))
                elif type(value) is int:
                    append(b":%d\r\n" % value)
                elif type(value) is GeneratorType:  # of a long string
                    wait = advance(caller, WaitForSlices(command, request, value, 0))
                else:
                    wait = _answer(caller, command, request, value)
            if pending.large_bytes >= BATCH_BYTES:
                after_command(services)
        if wait is not None:
            return wait
    return None


def run_own_columns(caller: Caller, name: bytes, columns: list[Column]) -> int:
    """Do what `run_columns` does, on a node of a cluster: up to the first request that may not run here."""
    context = caller.context
    command, gate = UNTIMED.get(name), context.services.slot_gate
    assert gate is not None
    if command is None:
        return 0
    number = len(columns[0]) if command.is_batch_gated else gate.leading(command, columns, context.keyspace.hot.young)
    if number == len(columns[0]):
        return run_columns(caller, name, columns)
    return run_columns(caller, name, [column[:number] for column in columns]) if number else 0


def run_following(caller: Caller, requests: Iterator[list[bytes]]) -> Wait | None:
    """Do what `run` does, on a follower: only brief reads of who may read here go past the gates, which are never open
    to writes."""
    context = caller.context
    gate, clients = context.services.slot_gate, context.services.clients
    assert isinstance(gate, FollowerGate)
    if context.services.tick.is_sampled:
        return _run_sampled(caller, requests)
    find_brief = UNTIMED.get
    is_open = gate.lets_read(context.session, clients)
    for request in requests:
        command = find_brief(request[0])
        if (
            is_open
            and command is not None
            and command.minimum <= len(request) <= command.untimed_maximum
            and gate.runs_brief(command)
            and gate.is_open_to(command, request)
        ):
            wait = _run_untimed(caller, command, request)
        else:
            wait = run_gated(caller, request)
            is_open = gate.lets_read(context.session, clients)
        if wait is not None:
            return wait
    return None


def run_following_columns(caller: Caller, name: bytes, columns: list[Column]) -> int:
    """Do what `run_own_columns` does, on a follower."""
    context = caller.context
    command, gate = UNTIMED.get(name), context.services.slot_gate
    assert isinstance(gate, FollowerGate)
    if (
        command is None
        or not gate.runs_brief(command)
        or not command.takes_batch(len(columns))
        or len(columns) >= command.untimed_maximum
        or not gate.lets_read(context.session, context.services.clients)
    ):
        return 0
    number = gate.leading(command, columns, context.keyspace.hot.young)
    replies = run_batch(context, command, [column[:number] for column in columns]) if number else []
    if replies:
        caller.append(b"".join(replies))
    return len(replies)


def position_for(context: Context, requests: Sequence[list[bytes]]) -> int:
    """The position up to which, in `always`, the WAL must be synced before the replies to these requests, which have
    just run, may leave. Reads of named keys wait for those keys; all others (a write, a walk over keys, a count,
    anything about a transaction) wait for everything committed so far."""
    reply_barrier = context.services.pending.reply_barrier
    assert reply_barrier is not None
    if context.session.queue is not None:
        return EVERYTHING
    stored: set[bytes] = set()
    for request in requests:
        command = find(request[0])
        # Most commands that only read, and name keys, show nothing of the store but the entries of these keys.
        if command is None or command.flags & _READS_KEYS != Flag.READONLY or not command.keys.first:
            return EVERYTHING
        stored.update(context.keyspace.stored(request[position]) for position in command.keys.positions(request))
    return reply_barrier.position_for(stored)


def _run_sampled(caller: Caller, requests: Iterator[list[bytes]]) -> Wait | None:
    """Do what `run` does, and read the clock before and after every request."""
    for request in requests:
        wait = run_gated(caller, request)
        if wait is not None:
            return wait
    return None


def resume(caller: Caller, wait: Wait) -> Wait | None:
    """Go on with the command that waited; None once it has its reply."""
    if type(wait) is WaitForSlices:
        return advance(caller, wait)
    if type(wait) is WaitForDisk:
        return run_gated(caller, wait.request, attempt=wait.attempt + 1, has_waited=wait.has_waited)
    if type(wait) is WaitForOwnScript:
        return _end_own_script(caller, wait)
    if type(wait) is WaitForScript and wait.slices is not None:
        return advance(caller, wait.slices)
    if type(wait) is WaitForPause or type(wait) is WaitForScript:
        return run_gated(caller, wait.request, attempt=wait.attempt, has_waited=wait.has_waited)
    if type(wait) is WaitForWriters:
        return run_gated(caller, wait.request, attempt=wait.attempt, has_waited=True)
    return None


def run_gated(caller: Caller, request: list[bytes], *, attempt: int = 0, has_waited: bool = False) -> Wait | None:
    """Run one request through all gates, timed, and append its reply."""
    context = caller.context
    session = context.session
    context.has_waited = has_waited
    command = None
    if not (attempt or has_waited) and is_limited_by_rules_alone(context):
        command = UNTIMED.get(request[0])
        if (
            command is not None
            and command.minimum <= len(request) <= command.untimed_maximum
            and session.user.may_run(command, request) is None
            and (context.services.slot_gate is None or context.services.slot_gate.is_open_to(command, request))
        ):
            return _run_untimed(caller, command, request)
    try:
        command = resolve(request)
        check_arity(command, request)
        check_gates(context, command, request, has_waited=has_waited)
    except CommandError as error:
        _refuse(caller, command, request, error)
        return None
    except StalledError as stalled:
        return WaitForWriters(request, stalled.delay_seconds, attempt)
    except PausedError as paused:
        return WaitForPause(context, request, paused.seconds, attempt, has_waited)
    except ScriptRunsError as runs:
        return WaitForScript(context.services.long_script, request, runs.seconds, attempt, has_waited)
    session.last_command = command.name.encode()
    if session.queue is not None and not command.is_unqueued:
        if not session.queue_failed and not session.is_dirty:  # else it will never run
            session.queue.append((command, request))
            session.queue_bytes += sum(map(len, request)) + QUEUED_OVERHEAD_BYTES
        _append(caller, command, request, QUEUED.data)
        return None
    return _run_timed(caller, command, request, attempt)


def _run_untimed(caller: Caller, command: Command, request: list[bytes]) -> Wait | None:
    """Run a brief request of a restricted user: as `run` does it, once the rules have been asked."""
    command.calls += 1
    try:
        value = run_handler(caller.context, command, request)
    except Exception as error:
        return handle(caller, command, request, error)
    if type(value) is GeneratorType:  # of a long string
        return advance(caller, WaitForSlices(command, request, value, 0))
    return _answer(caller, command, request, value)


def _run_timed(caller: Caller, command: Command, request: list[bytes], attempt: int) -> Wait | None:
    context = caller.context
    if context.services.role is not None and command.is_write and not command.is_untimed:
        context.services.pending.commit()  # so that it is refused alone, if the log cannot take what it writes
    command.calls += 1
    begin_ns = time.perf_counter_ns()
    if attempt > RERUNS:
        context.services.databases.block_reads(blocking=True)
    tracker = context.session.tracker
    reads: list[bytes] = []
    if tracker is not None:
        reads = tracked_reads(context, command, request)
        context.services.tracking.begin(tracker)
    try:
        value = run_handler(context, command, request)
    except Exception as error:
        wait = handle(caller, command, request, error, attempt, context.has_waited)
        if wait is None:
            note_time(context, command, request, time.perf_counter_ns() - begin_ns)
            if tracker is not None:
                context.services.tracking.remember(tracker, reads)
            show_to_monitors(context, command, request)
        return wait
    finally:
        if attempt > RERUNS:
            context.services.databases.block_reads(blocking=False)
        if tracker is not None:
            context.services.tracking.end()
    if tracker is not None:
        context.services.tracking.remember(tracker, reads)
    if type(value) is GeneratorType:
        show_to_monitors(context, command, request)
        return advance(caller, WaitForSlices(command, request, value, attempt))
    note_time(context, command, request, time.perf_counter_ns() - begin_ns)
    wait = _answer(caller, command, request, value)
    if tracker is not None:
        context.services.tracking.bound()
    show_to_monitors(context, command, request)
    return wait


def _answer(caller: Caller, command: Command, request: list[bytes], value: Value) -> Wait | None:
    """Append a reply and act on what the command may have changed."""
    context = caller.context
    session = context.session
    if type(value) is WaitForKeys:
        return WaitForReady(context, command, request, value)
    data = session.encode(value)
    most_bytes = context.services.config.largest_reply_bytes
    if len(data) > most_bytes:
        _fail(caller, command, request, too_large_reply(len(data), most_bytes))
        return None
    _append(caller, command, request, data)
    if context.services.pending.is_full or context.services.waiters.ready:
        after_command(context.services)
    if session.close_after_reply:
        return STOP
    return TURN_IS_OVER if len(data) > OUTPUT_BUDGET_BYTES // 4 else None


def advance(caller: Caller, wait: WaitForSlices) -> Wait | None:
    """Run one slice."""
    context = caller.context
    long_script = context.services.long_script
    if long_script.job is not None:
        return WaitForScript(long_script, wait.request, LONGEST_WAIT_SECONDS, wait.attempt, context.has_waited, wait)
    begin_ns = time.perf_counter_ns()
    if wait.attempt > RERUNS:
        context.services.databases.block_reads(blocking=True)
    tracker = context.session.tracker
    if tracker is not None:
        context.services.tracking.begin(tracker)
    try:
        wait.load = next(wait.slices)
        return wait
    except StopIteration as finished:
        value = finished.value
    except Exception as error:
        again = handle(caller, wait.command, wait.request, error, wait.attempt, context.has_waited)
        if again is None:
            note_time(context, wait.command, wait.request, wait.nanoseconds + time.perf_counter_ns() - begin_ns)
        return again
    finally:
        wait.nanoseconds += time.perf_counter_ns() - begin_ns
        if wait.attempt > RERUNS:
            context.services.databases.block_reads(blocking=False)
        if tracker is not None:
            context.services.tracking.end()
    note_time(context, wait.command, wait.request, wait.nanoseconds)
    if tracker is None:
        return _answer(caller, wait.command, wait.request, value)
    reads = tracked_reads(context, wait.command, wait.request)
    again = _answer(caller, wait.command, wait.request, value)
    context.services.tracking.tell_missed(tracker, reads)
    return again


def handle(
    caller: Caller,
    command: Command,
    request: list[bytes],
    error: Exception,
    attempt: int = 0,
    has_waited: bool = False,
) -> Wait | None:
    """Handle what a handler raised: wait, or reply with an error."""
    if isinstance(error, ColdRead | StalledError):
        command.calls -= 1  # it runs again
    if isinstance(error, ColdRead):
        caller.context.services.counters.cold_reads += 1
        load = _load_all(caller.context, command, request, error.load)
        return WaitForDisk(request, load, attempt, has_waited)
    if isinstance(error, StalledError):
        return WaitForWriters(request, error.delay_seconds, attempt)
    if isinstance(error, LongScriptError):
        return WaitForOwnScript(caller.context.services.long_script, command, request, error.job)
    _fail(caller, command, request, error)
    return None


def _end_own_script(caller: Caller, wait: WaitForOwnScript) -> Wait | None:
    """The script that has left the loop has ended: reply."""
    note_time(caller.context, wait.command, wait.request, wait.nanoseconds)
    if wait.error is None:
        return _answer(caller, wait.command, wait.request, wait.value)
    _fail(caller, wait.command, wait.request, wait.error)
    return None


def _fail(caller: Caller, command: Command, request: list[bytes], error: Exception) -> None:
    """Reply with the error."""
    _append(caller, command, request, failure(caller.context, command, error))


def failure(context: Context, command: Command, error: Exception) -> bytes:
    """The error as a reply, counted."""
    text = error_text(context, command, error)
    context.services.counters.count_error(text)
    return encode_error(text)


def _append(caller: Caller, command: Command | None, request: list[bytes], data: bytes) -> None:
    """Reply to the request, unless its client wants no reply to it. It is told that it is subscribed, as in Redis,
    whatever it wants."""
    session = caller.context.session
    tracker = session.tracker
    if tracker is not None and session.queue is None and not (command and command.name.startswith("client|")):
        tracker.is_caching = False
    if session.silence is Silence.NONE:
        caller.append(data)
        return
    server_gates_open = caller.context.services.clients.gates_open
    if command is not None and command.flags & Flag.PUBSUB and command.flags & Flag.WHILE_SUBSCRIBED:
        caller.append(data)
        session.note_reply(server_gates_open=server_gates_open)
    else:
        session.leave_out(request, server_gates_open=server_gates_open)


def _load_all(
    context: Context, command: Command, request: list[bytes], first: Callable[[], None]
) -> Callable[[], None]:
    """What the thread runs: a command of several keys, or an EXEC, loads them all at once; else it would run again for
    each.

    It takes what ColdRead asks for, not the exception: that keeps its frames alive, and these the state they read."""
    queue = context.session.queue if command.flags & Flag.ENDS_QUEUE else None
    requests = [(command, request)] if queue is None else queue
    stored = [
        (context.keyspace.stored(of[position]), not each.flags & Flag.PEEKS)
        for each, of in requests
        for position in each.keys.positions(of)
    ]
    if len(stored) < 2:
        return first
    read = context.services.store.read

    def load() -> None:
        first()
        for key, values in stored:
            read(key, values=values)

    return load


def _refuse(caller: Caller, command: Command | None, request: list[bytes], error: CommandError) -> None:
    """Reply to a request that does not pass the gates: it makes an open transaction fail; a refused EXEC ends it."""
    context = caller.context
    session = context.session
    text = str(error)
    if command is None:
        session.last_command = NO_NAME
    else:
        command.rejected_calls += 1
        session.last_command = command.name.encode()
    if command is not None and command.flags & Flag.ENDS_QUEUE:
        context.end_transaction()
        if not isinstance(error, Redirection):
            show_to_monitors(context, command, request)
            text = f"EXECABORT Transaction discarded because of: {text.removeprefix('ERR ')}"
    else:
        session.queue_failed = session.queue is not None
    context.services.counters.count_error(text)
    _append(caller, command, request, encode_error(text))
