"""Whether a session's user may run a request, and the log of what was denied.

Dispatch asks it of the requests of restricted users only (their gates are closed), EXEC and scripts of every command
that they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flin.net.access.denial import Denial, Kind
from flin.net.access.denial_log import Entry
from flin.net.client.description import describe
from flin.net.client.session import Closure
from flin.net.command.registry import find_for

if TYPE_CHECKING:
    from flin.net.client.session import Session
    from flin.net.command.command import Command
    from flin.net.run.context import Context


def may_run(session: Session, command: Command, request: list[bytes]) -> Denial | None:
    """None if it may. Of a request with too few arguments only the command is looked at, as in Redis."""
    user = session.user
    return None if user.is_unrestricted else user.may_run(command, request)


def is_limited_by_rules_alone(context: Context) -> bool:
    """Whether the rules of its user are the only gate that is closed to the session."""
    session, services = context.session, context.services
    return (
        session.closed_by == _RESTRICTED
        and session.is_authenticated
        and session.queue is None
        and services.clients.gates_open
        and not services.tick.is_sampled
    )


_RESTRICTED: Final = Closure.RESTRICTED


def may_run_columns(context: Context, command: Command, columns: Sequence[tuple[bytes, ...]]) -> bool:
    """Whether a pipeline of one command, a column for each argument, may run at once: nothing limits the session but
    the rules of its user, and these allow all of it. Otherwise the requests are looked at one by one."""
    return is_limited_by_rules_alone(context) and context.session.user.may_run_columns(command, columns)


def may_read_every_key(context: Context, request: list[bytes]) -> bool:
    """Whether the user may run the request, and read whatever key with it."""
    command = find_for(request)
    return command is not None and context.session.user.reads_every_key(command, request)


def note_denial(context: Context, denial: Denial, where: str) -> None:
    """Put it into ACL LOG. where: toplevel, multi or lua."""
    note(context, denial.kind, denial.what, context.session.user.name, where)


def note(context: Context, kind: Kind, what: bytes, user: bytes, where: str) -> None:
    services, session = context.services, context.session
    client = describe(session, services.tick.steady_ms)
    entry = Entry(kind, where, what, user, services.pending.now_ms, client)
    services.denials.add(entry, services.config.acllog_max_len)
