"""Options read from the places that may give them: a TOML file, the environment, the command line.

The last one wins. A value that is wrong is an error that names the place; what must be right together (TLS needs a
certificate) is checked once all are read, since one place may complete another.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from flin.net.settings.options import ROWS, ConfigError, ServerOptions, wrong
from flin.net.settings.redis_names import UNDERSTOOD, Meant, hint_of, maybe_mapped
from flin.net.settings.row import ENVIRONMENT_PREFIX, Row, flag_of

CONFIG_VARIABLE: Final = ENVIRONMENT_PREFIX + "CONFIG"
"""Names the file, as --config does."""

_BY_NAME: Final = {name: row for row in ROWS.values() for name in row.names}
_VARIABLES: Final = {row.environment for row in ROWS.values()}


def options_from_file(path: str, options: ServerOptions | None = None) -> ServerOptions:
    """The options, changed by the `[server]` table of a TOML file. Raises ConfigError, OSError.

    Anything outside this table is an error: a `requirepass` above it would start a server without a password.
    """
    return options_from_text(text_of(path), path, options)


def text_of(path: str) -> str:
    """The text of a file, with its ends of lines. Raises ConfigError if it is none, OSError."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no TOML file with a [server] table: {error}") from error


def options_from_text(text: str, path: str, options: ServerOptions | None = None) -> ServerOptions:
    """What `options_from_file` gives for a file of this text. Raises ConfigError."""
    try:
        table = tomllib.loads(text.replace("\r\n", "\n"))  # as tomllib.load reads a file
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML file with a [server] table: {_what_it_is(text) or error}") from error
    try:
        for name, value in table.items():
            if name != "server":
                kind = "table" if isinstance(value, dict) else "option outside the table [server]:"
                raise ConfigError(f"unknown {kind} {name!r}")
            if not isinstance(value, dict):
                raise ConfigError("'server' must be a table: write [server]")
        changes = _changes(table.get("server", {}))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return replace(options or ServerOptions(), config_file=path, file_values=tuple(changes.items()), **changes)


def _what_it_is(text: str) -> str:
    mapped = maybe_mapped(text)
    return mapped and f"it is written as a redis.conf; in TOML, under [server], its lines are {mapped}"


def with_values(options: ServerOptions, values: Mapping[str, Any]) -> ServerOptions:
    """The options with some values changed, as TOML has them: each checked for its type. Sizes may be text: "1gb"."""
    return replace(options, **_changes(values))


def _changes(values: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for key, given in values.items():
        name, value = key.replace("-", "_"), given
        if name.replace("_", "-") in UNDERSTOOD:
            meant = _meant(name.replace("_", "-"), key, _text_of(given))
            if meant is None:
                continue
            name, value = meant
        row = _BY_NAME.get(name)
        if row is None:
            hint = hint_of(name.replace("_", "-"))
            raise ConfigError(f"there is no option {key!r}{(hint and f': {hint}') or nearest(name, _BY_NAME)}")
        if row.name in changes:
            raise ConfigError(f"{key!r}: the same option is there in two spellings; keep {row.name!r}")
        changes[row.name] = _read(row, key, value, row.kind.of_toml)
    return changes


def _text_of(value: object) -> str:
    """A value of TOML as a redis.conf would have it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _meant(name: str, given: str, text: str) -> Meant | None:
    """What one of Redis's names stands for. ConfigError."""
    try:
        return UNDERSTOOD[name](text)
    except ValueError as error:
        raise ConfigError(f"{given} is {text!r}, {error}") from None


def with_environment(options: ServerOptions, environ: Mapping[str, str]) -> ServerOptions:
    """The options, changed by the variables FLIN_… ConfigError for a wrong value, and for a name that is nearly one."""
    given: dict[str, tuple[str, str]] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable != variable.upper() or variable == CONFIG_VARIABLE:
            continue
        if name in _BY_NAME or name in UNDERSTOOD:
            if not (name == "port" and text.startswith("tcp://")):
                given[name] = variable, text
        elif (meant := nearest(variable, _VARIABLES)) and not _is_of_kubernetes(variable):
            raise ConfigError(f"there is no variable {variable}{meant}")
    return _with_texts(options, given)


def with_flags(options: ServerOptions, given: Mapping[str, Sequence[str]]) -> ServerOptions:
    """The options, changed by the command line. given: by an option's or Redis's name, its texts. ConfigError."""
    texts = {
        name: (flag_of(name), texts[-1] if name in ROWS and not ROWS[name].is_repeated else " ".join(texts))
        for name, texts in given.items()
    }
    return _with_texts(options, texts)


def _with_texts(options: ServerOptions, given: Mapping[str, tuple[str, str]]) -> ServerOptions:
    """given: by an option's or Redis's name, how it was spelled, and the text of its value."""
    changes: dict[str, Any] = {}
    places = dict(options.overridden)
    for key, (spelled, given_text) in given.items():
        name, text = key, given_text
        if name in UNDERSTOOD:
            meant = _meant(name, spelled, text)
            if meant is None:
                continue
            name, text = meant
        row = _BY_NAME[name]
        if row.name in changes:
            raise ConfigError(f"{spelled}: the same option is given twice, as {places[row.name]}, too")
        changes[row.name] = _read(row, spelled, text, row.kind.of_text)
        places[row.name] = spelled
    return replace(options, overridden=tuple(places.items()), **changes)


def option_of(name: str) -> str:
    """The option that a name in a file stands for; empty: none."""
    spelled = name.replace("-", "_")
    return _BY_NAME[spelled].name if spelled in _BY_NAME else ""


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


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about a name that is not known; empty if none is near."""
    found = get_close_matches(name, known, 1, 0.8)
    return f"; {found[0]!r} is meant, perhaps" if found else ""
