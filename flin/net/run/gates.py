"""The gates that a request passes before its command runs: known, arity, authenticated, in MULTI, writes allowed.

They are driven by the command's flags and the session's state, never by a command's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.batch.following_store import FOLLOWS
from flin.net.client.clients import ServerClosure
from flin.net.client.session import Closure
from flin.net.command.command import Command, Flag
from flin.net.command.registry import find
from flin.net.run.follower_gate import READ_ONLY
from flin.net.run.permission import may_run, note_denial
from flin.net.wire.replies import SHOWN_BYTES, shown, wrong_arity

if TYPE_CHECKING:
    from flin.net.run.context import Context

_MAY_WRITE: Final = Flag.WRITE | Flag.PUBLISHES | Flag.MAY_REPLICATE

STALL_POLL_SECONDS: Final = 0.01
"""How often a stopped writer tries again."""


class PausedError(Exception):
    """CLIENT PAUSE: the request waits for its end, at most so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class StalledError(Exception):
    """A gate holds writers back: try again after this many seconds."""

    def __init__(self, delay_seconds: float) -> None:
        super().__init__(delay_seconds)
        self.delay_seconds = delay_seconds


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


def check_gates(context: Context, command: Command, request: list[bytes], *, has_waited: bool) -> None:
    """Raises CommandError, in Redis's order, StalledError, ScriptRunsError or PausedError. Inside MULTI an error fails
    EXEC."""
    session = context.session
    if not session.is_authenticated and not command.flags & Flag.NO_AUTH:
        raise CommandError("NOAUTH Authentication required.")
    if session.queue is not None and command.flags & Flag.NO_MULTI:
        raise CommandError("ERR Command not allowed inside a transaction")
    closed_by = session.closed_by  # nearly always nothing: a truth test is a tenth of what `&` of flags costs
    if closed_by and closed_by & Closure.RESTRICTED:
        denial = may_run(session, command, request)
        if denial is not None:
            session.last_command = command.name.encode()
            note_denial(context, denial, "toplevel" if session.queue is None else "multi")
            raise CommandError(denial.text)
    slot_gate = context.services.slot_gate
    if slot_gate is not None:
        slot_gate.check(session, command, request)
    if closed_by and closed_by & Closure.SUBSCRIBED and not command.flags & Flag.WHILE_SUBSCRIBED:
        raise CommandError(
            f"ERR Can't execute '{command.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
            "allowed in this context"
        )
    clients = context.services.clients
    if clients.closed_by and clients.closed_by & ServerClosure.SCRIPT:
        context.services.long_script.check(command, is_queued=session.queue is not None and not command.is_unqueued)
    if command.is_write and not clients.gates_open:
        check_writes(context, has_waited=has_waited or session.queue is not None)
        if command.flags & Flag.DENYOOM:
            context.services.room.check()
    if closed_by and closed_by & Closure.MONITOR:
        # As in Redis, where it is a kind of replica: it is never paused.
        if command.flags & (_MAY_WRITE | Flag.READONLY):
            raise CommandError("ERR Replica can't interact with the keyspace")
    elif clients.closed_by and clients.closed_by & ServerClosure.PAUSE:
        seconds = context.services.pause.seconds_for(may_write=may_write(context, command, request))
        if seconds:
            raise PausedError(seconds)


def may_write(context: Context, command: Command, request: list[bytes]) -> bool:
    """Whether the request waits while writes are paused."""
    queue = context.session.queue if command.flags & Flag.ENDS_QUEUE else None
    return any(_may_write(context, one, of) for one, of in ((command, request), *(queue or ())))


def _may_write(context: Context, command: Command, request: list[bytes]) -> bool:
    if not command.flags & _MAY_WRITE:
        return False
    return command.says_it_reads is None or not command.says_it_reads(context, request)


def check_writes(context: Context, *, has_waited: bool) -> None:
    """Return if the engine takes writes now. Raises CommandError if it takes none, StalledError if they must wait."""
    store = context.services.store
    stall = store.stall()
    reason = store.read_only_reason or (store.background_error if stall.stopped else None)
    if reason is FOLLOWS:
        raise CommandError(READ_ONLY)
    if reason is not None and context.services.role is not None:  # somebody else will lead, or this one again
        raise CommandError(f"CLUSTERDOWN this leader cannot write: {reason}")
    if reason is not None:
        raise CommandError(
            f"MISCONF Flin cannot write to disk, so commands that modify the data set are refused: {reason}"
        )
    if stall.stopped:
        raise StalledError(STALL_POLL_SECONDS)
    if stall.delay_seconds and not has_waited:
        raise StalledError(stall.delay_seconds)


def _unknown_command(request: list[bytes]) -> CommandError:
    shown_args = ""
    for argument in request[1:]:
        if len(shown_args) >= SHOWN_BYTES:
            break
        shown_args += f"'{shown(argument[: SHOWN_BYTES - len(shown_args)])}' "
    return CommandError(f"ERR unknown command '{shown(request[0])}', with args beginning with: {shown_args}")
