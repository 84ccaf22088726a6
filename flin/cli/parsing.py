"""The common part of the subcommands' parsers: help that keeps its line breaks, and checked arguments."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from flin.cli import exit_code
from flin.engine.disk.file_name import GROUPS, KEYS, MANIFEST, UNFINISHED, UNFINISHED_COPY, maybe_parse
from flin.engine.options import parse_bytes
from flin.errors import EncryptionError
from flin.key_file import read_key

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""The type that `add_subparsers` returns; argparse gives it no public name."""


_WRONG_CHOICE: Final = re.compile(r"argument (\w+): invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)
"""argparse's own words, in which the choices have quotes before Python 3.14."""

_NAME: Final = re.compile(r"[\w-]+")


class UsageError(Exception):
    """The command cannot be carried out as given."""


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, whose meaning changes when an option is added. Its errors are one line."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        if matched := _WRONG_CHOICE.fullmatch(message):
            what, word, choices = matched.groups()
            names = _NAME.findall(choices)
            near = get_close_matches(word, names, 1)
            other = f"{near[0]} is meant, perhaps" if near else f"it must be one of {', '.join(names)}"
            message = f"{what} is {word!r}: {other}"
        self.exit(exit_code.USAGE, f"{self.prog}: {message}. See {self.prog} --help\n")


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str, examples: str
) -> Parser:
    """Add a subcommand whose help says what it does, with examples and the exit codes."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}",
        epilog=f"examples:\n{examples}\n\n{exit_code.TABLE}",
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_key_option(parser: Parser) -> None:
    """Let the command open encrypted databases: `maybe_key` gives the key."""
    parser.add_argument(
        "--encryption-key-file", metavar="FILE", help="the key of an encrypted database: 64 hex digits, or 32 bytes"
    )


def maybe_key(path: str | None) -> bytes | None:
    """The key in the file, if one is named. Warns of one that others can read; UsageError if there is no key in it."""
    if path is None:
        return None
    try:
        key, warning = read_key(path)
    except EncryptionError as error:
        raise UsageError(error) from error
    if warning:
        print(f"flin: warning: {warning}", file=sys.stderr)
    return key


def size(text: str) -> int:
    """The bytes of a size like "256mb"; a type for argparse."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """A whole number above 0; underscores and "5m" for millions are not numbers."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


_UNFINISHED: Final = {
    UNFINISHED: "what an interrupted `flin resize` or `flin import` has left: remove it, and begin again; an import of "
    "a running server goes on if it is given again",
    UNFINISHED_COPY: "what an interrupted copy has left: remove it, and begin again",
}


def database_directory(text: str) -> str:
    """The directory of a database, or of groups, that exists; UsageError otherwise."""
    path = Path(text)
    if "://" in text:
        raise UsageError(
            f"{text} is a URL, and this command takes a directory: of a running server, that of a checkpoint or of a "
            "backup"
        )
    if not text or not path.exists():
        raise UsageError(f"there is no directory {text!r}: name that of a database")
    if not path.is_dir():
        raise UsageError(f"{text} is a file: name the directory of the database (flin dump shows a single file)")
    try:
        names = os.listdir(path)
    except PermissionError as error:
        raise UsageError(f"{text} cannot be read: {error.strerror}; run flin as its owner, {_owner(path)}") from error
    for unfinished, what in _UNFINISHED.items():
        if unfinished in names and not {MANIFEST, GROUPS} & {*names}:
            raise UsageError(f"{text} is {what}")
    if not _is_database(names):
        raise UsageError(f"{text} holds no Flin database{_instead(path, names)}")
    return text


def new_directory(text: str, source: str, advice: str) -> str:
    """The absolute path of a directory to be made: absent or empty, and outside of the source; UsageError otherwise.
    advice: the end of the error if it is neither."""
    path = os.path.abspath(text)
    if f"{os.path.realpath(path)}{os.sep}".startswith(f"{os.path.realpath(source)}{os.sep}"):
        raise UsageError(f"the result must not lie in {source}, which stays as it is")
    for unfinished, what in _UNFINISHED.items():
        if os.path.isdir(path) and unfinished in os.listdir(path):
            raise UsageError(f"{path} is {what}")
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise UsageError(f"{path} is there and not an empty directory; {advice}")
    return path


def _is_database(names: list[str]) -> bool:
    return bool({MANIFEST, GROUPS, KEYS} & {*names}) or any(maybe_parse(name) for name in names)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a number without a name
        return f"user {path.stat().st_uid}"


def _instead(path: Path, names: list[str]) -> str:
    """The files that are there instead."""
    if not names:
        return ": it is empty (flin serve and flin.engine.open make databases)"
    below = [path / name for name in sorted(names) if (path / name).is_dir() and os.access(path / name, os.R_OK)]
    found = [each for each in below if _is_database(os.listdir(each))]
    if len(found) > 1:  # such as a node's
        return f", but {found[0]} does, and {', '.join(each.name for each in found[1:])} beside it: name one of them"
    return f", but {found[0]} does" if found else ""
