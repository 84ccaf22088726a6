"""MONITOR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.client.clients import ServerClosure
from flin.net.client.session import Closure
from flin.net.command.registry import command
from flin.net.wire.replies import NOTHING, OK, Value

if TYPE_CHECKING:
    from flin.net.client.session import Session
    from flin.net.run.context import Context
    from flin.net.run.services import Services

GROUP: Final = "server"


@command("monitor", 1, "admin noscript loading stale")
def monitor(context: Context, args: list[bytes]) -> Value:
    """Shows the client every command that the server runs, until RESET or QUIT."""
    services, session = context.services, context.session
    if services.pending.in_transaction:
        raise CommandError("ERR MONITOR isn't allowed for DENY BLOCKING client")
    if session.closed_by & Closure.MONITOR:
        session.remarks.append((args, 0))  # as in Redis
        return NOTHING
    services.monitors.add(session.id, session.link)
    session.close_gates(Closure.MONITOR)
    session.begin(Closure.MONITOR, lambda: _end(services, session))
    services.clients.close_gates(ServerClosure.MONITOR)
    return OK


def _end(services: Services, session: Session) -> None:
    services.monitors.discard(session.id)
    if not len(services.monitors):
        services.clients.open_gates(ServerClosure.MONITOR)
    session.open_gates(Closure.MONITOR, server_gates_open=services.clients.gates_open)
