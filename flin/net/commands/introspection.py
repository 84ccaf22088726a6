"""COMMAND: what the table of commands says, in Redis's shapes."""

from __future__ import annotations

from typing import Any, Final

from flin.errors import CommandError
from flin.net.command.categories import categories
from flin.net.command.command import Command, Flag
from flin.net.command.facts import FACTS
from flin.net.command.key_specs import KeyFlag, flag_names
from flin.net.command.registry import all_commands, command, container, every_command, find_by_path, find_for
from flin.net.command.syntax import arguments_of
from flin.net.commands.help import declare_help
from flin.net.run.context import Context
from flin.net.wire.glob import compile_glob
from flin.net.wire.replies import Map, Value, syntax_error

GROUP: Final = "server"

_ANYTIME: Final = "loading stale"
_CONNECTION: Final = "connection"

_SHOWN_FLAGS: Final = tuple(
    (flag, (flag.name or "").lower())
    for flag in (
        Flag.WRITE,
        Flag.READONLY,
        Flag.DENYOOM,
        Flag.ADMIN,
        Flag.PUBSUB,
        Flag.NOSCRIPT,
        Flag.BLOCKING,
        Flag.LOADING,
        Flag.STALE,
        Flag.FAST,
        Flag.NO_AUTH,
        Flag.NO_ASYNC_LOADING,
        Flag.NO_MULTI,
        Flag.ALLOW_BUSY,
        Flag.SKIP_SLOWLOG,
        Flag.SKIP_MONITOR,
        Flag.NO_MANDATORY_KEYS,
        Flag.MOVABLEKEYS,
    )
)


def command_(context: Context, args: list[bytes]) -> Value:
    """COMMAND without a subcommand."""
    return [describe(found) for found in all_commands()]


container(
    "command",
    GROUP,
    "Describes all commands; its subcommands, some of them.",
    -1,
    _ANYTIME,
    alone=command_,
    categories=_CONNECTION,
)


@command("command|count", 2, _ANYTIME, categories=_CONNECTION)
def command_count(context: Context, args: list[bytes]) -> Value:
    """Returns the number of commands."""
    return sum(1 for _ in all_commands())


@command("command|info", -2, _ANYTIME, categories=_CONNECTION)
def command_info(context: Context, args: list[bytes]) -> Value:
    """Describes commands: arity, flags, keys."""
    if len(args) == 2:
        return command_(context, args)
    return [None if found is None else describe(found) for found in map(_by_path, args[2:])]


@command("command|docs", -2, _ANYTIME, categories=_CONNECTION)
def command_docs(context: Context, args: list[bytes]) -> Value:
    """Returns the commands' documentation."""
    chosen = all_commands() if len(args) == 2 else map(_by_path, args[2:])
    return {found.name.encode(): document(found) for found in chosen if found is not None}


@command("command|list", -2, _ANYTIME, categories=_CONNECTION)
def command_list(context: Context, args: list[bytes]) -> Value:
    """Returns the commands' names."""
    if len(args) == 2:
        return [found.name.encode() for found in every_command()]
    if len(args) != 5 or args[2].lower() != b"filterby":
        raise syntax_error()
    kind = args[3].lower()
    if kind == b"module":
        return []
    if kind == b"aclcat":
        wanted = args[4].lower().decode("latin-1")
        return [found.name.encode() for found in every_command() if wanted in categories(found)]
    if kind == b"pattern":
        glob = compile_glob(args[4].lower())
        return [found.name.encode() for found in every_command() if glob.matches(found.name.encode())]
    raise syntax_error()


@command("command|getkeys", -4, _ANYTIME, categories=_CONNECTION)
def command_getkeys(context: Context, args: list[bytes]) -> Value:
    """Returns the keys of a request."""
    return [key for key, _ in _keys(args[2:])]


@command("command|getkeysandflags", -4, _ANYTIME, categories=_CONNECTION)
def command_getkeysandflags(context: Context, args: list[bytes]) -> Value:
    """Returns the keys of a request, and what happens to each."""
    return [[key, dict.fromkeys(flag_names(flags)).keys()] for key, flags in _keys(args[2:])]


def _keys(request: list[bytes]) -> list[tuple[bytes, KeyFlag]]:
    found = find_for(request)
    if found is None:
        raise CommandError("ERR Invalid command specified")
    if all(spec.flags & KeyFlag.NOT_KEY for spec in found.key_specs):
        raise CommandError("ERR The command has no key arguments")
    if not found.minimum <= len(request) <= found.maximum:
        raise CommandError("ERR Invalid number of arguments specified for command")
    touches = found.touches(request)
    if not any(positions for _, positions in touches) and not found.flags & Flag.NO_MANDATORY_KEYS:
        raise CommandError("ERR Invalid arguments specified for command")
    return [(request[position], use.flags) for use, positions in touches for position in positions]


def _by_path(name: bytes) -> Command | None:
    return find_by_path(name.decode("latin-1").lower())


def describe(found: Command) -> list[Any]:
    """An element of COMMAND: name, arity, flags, first, last, step, categories, tips, key specs, subcommands."""
    keys = found.keys
    return [
        found.name.encode(),
        found.arity,
        _set_of(_shown_flags(found)),
        keys.first,
        keys.last,
        keys.step,
        _set_of(["@" + name for name in categories(found)]),
        _set_of([]),
        _set_of([spec.describe() for spec in found.key_specs]),
        _set_of([describe(sub) for _, sub in sorted((found.subcommands or {}).items())]),
    ]


def _set_of(values: list[Any]) -> Map:
    """A set that keeps its order."""
    return Map([(value, True) for value in values], is_set=True)


def _shown_flags(found: Command) -> list[str]:
    flags = found.flags
    if not flags & Flag.ENDS_QUEUE:  # Redis's slow log has AUTH and its kin, without their arguments
        flags &= ~Flag.SKIP_SLOWLOG
    return [name for flag, name in _SHOWN_FLAGS if flags & flag]


def document(found: Command) -> dict[bytes, Any]:
    """A value of COMMAND DOCS."""
    facts = FACTS[found.name]
    shown: dict[bytes, Any] = {
        b"summary": found.summary.encode(),
        b"since": facts.since.encode(),
        b"group": found.group.encode(),
        b"complexity": facts.complexity.encode(),
    }
    arguments = arguments_of(found.name)
    if arguments:
        shown[b"arguments"] = [argument.described() for argument in arguments]
    if found.subcommands is not None:
        shown[b"subcommands"] = {sub.name.encode(): document(sub) for _, sub in sorted(found.subcommands.items())}
    return shown


declare_help("command", GROUP, categories=_CONNECTION)
