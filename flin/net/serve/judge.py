"""A judge: it decides which of a connection's replies may leave after the engine has refused a batch, or a sync failed.

Requests that wrote fail, and those that were shown what is not there now; no others, and no connection is closed. A
read of a key that a refused batch would have changed is simply done again: nothing of the batch was applied, so it
answers as if the refused write had never been sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError, FlinError
from flin.net.batch.refusal import LAPSED, MISCONF, UNCERTAIN, Refusal
from flin.net.command.command import Command, Flag
from flin.net.command.registry import find_for
from flin.net.run.call import value_of
from flin.net.serve.dispatch import position_for
from flin.net.wire.replies import QUEUED, ZERO
from flin.net.wire.resp import encode_error

if TYPE_CHECKING:
    from flin.net.client.transcript import Judge, Transcript
    from flin.net.run.context import Context

_ABORTED: Final = "EXECABORT Transaction discarded because of: "


def may_have_shown(refusal: Refusal, context: Context, request: list[bytes]) -> bool:
    """Whether a request that is half done may have read keys of the refused batch."""
    command = find_for(request)
    positions = [] if command is None else command.keys.positions(request)
    return any(refusal.holds(context.keyspace.stored(request[position])) for position in positions)


def judge_refused(refusal: Refusal, context: Context, transcript: Transcript) -> Judge:
    """The judge of one connection, whose replies in the refused batch's tick are in the transcript."""
    # After a SELECT it is no longer known which database an earlier request has read.
    is_certain = transcript.is_of_one_database
    keyspaces = [context.keyspace] if is_certain else context.services.databases.keyspaces

    def has_shown(command: Command, request: list[bytes]) -> bool:
        keys = [request[position] for position in command.keys.positions(request)]
        return any(refusal.holds(keyspace.stored(key)) for key in keys for keyspace in keyspaces)

    def fails_in_transaction(command: Command, request: list[bytes]) -> bool:
        # There a walk over all keys has met the batch; elsewhere it commits the batch first.
        walks = command.flags & Flag.READONLY and not command.keys.positions(request)
        return command.may_write or bool(walks) or _publishes(command) or has_shown(command, request)

    def judged(request: list[bytes], reply: bytes) -> bytes:
        command = find_for(request)
        if command is None or _says_nothing(reply):
            return reply
        if command.is_write or _lost_its_message(context, command, reply):
            return _error(context, refusal.text)
        queue = transcript.transaction_of(request)
        if queue is not None:
            failed = any(fails_in_transaction(one, of) for one, of in queue)
            return _error(context, _aborted(command, refusal.text)) if failed else reply
        if not command.flags & Flag.READONLY or not has_shown(command, request):
            return reply
        # XREAD BLOCK, which was given what is not there now, could wait again, but it has its reply.
        # A leader's lease was looked at before this.
        is_certain_now = is_certain and context.services.role is None
        is_repeatable = is_certain_now and not command.flags & (Flag.BLOCKING | Flag.NO_MANDATORY_KEYS)
        return _read_again(refusal, context, command, request) if is_repeatable else _error(context, refusal.text)

    return judged


def _read_again(refusal: Refusal, context: Context, command: Command, request: list[bytes]) -> bytes:
    """Run the command again, on the loop: its entries were in memory a moment ago, or its keys absent."""
    context.services.databases.block_reads(blocking=True)
    try:
        value = value_of(context, command, request)
    except CommandError as error:
        return _error(context, str(error))
    except FlinError:
        return _error(context, refusal.text)
    finally:
        context.services.databases.block_reads(blocking=False)
    return context.session.encode(value)


def judge_unsynced(context: Context, transcript: Transcript, synced_position: int) -> Judge:
    """The judge after a sync that failed: all commits are in memory, but no reply may show one that is not on the
    disk."""

    def judged(request: list[bytes], reply: bytes) -> bytes:
        command = find_for(request)
        if command is None or _says_nothing(reply):
            return reply
        if transcript.transaction_of(request) is not None:
            return _error(context, _aborted(command, MISCONF))
        reads = command.flags & Flag.READONLY
        if (
            command.may_write
            or _lost_its_message(context, command, reply)
            or (reads and position_for(context, [request]) > synced_position)
        ):
            return _error(context, MISCONF)
        return reply

    return judged


def judge_lapsed(context: Context, transcript: Transcript, *, has_committed: bool) -> Judge:
    """The judge of a leader's tick at whose end its lease had lapsed: what was read may have been old, and what was
    written was refused, unless some of it was committed in the middle of the tick."""

    def judged(request: list[bytes], reply: bytes) -> bytes:
        command = find_for(request)
        if command is None or reply == QUEUED.data or not _is_about_data(command):
            return reply
        if has_committed and _may_have_written(transcript, command, request, reply):
            return _error(context, UNCERTAIN)
        return _error(context, LAPSED)

    return judged


def judge_uncertain(context: Context, transcript: Transcript) -> Judge:
    """The judge of what a leader held for the log, when it is not known what has become of it."""
    return judge_lapsed(context, transcript, has_committed=True)


def _is_about_data(command: Command) -> bool:
    return bool(command.keys.first or command.keys.find or command.flags & _DATA)


_DATA: Final = Flag.READONLY | Flag.WRITE | Flag.ENDS_QUEUE | Flag.PUBLISHES

UNCERTAIN_REPLY: Final = encode_error(UNCERTAIN)


def _may_have_written(transcript: Transcript, command: Command, request: list[bytes], reply: bytes) -> bool:
    """Whether a request that was answered with this may have changed anything. (A script that answers with an error may
    have written before.)"""
    queue = transcript.transaction_of(request)
    if queue is not None:
        return any(one.may_write for one, _ in queue)
    if reply.startswith(_LAPSED_REPLY):
        return False
    return command.may_write and (reply[:1] != b"-" or not command.is_write)


_LAPSED_REPLY: Final = encode_error(LAPSED)


def _aborted(command: Command, text: str) -> str:
    """What EXEC answers, or a script."""
    return _ABORTED + text if command.flags & Flag.ENDS_QUEUE else text


def _publishes(command: Command) -> bool:
    """Whether it sends messages: those of a batch that is not there do not leave."""
    return bool(command.flags & Flag.PUBLISHES)


def _lost_its_message(context: Context, command: Command, reply: bytes) -> bool:
    """Whether it has sent a message, which was dropped. Subscribers of other workers are not counted in the reply."""
    return _publishes(command) and (reply != ZERO.data or context.services.pubsub.is_heard_elsewhere)


def _says_nothing(reply: bytes) -> bool:
    """Whether the reply is an error or QUEUED: such requests have changed and shown nothing."""
    return reply[:1] == b"-" or reply == QUEUED.data


def _error(context: Context, text: str) -> bytes:
    context.services.counters.count_error(text)
    return encode_error(text)
