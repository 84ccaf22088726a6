"""The table of commands: one declaration per command, and everything that is known about it.

Arity checks, the gates of dispatch, COMMAND, COMMAND DOCS, the keys to prefetch and `docs/commands.md` all read these
declarations, so nothing about a command is said twice. A declaration is a row over the handler, whose docstring's first
line is the summary:

    GROUP: Final = "string"

    @command("get", 2, "readonly fast", FIRST_KEY)
    def get(context: Context, args: list[bytes]) -> Value:
        "Returns the string at a key."

facts.py says since which Redis it exists, and what its time depends on.

A subcommand is declared with a bar, `"client|id"`, after its container (`container("client", …)`); its arity counts
the container's name. This module knows no handler: `commands/every.py` imports them all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

from flin.net.command.command import NO_KEYS, Batch, Command, Handler, Keys, flags_of
from flin.net.wire.replies import Value

_commands: Final[dict[str, Command]] = {}

BY_NAME: Final[dict[bytes, Command]] = {}
"""Each name in lower and in upper case, exactly as clients send them."""

UNTIMED: Final[dict[bytes, Command]] = {}
"""The commands that dispatch runs without a clock: fast or untimed, no container, never in slices."""


def command(
    name: str,
    arity: int,
    flags: str = "",
    keys: Keys = NO_KEYS,
    *,
    categories: str = "",
    batch: Batch | None = None,
    is_batch_wide: bool = False,
    is_batch_gated: bool = False,
    group: str | None = None,
) -> Callable[[Handler], Handler]:
    """Declare the handler below as this command. arity counts the name; negative: the least number. flags and
    categories (ACL's, beyond those that flags and group imply): names with spaces between. batch: for
    requests with the least number, is_batch_wide: with any, is_batch_gated: it ends by itself before a key that a
    cluster has elsewhere. group: where it is not the module's GROUP."""

    def declare(handler: Handler) -> Handler:
        _add(
            Command(
                name,
                handler,
                arity=arity,
                flags=flags_of(flags),
                keys=keys,
                group=group or _group_of(handler),
                summary=(handler.__doc__ or "").partition("\n")[0],
                categories=categories.split(),
                batch=batch,
                is_batch_wide=is_batch_wide,
                is_batch_gated=is_batch_gated,
            )
        )
        return handler

    return declare


def container(
    name: str,
    group: str,
    summary: str,
    arity: int = -2,
    flags: str = "",
    *,
    alone: Handler | None = None,
    categories: str = "",
) -> None:
    """Declare a command that has subcommands: dispatch goes straight to them. `alone` runs if none is given."""
    handler = alone or _never_called
    found = Command(
        name,
        handler,
        arity=arity,
        flags=flags_of(flags),
        keys=NO_KEYS,
        group=group,
        summary=summary,
        categories=categories.split(),
    )
    found.subcommands = {}
    _add(found)


def _group_of(handler: Handler) -> str:
    """The GROUP of the handler's module."""
    group: str = inspect.getmodule(handler).GROUP  # type: ignore[union-attr]
    return group


def find(name: bytes) -> Command | None:
    """The command of this name, in upper, lower or mixed case."""
    return BY_NAME.get(name) or BY_NAME.get(name.lower())


def find_for(request: list[bytes]) -> Command | None:
    """The command or subcommand that a request asks for."""
    found = find(request[0])
    if found is not None and found.subcommands is not None and len(request) > 1:
        return found.subcommands.get(request[1].lower())
    return found


def find_by_path(name: str) -> Command | None:
    """The command or subcommand ("client|id") of this lower-case name."""
    return _commands.get(name)


def all_commands() -> Iterator[Command]:
    """Every command, without entries of its subcommands, in order of name."""
    return (found for name, found in sorted(_commands.items()) if "|" not in name)


def with_subcommands() -> Iterator[Command]:
    """Every command but the containers, in order of name: their subcommands stand in their place."""
    return (found for found in every_command() if found.subcommands is None)


def every_command() -> Iterator[Command]:
    """Every command, containers and their subcommands among them, in order of name. A container counts too: COMMAND
    runs alone, and CONFIG alone is refused."""
    return (found for _, found in sorted(_commands.items()))


def calls_of_all() -> int:
    """How many commands have run since the start or CONFIG RESETSTAT: those of EXEC and of scripts, too, but none that
    was refused or only queued."""
    return sum([found.calls for found in _commands.values()])


def _add(added: Command) -> None:
    if added.name in _commands:
        raise ValueError(f"the command {added.name} is declared twice")
    _commands[added.name] = added
    parent, bar, sub = added.name.partition("|")
    if bar:
        siblings = _commands[parent].subcommands
        if siblings is None:
            raise ValueError(f"{parent} is no container")
        siblings[sub.encode()] = added
        return
    for name in (added.name.encode(), added.name.upper().encode()):
        BY_NAME[name] = added
        if added.is_untimed:
            UNTIMED[name] = added


def _never_called(context: Any, args: list[bytes]) -> Value:
    raise AssertionError("dispatch resolves the subcommand of a container")
