"""EXEC: runs the requests queued since MULTI whole, in one frame of the WAL, or not at all."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError, LimitError, StorageError
from flin.net.command.command import Command, Flag
from flin.net.data.savepoint import Step
from flin.net.run.call import call
from flin.net.run.gates import check_writes
from flin.net.run.permission import may_run, note_denial
from flin.net.wire.replies import NULL_ARRAY, Reply, Value, too_large_reply

if TYPE_CHECKING:
    from flin.net.client.session import Session
    from flin.net.run.context import Context

logger = logging.getLogger(__name__)


def run_transaction(context: Context, request_of_exec: list[bytes]) -> Value:
    """NULL_ARRAY if a watched key was touched, else the replies of the queued commands.

    Raises CommandError (EXECABORT) where a command was refused while queueing, and ColdRead before anything ran: then
    EXEC runs again. Once the first command has run, reads block."""
    session = context.session
    queue = session.queue
    assert queue is not None
    if session.queue_failed:
        context.end_transaction()
        raise CommandError("EXECABORT Transaction discarded because of previous errors.")
    if session.is_dirty or _has_expired_watch(session):
        context.end_transaction()
        return NULL_ARRAY
    if any(command.may_write for command, _ in queue):
        try:
            check_writes(context, has_waited=context.has_waited)
        except CommandError as error:
            if any(command.is_write for command, _ in queue):  # a script is told when it writes
                context.end_transaction()
                raise CommandError(f"EXECABORT Transaction discarded because of: {error}") from None
    try:
        read_keys(context, queue)
    except ColdRead:
        raise  # EXEC runs again
    except Exception:
        context.end_transaction()
        raise
    session.queue = None  # handlers see that they are run, not queued
    session.unwatch()
    session.remarks.append((request_of_exec, queue))
    gate = context.services.slot_gate
    if gate is not None:
        gate.transaction_slot = gate.queued_slot
    try:
        return run_whole(context, queue)
    except LimitError as error:
        logger.error("exec failed: %s", error)
        raise CommandError(f"EXECABORT Transaction discarded because of: {error}") from None
    finally:
        if gate is not None:
            gate.transaction_slot = None
        context.end_transaction()


def run_whole(context: Context, queue: list[tuple[Command, list[bytes]]]) -> list[Reply]:
    """Run the commands as one step, and return their replies; errors are among them. Raises LimitError if their writes
    or replies are too large, and whatever else ends it: then nothing of it is left."""
    services = context.services
    databases = services.databases
    was_blocking = context.keyspace.is_blocking  # within EXEC
    databases.block_reads(blocking=True)
    step = Step(databases)
    step.will_write()
    try:
        replies = _run_queue(context, queue)
        services.pending.check_size(services.config.largest_commit_bytes)
    except BaseException:
        step.take_back()
        raise
    else:
        step.keep()
        return replies
    finally:
        databases.block_reads(blocking=was_blocking)


def read_keys(context: Context, queue: list[tuple[Command, list[bytes]]]) -> None:
    """Read all keys that the commands name, before the first of them writes. ColdRead where that would wait."""
    if any(command.flags & Flag.COUNTS_KEYS for command, _ in queue):
        context.keyspace.count_ahead()
    for command, request in queue:
        read = context.keyspace.outline if command.flags & Flag.PEEKS else context.keyspace.entry
        for position in command.keys.positions(request):
            # Damage becomes the reply of the command that meets it, like any error; the others run.
            with suppress(CorruptionError, StorageError):
                read(request[position])


def _run_queue(context: Context, queue: list[tuple[Command, list[bytes]]]) -> list[Reply]:
    """Run the commands. LimitError as soon as their replies are too large for one: nothing larger is ever held."""
    most_bytes = context.services.config.largest_reply_bytes
    replies: list[Reply] = []
    size = 0
    for command, request in queue:
        denial = may_run(context.session, command, request)  # the rules may have changed, or it has logged in
        if denial is None:
            value = call(context, command, request)
        else:
            note_denial(context, denial, "multi")
            context.services.counters.count_error(denial.change)
            value = CommandError(denial.change)
        data = context.session.encode(value)  # in the protocol of now: HELLO may be among them
        size += len(data)
        if size > most_bytes:
            raise too_large_reply(size, most_bytes)
        replies.append(Reply(data))
    return replies


def _has_expired_watch(session: Session) -> bool:
    return any(was_there and not keyspace.exists(key) for keyspace, key, was_there in session.watched)
