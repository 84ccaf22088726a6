"""CLIENT: the clients of the server, and what each of them wants of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flin.errors import CommandError
from flin.net.access.users import Users
from flin.net.client.description import describe
from flin.net.client.pause import PauseKind
from flin.net.client.session import Session, Silence
from flin.net.command.registry import command, container
from flin.net.commands.connection import checked_name
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.run.context import Context
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import OK, Value, Verbatim, shown, syntax_error

GROUP: Final = "connection"

_ALWAYS: Final = "noscript loading stale"
_CLIENT_TYPES: Final = (b"normal", b"master", b"replica", b"slave", b"pubsub")

_SILENCES: Final = {b"on": Silence.NONE, b"off": Silence.ALL, b"skip": Silence.THIS}
_PAUSE_KINDS: Final = {b"write": PauseKind.WRITE, b"all": PauseKind.ALL}

container("client", GROUP, "Commands about client connections.")


@command("client|id", 2, _ALWAYS)
def client_id(context: Context, args: list[bytes]) -> Value:
    """Returns the connection's unique number."""
    return context.session.id


@command("client|getname", 2, _ALWAYS)
def client_getname(context: Context, args: list[bytes]) -> Value:
    """Returns the name of the connection."""
    return context.session.name or None


@command("client|setname", 3, _ALWAYS)
def client_setname(context: Context, args: list[bytes]) -> Value:
    """Names the connection."""
    context.session.name = checked_name(args[2])
    return OK


@command("client|setinfo", 4, _ALWAYS)
def client_setinfo(context: Context, args: list[bytes]) -> Value:
    """Tells the client library's name or version."""
    option = args[2].lower()
    text = args[3]
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(f"ERR Unrecognized option '{shown(args[2])}'")
    if any(not 0x21 <= byte <= 0x7E for byte in text):
        raise CommandError(f"ERR {option.decode()} cannot contain spaces, newlines or special characters.")
    if option == b"lib-name":
        context.session.library_name = text
    else:
        context.session.library_version = text
    return OK


@command("client|no-evict", 3, f"{_ALWAYS} admin")
def client_no_evict(context: Context, args: list[bytes]) -> Value:
    """Whether the connection is spared when buffers must go."""
    context.session.is_no_evict = _on_or_off(args[2])
    return OK


@command("client|no-touch", 3, _ALWAYS)
def client_no_touch(context: Context, args: list[bytes]) -> Value:
    """Whether the connection's reads leave the keys' age alone (Flin keeps none)."""
    context.session.is_no_touch = _on_or_off(args[2])
    return OK


@command("client|reply", 3, _ALWAYS)
def client_reply(context: Context, args: list[bytes]) -> Value:
    """Whether requests are answered: ON, OFF, or SKIP for the next one."""
    silence = _SILENCES.get(args[2].lower())
    if silence is None:
        raise syntax_error()
    session, services = context.session, context.services
    if silence is not Silence.NONE and services.pending.in_transaction:
        raise CommandError("ERR CLIENT REPLY OFF and SKIP are not allowed inside a transaction")  # whose reply is one
    if silence is not Silence.THIS or session.silence is not Silence.ALL:
        session.set_silence(silence, server_gates_open=services.clients.gates_open)
    return OK


@command("client|pause", -3, f"{_ALWAYS} admin")
def client_pause(context: Context, args: list[bytes]) -> Value:
    """Makes requests wait for so many milliseconds: all, or only those that may write."""
    if len(args) > 4:
        raise unknown_or_wrong_arity(args)
    kind = PauseKind.ALL
    if len(args) == 4:
        found = _PAUSE_KINDS.get(args[3].lower())
        if found is None:
            raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
        kind = found
    milliseconds = parse_int64(args[2], "ERR timeout is not an integer or out of range")
    if milliseconds < 0:
        raise CommandError("ERR timeout is negative")
    context.services.pause.begin(kind, milliseconds)
    return OK


@command("client|unpause", 2, f"{_ALWAYS} admin")
def client_unpause(context: Context, args: list[bytes]) -> Value:
    """Ends the pause: requests that wait go on."""
    context.services.pause.end()
    return OK


def _on_or_off(text: bytes) -> bool:
    lowered = text.lower()
    if lowered not in (b"on", b"off"):
        raise syntax_error()
    return lowered == b"on"


@command("client|info", 2, _ALWAYS)
def client_info(context: Context, args: list[bytes]) -> Value:
    """Describes the connection."""
    return Verbatim(describe(context.session, context.services.tick.steady_ms, args) + b"\n")


@command("client|list", -2, f"{_ALWAYS} admin")
def client_list(context: Context, args: list[bytes]) -> Value:
    """Lists the open connections."""
    sessions = context.services.clients.sessions
    chosen = list(sessions.values())
    if len(args) > 2:
        option = args[2].lower()
        if option == b"type" and len(args) == 4:
            wanted = _client_type(args[3])
            chosen = [session for session in chosen if _type_of(session) == wanted]
        elif option == b"id" and len(args) > 3:
            numbers = [_listed_id(text) for text in args[3:]]
            chosen = [sessions[number] for number in numbers if number in sessions]  # each as often as named
        else:
            raise syntax_error()
    own, steady_ms = context.session, context.services.tick.steady_ms
    lines = [describe(session, steady_ms, args if session is own else None) for session in chosen]
    return Verbatim(b"".join(line + b"\n" for line in lines))


def _listed_id(text: bytes) -> int:
    number = maybe_int64(text)
    if number is None:
        raise CommandError("ERR Invalid client ID")
    return number


def _client_type(text: bytes) -> bytes:
    lowered = text.lower()
    if lowered not in _CLIENT_TYPES:
        raise CommandError(f"ERR Unknown client type '{shown(text)}'")
    return b"replica" if lowered == b"slave" else lowered


def _type_of(session: Session) -> bytes:
    """As Redis counts them, one that monitors is a normal client."""
    return b"pubsub" if session.is_listener else b"normal"


@command("client|kill", -3, f"{_ALWAYS} admin")
def client_kill(context: Context, args: list[bytes]) -> Value:
    """Closes connections."""
    sessions = list(context.services.clients.sessions.values())
    if len(args) == 3:
        wanted = args[2].decode("latin-1")
        for session in sessions:
            if session.address == wanted:
                _kill(context, session)
                return OK
        raise CommandError("ERR No such client")
    accepts, skip_me = _kill_filters(context.services.users, args)
    chosen = [session for session in sessions if accepts(session) and not (skip_me and session is context.session)]
    for session in chosen:
        _kill(context, session)
    return len(chosen)


def _kill(context: Context, session: Session) -> None:
    if session is context.session:
        session.close_after_reply = True
    else:
        context.services.clients.kill(session)  # not when it has read its replies: as in Redis, it may never do


@command("client|unblock", -3, f"{_ALWAYS} admin")
def client_unblock(context: Context, args: list[bytes]) -> Value:
    """Ends another client's wait for a key, as its timeout would or with an error; returns whether it waited."""
    if len(args) > 4:
        raise CommandError(
            f"ERR unknown subcommand or wrong number of arguments for '{shown(args[1])}'. Try CLIENT HELP."
        )
    reason = args[3].lower() if len(args) == 4 else b"timeout"
    if reason not in (b"timeout", b"error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    session = context.services.clients.sessions.get(parse_int64(args[2]))
    return int(session is not None and session.link.unblock(with_error=reason == b"error"))


def _kill_filters(users: Users, args: list[bytes]) -> tuple[Callable[[Session], bool], bool]:
    if len(args) % 2:
        raise syntax_error()
    tests: list[Callable[[Session], bool]] = []
    skip_me = True
    for option, text in zip(args[2::2], args[3::2], strict=True):
        name = option.lower()
        value = text.decode("latin-1")
        if name == b"id":
            number = maybe_int64(text)
            if number is None or number < 1:
                raise CommandError("ERR client-id should be greater than 0")
            tests.append(lambda session, number=number: session.id == number)  # type: ignore[misc]
        elif name == b"type":
            wanted = _client_type(text)
            tests.append(lambda session, wanted=wanted: _type_of(session) == wanted)  # type: ignore[misc]
        elif name == b"addr":
            tests.append(lambda session, value=value: session.address == value)  # type: ignore[misc]
        elif name == b"laddr":
            tests.append(lambda session, value=value: session.local_address == value)  # type: ignore[misc]
        elif name == b"user":
            user = users.find(text)
            if user is None:
                raise CommandError(f"ERR No such user '{shown(text)}'")
            tests.append(lambda session, user=user: session.user is user)  # type: ignore[misc]
        elif name == b"skipme" and text.lower() in (b"yes", b"no"):
            skip_me = text.lower() == b"yes"
        else:
            raise syntax_error()
    return lambda session: all(test(session) for test in tests), skip_me


declare_help("client", GROUP)
