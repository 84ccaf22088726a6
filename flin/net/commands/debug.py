"""DEBUG: what tests of clients and programs ask for. Off unless `--enable-debug-command` says otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from flin.errors import CommandError
from flin.net.client.clients import is_loopback
from flin.net.command.registry import command
from flin.net.commands.help import unknown_or_wrong_arity
from flin.net.commands.keys import object_encoding
from flin.net.commands.serialization import dump
from flin.net.run.context import Context
from flin.net.wire.double import maybe_double
from flin.net.wire.replies import (
    OK,
    BigNumber,
    Reply,
    Slices,
    Value,
    Verbatim,
    last_of,
)

logger = logging.getLogger(__name__)

GROUP: Final = "server"

_NOT_ALLOWED: Final = (
    'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local '
    "connection, otherwise you need to set this option in the configuration file, and then restart the server."
)

_HELP: Final = (
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ERROR <string>",
    "    Returns this error.",
    "LOADAOF",
    "    Makes every write so far durable: all of it is in the database already.",
    "LOG <message>",
    "    Writes the message into the server's log.",
    "OBJECT <key>",
    "    Shows facts about the value of a key.",
    "PROTOCOL <type>",
    "    Returns a value of this type.",
    "RELOAD",
    "    The same as LOADAOF.",
    "SET-ACTIVE-EXPIRE (0|1)",
    "    Whether expired keys are deleted in the background.",
    "SLEEP <seconds>",
    "    Stops the whole server for so long.",
    "HELP",
    "    Prints this help.",
)


@command("debug", -2, "admin noscript loading stale")
def debug(context: Context, args: list[bytes]) -> Value | Slices:
    """Serves tests, if the server was started with --enable-debug-command."""
    allowed = context.services.config.options.enable_debug_command
    if allowed == "no" or (allowed == "local" and not is_loopback(context.session.address)):
        raise CommandError(_NOT_ALLOWED)
    found = _SUBCOMMANDS.get((args[1].lower(), len(args) - 2))
    if found is None:
        if args[1].lower() in (b"reload", b"loadaof"):
            return _reload(context, args)
        raise unknown_or_wrong_arity(args)
    return found(context, args)


def _sleep(context: Context, args: list[bytes]) -> Value:
    time.sleep(max(0.0, maybe_double(args[2]) or 0.0))  # what is no number is 0, as in Redis
    return OK


def _reload(context: Context, args: list[bytes]) -> Slices:
    yield
    failures: list[Exception] = []

    def load() -> None:
        try:
            context.services.saving.sync_now()
        except Exception as error:
            failures.append(error)

    yield load
    if failures:
        raise failures[0]
    return OK


def _object(context: Context, args: list[bytes]) -> Value:
    encoding = object_encoding(context, [b"object", b"encoding", args[2]])
    if encoding is None:
        raise CommandError("ERR no such key")
    size = len(last_of(dump(context, [b"dump", args[2]])))
    # Nothing has an address or a time of access; the fields are those that clients read.
    return f"Value at:0x0 refcount:1 encoding:{encoding.decode()} serializedlength:{size} lru:0 lru_seconds_idle:0"


def _set_active_expire(context: Context, args: list[bytes]) -> Value:
    context.services.pause.set_active_expire(args[2] != b"0")
    return OK


def _error(context: Context, args: list[bytes]) -> Value:
    raise CommandError(args[2].decode("latin-1").replace("\r", " ").replace("\n", " "))


def _log(context: Context, args: list[bytes]) -> Value:
    logger.warning("DEBUG LOG: %s", args[2].decode("latin-1"))
    return OK


_TYPES: Final[dict[bytes, Callable[[Context], Value]]] = {
    b"string": lambda context: b"Hello World",
    b"integer": lambda context: 12345,
    b"double": lambda context: 3.141,
    b"null": lambda context: None,
    b"array": lambda context: [0, 1, 2],
    b"set": lambda context: {0, 1, 2},
    b"map": lambda context: {0: False, 1: True, 2: False},
    b"bignum": lambda context: BigNumber(b"1234567999999999999999999999999999999"),
    b"true": lambda context: True,
    b"false": lambda context: False,
    b"verbatim": lambda context: Verbatim(b"This is a verbatim\nstring"),
}


def _protocol(context: Context, args: list[bytes]) -> Value:
    name = args[2].lower()
    if name in _TYPES:
        return _TYPES[name](context)
    is_3 = context.session.protocol == 3
    if name == b"attrib":
        attribute = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n" if is_3 else b""
        return Reply(attribute + b"$39\r\nSome real reply following the attribute\r\n")
    if name == b"push":
        if not is_3:
            raise CommandError("ERR RESP2 is not supported by this command")
        return Reply(b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n")
    raise CommandError(
        "ERR Wrong protocol type name. Please use one of the following: "
        "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
    )


def _help(context: Context, args: list[bytes]) -> Value:
    return list(_HELP)


_SUBCOMMANDS: Final[dict[tuple[bytes, int], Callable[[Context, list[bytes]], Value | Slices]]] = {
    (b"error", 1): _error,
    (b"help", 0): _help,
    (b"loadaof", 0): _reload,
    (b"log", 1): _log,
    (b"object", 1): _object,
    (b"protocol", 1): _protocol,
    (b"set-active-expire", 1): _set_active_expire,
    (b"sleep", 1): _sleep,
}
"""By name and number of arguments."""
