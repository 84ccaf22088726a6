"""CONFIG REWRITE: what CONFIG SET has changed, put into the configuration file.

The lines of other options, comments, and the order stay; options that the file does not name are appended. What would
be read back is checked before anything is written.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flin.net.settings.config import PARAMETERS, Config
from flin.net.settings.literal import literal
from flin.net.settings.options import ROWS, ConfigError
from flin.net.settings.reading import option_of, options_from_text, text_of
from flin.net.settings.whole_file import write_whole

_HEADER: Final = re.compile(r"""[ \t]*\[[ \t]*(server|"server"|'server')[ \t]*\][ \t]*(#.*)?""")
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")


class RewriteError(ConfigError):
    """Nothing was written. str() says why."""


def rewrite(config: Config) -> None:
    """Raises RewriteError, ConfigError for a file that is wrong by now, OSError."""
    if config.options.workers > 1:
        raise RewriteError("CONFIG SET changes one worker, and the file is for all: write into it yourself")
    path = config.options.config_file
    if config.is_password_changed:
        raise RewriteError(
            "requirepass was changed, and only its hash is known: write it into the file yourself, or use an aclfile"
        )
    before = text_of(path)
    text = edited(config, before, path)
    if text != before:
        write_whole(os.path.realpath(path), text.encode())
    # As read last: SIGHUP finds nothing new in it.
    config.options = replace(config.options, file_values=options_from_text(text, path).file_values)


def edited(config: Config, before: str, path: str) -> str:
    """The text of the file, so that it gives what is in force. Raises RewriteError, ConfigError."""
    changes = changed(config, Config(options_from_text(before, path)))
    if not changes:
        return before
    text = rewritten(before, changes)
    left = changed(config, Config(options_from_text(text, path)))
    if left:
        raise RewriteError(f"{', '.join(left)} would not be read back")
    return text


def changed(config: Config, other: Config) -> dict[str, str]:
    """The parameters that CONFIG SET may change and whose values differ: the name in the file, the value as TOML."""
    changes = {}
    for row in ROWS.values():
        if row.is_running:
            parameter = PARAMETERS[row.parameters[0]]
            value = parameter.show(config)
            if value != parameter.show(other):
                changes[row.name] = _literal(value.decode("utf-8", "surrogateescape"), row.default)
    return changes


def _literal(value: str, default: Any) -> str:
    """The value in TOML. default: an option's, which has its type; None: any type is read."""
    if isinstance(default, bool):
        return literal(value == "yes")
    return value if not isinstance(default, str) and _INTEGER.fullmatch(value) else literal(value)


def rewritten(text: str, changes: Mapping[str, str]) -> str:
    """The text of a file, which is right, with other values (as TOML) of some options. Raises RewriteError."""
    lines = text.splitlines(keepends=True)
    header = next((number for number, line in enumerate(lines) if _HEADER.fullmatch(line.rstrip("\r\n"))), None)
    end = "\r\n" if "\r\n" in text else "\n"
    if header is None:
        if tomllib.loads(text):
            raise RewriteError("the file has no line [server]")
        lines.append(f"{end if lines and not lines[-1].endswith(end) else ''}[server]{end}")
        header = len(lines) - 1
    left = dict(changes)
    made = lines[: header + 1]
    position = header + 1
    while position < len(lines):
        after, names = _statement(lines, position)
        name = option_of(names[0]) if names else ""
        if name in left:
            made.append(_replaced(lines[position:after], left.pop(name)))
        else:
            made += lines[position:after]
        position = after
    if left and not made[-1].endswith("\n"):
        made.append(end)
    return "".join([*made, *(f"{name} = {value}{end}" for name, value in left.items())])


def _statement(lines: list[str], start: int) -> tuple[int, list[str]]:
    """Where the statement ends that begins with this line (a value may go over several), and the names that it sets."""
    for after in range(start + 1, len(lines) + 1):
        try:
            return after, list(tomllib.loads("".join(lines[start:after])))
        except tomllib.TOMLDecodeError:
            continue
    raise RewriteError(f"line {start + 1} is not understood")


def _replaced(lines: list[str], value: str) -> str:
    """The statement with another value; its name as it was spelled, and a comment after it."""
    last = lines[-1]
    body = last.rstrip("\r\n")
    end = last[len(body) :] or "\n"
    comment = ""
    whole = tomllib.loads("".join(lines))
    for found in re.finditer("#", body):
        try:
            if tomllib.loads("".join([*lines[:-1], body[: found.start()]])) == whole:
                kept = body[: found.start()].rstrip()
                comment = body[len(kept) :]
                break
        except tomllib.TOMLDecodeError:
            continue  # this # belongs to the value
    key, _, rest = lines[0].partition("=")
    space = " " if rest[:1].isspace() else ""
    return f"{key}={space}{value}{comment}{end}"
