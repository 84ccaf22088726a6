"""`flin completion SHELL`: prints a script that lets a shell complete subcommands, options and files.

The script is made of the parsers by shtab, so it knows what this version knows. It runs nothing of Flin's: completing
costs no start of Python.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, Final

from flin.cli import exit_code
from flin.cli.parsing import Commands, Parser, UsageError, add_command

SHELLS: Final = ("bash", "zsh", "fish")
DETAILS: Final = "The script goes to standard output; print it again after an upgrade. It needs the extra `completion`."
EXAMPLES: Final = """\
  flin completion bash > ~/.local/share/bash-completion/completions/flin
  flin completion zsh > ~/.zfunc/_flin        (a folder of fpath)
  flin completion fish > ~/.config/fish/completions/flin.fish"""


def add_parser(commands: Commands, top: Parser) -> None:
    """top: the parser of all subcommands."""
    parser = add_command(
        commands,
        "completion",
        partial(run, top),
        "print a script that completes commands in a shell",
        DETAILS,
        EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def run(top: Parser, arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise UsageError("the scripts are made by shtab: pip install 'flin[completion]'") from error
    places = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY, "NEW": shtab.DIRECTORY}
    _describe(top, places)
    print(shtab.complete(top, arguments.shell))
    return exit_code.OK


def _describe(parser: argparse.ArgumentParser, places: dict[str, Any]) -> None:
    """Say what the arguments' values are, by their names in the help."""
    for action in parser._actions:  # argparse has no public list
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _describe(each, places)
        elif isinstance(action.metavar, str) and action.metavar in places:
            action.complete = places[action.metavar]  # type: ignore[attr-defined] # as shtab asks for
        elif isinstance(action.metavar, str) and "|" in action.metavar:
            action.choices = action.metavar.split("|")
