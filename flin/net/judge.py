"""A judge: of a connection's replies, which may leave after the engine has refused a batch, or could not sync one?

Those fail that wrote, and those that were shown what is not there now; nobody else, and no connection is closed. A
read of a key that a refused batch would have changed is simply done again: nothing of the batch was applied, so it
answers as if the refused write had never been asked for.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError, FlinError
from flin.net.command import Command, Flag
from flin.net.dispatch import shown_by
from flin.net.refusal import MISCONF, Refusal
from flin.net.registry import find
from flin.net.replies import QUEUED, last_of
from flin.net.resp import encode_error

if TYPE_CHECKING:
    from flin.net.context import Context
    from flin.net.transcript import Judge, Transcript

_ABORTED: Final = "EXECABORT Transaction discarded because of: "


def may_have_shown(refusal: Refusal, context: Context, request: list[bytes]) -> bool:
    """Whether a request that is half done may have read of the refused batch."""
    command = _command_of(request)
    positions = [] if command is None else command.keys.positions(request)
    return any(refusal.holds(context.keyspace.stored(request[position])) for position in positions)


def judge_refused(refusal: Refusal, context: Context, transcript: Transcript) -> Judge:
    """For one connection, which has said this in the refused batch's tick."""
    # Behind a SELECT nobody knows any more which database an earlier request has read.
    is_certain = transcript.is_of_one_database
    keyspaces = [context.keyspace] if is_certain else context.services.keyspaces

    def has_shown(command: Command, request: list[bytes]) -> bool:
        keys = [request[position] for position in command.keys.positions(request)]
        return any(refusal.holds(keyspace.stored(key)) for key in keys for keyspace in keyspaces)

    def fails_in_transaction(command: Command, request: list[bytes]) -> bool:
        # What walks over all keys has met the batch there; elsewhere it commits the batch first.
        walks = command.flags & Flag.READONLY and not command.keys.positions(request)
        return command.is_write or bool(walks) or has_shown(command, request)

    def judged(request: list[bytes], reply: bytes) -> bytes:
        command = _command_of(request)
        if command is None or _says_nothing(reply):
            return reply
        if command.is_write:
            return _error(context, refusal.text)
        queue = transcript.transaction_of(request)
        if queue is not None:
            failed = any(fails_in_transaction(one, of) for one, of in queue)
            return _error(context, _ABORTED + refusal.text) if failed else reply
        if not command.flags & Flag.READONLY or not has_shown(command, request):
            return reply
        return _read_again(refusal, context, command, request) if is_certain else _error(context, refusal.text)

    return judged


def _read_again(refusal: Refusal, context: Context, command: Command, request: list[bytes]) -> bytes:
    """On the loop: it has been in memory a moment ago, or its key was not there."""
    context.services.block_reads(blocking=True)
    try:
        value = command.handler(context, request)
        if type(value) is GeneratorType:
            value = last_of(value)
    except CommandError as error:
        return _error(context, str(error))
    except FlinError:
        return _error(context, refusal.text)
    finally:
        context.services.block_reads(blocking=False)
    return context.session.encode(value)


def judge_unsynced(context: Context, transcript: Transcript, synced_position: int) -> Judge:
    """After a sync that failed: all that was committed is in memory, but nobody is told of what is not on the disk."""

    def judged(request: list[bytes], reply: bytes) -> bytes:
        command = _command_of(request)
        if command is None or _says_nothing(reply):
            return reply
        if transcript.transaction_of(request) is not None:
            return _error(context, _ABORTED + MISCONF)
        reads = command.flags & Flag.READONLY
        if command.is_write or (reads and shown_by(context, [request]) > synced_position):
            return _error(context, MISCONF)
        return reply

    return judged


def _command_of(request: list[bytes]) -> Command | None:
    command = find(request[0])
    if command is not None and command.subcommands is not None and len(request) > 1:
        return command.subcommands.get(request[1].lower())
    return command


def _says_nothing(reply: bytes) -> bool:
    """Neither an error nor a place in a queue has changed or shown anything."""
    return reply[:1] == b"-" or reply == QUEUED.data


def _error(context: Context, text: str) -> bytes:
    context.services.counters.count_error(text)
    return encode_error(text)
