"""Commands about the connection itself: database, end."""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.client.session import RESP2, Closure, Silence
from flin.net.command.arguments import parse_int32
from flin.net.command.registry import command
from flin.net.run.context import Context
from flin.net.run.slot_gate import check_alone
from flin.net.wire.replies import OK, PONG, Reply, Value, wrong_arity

GROUP: Final = "connection"

_ALWAYS: Final = "noscript loading stale"
HANDSHAKE: Final = f"{_ALWAYS} fast no_auth allow_busy skip_slowlog"
_BAD_NAME: Final = "ERR Client names cannot contain spaces, newlines or special characters."
_RESET: Final = Reply(b"+RESET\r\n")


@command("ping", -1, "fast while_subscribed")
def ping(context: Context, args: list[bytes]) -> Value:
    """Returns the server's liveliness response."""
    if len(args) > 2:
        raise wrong_arity("ping")
    if context.session.closed_by & Closure.SUBSCRIBED:
        return [b"pong", args[1] if len(args) == 2 else b""]
    return PONG if len(args) == 1 else args[1]


@command("echo", 2, "loading stale fast")
def echo(context: Context, args: list[bytes]) -> Value:
    """Returns the given string."""
    return args[1]


@command("quit", -1, f"{HANDSHAKE} unqueued while_subscribed")
def quit_(context: Context, args: list[bytes]) -> Value:
    """Closes the connection."""
    context.session.end_everything()  # nothing follows its reply
    context.session.close_after_reply = True
    return OK


@command("reset", 1, f"{HANDSHAKE} unqueued while_subscribed")
def reset(context: Context, args: list[bytes]) -> Value:
    """Resets the connection."""
    session = context.session
    context.end_transaction()
    context.select(0)
    session.set_protocol(RESP2)
    context.services.pubsub.leave(session)
    context.note_subscriptions()
    session.name = b""
    session.is_no_touch = False
    session.is_readonly = False
    session.end_everything()
    services = context.services
    session.set_silence(Silence.NONE, server_gates_open=services.clients.gates_open)
    users = services.users
    session.log_in(users.default, not users.needs_password, server_gates_open=services.clients.gates_open)
    return _RESET


@command("select", 2, "loading stale fast")
def select(context: Context, args: list[bytes]) -> Value:
    """Changes the selected database."""
    database = parse_int32(args[1])
    if database:
        check_alone(context.services.slot_gate, "SELECT")
    if not 0 <= database < context.services.config.databases:
        raise CommandError("ERR DB index is out of range")
    context.select(database)
    return OK


def checked_name(name: bytes) -> bytes:
    """The name, if a connection may have it."""
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        raise CommandError(_BAD_NAME)
    return name
