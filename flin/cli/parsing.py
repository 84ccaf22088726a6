"""What the subcommands' parsers share: help that keeps its line breaks, and arguments checked as they are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from flin.cli import exit_code
from flin.engine.file_name import MANIFEST
from flin.engine.options import parse_bytes

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns; argparse gives it no public name."""


class UsageError(Exception):
    """The command cannot be carried out as it was given."""


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str, examples: str
) -> argparse.ArgumentParser:
    """A subcommand whose help says what it does, with examples and the exit codes."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}",
        epilog=f"examples:\n{examples}\n\n{exit_code.TABLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def size(text: str) -> int:
    """Bytes of "256mb"; what argparse takes as a type."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """A whole number above 0; underscores and "5m" for millions are not numbers."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def database_directory(text: str) -> str:
    """The directory of a database that exists; UsageError otherwise."""
    path = Path(text)
    if not path.is_dir():
        raise UsageError(f"{text} is not a directory")
    if not (path / MANIFEST).exists() and not any(path.glob("*.wal")) and not any(path.glob("*.sst")):
        raise UsageError(f"{text} holds no Flin database")
    return text
