"""The HELP subcommand of a container: its lines come from the declarations."""

from __future__ import annotations

from flin.errors import CommandError
from flin.net.command.command import Command
from flin.net.command.registry import command, find_by_path
from flin.net.run.context import Context
from flin.net.wire.replies import Value, shown


def declare_help(name: str, group: str, categories: str = "") -> None:
    """Declare `name|help`. Call it after the container's other subcommands."""
    found = find_by_path(name)
    assert found is not None
    container = found

    @command(f"{name}|help", 2, "loading stale", group=group, categories=categories)
    def show_help(context: Context, args: list[bytes]) -> Value:
        """Shows the subcommands."""
        return help_lines(container)


def unknown_or_wrong_arity(args: list[bytes]) -> CommandError:
    """Redis's error for a subcommand that counts its arguments itself."""
    name, sub = args[0].upper().decode("latin-1"), shown(args[1])
    return CommandError(f"ERR unknown subcommand or wrong number of arguments for '{sub}'. Try {name} HELP.")


def help_lines(container: Command) -> list[str]:
    """Simple strings, laid out as Redis does."""
    assert container.subcommands is not None
    lines = [f"{container.name.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for sub, found in sorted(container.subcommands.items()):
        lines += [sub.decode().upper(), f"    {found.summary}"]
    return lines
