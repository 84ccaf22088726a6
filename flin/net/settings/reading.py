"""Options read from the places that may give them: a TOML file, the environment, the command line.

The last one wins. A value that is wrong is an error that names the place; what must be right together (TLS needs a
certificate) is checked once all are read, since one place may complete another.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from flin.net.settings.options import ROWS, ConfigError, ServerOptions, wrong
from flin.net.settings.row import ENVIRONMENT_PREFIX, Row

CONFIG_VARIABLE: Final = ENVIRONMENT_PREFIX + "CONFIG"
"""Names the file, as --config does."""

_BY_NAME: Final = {name: row for row in ROWS.values() for name in row.names}
_BY_VARIABLE: Final = {row.environment: row for row in ROWS.values()}


def options_from_file(path: str, options: ServerOptions | None = None) -> ServerOptions:
    """The options, changed by the `[server]` table of a TOML file. Raises ConfigError, OSError.

    Anything outside this table is an error: a `requirepass` above it would start a server without a password.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no TOML file with a [server] table: {error}") from error
    return options_from_text(text, path, options)


def options_from_text(text: str, path: str, options: ServerOptions | None = None) -> ServerOptions:
    """What `options_from_file` gives for a file of this text. Raises ConfigError."""
    try:
        table = tomllib.loads(text.replace("\r\n", "\n"))  # as tomllib.load reads a file
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML file with a [server] table: {error}") from error
    try:
        for name, value in table.items():
            if name != "server":
                kind = "table" if isinstance(value, dict) else "option outside the table [server]:"
                raise ConfigError(f"unknown {kind} {name!r}")
            if not isinstance(value, dict):
                raise ConfigError("'server' must be a table: write [server]")
        return replace(with_values(options or ServerOptions(), table.get("server", {})), config_file=path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def with_values(options: ServerOptions, values: Mapping[str, Any]) -> ServerOptions:
    """The options with some values changed, as TOML has them: each checked for its type. Sizes may be text: "1gb"."""
    changes: dict[str, Any] = {}
    for key, value in values.items():
        row = _BY_NAME.get(key.replace("-", "_"))
        if row is None:
            raise ConfigError(f"there is no option {key!r}{nearest(key.replace('-', '_'), _BY_NAME)}")
        if row.name in changes:
            raise ConfigError(f"{key!r}: the same option is there in two spellings; keep {row.name!r}")
        changes[row.name] = _read(row, key, value, row.kind.of_toml)
    return replace(options, **changes)


def with_environment(options: ServerOptions, environ: Mapping[str, str]) -> ServerOptions:
    """The options, changed by the variables FLIN_… ConfigError for a wrong value, and for a name that is nearly one."""
    changes: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        row = _BY_VARIABLE.get(name)
        if row is None:
            meant = nearest(name, _BY_VARIABLE)
            if meant and not _is_of_kubernetes(name):
                raise ConfigError(f"there is no variable {name}{meant}")
        elif not (name == "FLIN_PORT" and value.startswith("tcp://")):
            changes[row.name] = _read(row, name, value, row.kind.of_text)
    return replace(options, **changes)


def with_flags(options: ServerOptions, given: Mapping[str, Sequence[str]]) -> ServerOptions:
    """The options, changed by the command line: for each option's name the texts that were given. ConfigError."""
    changes: dict[str, Any] = {}
    for name, texts in given.items():
        row = ROWS[name]
        changes[name] = _read(row, row.flag, " ".join(texts) if row.is_repeated else texts[-1], row.kind.of_text)
    return replace(options, **changes)


def _is_of_kubernetes(name: str) -> bool:
    """For a service that is called flin, it sets FLIN_PORT=tcp://…, FLIN_SERVICE_HOST, FLIN_PORT_6380_TCP_ADDR …"""
    return name.startswith(("FLIN_SERVICE_", "FLIN_PORT_"))


def _read(row: Row, name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    """Raises ConfigError."""
    try:
        found = read(value)
        row.kind.check(found)
    except ValueError as error:
        raise ConfigError(wrong(row, name, value, error)) from None
    return found


def nearest(name: str, known: Mapping[str, object]) -> str:
    """The end of an error about a name that is not known; empty if none is near."""
    found = get_close_matches(name, known, 1, 0.8)
    return f"; {found[0]!r} is meant, perhaps" if found else ""
