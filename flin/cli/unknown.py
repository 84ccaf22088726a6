"""The error for an option or argument that a subcommand does not take, above all for the names that Redis has."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from flin.net.settings.redis_names import hint_of

_SHORT: Final = {"-h": "it is called --bind", "-p": "it is called --port", "-a": "it is called --requirepass"}
"""Options of redis-cli and its kin, which stand for others here."""


def unknown_text(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> str:
    """One line about the first of the arguments that the parser did not take."""
    first = unknown[0]
    known = [option for action in parser._actions for option in action.option_strings]  # argparse has no public list
    if not first.startswith("-"):
        return f"{parser.prog} does not take {first!r}{_places(parser)}. See {parser.prog} --help"
    option = first.partition("=")[0]
    hint = _hint(option, known, is_server="--port" in known)
    return f"{parser.prog}: there is no option {option}{hint and f': {hint}'}. See {parser.prog} --help"


def _places(parser: argparse.ArgumentParser) -> str:
    """The end of an error: after which arguments this one is too many, or how files and directories are named."""
    places = [str(action.metavar or action.dest) for action in parser._actions if not action.option_strings]
    if places:
        return f" after {' '.join(places)}"
    options = {option for action in parser._actions for option in action.option_strings}
    return ": a configuration file is named by --config, a directory by --dir" if "--dir" in options else ""


def _hint(option: str, known: Iterable[str], *, is_server: bool) -> str:
    spelled = option.replace("_", "-")
    if spelled in known:
        return f"it is spelled {spelled}"
    if is_server:
        hint = _SHORT.get(option) or hint_of(spelled.removeprefix("--"))
        if hint:
            return hint
    longer = [name for name in known if name.startswith(spelled)] or get_close_matches(spelled, known, 1)
    return f"{' or '.join(longer)} is meant, perhaps" if longer and len(spelled) > 2 else ""
