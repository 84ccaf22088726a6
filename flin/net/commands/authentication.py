"""AUTH and HELLO: who a client is, and which protocol it speaks."""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.access.denial import Kind
from flin.net.client.session import RESP2, RESP3
from flin.net.command.registry import command
from flin.net.commands.connection import HANDSHAKE, checked_name
from flin.net.run.context import Context
from flin.net.run.permission import note
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Value, shown, syntax_error

GROUP: Final = "connection"

_WRONG_PASSWORD: Final = "WRONGPASS invalid username-password pair or user is disabled."
_NO_PASSWORD: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
_HELLO_NEEDS_AUTH: Final = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
    "option can be used to authenticate the client and select the RESP protocol version at the same time"
)


@command("auth", -2, HANDSHAKE)
def auth(context: Context, args: list[bytes]) -> Value:
    """Authenticates the connection."""
    if len(args) > 3:
        raise syntax_error()
    users = context.services.users
    if len(args) == 2:
        if users.default.has_nopass:
            raise CommandError(_NO_PASSWORD)
        _authenticate(context, users.default.name, args[1])
    else:
        _authenticate(context, args[1], args[2])
    return OK


@command("hello", -1, HANDSHAKE)
def hello(context: Context, args: list[bytes]) -> Value:
    """Handshakes with the server: protocol, authentication, name."""
    session = context.session
    protocol = session.protocol
    if len(args) > 1:
        protocol = parse_int64(args[1], "ERR Protocol version is not an integer or out of range")
        if protocol not in (RESP2, RESP3):
            raise CommandError("NOPROTO unsupported protocol version")
    credentials, name = _hello_options(args)
    if credentials is not None:
        _authenticate(context, *credentials)
    if not session.is_authenticated:
        raise CommandError(_HELLO_NEEDS_AUTH)
    if name is not None:
        session.name = name
    session.set_protocol(protocol)
    context.note_subscriptions()
    role = context.services.role
    return {
        b"server": b"redis",
        b"version": context.services.config.options.redis_version.encode(),
        b"proto": protocol,
        b"id": session.id,
        b"mode": b"standalone" if context.services.slot_gate is None else b"cluster",
        b"role": b"replica" if role is not None and not role.is_leading else b"master",
        b"modules": [],
    }


def _hello_options(args: list[bytes]) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    position = 2
    while position < len(args):
        option = args[position].lower()
        following = len(args) - position - 1
        if option == b"auth" and following >= 2:
            credentials = (args[position + 1], args[position + 2])
            position += 3
        elif option == b"setname" and following >= 1:
            name = checked_name(args[position + 1])
            position += 2
        else:
            raise CommandError(f"ERR Syntax error in HELLO option '{shown(args[position])}'")
    return credentials, name


def _authenticate(context: Context, name: bytes, password: bytes) -> None:
    services = context.services
    user = services.users.authenticate(name, password)
    if user is None:
        note(context, Kind.AUTH, b"AUTH", name, "toplevel" if context.session.queue is None else "multi")
        raise CommandError(_WRONG_PASSWORD)
    context.session.log_in(user, True, server_gates_open=services.clients.gates_open)
